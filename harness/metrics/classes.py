"""Precision, recall and F1 of classes: macro, micro and weighted averages, and one class's own.

Axes: N samples, C classes; statistics are C true positives, C predictions, C true labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from harness.core.protocols import Metric, Part
from harness.core.specs import Spec
from harness.core.types import FloatArray, Sample
from harness.data.display import quote
from harness.metrics.context import VERSION, MetricContext, option_error, parse_options
from harness.metrics.labels import field_signature, label_of, reference_labels
from harness.metrics.mean import ratio

Kind = Literal["precision", "recall", "f1"]
Average = Literal["macro", "micro", "weighted"]
MOST_CLASSES = 1000
# Classes with parts of their own, the most frequent ones: a report with more is not read.
MOST_PARTS = 50
_SPELLED: dict[Kind, str] = {"precision": "precision", "recall": "recall", "f1": "F1"}


class Options(Spec):
    """What is read of an answer."""

    field: str | None = Field(None, description="top-level key of a JSON answer; without it, the whole text")


class ClassOptions(Options):
    """Which class, and what is read of an answer."""

    label: str = Field(description="the class, spelled as in the references")


def rate(kind: Kind, *, right: FloatArray, predicted: FloatArray, true: FloatArray) -> FloatArray:
    """The score of classes from their counts, elementwise; nan where it is undefined.

    Precision of a class that is true but never predicted is 0 (scikit-learn: zero_division=0): undefined would
    reward leaving the class out. Recall of a class that is never true is undefined.
    """
    if kind == "precision":
        return ratio(right, np.where(predicted > 0, predicted, true))
    return ratio(right, true) if kind == "recall" else ratio(2 * right, predicted + true)


def decided(sample: Sample, completion: str, key: str | None, *, metric: str) -> tuple[str | None, str]:
    """(predicted label, true label). Several references: the one that was predicted is true, else the first."""
    references = reference_labels(sample, key, metric=metric)
    predicted = label_of(completion, key)
    return predicted, predicted if predicted is not None and predicted in references else references[0]


@dataclass(frozen=True, slots=True)
class ClassScore:
    """Precision, recall or F1 of one class; statistics (N, 3): right, predicted, true."""

    name: str
    signature: str
    kind: Kind
    label: str
    key: str | None
    higher_is_better: bool = True
    best: float = 1.0
    worst: float = 0.0

    def measure(self, samples: Sequence[Sample], completions: Sequence[str]) -> FloatArray:
        """(N, 3) counts, each 0 or 1."""
        pairs = [
            decided(sample, completion, self.key, metric=self.name)
            for sample, completion in zip(samples, completions, strict=True)
        ]
        rows = [(p == t == self.label, p == self.label, t == self.label) for p, t in pairs]
        return np.array(rows, dtype=np.float64).reshape(-1, 3)

    def value(self, totals: FloatArray) -> FloatArray:
        """The class's score; nan where the class does not occur."""
        return rate(self.kind, right=totals[..., 0], predicted=totals[..., 1], true=totals[..., 2])

    def per_sample(self, statistics: FloatArray) -> FloatArray:
        """1 or 0 for samples that bear on the score, nan for the others."""
        return self.value(statistics)


@dataclass(frozen=True, slots=True)
class LabelScore:
    """A score per class, averaged; F1 is 2 TP / (predicted + true), equal to scikit-learn with labels=classes.

    A prediction that is no class is wrong for its true class and counts nowhere else. Macro leaves out classes whose
    score is undefined in the samples at hand (neither true nor predicted; for recall, not true): 0 would punish small
    slices.
    """

    name: str
    signature: str
    kind: Kind
    average: Average
    classes: tuple[str, ...]
    key: str | None
    shown: tuple[int, ...]
    part_kinds: tuple[Kind, ...]
    higher_is_better: bool = True
    best: float = 1.0
    worst: float = 0.0

    def measure(self, samples: Sequence[Sample], completions: Sequence[str]) -> FloatArray:
        """(N, 3C) counts, each 0 or 1."""
        column = {label: c for c, label in enumerate(self.classes)}
        counts_N3C = np.zeros((len(samples), 3, len(self.classes)))
        for row, sample, completion in zip(counts_N3C, samples, completions, strict=True):
            predicted, true = decided(sample, completion, self.key, metric=self.name)
            row[0, column[true]] = predicted == true
            row[2, column[true]] = 1
            if predicted is not None and predicted in column:
                row[1, column[predicted]] = 1
        return counts_N3C.reshape(len(samples), 3 * len(self.classes))

    def value(self, totals: FloatArray) -> FloatArray:
        """The average score; nan where no class has one."""
        right, predicted, true = np.moveaxis(totals.reshape(*totals.shape[:-1], 3, len(self.classes)), -2, 0)
        if self.average == "micro":
            sums = (right.sum(axis=-1), predicted.sum(axis=-1), true.sum(axis=-1))
            return rate(self.kind, right=sums[0], predicted=sums[1], true=sums[2])
        scores = rate(self.kind, right=right, predicted=predicted, true=true)
        weights = true if self.average == "weighted" else np.isfinite(scores).astype(np.float64)
        # A class without a score has weight 0 in both averages.
        return ratio((weights * np.nan_to_num(scores)).sum(axis=-1), weights.sum(axis=-1))

    def per_sample(self, statistics: FloatArray) -> FloatArray:
        """1 where the label is right, else 0."""
        return np.asarray(statistics[:, : len(self.classes)].sum(axis=1))

    def parts(self) -> tuple[Part, ...]:
        """Each class's own scores, the most frequent class first; of many classes only the MOST_PARTS largest."""
        n = len(self.classes)
        names = _distinct([quote(self.classes[c], 60) for c in self.shown])
        return tuple(
            Part(self._class_score(kind, c, name), (c, n + c, 2 * n + c))
            for c, name in zip(self.shown, names, strict=True)
            for kind in self.part_kinds
        )

    def _class_score(self, kind: Kind, c: int, name: str) -> ClassScore:
        label = self.classes[c]
        return ClassScore(f"{_SPELLED[kind]} of {name}", _class_signature(kind, self.key, label), kind, label, self.key)


