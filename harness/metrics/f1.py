"""F1 over classes: macro, micro and weighted.

Axes: N samples, C classes; statistics are C true positives, C predictions, C true labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from harness.core.errors import HarnessError
from harness.core.protocols import Metric
from harness.core.specs import Spec
from harness.core.types import FloatArray, Sample
from harness.metrics.context import VERSION, MetricContext, parse_options
from harness.metrics.labels import field_signature, label_of, reference_labels
from harness.metrics.mean import ratio

Average = Literal["macro", "micro", "weighted"]
MOST_CLASSES = 1000


class Options(Spec):
    """What is read of an answer."""

    field: str | None = Field(None, description="top-level key of a JSON answer; without it, the whole text")


@dataclass(frozen=True, slots=True)
class LabelF1:
    """F1 = 2 TP / (predicted + true) per class, averaged; equal to scikit-learn's f1_score(labels=classes).

    A prediction that is no class is wrong for its true class and counts nowhere else. Several references: the one
    that was predicted is the true label, else the first. Macro leaves out classes that are neither true nor predicted
    in the samples at hand (scikit-learn: zero_division=nan): they have no F1, and 0 would punish small slices.
    """

    name: str
    signature: str
    average: Average
    classes: tuple[str, ...]
    key: str | None
    higher_is_better: bool = True
    best: float = 1.0
    worst: float = 0.0

    def measure(self, samples: Sequence[Sample], completions: Sequence[str]) -> FloatArray:
        """(N, 3C) counts, each 0 or 1."""
        column = {label: c for c, label in enumerate(self.classes)}
        counts_N3C = np.zeros((len(samples), 3, len(self.classes)))
        for row, sample, completion in zip(counts_N3C, samples, completions, strict=True):
            references = reference_labels(sample, self.key, metric=self.name)
            predicted = label_of(completion, self.key)
            true = predicted if predicted in references else references[0]
            row[0, column[true]] = predicted == true
            row[2, column[true]] = 1
            if predicted is not None and predicted in column:
                row[1, column[predicted]] = 1
        return counts_N3C.reshape(len(samples), 3 * len(self.classes))

    def value(self, totals: FloatArray) -> FloatArray:
        """The average F1; nan where no class is true or predicted."""
        right, predicted, true = np.moveaxis(totals.reshape(*totals.shape[:-1], 3, len(self.classes)), -2, 0)
        if self.average == "micro":
            return ratio(2 * right.sum(axis=-1), (predicted + true).sum(axis=-1))
        weights = true if self.average == "weighted" else (predicted + true > 0).astype(np.float64)
        # A class without F1 has weight 0 in both averages.
        scores = np.nan_to_num(ratio(2 * right, predicted + true))
        return ratio((weights * scores).sum(axis=-1), weights.sum(axis=-1))

    def per_sample(self, statistics: FloatArray) -> FloatArray:
        """1 where the label is right, else 0."""
        return np.asarray(statistics[:, : len(self.classes)].sum(axis=1))


def create_macro(context: MetricContext) -> Metric:
    """Mean of the classes' F1: every class counts the same."""
    return _create(context, "macro", "absent-classes:left-out")


def create_micro(context: MetricContext) -> Metric:
    """F1 of all decisions together: every sample counts the same."""
    return _create(context, "micro", "other:wrong")


def create_weighted(context: MetricContext) -> Metric:
    """Mean of the classes' F1, weighted by how often each is true."""
    return _create(context, "weighted", "other:wrong")


def _create(context: MetricContext, average: Average, note: str) -> Metric:
    key = parse_options(context, Options).field
    labels = {label for sample in context.samples for label in reference_labels(sample, key, metric=context.name)}
    if not 1 <= len(labels) <= MOST_CLASSES:
        raise HarnessError(
            f"metric {context.name!r} needs labels, but the references have {len(labels)} different values",
            fix="measure free text with exact_match, squad_f1 or rouge_l; of a JSON answer read one key:"
            f' [metrics.options.{context.name}] field = "key"',
            code="E-OPTION",
        )
    signature = f"{average}_f1|{field_signature(key)}|classes:{len(labels)}|{note}|refs:matched-or-first|{VERSION}"
    return LabelF1(context.name, signature, average, tuple(sorted(labels)), key)
