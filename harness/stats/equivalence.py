"""Does a judge follow people within each system, and does it err alike on any two? Closed forms over clusters.

Axes: ... experiments (none in use, thousands in a simulation), N items, G clusters. Clusters are numbers 0..G-1, as
`resampling.cluster_ids` gives them. Standard errors are of influences summed over whole clusters, with Student's t.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from harness.core.types import BoolArray, FloatArray, IntArray

_NEARLY_ONE = 1 - 1e-9


@dataclass(frozen=True, slots=True)
class Spread:
    """Estimates, their standard errors (arrays of one shape) and the degrees of freedom of all of them."""

    value: FloatArray
    se: FloatArray
    df: int

    def interval(self, level: float) -> tuple[FloatArray, FloatArray]:
        """The two-sided interval; unbounded without a degree of freedom."""
        half = _quantile(0.5 + level / 2, self.df) * self.se if self.df > 0 else np.full_like(self.se, math.inf)
        return self.value - half, self.value + half


@dataclass(frozen=True, slots=True)
class Correlation:
    """Correlations, nan where one side does not vary, and the same on Fisher's scale, where errors are even."""

    value: FloatArray
    fisher: Spread

    def interval(self, level: float) -> tuple[FloatArray, FloatArray]:
        """The two-sided interval; its lower end at level 0.9 is a one-sided bound of 95 %."""
        low, high = self.fisher.interval(level)
        return np.tanh(low), np.tanh(high)


@dataclass(frozen=True, slots=True)
class Equivalence:
    """Two one-sided tests of a difference against a margin (Schuirmann 1987), and the two the other way round.

    low, high: 90 %. p_inside: against "at least the margin apart". p_outside: against "at most the margin apart".
    """

    low: FloatArray
    high: FloatArray
    p_inside: FloatArray
    p_outside: FloatArray


def cluster_sums(values: FloatArray, clusters_N: IntArray) -> FloatArray:
    """Sums within clusters, (..., N) -> (..., G).

    >>> cluster_sums(np.array([1.0, 2.0, 4.0]), np.array([1, 0, 1])).tolist()
    [2.0, 5.0]
    """
    order = np.argsort(clusters_N, kind="stable")
    starts = np.flatnonzero(np.diff(clusters_N[order], prepend=-1))
    return np.asarray(np.add.reduceat(values[..., order], starts, axis=-1), dtype=np.float64)


def centred(values: FloatArray, groups_N: IntArray) -> FloatArray:
    """Values (..., N) less the mean of their group, so that differences between groups count for nothing."""
    means = cluster_sums(values, groups_N) / np.bincount(groups_N)
    return np.asarray(values - means[..., groups_N], dtype=np.float64)


def within_correlation(one: FloatArray, other: FloatArray, groups_N: IntArray, clusters_N: IntArray) -> Correlation:
    """Pearson's correlation of (..., N) with (..., N), both centred by group.

    Standard error: the correlation's influence y f - r (y^2 + f^2) / 2 of standardised values, summed within clusters,
    over 1 - r^2 on Fisher's scale. nan where one side is constant within all groups.
    """
    y, f = _standardised(centred(one, groups_N)), _standardised(centred(other, groups_N))
    r = (y * f).mean(axis=-1)
    influence = y * f - r[..., None] / 2 * (y**2 + f**2)
    n_clusters = int(clusters_N.max()) + 1
    variance = (cluster_sums(influence, clusters_N) ** 2).sum(axis=-1) / y.shape[-1] ** 2
    # A perfect correlation has no finite place on Fisher's scale; just short of it there is one.
    clipped = np.clip(r, -_NEARLY_ONE, _NEARLY_ONE)
    se = np.sqrt(variance * _small_sample(n_clusters)) / (1 - clipped**2)
    return Correlation(r, Spread(np.arctanh(clipped), se, n_clusters - 1))


def mean(values: FloatArray, clusters_N: IntArray) -> Spread:
    """Mean of (..., N), clustered."""
    value = values.mean(axis=-1)
    sums = cluster_sums(values - value[..., None], clusters_N) / values.shape[-1]
    n_clusters = int(clusters_N.max()) + 1
    return Spread(value, np.sqrt((sums**2).sum(axis=-1) * _small_sample(n_clusters)), n_clusters - 1)


