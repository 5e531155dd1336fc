"""How long answers are: like the references, or within limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field, model_validator

from harness.core.protocols import Metric, Part
from harness.core.specs import Spec
from harness.core.types import FloatArray, Sample
from harness.data.scripts import spaced
from harness.metrics.context import VERSION, MetricContext, parse_options
from harness.metrics.edits import edit_rate
from harness.metrics.mean import MeanMetric, ratio

Unit = Literal["characters", "words"]


class Options(Spec):
    """What is counted."""

    unit: Unit = Field("words", description="characters count as words where words are not spaced")


class WithinOptions(Options):
    """The limits, both included."""

    min: int = Field(0, ge=0)
    max: int | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _limits(self) -> WithinOptions:
        if self.max is None and self.min == 0:
            raise ValueError("give min, max or both")
        if self.max is not None and self.max < self.min:
            raise ValueError("max must not be below min")
        return self


def length(text: str, unit: Unit) -> int:
    """Characters (code points) or words of a text, white space at the ends aside."""
    return len(text.strip()) if unit == "characters" else len(spaced(text).split())


@dataclass(frozen=True, slots=True)
class Surplus:
    """Length that answers have too much, or too little, by the references' length; 0 is perfect.

    Statistics (2): length over (or under) the nearest reference, that reference's length.
    """

    name: str
    signature: str
    unit: Unit
    sign: int
    higher_is_better: bool = False
    best: float = 0.0
    worst: float = 1.0

    def measure(self, samples: Sequence[Sample], completions: Sequence[str]) -> FloatArray:
        """(N, 2), see above."""
        pairs = [_nearest(c, s.references, self.unit) for s, c in zip(samples, completions, strict=True)]
        rows = [(max(0, self.sign * (answer - wanted)), wanted) for answer, wanted in pairs]
        return np.array(rows, dtype=np.float64).reshape(-1, 2)

    def value(self, totals: FloatArray) -> FloatArray:
        """Share of the references' length; 1 where these are empty and an answer is not."""
        return edit_rate(totals[..., 0], totals[..., 1])

    def per_sample(self, statistics: FloatArray) -> FloatArray:
        """The sample's share; 0 where nothing was wanted and nothing came."""
        return np.asarray(np.nan_to_num(self.value(statistics)))


@dataclass(frozen=True, slots=True)
class LengthRatio:
    """Mean over samples of shorter by longer length, answer against nearest reference: 1 the same, 0 one is empty.

    A plain ratio would have its best value in the middle and could choose no checkpoint; how much is too much and too
    little stands in the parts. Statistics (5): ratio, 1, surplus, missing, the reference's length. Empty and empty: 1.
    """

    name: str
    signature: str
    unit: Unit
    higher_is_better: bool = True
    best: float = 1.0
    worst: float = 0.0

    def measure(self, samples: Sequence[Sample], completions: Sequence[str]) -> FloatArray:
        """(N, 5), see above."""
        pairs = [_nearest(c, s.references, self.unit) for s, c in zip(samples, completions, strict=True)]
        rows = [(_closeness(a, w), 1, max(0, a - w), max(0, w - a), w) for a, w in pairs]
        return np.array(rows, dtype=np.float64).reshape(-1, 5)

    def value(self, totals: FloatArray) -> FloatArray:
        """Sum of ratios by number of samples."""
        return ratio(totals[..., 0], totals[..., 1])

    def per_sample(self, statistics: FloatArray) -> FloatArray:
        """The ratios."""
        return self.value(statistics)

    def parts(self) -> tuple[Part, ...]:
        """What is too much and what is missing, as shares of the references' length."""
        unit, how = self.unit, f"{self.unit}|nearest-ref|{VERSION}"
        return (
            Part(Surplus("surplus length", f"surplus_length|{how}", unit, 1), (2, 4)),
            Part(Surplus("missing length", f"missing_length|{how}", unit, -1), (3, 4)),
        )


def create_ratio(context: MetricContext) -> Metric:
    """How close answers are in length to their references."""
    unit = parse_options(context, Options).unit
    return LengthRatio(context.name, f"length_ratio|{unit}|min-by-max|nearest-ref|{VERSION}", unit)


def create_within(context: MetricContext) -> Metric:
    """Share of answers whose length lies within the limits; the references do not matter."""
    options = parse_options(context, WithinOptions)
    most = float("inf") if options.max is None else options.max

    def score(completion: str, references: Sequence[str]) -> float:
        return float(options.min <= length(completion, options.unit) <= most)

    limits = f"{options.min}-{'' if options.max is None else options.max}"
    return MeanMetric(context.name, f"length_within|{options.unit}|{limits}|{VERSION}", score)


def _nearest(completion: str, references: Sequence[str], unit: Unit) -> tuple[int, int]:
    """Lengths of the answer and of the reference nearest to it, the first of equals."""
    answer = length(completion, unit)
    wanted = [length(reference, unit) for reference in references]
    return answer, max(wanted, key=lambda other: _closeness(answer, other))


def _closeness(one: int, other: int) -> float:
    return min(one, other) / max(one, other) if max(one, other) else 1.0
