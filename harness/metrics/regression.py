"""Numbers against numbers: squared and absolute error, R², Pearson's correlation, as sums of powers.

Statistics (12): 1, |error|, error², reference, reference², answer, answer², answer x reference, whether the answer is
no number, whether it is off by more than the largest error, reference and reference² where the answer is no number (the
answer's own powers are 0 there). Answers and references are counted from the references' mean, so that squares of large
numbers keep their digits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from harness.core.protocols import Metric, Part
from harness.core.specs import Spec
from harness.core.types import FloatArray, Sample
from harness.metrics.context import VERSION, MetricContext, option_error, parse_options
from harness.metrics.labels import field_signature
from harness.metrics.mean import MeanMetric, ratio
from harness.metrics.numeric import number_of, reference_numbers

Kind = Literal["mse", "rmse", "mae", "r2", "pearson"]
N_STATISTICS = 12
_ONE, _NO_NUMBER, _TOO_FAR = 0, 8, 9


class Options(Spec):
    """What is read of an answer, and what the worst answer costs."""

    field: str | None = Field(None, description="top-level key of a JSON answer; without it, the whole text")
    largest_error: float | None = Field(
        None, gt=0, description="what an answer that is no number, or further off, counts; the references' range"
    )


@dataclass(frozen=True, slots=True)
class Reading:
    """How one answer becomes an error.

    An answer that is no number is off by `largest` (away from `center`): leaving it out would reward silence. An
    answer further off than `largest` is off by `largest`: one slip of 1e30 must not drown a thousand answers. Both are
    reported beside the score. A correlation sees answers within `largest` of the references' range (`bounds`): cut near
    each reference, a constant far away would rise with them. Whatever stood for an answer that is no number could rise
    with the references of some rows, so a correlation takes nothing for it: see `least_correlation`. Several
    references: the nearest, or the first for an answer that is no number.
    """

    metric: str
    key: str | None
    center: float
    largest: float
    bounds: tuple[float, float]

    def row(self, sample: Sample, completion: str) -> tuple[float, ...]:
        """The sample's statistics, see above."""
        references = reference_numbers(sample, self.key, metric=self.metric)
        answer = number_of(completion, self.key)
        if answer is None:
            y = references[0] - self.center
            return (1, self.largest, self.largest**2, y, y * y, 0, 0, 0, 1, 0, y, y * y)
        reference = min(references, key=lambda wanted: abs(answer - wanted))
        off = abs(answer - reference)
        error, too_far = min(off, self.largest), off > self.largest
        y, x = reference - self.center, max(self.bounds[0], min(self.bounds[1], answer)) - self.center
        return (1, error, error**2, y, y * y, x, x * x, x * y, 0, too_far, 0, 0)

    @property
    def reach(self) -> tuple[float, float]:
        """How far apart two answers can be for a correlation, and how far from the references' mean one can be."""
        low, high = self.bounds
        return high - low, max(high - self.center, self.center - low)


@dataclass(frozen=True, slots=True)
class Regression:
    """A score of numbers; equal to scikit-learn's (scipy's) wherever every answer is a number within the largest error.

    R² and Pearson's r are undefined where all references are equal, r also where all answers are numbers and equal.
    """

    name: str
    signature: str
    kind: Kind
    reading: Reading
    variance: float
    higher_is_better: bool
    best: float
    worst: float

    def measure(self, samples: Sequence[Sample], completions: Sequence[str]) -> FloatArray:
        """(N, 12), see above."""
        rows = [self.reading.row(s, c) for s, c in zip(samples, completions, strict=True)]
        return np.array(rows, dtype=np.float64).reshape(-1, N_STATISTICS)

    def value(self, totals: FloatArray) -> FloatArray:
        """The score of summed powers."""
        n, absolute, squared, y, yy = np.moveaxis(totals[..., :5], -1, 0)
        if self.kind == "mae":
            return ratio(absolute, n)
        if self.kind in ("mse", "rmse"):
            mean = ratio(squared, n)
            return mean if self.kind == "mse" else np.sqrt(mean)
        spread_y = _spread(n, y, yy)
        if self.kind == "r2":
            return 1 - ratio(squared, spread_y)
        return least_correlation(totals, spread_y, self.reading.reach)

    def per_sample(self, statistics: FloatArray) -> FloatArray:
        """The sample's absolute or squared error; for R² 1 - error² / the references' variance; none for r."""
        if self.kind == "pearson":
            return np.full(len(statistics), np.nan)
        if self.kind == "r2":
            return 1 - statistics[:, 2] / self.variance
        scores: FloatArray = statistics[:, 2] if self.kind == "mse" else statistics[:, 1]
        return scores

    def parts(self) -> tuple[Part, ...]:
        """How many answers were no number, and how many were further off than the largest error counted."""
        key, largest = self.reading.key, self.reading.largest

        def no_number(completion: str, references: Sequence[str]) -> float:
            return float(number_of(completion, key) is None)

        def too_far(completion: str, references: Sequence[str]) -> float:
            sample = Sample("", "test", (), tuple(references))
            return float(self.reading.row(sample, completion)[_TOO_FAR])

        how = field_signature(key)
        return (
            Part(_share("answers that are no number", how, no_number), (_NO_NUMBER, _ONE)),
            Part(_share(f"answers off by more than {largest:g}", how, too_far), (_TOO_FAR, _ONE)),
        )


