"""Same vowels: the completion has the reference's vowels in the reference's order."""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.protocols import Metric
from harness.metrics.context import MetricContext, NoOptions, parse_options
from harness.metrics.mean import MeanMetric


def create(context: MetricContext) -> Metric:
    """Share of completions whose vowels are those of a reference, whatever else they say."""
    parse_options(context, NoOptions)
    return MeanMetric(context.name, "same_vowels|case:any|any-ref|sft-example:1.2", _score)


def _score(completion: str, references: Sequence[str]) -> float:
    return float(any(_vowels(completion) == _vowels(reference) for reference in references))


def _vowels(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter in "aeiou")
