"""How far two raters go together, as formulas on weighted prompts, so that resampling costs a product and no loop.

Axes: N items, G clusters (prompts), R resamples, B resamples in one chunk, C levels, U different pairs of scores,
S systems. A formula takes (B, G) weights, how often each cluster stands in a resample, and gives (B,) values, nan
where it is not defined; with all ones it is the figure of the sample itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from harness.core.licences import Figure
from harness.core.types import FloatArray, IntArray
from harness.stats.resampling import (
    MOST_UNDEFINED,
    cluster_ids,
    cluster_totals,
    expanded_quantiles,
    has_no_spread,
    unseen_share,
)

Formula: TypeAlias = Callable[[FloatArray], FloatArray]
Counts: TypeAlias = NDArray[np.float32]

_CHUNK_WEIGHTS = 2_000_000  # 16 MB of float64 at a time
_NO_VARIANCE = 1e-12  # of scores in [0, 1]; rounding alone leaves about 1e-17
_MOST_CELLS = 2_500  # different pairs of scores whose concordance is counted pair by pair
_GROUPS = 50


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure to be: its name, its formula, and the worst that it can be; the best is 1."""

    name: str
    formula: Formula
    worst: float
    note: str = ""


def figures(
    measures: Sequence[Measure],
    ids_N: IntArray,
    n_clusters: int,
    *,
    n_resamples: int,
    rng: np.random.Generator,
) -> tuple[Figure, ...]:
    """The measures with their 95 % intervals, all on the same resamples of whole clusters.

    The expanded percentile interval (see `resampling.expanded_quantiles`). Where all resamples agree (a perfect judge),
    the interval says what n clusters can have missed, as it does for a metric.
    """
    if not len(ids_N):
        return tuple(Figure(each.name, None, None, None, 0, 0, "there are no items") for each in measures)
    everything = np.ones((1, n_clusters))
    chunks = list[list[FloatArray]]()
    if n_clusters > 1:
        for weights_BG in resampled_weights(n_clusters, len(ids_N), n_resamples=n_resamples, rng=rng):
            chunks.append([measure.formula(weights_BG) for measure in measures])
    drawn_R = [np.concatenate(values) for values in zip(*chunks, strict=True)] or [np.zeros(0)] * len(measures)
    return tuple(
        _figure(measure, float(measure.formula(everything)[0]), values_R, len(ids_N), n_clusters)
        for measure, values_R in zip(measures, drawn_R, strict=True)
    )


