"""Least squares with errors that are alike within a cluster.

Axes: N rows, K columns of the design, G clusters.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.core.types import FloatArray
from harness.stats.equivalence import Spread, cluster_sums
from harness.stats.resampling import cluster_ids


def coefficient(target_N: FloatArray, design_NK: FloatArray, column: int, clusters: Sequence[str]) -> Spread:
    """One coefficient of the regression of target on the design, which holds its own column of ones.

    Standard error: the sandwich over whole clusters times sqrt(G / (G - 1)), with G - 1 degrees of freedom (Liang and
    Zeger 1986). ValueError where a column follows from the others, so that there is nothing to estimate.
    """
    if np.linalg.matrix_rank(design_NK) < design_NK.shape[1]:
        raise ValueError("the design's columns depend on each other")
    inverse_KK = np.linalg.inv(design_NK.T @ design_NK)
    weights_N = design_NK @ inverse_KK[column]
    errors_N = target_N - design_NK @ (inverse_KK @ (design_NK.T @ target_N))
    clusters_N, n_clusters = cluster_ids(len(target_N), clusters)
    sums_G = cluster_sums(weights_N * errors_N, clusters_N)
    factor = n_clusters / (n_clusters - 1) if n_clusters > 1 else np.inf
    return Spread(np.asarray(weights_N @ target_N), np.sqrt((sums_G**2).sum() * factor), n_clusters - 1)


def superiority(
    higher_N: FloatArray, lower_M: FloatArray, clusters_N: Sequence[str], clusters_M: Sequence[str]
) -> Spread:
    """Chance that a value of the one kind exceeds one of the other, ties half: the area under the ROC curve.

    Standard error from the influence of each value, summed over whole clusters (Obuchowski 1997), t with G - 1.
    """
    wins_NM = (higher_N[:, None] > lower_M) + 0.5 * (higher_N[:, None] == lower_M)
    area = float(wins_NM.mean())
    influence = np.concatenate(
        [(wins_NM.mean(axis=1) - area) / len(higher_N), (wins_NM.mean(axis=0) - area) / len(lower_M)]
    )
    ids, n_clusters = cluster_ids(len(influence), [*clusters_N, *clusters_M])
    sums_G = cluster_sums(influence, ids)
    factor = n_clusters / (n_clusters - 1) if n_clusters > 1 else np.inf
    return Spread(np.asarray(area), np.sqrt((sums_G**2).sum() * factor), n_clusters - 1)
