"""Rates (pass or fail, won or lost) from few labels and many verdicts.

Near 0 and 1 the normal interval of a correction covers too rarely; Wilson's with the correction's effective number
of labels does not (Bowyer et al. 2025, arXiv:2503.01747, for the reason; simulated in the tests).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from harness.core.types import FloatArray
from harness.stats import ppi
from harness.stats.ppi import PPI
from harness.stats.resampling import is_zero_one


def rate(
    human_n: FloatArray,
    judged_n: FloatArray,
    judged_N: FloatArray,
    *,
    clusters_n: Sequence[Hashable] | None = None,
    clusters_N: Sequence[Hashable] | None = None,
    strata_n: Sequence[Hashable] | None = None,
    strata_N: Sequence[Hashable] | None = None,
    probabilities_n: FloatArray | None = None,
    pool: int | None = None,
    lam: float | Mapping[Hashable, float] | None = None,
    level: float = 0.95,
) -> PPI:
    """The share of ones among people's 0/1 scores: `ppi.mean` with Wilson's interval; parameters as there.

    With n_eff = rate (1 - rate) / variance, at least 1 and at most all items. Fewer than LEAST_LABELS labels or
    LEAST_OF_RARER of the rarer value, or a corrected rate outside (0, 1), leave the labels alone.
    """
    if not is_zero_one(np.asarray(human_n, dtype=np.float64)):
        raise ValueError("a rate is of labels that are 0 or 1")
    found = None
    if not (ppi.too_few(human_n, clusters_n) or ppi.says_nothing(judged_n, judged_N)):
        found = ppi.mean(
            human_n,
            judged_n,
            judged_N,
            clusters_n=clusters_n,
            clusters_N=clusters_N,
            strata_n=strata_n,
            strata_N=strata_N,
            probabilities_n=probabilities_n,
            pool=pool,
            bounds=(0.0, 1.0),
            lam=lam,
            level=level,
        )
    if found is None or not 0 < found.value < 1:
        chances_n = ppi.chances(probabilities_n, strata_n, strata_N)
        alone = labels_only(human_n, clusters_n=clusters_n, probabilities_n=chances_n, pool=pool, level=level)
        return replace(alone, N=len(judged_N))
    return _wilson(found, simple=False, most=found.n + found.N, level=level)


def labels_only(
    human_n: FloatArray,
    *,
    clusters_n: Sequence[Hashable] | None = None,
    probabilities_n: FloatArray | None = None,
    pool: int | None = None,
    level: float = 0.95,
) -> PPI:
    """The labels' own rate with Wilson's interval, of as many labels as their clusters are worth."""
    found = ppi.labels_only(
        human_n,
        clusters_n=clusters_n,
        probabilities_n=probabilities_n,
        pool=pool,
        bounds=(0.0, 1.0),
        level=level,
    )
    simple = found.n_clusters == found.n and probabilities_n is None and pool is None
    return _wilson(found, simple=simple, most=found.n if pool is None else pool, level=level)


def wilson(share: float, n: float, *, quantile: float) -> tuple[float, float]:
    """The score interval of a share of n, which need not be whole. Wilson 1927.

    >>> [round(end, 4) for end in wilson(1.0, 20, quantile=1.959964)]
    [0.8389, 1.0]
    """
    square = quantile**2
    centre = (share + square / (2 * n)) / (1 + square / n)
    half = quantile / (1 + square / n) * float(np.sqrt(share * (1 - share) / n + square / (4 * n**2)))
    return max(0.0, centre - half), min(1.0, centre + half)


def _wilson(found: PPI, *, simple: bool, most: int, level: float) -> PPI:
    """`found` with Wilson's interval. simple: independent labels, worth as many as they are."""
    effective = _effective(found, simple=simple, most=most)
    is_clustered = found.n_clusters < found.n
    quantile = ppi.quantile(level, found.df if is_clustered else np.inf)
    low, high = wilson(found.value, effective, quantile=quantile)
    method = found.method.removesuffix(ppi.ONE_MORE) + ", Wilson"
    return replace(found, low=min(low, found.value), high=max(high, found.value), method=method)


def _effective(found: PPI, *, simple: bool, most: int) -> float:
    """How many independent labels would have this variance."""
    if simple or found.method.endswith(ppi.ONE_MORE):
        # Few of the rarer value say nothing of the variance: a cluster then counts as one label.
        return float(found.n_clusters)
    if found.se == 0:
        return float(most)
    return float(np.clip(found.value * (1 - found.value) / found.se**2, 1.0, most))