def resampled_weights(
    n_clusters: int, n_items: int, *, n_resamples: int, rng: np.random.Generator
) -> Iterator[FloatArray]:
    """How often each cluster stands in each bootstrap resample, (B, G), chunk by chunk, R rows in all.

    n_items: as many weights may be made of a row as there are items, so this too bounds a chunk.
    """
    rows = max(1, _CHUNK_WEIGHTS // max(n_clusters, n_items))
    for start in range(0, n_resamples, rows):
        size = min(rows, n_resamples - start)
        drawn_BG = rng.integers(0, n_clusters, size=(size, n_clusters))
        drawn_BG += np.arange(size)[:, None] * n_clusters
        weights_B_G = np.bincount(drawn_BG.ravel(), minlength=size * n_clusters)
        yield weights_B_G.reshape(size, n_clusters).astype(np.float64)


def _figure(measure: Measure, value: float, values_R: FloatArray, n: int, n_clusters: int) -> Figure:
    if not np.isfinite(value):
        note = "not defined: one side gives every item the same score"
        return Figure(measure.name, None, None, None, n, n_clusters, note)
    low, high, note = _interval(measure, value, values_R, n_clusters)
    return Figure(measure.name, value, low, high, n, n_clusters, "; ".join(filter(None, (measure.note, note))))


def _interval(
    measure: Measure, value: float, values_R: FloatArray, n_clusters: int
) -> tuple[float | None, float | None, str]:
    if n_clusters < 2:
        return None, None, "one prompt is too few for an interval"
    defined_R = values_R[np.isfinite(values_R)]
    if not len(defined_R) or len(defined_R) < (1 - MOST_UNDEFINED) * len(values_R):
        return None, None, "no interval: not defined on too many resamples"
    if not has_no_spread(defined_R):
        return *expanded_quantiles(defined_R, n_clusters), ""
    share = unseen_share(n_clusters)
    ends = (value + share * (measure.worst - value), value + share * (1 - value))
    return *ends, f"all resamples agree: the interval is what {n_clusters} prompts can have missed"


def counted(
    of_counts: Callable[[FloatArray], FloatArray],
    rows_N: IntArray,
    columns_N: IntArray,
    n_levels: int,
    clusters: Sequence[str],
    weights_N: FloatArray | None = None,
) -> Formula:
    """A formula on the table of two raters' levels, `of_counts`: (B, C, C) -> (B,)."""
    cells_NK = np.zeros((len(rows_N), n_levels * n_levels))
    cells_NK[np.arange(len(rows_N)), rows_N * n_levels + columns_N] = 1.0 if weights_N is None else weights_N
    totals_GK = cluster_totals(cells_NK, clusters)
    return lambda weights_BG: of_counts((weights_BG @ totals_GK).reshape(-1, n_levels, n_levels))


def accuracy(counts_BCC: FloatArray) -> FloatArray:
    """Share of items on which both say the same."""
    return _over(np.trace(counts_BCC, axis1=1, axis2=2), counts_BCC.sum((1, 2)))


def balanced_accuracy(counts_BCC: FloatArray) -> FloatArray:
    """Mean over the rows' levels of the share found again, levels that do not occur left out (as scikit-learn)."""
    right_BC, true_BC = np.diagonal(counts_BCC, axis1=1, axis2=2), counts_BCC.sum(2)
    return _over(_over(right_BC, true_BC, empty=0.0).sum(1), (true_BC > 0).sum(1).astype(np.float64))


def weighted_f1(counts_BCC: FloatArray) -> FloatArray:
    """F1 of each level, weighted by how often it stands in the rows; 0 for a level that is never right."""
    right_BC, true_BC, said_BC = np.diagonal(counts_BCC, axis1=1, axis2=2), counts_BCC.sum(2), counts_BCC.sum(1)
    f1_BC = _over(2 * right_BC, true_BC + said_BC, empty=0.0)
    return _over((f1_BC * true_BC).sum(1), true_BC.sum(1))


def kappa(counts_BCC: FloatArray) -> FloatArray:
    """Agreement beyond chance, in [-1, 1]; nan where both use one and the same level. Cohen 1960, eq. 1."""
    return _kappa(counts_BCC, 1 - np.eye(counts_BCC.shape[-1]))


def weighted_kappa(counts_BCC: FloatArray) -> FloatArray:
    """Kappa with disagreements weighted by their squared distance in levels. Cohen 1968."""
    return _kappa(counts_BCC, _squared_distances(counts_BCC.shape[-1]))


def _kappa(counts_BCC: FloatArray, costs_CC: FloatArray) -> FloatArray:
    rows_BC, columns_BC, n_B = counts_BCC.sum(2), counts_BCC.sum(1), counts_BCC.sum((1, 2))
    by_chance_B = np.einsum("bi,ij,bj->b", rows_BC, costs_CC, columns_BC)
    return 1 - _over(n_B * np.einsum("bij,ij->b", counts_BCC, costs_CC), by_chance_B)


def nominal_alpha(counts_BCC: FloatArray) -> FloatArray:
    """Krippendorff's alpha from coincidences, (or a table of two raters, which its mirror makes coincidences).

    1 - observed / expected disagreement, any two levels equally far apart; nan where only one level occurs.
    Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability", section C.
    """
    coincidences_BCC = counts_BCC + counts_BCC.transpose(0, 2, 1)
    level_BC = coincidences_BCC.sum(2)
    n_B = level_BC.sum(1)
    apart_B = n_B - np.trace(coincidences_BCC, axis1=1, axis2=2)
    return 1 - _over((n_B - 1) * apart_B, n_B**2 - (level_BC**2).sum(1))


def interval_alpha(ratings: Sequence[Sequence[float]], clusters: Sequence[str]) -> Formula:
    """Krippendorff's alpha of scores, distances squared: any number of raters an item, gaps allowed.

    ratings: the scores of each item; an item with fewer than two says nothing about agreement.
    """
    rows_NK = np.zeros((len(ratings), 4))  # ratings, their sum, their sum of squares, disagreement within the item
    middle = 0.5  # keeps the squares small
    for i, scores in enumerate(ratings):
        if len(scores) > 1:
            scores_M = np.asarray(scores) - middle
            rows_NK[i] = len(scores), scores_M.sum(), (scores_M**2).sum(), 2 * len(scores) * scores_M.var(ddof=1)
    totals_GK = cluster_totals(rows_NK, clusters)

    def formula(weights_BG: FloatArray) -> FloatArray:
        n_B, sum_B, squares_B, apart_B = (weights_BG @ totals_GK).T
        expected_B = 2 * (n_B * squares_B - sum_B**2)
        return 1 - _over((n_B - 1) * apart_B, np.where(expected_B > _NO_VARIANCE * n_B**2, expected_B, 0.0))

    return formula


def share(right_N: FloatArray, counts_N: FloatArray, clusters: Sequence[str]) -> Formula:
    """Sum of the one over the sum of the other; nan where that is 0."""
    totals_GK = cluster_totals(np.column_stack([right_N, counts_N]), clusters)

    def formula(weights_BG: FloatArray) -> FloatArray:
        right_B, counts_B = (weights_BG @ totals_GK).T
        return _over(right_B, counts_B)

    return formula


def pearson(
    x_N: FloatArray, y_N: FloatArray, clusters: Sequence[str], *, systems: Sequence[str] | None = None
) -> Formula:
    """Pearson's correlation; with systems, of what is left when each system's mean is taken off both sides.

    A judge that only knows which system is better scores high between systems and nothing within.
    """
    of_N, n_systems = cluster_ids(len(x_N), systems) if systems is not None else (np.zeros(len(x_N), np.int64), 1)
    x_N, y_N = x_N - x_N.mean(), y_N - y_N.mean()
    moments_N6 = np.column_stack([np.ones(len(x_N)), x_N, y_N, x_N**2, y_N**2, x_N * y_N])
    wide_NS6 = np.zeros((len(x_N), n_systems, 6))
    wide_NS6[np.arange(len(x_N)), of_N] = moments_N6
    totals_GK = cluster_totals(wide_NS6.reshape(len(x_N), -1), clusters)

    def formula(weights_BG: FloatArray) -> FloatArray:
        n_BS, x_BS, y_BS, xx_BS, yy_BS, xy_BS = np.moveaxis((weights_BG @ totals_GK).reshape(-1, n_systems, 6), -1, 0)
        per_BS = 1 / np.maximum(n_BS, 1)
        parts = (xy_BS - x_BS * y_BS * per_BS, xx_BS - x_BS**2 * per_BS, yy_BS - y_BS**2 * per_BS)
        together_B, x_B, y_B = (part.sum(1) for part in parts)
        return _correlation(together_B, x_B, y_B, n_BS.sum(1))

    return formula


def spearman(x_N: FloatArray, y_N: FloatArray, clusters: Sequence[str]) -> Formula:
    """Spearman's rank correlation, equals sharing their middle rank; items are ranked anew in each resample."""
    ids_N, _ = cluster_ids(len(x_N), clusters)
    rank_x, rank_y = _ranker(x_N), _ranker(y_N)

    def formula(weights_BG: FloatArray) -> FloatArray:
        weights_BN = weights_BG[:, ids_N]
        x_BN, y_BN = rank_x(weights_BN), rank_y(weights_BN)
        together_B, x_B, y_B = ((weights_BN * part).sum(1) for part in (x_BN * y_BN, x_BN**2, y_BN**2))
        return _correlation(together_B, x_B, y_B, weights_BN.sum(1))

    return formula


def _ranker(values_N: FloatArray) -> Callable[[FloatArray], FloatArray]:
    """A function of weights (B, N) that gives each item's centred rank in [-1/2, 1/2]."""
    order_N = np.argsort(values_N, kind="stable")
    starts_U = np.flatnonzero(np.diff(values_N[order_N], prepend=-np.inf) > 0)
    level_N = np.empty(len(values_N), dtype=np.int64)
    level_N[order_N] = np.repeat(np.arange(len(starts_U)), np.diff(starts_U, append=len(values_N)))

    def ranks(weights_BN: FloatArray) -> FloatArray:
        level_BU = np.add.reduceat(weights_BN[:, order_N], starts_U, axis=1)
        middle_BU = level_BU.cumsum(1) - level_BU / 2
        centred: FloatArray = middle_BU / level_BU.sum(1, keepdims=True) - 0.5
        return centred[:, level_N]

    return ranks


def kendall(x_N: FloatArray, y_N: FloatArray, clusters: Sequence[str]) -> Formula:
    """Kendall's tau-b: pairs in the same order less pairs in opposite order, ties corrected for. Kendall 1945.

    With more than 2,500 different pairs of scores both sides are first cut into 50 groups of equal size, because pairs
    grow with the square; that moves tau-b by less than .01.
    """
    cells_U2, cell_N = _cells(x_N, y_N)
    if len(cells_U2) > _MOST_CELLS:
        cells_U2, cell_N = _cells(_grouped(x_N), _grouped(y_N))
    # Counts stay below 2**24, up to which float32 is exact, and its products take half the time.
    totals_GU: Counts = cluster_totals(np.eye(len(cells_U2))[cell_N], clusters).astype(np.float32)
    x_UU, y_UU = (np.sign(side_U[:, None] - side_U[None, :]).astype(np.float32) for side_U in cells_U2.T)
    order_UU = x_UU * y_UU
    x_levels_U, y_levels_U = (np.unique(side_U, return_inverse=True)[1] for side_U in cells_U2.T)

    def formula(weights_BG: FloatArray) -> FloatArray:
        weights_BU: Counts = weights_BG.astype(np.float32) @ totals_GU
        net_B = np.einsum("bu,bu->b", weights_BU @ order_UU, weights_BU, dtype=np.float64)
        n_B = weights_BU.sum(1, dtype=np.float64)
        untied_x_B, untied_y_B = (n_B**2 - _squares(weights_BU, levels) for levels in (x_levels_U, y_levels_U))
        return _over(net_B, np.sqrt(untied_x_B * untied_y_B))

    return formula


def _cells(x_N: FloatArray, y_N: FloatArray) -> tuple[FloatArray, IntArray]:
    """The different pairs of scores, (U, 2), and which of them each item has."""
    cells_U2, cell_N = np.unique(np.column_stack([x_N, y_N]), axis=0, return_inverse=True)
    return cells_U2, cell_N.ravel()


def _grouped(values_N: FloatArray) -> FloatArray:
    edges = np.quantile(values_N, np.linspace(0, 1, _GROUPS + 1)[1:-1])
    return np.searchsorted(edges, values_N).astype(np.float64)


def _squares(weights_BU: Counts, levels_U: IntArray) -> FloatArray:
    """Sum over levels of the squared weight of each."""
    totals_BL = weights_BU @ np.eye(levels_U.max() + 1, dtype=np.float32)[levels_U]
    squares_B: FloatArray = (totals_BL.astype(np.float64) ** 2).sum(1)
    return squares_B


def remembered(formula: Formula) -> Formula:
    """The same formula, which does not calculate twice in a row for the same weights."""
    last: list[FloatArray] = []

    def once(weights_BG: FloatArray) -> FloatArray:
        if not last or last[0] is not weights_BG:
            last[:] = [weights_BG, formula(weights_BG)]
        return last[1]

    return once


def ratio(above: Formula, below: Formula) -> Formula:
    """The one figure over the other, nan where the other is not positive."""
    return lambda weights_BG: _over(above(weights_BG), np.maximum(below(weights_BG), 0.0))


def _correlation(together_B: FloatArray, x_B: FloatArray, y_B: FloatArray, n_B: FloatArray) -> FloatArray:
    spread_B = np.where((x_B > _NO_VARIANCE * n_B) & (y_B > _NO_VARIANCE * n_B), x_B * y_B, 0.0)
    return np.clip(_over(together_B, np.sqrt(spread_B)), -1.0, 1.0)


def _over(above: FloatArray, below: FloatArray, *, empty: float = np.nan) -> FloatArray:
    """above / below, and `empty` where below is 0."""
    return np.where(below > 0, above / np.where(below > 0, below, 1.0), empty)


def _squared_distances(n_levels: int) -> FloatArray:
    levels_C = np.arange(n_levels, dtype=np.float64)
    return (levels_C[:, None] - levels_C[None, :]) ** 2
