"""Structured answers: is it JSON, and how many of its fields are right?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.core.errors import HarnessError
from harness.core.protocols import Metric
from harness.core.types import FloatArray, Sample
from harness.metrics.context import VERSION, MetricContext, NoOptions, located, parse_options
from harness.metrics.mean import MeanMetric, ratio
from harness.metrics.strict_json import fields, parse

Fields = frozenset[tuple[str, str]]


def is_container(text: str) -> bool:
    """Whether the text is one JSON object or array, strictly, and nothing else but white space around it."""
    try:
        return isinstance(parse(text), dict | list)
    except ValueError:
        return False


def create_json_valid(context: MetricContext) -> Metric:
    """Share of completions that are one JSON object or array: no NaN, no key twice, no text around, no code fence."""
    parse_options(context, NoOptions)

    def score(completion: str, references: Sequence[str]) -> float:
        return float(is_container(completion))

    return MeanMetric(context.name, f"json_valid|object-or-array|strict|{VERSION}", score)


@dataclass(frozen=True, slots=True)
class FieldF1:
    """Micro F1 over the (key, value) pairs of JSON objects, values compared whole and as JSON (1 is 1.0, not "1").

    Statistics: pairs right, predicted, wanted, and whether the completion is no JSON object. Such a completion predicts
    nothing, and scores 0 for its sample even where nothing was wanted. Several references: the one with the best F1 for
    the sample, the first of equals. Empty and empty count nothing in the corpus score (undefined if there is nothing
    else) and 1 for the sample.
    """

    name: str
    signature: str
    higher_is_better: bool = True
    best: float = 1.0
    worst: float = 0.0

    def measure(self, samples: Sequence[Sample], completions: Sequence[str]) -> FloatArray:
        """(N, 4): right, predicted, wanted, invalid."""
        rows = []
        for sample, completion in zip(samples, completions, strict=True):
            found = fields(completion)
            rows.append((*_best_counts(found or frozenset(), _wanted(sample, self.name)), found is None))
        return np.array(rows, dtype=np.float64).reshape(-1, 4)

    def value(self, totals: FloatArray) -> FloatArray:
        """2 right / (predicted + wanted)."""
        return ratio(2 * totals[..., 0], totals[..., 1] + totals[..., 2])

    def per_sample(self, statistics: FloatArray) -> FloatArray:
        """The sample's F1; 1 where nothing was wanted and an empty object came, 0 where no object came."""
        scores: FloatArray = np.nan_to_num(self.value(statistics), nan=1.0) * (1 - statistics[:, 3])
        return scores


def create_field_f1(context: MetricContext) -> Metric:
    """F1 over fields; HarnessError where a reference is no JSON object."""
    parse_options(context, NoOptions)
    for sample in context.samples:
        _wanted(sample, context.name)
    return FieldF1(context.name, f"field_f1|micro|top-level|canonical-json|best-ref|{VERSION}")


def _wanted(sample: Sample, metric: str) -> list[Fields]:
    found = [fields(reference) for reference in sample.references]
    if None in found:
        raise HarnessError(
            f"metric {metric!r} needs JSON objects as references, but {located(sample)} has one that is not",
            fix="correct the row, or choose another metric in [metrics]",
            code="E-OPTION",
        )
    return [pairs for pairs in found if pairs is not None]


def _best_counts(predicted: Fields, references: Sequence[Fields]) -> tuple[int, int, int]:
    counts = [(len(predicted & wanted), len(predicted), len(wanted)) for wanted in references]
    return max(counts, key=_f1)


def _f1(counts: tuple[int, int, int]) -> float:
    right, predicted, wanted = counts
    return 2 * right / (predicted + wanted) if predicted + wanted else 1.0
