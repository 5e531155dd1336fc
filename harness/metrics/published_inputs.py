"""Samples and completions as a published metric wants them: texts, labels as numbers, or numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, TypeAlias, cast

import numpy as np
from pydantic import Field, JsonValue

from harness.core.specs import Spec
from harness.core.types import Sample
from harness.metrics.context import MetricContext
from harness.metrics.labels import label_of
from harness.metrics.numeric import number_of, reference_numbers

Cell: TypeAlias = str | float | int
Column: TypeAlias = list[Cell | list[Cell]]
# Samples and completions as the metric wants them: predictions, and references or lists of them.
Encode: TypeAlias = Callable[[Sequence[Sample], Sequence[str]], tuple[list[Cell], Column]]

# The number of an answer that is no label.
OFF_LABEL = -1


class Options(Spec):
    """How the metric is called and which of its numbers is meant."""

    key: str | None = Field(None, description="which of the numbers it returns; needed where there are several")
    kwargs: dict[str, JsonValue] = Field(default_factory=dict, description="passed to compute")
    inputs: Literal["text", "labels", "numbers"] = Field("text", description="what it wants instead of texts")
    labels: tuple[str, ...] = Field((), description="inputs = labels: in the order of their numbers, 0 first")
    largest_error: float | None = Field(None, gt=0, description="inputs = numbers: what no number is off by")
    references: Literal["first", "list"] = Field("first", description="one reference, or a list of all of them")
    higher_is_better: bool = True
    best: float | None = Field(None, description="1 by default, 0 where lower is better")
    worst: float | None = Field(None, description="0 by default, 1 where lower is better")
    additive: bool = Field(False, description="it is the mean of single rows' scores: faster; checked each time")


def encoding(context: MetricContext, options: Options, *, opposed: bool = False) -> Encode:
    """Texts as the metric's cells. opposed: see `_silence`."""
    cell = _labels(context, options) if options.inputs == "labels" else _text
    if options.inputs == "numbers":
        cell = _numbers(context)
    silence = _silence(context, options, opposed=opposed) if options.inputs == "numbers" else None

    def encode(samples: Sequence[Sample], completions: Sequence[str]) -> tuple[list[Cell], Column]:
        wanted = [[cast(Cell, cell(reference)) for reference in sample.references] for sample in samples]
        found = [cell(completion) for completion in completions]
        firsts = [references[0] for references in wanted]
        predictions = cast("list[Cell]", found if silence is None else silence(found, cast("list[float]", firsts)))
        columns: Column = [*wanted] if options.references == "list" else [*firsts]
        if len(predictions) != len(columns):
            raise ValueError(f"{len(predictions)} completions for {len(columns)} samples")
        return predictions, columns

    return encode


def _text(text: str) -> Cell | None:
    # Arrow keeps UTF-8, which has no lone surrogates.
    return text.encode("utf-8", "replace").decode("utf-8")


def _labels(context: MetricContext, options: Options) -> Callable[[str], Cell | None]:
    """Labels as numbers from 0; -1 for what is no class of the metric's: wrong whatever is wanted."""
    places = {label.strip(): place for place, label in enumerate(classes(context, options))}
    return lambda text: places.get(text.strip(), OFF_LABEL)


def classes(context: MetricContext, options: Options) -> tuple[str, ...]:
    found = {label_of(text, None) or "" for s in context.samples for text in s.references}
    return options.labels or tuple(sorted(found))


def _numbers(context: MetricContext) -> Callable[[str], Cell | None]:
    """Texts as numbers, None for what is none; HarnessError where a reference is none."""
    for sample in context.samples:
        reference_numbers(sample, None, metric=context.name)
    return lambda text: number_of(text, None)


def _silence(
    context: MetricContext, options: Options, *, opposed: bool
) -> Callable[[list[Cell | None], list[float]], list[float]]:
    """What stands for answers that are no numbers: the largest error away, towards the other end of the range.

    opposed: for metrics that see no scale. A set distance would still rise with the references, so such an answer lies
    beyond all references, at the bottom where the reference is above these rows' mean and at the top where it is below.
    """
    numbers = [n for s in context.samples for n in reference_numbers(s, None, metric=context.name)] or [0.0]
    largest = options.largest_error or max(numbers) - min(numbers) or 1.0
    center, low, high = float(np.mean(numbers)), min(numbers) - largest, max(numbers) + largest

    def filled(found: list[Cell | None], references: list[float]) -> list[float]:
        middle = float(np.mean(references)) if opposed and references else center
        away = [low if wanted >= middle else high for wanted in references]
        if not opposed:
            away = [wanted - largest if wanted >= middle else wanted + largest for wanted in references]
        return [other if number is None else cast(float, number) for number, other in zip(found, away, strict=True)]

    return filled