def create_macro_f1(context: MetricContext) -> Metric:
    """Mean of the classes' F1: every class counts the same."""
    return _create(context, "f1", "macro", "absent-classes:left-out", ("precision", "recall", "f1"))


def create_micro_f1(context: MetricContext) -> Metric:
    """F1 of all decisions together: every sample counts the same."""
    return _create(context, "f1", "micro", "other:wrong", ())


def create_weighted_f1(context: MetricContext) -> Metric:
    """Mean of the classes' F1, weighted by how often each is true."""
    return _create(context, "f1", "weighted", "other:wrong", ("precision", "recall", "f1"))


def create_macro_precision(context: MetricContext) -> Metric:
    """Mean of the classes' precision; 0 for a class that is true and never predicted."""
    return _create(context, "precision", "macro", "never-predicted:0|absent-classes:left-out", ("precision",))


def create_macro_recall(context: MetricContext) -> Metric:
    """Mean of the classes' recall: balanced accuracy, by its other name."""
    return _create(context, "recall", "macro", "absent-classes:left-out", ("recall",))


def create_precision(context: MetricContext) -> Metric:
    """Of the answers that say `label`, the share that is right; 0 where the class is true and never predicted."""
    return _create_class(context, "precision")


def create_recall(context: MetricContext) -> Metric:
    """Of the samples whose answer is `label`, the share found."""
    return _create_class(context, "recall")


def create_f1(context: MetricContext) -> Metric:
    """F1 of the class `label`."""
    return _create_class(context, "f1")


def _create(context: MetricContext, kind: Kind, average: Average, note: str, part_kinds: tuple[Kind, ...]) -> Metric:
    key = parse_options(context, Options).field
    counts = _label_counts(context, key)
    classes = tuple(sorted(counts))
    largest = sorted(range(len(classes)), key=lambda c: (-counts[classes[c]], c))[:MOST_PARTS]
    signature = f"{average}_{kind}|{field_signature(key)}|classes:{len(classes)}|{note}|refs:matched-or-first|{VERSION}"
    return LabelScore(context.name, signature, kind, average, classes, key, tuple(largest), part_kinds)


def _create_class(context: MetricContext, kind: Kind) -> Metric:
    options = parse_options(context, ClassOptions)
    label, known = options.label.strip(), _label_counts(context, options.field)
    if label not in known:
        shown = ", ".join(quote(name, 40) for name, _ in known.most_common(10))
        raise option_error(context, f"no reference is {quote(label)}", fix=f"set label to one of {shown}")
    signature = _class_signature(kind, options.field, label)
    return ClassScore(context.name, signature, kind, label, options.field)


def _label_counts(context: MetricContext, key: str | None) -> Counter[str]:
    """How often each label stands among the references; HarnessError where they are no labels."""
    counts = Counter(
        label for sample in context.samples for label in reference_labels(sample, key, metric=context.name)
    )
    if not 1 <= len(counts) <= MOST_CLASSES:
        raise option_error(
            context,
            f"it needs labels, but the references have {len(counts)} different values",
            fix="measure free text with exact_match, squad_f1 or rouge_l; or read one key of a JSON answer with"
            ' field = "key"',
        )
    return counts


def _class_signature(kind: Kind, key: str | None, label: str) -> str:
    note = "never-predicted:0|" if kind == "precision" else ""
    return f"{kind}|{field_signature(key)}|label:{quote(label)}|{note}refs:matched-or-first|{VERSION}"


def _distinct(names: Sequence[str]) -> list[str]:
    """Names made different where shortening made them equal."""
    counts = Counter(names)
    return [f"{name} #{place}" if counts[name] > 1 else name for place, name in enumerate(names, start=1)]