def mean_difference(values: FloatArray, first_N: BoolArray, second_N: BoolArray, clusters_N: IntArray) -> Spread:
    """Mean over the first items minus that over the second, of (..., N); clusters may hold items of both.

    With one item of each in every cluster this is the paired t test. Degrees of freedom are those of the side with
    fewer clusters: exact when paired, cautious when not.
    """
    weights_N = first_N / first_N.sum() - second_N / second_N.sum()
    value = (values * weights_N).sum(axis=-1)
    means_N = [(values * side_N).sum(axis=-1)[..., None] / side_N.sum() for side_N in (first_N, second_N)]
    deviations = values - np.where(first_N, means_N[0], means_N[1])
    sums = cluster_sums(deviations * weights_N, clusters_N)
    n_clusters = min(len(np.unique(clusters_N[side_N])) for side_N in (first_N, second_N))
    return Spread(value, np.sqrt((sums**2).sum(axis=-1) * _small_sample(n_clusters)), n_clusters - 1)


def equivalence(difference: Spread, margin: float) -> Equivalence:
    """Tests of |difference| against a positive margin."""
    low, high = difference.interval(0.9)
    distance = np.abs(difference.value)
    return Equivalence(low, high, _p_above(margin - distance, difference), _p_above(distance - margin, difference))


def enough_for(
    estimate: float, *, bound: float, se: float, n: int, level: float = 0.95, power: float = 0.8
) -> int | None:
    """How many items, of which n gave this standard error, put a one-sided bound of `estimate` past `bound`.

    As normal theory has it, with the given power; estimate and bound on a scale where errors are even. None where
    the estimate does not exceed the bound, so that more items would not help.

    >>> enough_for(0.5, bound=0.4, se=0.05, n=100), enough_for(0.3, bound=0.4, se=0.05, n=100)
    (155, None)
    """
    if not estimate > bound:
        return None
    z = float(special.ndtri(level) + special.ndtri(power))
    return math.ceil(n * (z * se / (estimate - bound)) ** 2)


def holm_adjusted(p_values_P: FloatArray) -> FloatArray:
    """P values of P hypotheses (P, ...) adjusted by Holm's procedure (1979) along the first axis.

    >>> holm_adjusted(np.array([0.01, 0.04])).tolist()
    [0.02, 0.04]
    """
    order = np.argsort(p_values_P, axis=0)
    left = np.arange(len(p_values_P), 0, -1).reshape(-1, *[1] * (p_values_P.ndim - 1))
    raised = np.minimum(np.maximum.accumulate(np.take_along_axis(p_values_P, order, axis=0) * left, axis=0), 1.0)
    return np.take_along_axis(raised, np.argsort(order, axis=0), axis=0)


def _standardised(values: FloatArray) -> FloatArray:
    """Centred values over their root mean square; nan where they do not vary."""
    scale = np.sqrt((values**2).mean(axis=-1, keepdims=True))
    # Below this, what is left of a constant after centring is rounding.
    return np.where(scale > 1e-12, values / np.where(scale > 1e-12, scale, 1), np.nan)


def _small_sample(n_clusters: int) -> float:
    # One cluster has no spread and no degree of freedom; `interval` says so.
    return n_clusters / (n_clusters - 1) if n_clusters > 1 else 1.0


def _p_above(excess: FloatArray, spread: Spread) -> FloatArray:
    """One-sided p of an excess over zero: 1/2 at none, near 0 far above. Without spread, all or nothing."""
    if spread.df < 1:
        return np.ones_like(spread.value)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(spread.se > 0, excess / spread.se, np.sign(excess) * math.inf)
    return np.asarray(special.stdtr(spread.df, -np.nan_to_num(t, nan=0.0, posinf=math.inf, neginf=-math.inf)))


def _quantile(probability: float, df: int) -> float:
    return float(special.stdtrit(df, probability))
