"""What every check may look at, and how it says what it found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness.core.records import Finding
from harness.core.specs import TaskSpec
from harness.core.types import Sample, Split
from harness.data import Dataset
from harness.data.fold import fold
from harness.data.problems import N_EXAMPLES, Severity


@dataclass(frozen=True, slots=True)
class Facts:
    """The material of the audit; see `audit` for the meaning of each.

    folded: sample id -> its question after folding.
    """

    dataset: Dataset
    task: TaskSpec
    lengths: Mapping[str, tuple[int, int]]
    context_length: int
    special_texts: Sequence[str]
    row_problems: Mapping[str, str]
    selection_rule: str
    bounded: bool
    in_bytes: bool
    splits: Mapping[Split, tuple[Sample, ...]]
    folded: Mapping[str, str]

    @property
    def samples(self) -> tuple[Sample, ...]:
        """All samples, train first."""
        return self.dataset.samples


def folded_questions(samples: Sequence[Sample]) -> dict[str, str]:
    """Sample id -> folded question."""
    return {sample.id: fold(sample.question) for sample in samples}


def finding(
    code: str,
    severity: Severity,
    what: str,
    *,
    fix: str,
    samples: Sequence[Sample] = (),
    say: Callable[[Sample], str] = lambda sample: "",
) -> Finding:
    """A finding about some samples. say: what was found in one, already escaped; asked for the examples only."""
    shown = [(sample, say(sample)) for sample in samples[:N_EXAMPLES]]
    examples = [f"{sample.origin} ({sample.id})" + (f": {said}" if said else "") for sample, said in shown]
    return Finding(
        code, severity, what, fix, max(1, len(samples)), tuple(examples), tuple(sample.id for sample in samples)
    )


def share(n: int, total: int) -> str:
    """A count with its denominator.

    >>> share(5, 1000)
    '5 of 1,000 (0.5 %)'
    """
    return f"{n:,} of {total:,} ({100 * n / total:.1f} %)"
