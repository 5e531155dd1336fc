"""Exact match: the completion is one of the references."""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.protocols import Metric
from harness.core.specs import Spec
from harness.metrics.context import VERSION, MetricContext, parse_options
from harness.metrics.mean import MeanMetric
from harness.metrics.normalise import Normaliser, normalise, signature_of


class Options(Spec):
    """normalise: what does not matter; without any, only white space at the ends."""

    normalise: tuple[Normaliser, ...] = ()


def create(context: MetricContext) -> Metric:
    """Share of completions that equal a reference after the named normalisers.

    | completion | reference | score |
    |---|---|---|
    | empty | empty | 1 |
    | empty | text, or the other way round | 0 |
    """
    names = parse_options(context, Options).normalise

    def score(completion: str, references: Sequence[str]) -> float:
        answer = normalise(completion, names)
        return float(any(answer == normalise(reference, names) for reference in references))

    return MeanMetric(context.name, f"exact_match|{signature_of(names)}|any-ref|{VERSION}", score)
