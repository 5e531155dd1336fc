"""Whether a judge of pairs judges the answers or their places.

Axes: N pairs, G clusters.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from harness.core.licences import Figure
from harness.core.types import FloatArray
from harness.stats import raters
from harness.stats.raters import Measure
from harness.stats.resampling import LEVEL, cluster_ids, cluster_totals

_SAME = 1e-9


@dataclass(frozen=True, slots=True)
class PositionBias:
    """What a judge of pairs does when the answers change places.

    consistency: share of pairs on which both orders favour the same answer, or neither any.
    first_slot: of the other pairs, the share on which the order moved the score towards the answer shown first.
    p: two-sided, of places not mattering to those; None where there are none.
    """

    consistency: Figure
    first_slot: Figure
    p: float | None


def position_bias(
    orders: Sequence[tuple[float, float]],
    clusters: Sequence[str],
    *,
    n_resamples: int,
    rng: np.random.Generator,
) -> PositionBias:
    """Position bias from the score of each pair's first answer, (shown first, shown second); no score may be nan.

    The test is the exact binomial one, a trial each prompt: the side to which most of its inconsistent pairs lean. So
    with one pair a prompt it is the test of the pairs; and so is first_slot's interval, Clopper and Pearson's 1934,
    where every prompt has one pair, and else resampled.
    """
    shown_N2 = np.asarray(orders, dtype=np.float64).reshape(-1, 2)
    if not np.isfinite(shown_N2).all():
        raise ValueError("a score that is not a finite number: leave such pairs out")
    ids_N, n_clusters = cluster_ids(len(shown_N2), clusters)
    sides_N2 = np.where(np.abs(shown_N2 - 0.5) < _SAME, 0.0, np.sign(shown_N2 - 0.5))
    split_N = (sides_N2[:, 0] != sides_N2[:, 1]).astype(np.float64)
    leans_N = split_N * np.sign(shown_N2[:, 0] - shown_N2[:, 1])
    measures = [
        Measure("position_consistency", raters.share(1 - split_N, np.ones(len(split_N)), clusters), 0.0),
        Measure("first_slot", raters.share((leans_N > 0).astype(np.float64), split_N, clusters), 0.0),
    ]
    consistency, first_slot = raters.figures(measures, ids_N, n_clusters, n_resamples=n_resamples, rng=rng)
    return PositionBias(consistency, *_first_slot(first_slot, leans_N, clusters))


def _first_slot(found: Figure, leans_N: FloatArray, clusters: Sequence[str]) -> tuple[Figure, float | None]:
    """The figure over the inconsistent pairs alone, and its p value."""
    split_N = leans_N != 0
    split_clusters = [cluster for cluster, split in zip(clusters, split_N, strict=True) if split]
    n, n_clusters = len(split_clusters), len(set(split_clusters))
    if not n:
        return Figure(found.name, None, None, None, 0, 0, "not defined: no pair is inconsistent"), None
    net_G = np.sign(cluster_totals(leans_N[split_N][:, None], split_clusters)[:, 0])
    n_first, n_leaning = int((net_G > 0).sum()), int((net_G != 0).sum())
    p = float(stats.binomtest(n_first, n_leaning).pvalue) if n_leaning else 1.0
    low, high = found.low, found.high
    if n == n_clusters:
        low, high = stats.binomtest(n_first, n).proportion_ci(LEVEL, method="exact")
    note = f"of {n} inconsistent pairs; exact binomial p = {p:.2g}"
    return Figure(found.name, found.value, low, high, n, n_clusters, note), p
