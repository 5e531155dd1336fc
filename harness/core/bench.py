"""Records of a bench: several tasks, models and trainers measured against each other; `bench.json`.

A competitor is one way of using one model. All ranks are 1 for the best, and ties share the mean of their places.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from harness.core.records import Answer, Estimate

Role = Literal["zero-shot", "best untuned", "tuned"]


@dataclass(frozen=True, slots=True)
class Competitor:
    """A model asked without tuning, with the prompt that validation chose, or tuned.

    trainer: None if untuned, or if each task was tuned with its own.
    """

    model: str
    role: Role
    trainer: str | None = None

    @property
    def way(self) -> str:
        """How the model is used, in words."""
        return {
            "zero-shot": "untuned, zero-shot",
            "best untuned": "best untuned",
            "tuned": f"tuned with {self.trainer}" if self.trainer else "tuned",
        }[self.role]


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of the grid. Figures are None where it failed; `reason` then says why in one line.

    delta, low, high, answer: the run's last comparison, candidate minus baseline, positive is better.
    looks: runs that compared on this test split so far, this one among them.
    """

    task: str
    model: str
    trainer: str
    run_id: str
    exit_code: int
    reason: str
    metric: str | None = None
    n: int | None = None
    zero_shot: Estimate | None = None
    best_untuned: Estimate | None = None
    best_untuned_arm: str | None = None
    tuned: Estimate | None = None
    tuned_arm: str | None = None
    delta: float | None = None
    low: float | None = None
    high: float | None = None
    answer: Answer | None = None
    looks: int = 0

    @property
    def finished(self) -> bool:
        """Whether there are figures."""
        return self.metric is not None


@dataclass(frozen=True, slots=True)
class Entry:
    """One competitor on one task.

    competitor: its place in `BenchResult.competitors`. estimate: as its own run reports it. value: over the samples
    that all competitors of the task answered, which is what is ranked. rank_low, rank_high: 95 % bootstrap interval.
    first: share of resamples in which it came first; a shared first place counts in parts.
    """

    competitor: int
    run_id: str
    arm: str
    estimate: Estimate
    value: float
    rank: float
    rank_low: float | None
    rank_high: float | None
    first: float | None


@dataclass(frozen=True, slots=True)
class Lead:
    """The first against the second. told_apart: whether the difference is more than chance.

    On a task: difference in score, positive is better, p by Holm over the first against every other competitor.
    Over all tasks: difference in mean rank, second minus first; there is no p value.
    """

    first: int
    second: int
    difference: float | None
    low: float | None
    high: float | None
    p_adjusted: float | None
    n_tests: int
    told_apart: bool


@dataclass(frozen=True, slots=True)
class Contest:
    """All competitors of one task, on the samples they all answered.

    looks: runs that compared on this test split, of this bench or not. n_competitors: of this bench.
    no_intervals: why ranks have no intervals; empty where they have.
    """

    task: str
    metric: str
    higher_is_better: bool
    n: int
    n_clusters: int
    entries: tuple[Entry, ...]
    lead: Lead | None
    test_sha256: str
    looks: tuple[str, ...]
    no_intervals: str

    @property
    def n_competitors(self) -> int:
        """How many were compared on this test split by this bench."""
        return len(self.entries)

    def entry(self, competitor: int) -> Entry | None:
        """The entry of one competitor, or None where it has no score."""
        return next((entry for entry in self.entries if entry.competitor == competitor), None)


@dataclass(frozen=True, slots=True)
class Standing:
    """One competitor over all tasks it has a score on.

    low, high: 95 % bootstrap interval of the mean rank, None where a task has no resamples. first: share of
    resamples with the best mean rank among the competitors that have all tasks; None for the others.
    """

    competitor: int
    mean_rank: float
    low: float | None
    high: float | None
    first: float | None
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BenchResult:
    """Everything a bench found.

    standings: complete ones first, by mean rank. verdicts: who leads, over all tasks and then on each, in words.
    cautions: what to mind before believing it.
    """

    bench_id: str
    tasks: tuple[str, ...]
    models: tuple[str, ...]
    trainers: tuple[str, ...]
    competitors: tuple[Competitor, ...]
    cells: tuple[Cell, ...]
    contests: tuple[Contest, ...]
    standings: tuple[Standing, ...]
    lead: Lead | None
    verdicts: tuple[str, ...]
    cautions: tuple[str, ...]
    n_resamples: int

    def contest(self, task: str) -> Contest | None:
        """The contest on one task, or None where nobody has a score."""
        return next((contest for contest in self.contests if contest.task == task), None)

    def name(self, competitor: int) -> str:
        """A competitor in words; the model is named only where there are several."""
        found = self.competitors[competitor]
        return found.way if len(self.models) == 1 else f"{found.model} ({found.way})"


class Leaderboard(Protocol):
    """Renders a bench: file name -> bytes. The same result gives the same bytes."""

    def render(self, result: BenchResult) -> Mapping[str, bytes]: ...
