"""What is wrong with the data: single problems while reading, and the findings they add up to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from harness.core.errors import HarnessError
from harness.core.records import Finding

Severity = Literal["fatal", "warning", "note"]

N_EXAMPLES = 5
N_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong at one place: `where` is "file:line", or a file's name. `id`: the row's, where it is known."""

    where: str
    code: str
    what: str
    fix: str
    id: str | None = None
    severity: Severity = "fatal"

    @classmethod
    def at(cls, where: str, error: HarnessError, *, id: str | None = None) -> Problem:
        """The problem an error speaks of, at its place."""
        return cls(where, error.code, error.what, error.fix, id)

    @property
    def example(self) -> str:
        """One line for people."""
        return f"{self.where}: {self.what}" if self.id is None else f"{self.where} ({self.id}): {self.what}"


@dataclass(slots=True)
class _Tally:
    first: Problem
    count: int = 0
    examples: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)


class Problems:
    """Collects problems by code. Memory is bounded: examples and ids of the first 10,000, then only counts."""

    def __init__(self) -> None:
        self._tallies: dict[tuple[str, Severity], _Tally] = {}
        self._n_kept = 0

    def add(self, problem: Problem) -> None:
        """Take one more problem."""
        tally = self._tallies.setdefault((problem.code, problem.severity), _Tally(problem))
        tally.count += 1
        if len(tally.examples) < N_EXAMPLES:
            tally.examples.append(problem.example)
        if problem.id is not None and self._n_kept < N_KEPT:
            tally.ids.append(problem.id)
            self._n_kept += 1

    def findings(self) -> tuple[Finding, ...]:
        """One finding for each code and severity, the fatal ones first, in the order they were met."""
        found = [_finding(code, severity, tally) for (code, severity), tally in self._tallies.items()]
        return by_severity(found)


def by_severity(findings: list[Finding]) -> tuple[Finding, ...]:
    """Fatal findings first, then warnings, then notes; otherwise in the given order."""
    order = ("fatal", "warning", "note")
    return tuple(sorted(findings, key=lambda finding: order.index(finding.severity)))


def _finding(code: str, severity: Severity, tally: _Tally) -> Finding:
    first = tally.first
    more = f" (the first of {tally.count:,} places)" if tally.count > 1 else ""
    return Finding(code, severity, first.what + more, first.fix, tally.count, tuple(tally.examples), tuple(tally.ids))
