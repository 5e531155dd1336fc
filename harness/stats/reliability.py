"""Whether calibrated scores mean what they say: of the items scored .7, do people give .7 on average?

Axes: N items, G clusters, B resamples in one chunk, K bins, R simulated samples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from harness.core.licences import Bin, Figure
from harness.core.types import FloatArray, IntArray
from harness.stats import raters
from harness.stats.raters import Measure
from harness.stats.resampling import cluster_ids, cluster_totals, is_zero_one, wilson

N_BINS = 10
_N_SIMULATED = 1000
_SAME = 1e-12


def bin_numbers(predicted_N: FloatArray, n_bins: int = N_BINS) -> IntArray:
    """Bin (N,) of each score: about as many items in each, equal scores together, so there may be fewer; from 0."""
    edges = np.quantile(predicted_N, np.linspace(0, 1, n_bins + 1)[1:-1]) if len(predicted_N) else np.zeros(0)
    # Rounding of a mean of maps must not part two equal scores.
    found_N = np.searchsorted(edges - _SAME, predicted_N - 2 * _SAME)
    return np.unique(found_N, return_inverse=True)[1].astype(np.int64)


def bins(
    human_N: FloatArray, predicted_N: FloatArray, clusters: Sequence[str] | None = None, *, n_bins: int = N_BINS
) -> tuple[Bin, ...]:
    """The bars of the reliability diagram, lowest scores first.

    low, high: Wilson's interval with the number of independent labels that would vary as much as the bin's prompts do;
    in a bin where all labels agree, with the number of its prompts.
    """
    bins_N = bin_numbers(predicted_N, n_bins)
    names = [str(i) for i in range(len(human_N))] if clusters is None else list(clusters)
    found = list[Bin]()
    for k in range(int(bins_N.max(initial=-1)) + 1):
        chosen = np.flatnonzero(bins_N == k)
        observed, low, high = _observed(human_N[chosen], [names[i] for i in chosen])
        found.append(Bin(float(predicted_N[chosen].mean()), observed, low, high, len(chosen)))
    return tuple(found)


def _observed(human_N: FloatArray, clusters: Sequence[str]) -> tuple[float, float, float]:
    mean, n_clusters = float(human_N.mean()), len(set(clusters))
    off_G = cluster_totals((human_N - mean)[:, None], clusters)[:, 0]
    variance = float(off_G @ off_G) / len(human_N) ** 2 * n_clusters / max(1, n_clusters - 1)
    effective = mean * (1 - mean) / variance if variance > _SAME else float(n_clusters)
    n = max(1, int(effective + 1e-9))
    return mean, *wilson(mean * n, n)


def brier(
    human_N: FloatArray,
    predicted_N: FloatArray,
    clusters: Sequence[str],
    *,
    n_resamples: int,
    rng: np.random.Generator,
    n_bins: int = N_BINS,
) -> tuple[Figure, ...]:
    """How good scores are as predictions of human scores, and how much of what is missing calibration could mend.

    brier: mean of (score - human)**2. It is brier_reliability - brier_resolution + brier_uncertainty (Murphy 1973)
    + brier_within_bins, what the binning leaves over (Stephenson et al. 2008): how far bins miss the human mean, how
    far they lie apart, how much people vary, and the spread of scores within bins.
    ece: expected calibration error over the same bins. Few labels make it large whatever the judge; so expected_ece is
    what a perfectly calibrated judge with these scores would have, with the range of 95 % of such judges: pass/fail
    labels drawn with the scores as chances, others as the score plus the leftovers, in a random order.
    ValueError for numbers that are not finite.
    """
    if not (np.isfinite(human_N).all() and np.isfinite(predicted_N).all()):
        raise ValueError("a score that is not a finite number: leave such items out")
    ids_N, n_clusters = cluster_ids(len(human_N), clusters)
    if not len(human_N):
        return ()
    bins_N = bin_numbers(predicted_N, n_bins)
    formulas = _formulas(human_N, predicted_N, bins_N, clusters)
    measures = [Measure(name, formula, 0.0, _NOTES.get(name, "")) for name, formula in formulas.items()]
    found = raters.figures(measures, ids_N, n_clusters, n_resamples=n_resamples, rng=rng)
    # Resampling adds to what chance alone makes positive, so its interval could lie above the value.
    plain = (replace(each, low=None, high=None) if each.name in _NOTES else each for each in found)
    return (*plain, _expected_ece(human_N, predicted_N, bins_N, n_clusters, rng))


_NOTES = {
    "brier_reliability": "chance alone makes it positive: no interval",
    "brier_resolution": "chance alone makes it positive: no interval",
    "ece": "chance alone makes it positive: no interval, compare expected_ece",
}


def _formulas(
    human_N: FloatArray, predicted_N: FloatArray, bins_N: IntArray, clusters: Sequence[str]
) -> dict[str, raters.Formula]:
    """All from sums within bins: items, scores, human scores, their squares, and squared errors."""
    n_bins = int(bins_N.max()) + 1
    sums_N5 = np.column_stack([np.ones(len(human_N)), predicted_N, human_N, human_N**2, (predicted_N - human_N) ** 2])
    wide_NK5 = np.zeros((len(human_N), n_bins, 5))
    wide_NK5[np.arange(len(human_N)), bins_N] = sums_N5
    totals_GK = cluster_totals(wide_NK5.reshape(len(human_N), -1), clusters)

    def of_sums(formula: Callable[[FloatArray], FloatArray]) -> raters.Formula:
        return lambda weights_BG: formula((weights_BG @ totals_GK).reshape(-1, n_bins, 5))

    return {
        "brier": of_sums(_score),
        "brier_reliability": of_sums(_reliability),
        "brier_resolution": of_sums(_resolution),
        "brier_uncertainty": of_sums(_uncertainty),
        "brier_within_bins": of_sums(lambda s: _score(s) - _reliability(s) + _resolution(s) - _uncertainty(s)),
        "ece": of_sums(_ece),
    }


def _score(sums_BK5: FloatArray) -> FloatArray:
    score_B: FloatArray = sums_BK5[..., 4].sum(1) / sums_BK5[..., 0].sum(1)
    return score_B


def _uncertainty(sums_BK5: FloatArray) -> FloatArray:
    n_B, human_B, squares_B = (sums_BK5[..., i].sum(1) for i in (0, 2, 3))
    uncertainty_B: FloatArray = np.maximum(squares_B / n_B - (human_B / n_B) ** 2, 0.0)
    return uncertainty_B


def _reliability(sums_BK5: FloatArray) -> FloatArray:
    n_BK, predicted_BK, human_BK, *_ = np.moveaxis(sums_BK5, -1, 0)
    part_BK = (predicted_BK - human_BK) ** 2 / np.maximum(n_BK, 1)
    reliability_B: FloatArray = part_BK.sum(1) / n_BK.sum(1)
    return reliability_B


def _resolution(sums_BK5: FloatArray) -> FloatArray:
    n_BK, _, human_BK, *_ = np.moveaxis(sums_BK5, -1, 0)
    n_B1 = n_BK.sum(1, keepdims=True)
    off_BK = human_BK / np.maximum(n_BK, 1) - human_BK.sum(1, keepdims=True) / n_B1
    resolution_B: FloatArray = (n_BK * off_BK**2).sum(1) / n_B1[:, 0]
    return resolution_B


def _ece(sums_BK5: FloatArray) -> FloatArray:
    n_BK, predicted_BK, human_BK, *_ = np.moveaxis(sums_BK5, -1, 0)
    error_B: FloatArray = np.abs(predicted_BK - human_BK).sum(1) / n_BK.sum(1)
    return error_B


def _expected_ece(
    human_N: FloatArray, predicted_N: FloatArray, bins_N: IntArray, n_clusters: int, rng: np.random.Generator
) -> Figure:
    n = len(human_N)
    size = (_N_SIMULATED, n)
    if is_zero_one(human_N):
        drawn_RN = (rng.random(size) < predicted_N).astype(np.float64)
    else:
        left_N = human_N - predicted_N
        drawn_RN = predicted_N + (left_N - left_N.mean())[rng.integers(0, n, size)]
    off_RK = (drawn_RN - predicted_N) @ np.eye(int(bins_N.max()) + 1)[bins_N]
    errors_R = np.abs(off_RK).sum(1) / n
    low, high = np.quantile(errors_R, [0.025, 0.975])
    note = "of a perfectly calibrated judge with these scores; low and high hold 95 % of such judges"
    return Figure("expected_ece", float(errors_R.mean()), float(low), float(high), n, n_clusters, note)
