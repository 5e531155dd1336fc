"""Accuracy: the label is right."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from harness.core.protocols import Metric
from harness.core.specs import Spec
from harness.metrics.context import VERSION, MetricContext, parse_options
from harness.metrics.labels import check_references, field_signature, label_of
from harness.metrics.mean import MeanMetric


class Options(Spec):
    """What is read of an answer."""

    field: str | None = Field(None, description="top-level key of a JSON answer; without it, the whole text")


def create(context: MetricContext) -> Metric:
    """Share of completions whose label is a reference's, white space at the ends aside.

    With `field`, a completion that is no JSON object or lacks the key is wrong. Empty and empty: right.
    """
    key = parse_options(context, Options).field
    check_references(context.samples, key, metric=context.name)

    def score(completion: str, references: Sequence[str]) -> float:
        answer = label_of(completion, key)
        return float(answer is not None and any(answer == label_of(reference, key) for reference in references))

    return MeanMetric(context.name, f"accuracy|{field_signature(key)}|strip|any-ref|{VERSION}", score)