def create_mse(context: MetricContext) -> Metric:
    """Mean squared error."""
    return _create(context, "mse")


def create_rmse(context: MetricContext) -> Metric:
    """Root of the mean squared error, in the references' unit."""
    return _create(context, "rmse")


def create_mae(context: MetricContext) -> Metric:
    """Mean absolute error, in the references' unit."""
    return _create(context, "mae")


def create_r2(context: MetricContext) -> Metric:
    """Share of the references' variance explained: 1 is perfect, 0 as good as always saying their mean."""
    return _create(context, "r2")


def create_pearson(context: MetricContext) -> Metric:
    """Pearson's correlation of answers and references: do they rise together, whatever the scale?

    Answers that are no numbers count as the worst that could stand in their place: a few cost much.
    """
    return _create(context, "pearson")


def _create(context: MetricContext, kind: Kind) -> Metric:
    options = parse_options(context, Options)
    numbers = [n for s in context.samples for n in reference_numbers(s, options.field, metric=context.name)]
    if not numbers:
        raise option_error(context, "there are no references to take a range from", fix="give the task samples")
    largest = _largest(context, options, numbers)
    center, variance = float(np.mean(numbers)), float(np.var(numbers))
    if kind in ("r2", "pearson") and variance == 0:
        raise option_error(context, "all references are the same number", fix="measure mae")
    # Worst: what the bound on missing samples may assume of each of them.
    worst = {"mse": largest**2, "rmse": largest, "mae": largest, "pearson": -1.0}
    silence = "worst-of-all" if kind == "pearson" else "largest-error"
    signature = (
        f"{kind}|{field_signature(options.field)}|no-number:{silence}|largest-error:{largest:.12g}"
        f"|refs:nearest-or-first|{VERSION}"
    )
    bounds = (min(numbers) - largest, max(numbers) + largest)
    reading = Reading(context.name, options.field, center, largest, bounds)
    up = kind in ("r2", "pearson")
    bound = worst[kind] if kind != "r2" else 1 - largest**2 / variance
    return Regression(context.name, signature, kind, reading, variance, up, float(up), bound)


def _largest(context: MetricContext, options: Options, numbers: Sequence[float]) -> float:
    """The largest error counted; by default the references' range: what the worst answer within it is off by."""
    largest = options.largest_error if options.largest_error is not None else max(numbers) - min(numbers)
    if largest == 0:
        raise option_error(context, "all references are the same number", fix="set largest_error")
    if not np.isfinite(largest**2 * len(numbers)):
        raise option_error(context, "the references' range is too large to square", fix="set largest_error")
    return largest


def least_correlation(totals: FloatArray, spread_y: FloatArray, reach: tuple[float, float]) -> FloatArray:
    """Pearson's r; with answers that are no numbers, a lower bound of what any numbers in their place would give.

    So silence scores no more than any answer does, in every slice and however many are silent already. spread_y: sum
    of squared deviations of all references. reach: see `Reading.reach`.

    The deviations of all answers are a part that the answered rows fix (a² = their own spread, covariance c with the
    references) and a part at right angles to it that the silent ones choose, of length s, on which the references'
    deviations have length b. So r is at least (c - s b) / sqrt((a² + s²) spread_y), at its least over the s that the
    bounds allow. Every further silent row allows all that was allowed before, and more.
    """
    n, _, _, y, yy, x, xx, xy, silent, _, silent_y, silent_yy = np.moveaxis(totals, -1, 0)
    answered, y, yy = n - silent, y - silent_y, yy - silent_yy
    fixed, fixed_y = (np.nan_to_num(_spread(answered, power, square)) for power, square in ((x, xx), (y, yy)))
    # Without a spread, what is left of the covariance is rounding.
    covariance = np.where((fixed > 0) & (fixed_y > 0), xy - np.nan_to_num(ratio(x * y, answered)), 0.0)
    free_y = np.sqrt(np.maximum(spread_y - fixed_y, 0.0))
    apart, away = reach
    longest = np.minimum(silent * apart**2, silent * away**2 + np.nan_to_num(ratio(x * x, answered)))
    length = np.sqrt(np.where(silent > 0, longest, 0.0))
    lowest = ratio(fixed * free_y, -covariance)
    length = np.where((covariance < 0) & (lowest < length), lowest, length)
    return np.clip(ratio(covariance - length * free_y, np.sqrt((fixed + length**2) * spread_y)), -1.0, 1.0)


def _spread(n: FloatArray, x: FloatArray, xx: FloatArray) -> FloatArray:
    """Sum of squared deviations from the mean; 0 where rounding is all that is left of it."""
    mean_square = ratio(x * x, n)
    spread = xx - mean_square
    return np.where(spread > 1e-13 * np.maximum(xx, mean_square), spread, 0.0)


def _share(of: str, what: str, score: Callable[[str, Sequence[str]], float]) -> MeanMetric:
    """A share of answers that should be 0."""
    return MeanMetric(f"share of {of}", f"share|{of}|{what}|{VERSION}", score, False, 0.0, 1.0)
