"""Answers that are classes: too few of them, some never trained on, or in conflict with each other."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from harness.audit.facts import Facts, finding, share
from harness.core.records import Finding
from harness.core.types import Sample
from harness.data.display import escape, quote

_MAX_CLASSES = 200
_MAX_DISTINCT = 0.2
# Up to this many different numbers may be grades or stars; more are quantities.
_MAX_NUMBERS = 10


def are_labels(facts: Facts) -> bool:
    """Whether the references are classes: said so by data.labels, or few and often repeated; never many numbers."""
    if facts.task.data.labels is not None:
        return True
    if any(len(sample.references) != 1 for sample in facts.samples):
        return False
    distinct = {_answer(sample) for sample in facts.samples}
    if len(distinct) > _MAX_NUMBERS and all(_is_number(answer) for answer in distinct):
        return False
    return 0 < len(distinct) <= min(_MAX_CLASSES, _MAX_DISTINCT * len(facts.samples))


def one_class(facts: Facts) -> Iterator[Finding]:
    """E-ONECLASS: nothing to tell apart. Fatal in train; elsewhere metrics that need two classes are undefined."""
    for split, samples in facts.splits.items() if are_labels(facts) else ():
        if len(samples) > 1 and len({_answer(sample) for sample in samples}) == 1:
            effect = "nothing can be learned" if split == "train" else "metrics that need two classes are undefined"
            yield finding(
                "E-ONECLASS",
                "fatal" if split == "train" else "warning",
                f"all {len(samples):,} {split} rows have the answer {quote(_answer(samples[0]))}: {effect}",
                fix="add rows of other classes, or cut the file anew (another data.split.seed)",
            )


def unseen_classes(facts: Facts) -> Iterator[Finding]:
    """E-UNSEEN-CLASS: asked for in validation or test, never shown in train."""
    trained = {reference for sample in facts.splits["train"] for reference in sample.references}
    for split, samples in facts.splits.items() if are_labels(facts) and trained else ():
        rows = [sample for sample in samples if trained.isdisjoint(sample.references)]
        if rows:
            names = escape(", ".join(sorted({_answer(sample) for sample in rows})), 200)
            yield finding(
                "E-UNSEEN-CLASS",
                "warning",
                f"{share(len(rows), len(samples))} {split} rows have an answer that train never shows: {names}",
                fix="add such rows to train, or expect these to be wrong",
                samples=rows,
                say=lambda sample: quote(_answer(sample)),
            )


def conflicts(facts: Facts) -> Iterator[Finding]:
    """E-LABEL-CONFLICT: one question, several answers; the ceiling is what always giving the usual one would score."""
    answers: dict[str, set[str]] = defaultdict(set)
    for sample in facts.samples:
        answers[facts.folded[sample.id]].add(_answer(sample))
    rows = [sample for sample in facts.samples if len(answers[facts.folded[sample.id]]) > 1]
    if rows:
        ceilings = ", ".join(
            f"{split} {100 * _ceiling(facts, samples):.1f} %" for split, samples in facts.splits.items() if samples
        )
        yield finding(
            "E-LABEL-CONFLICT",
            "warning" if are_labels(facts) else "note",
            f"{share(len(rows), len(facts.samples))} rows ask a question that another row answers differently; "
            f"best possible exact match with one answer a question: {ceilings}",
            fix="correct the labels, or put several right answers in one row's references",
            samples=rows,
            say=lambda sample: (
                f"{quote(sample.question, 60)} has " + escape(", ".join(sorted(answers[facts.folded[sample.id]])))
            ),
        )


def _ceiling(facts: Facts, samples: Sequence[Sample]) -> float:
    answers: dict[str, Counter[str]] = defaultdict(Counter)
    for sample in samples:
        answers[facts.folded[sample.id]][_answer(sample)] += 1
    return sum(max(counts.values()) for counts in answers.values()) / len(samples)


def _is_number(answer: str) -> bool:
    try:
        return math.isfinite(float(answer))
    except ValueError:
        return False


def _answer(sample: Sample) -> str:
    return sample.references[0]
