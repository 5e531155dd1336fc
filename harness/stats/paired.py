"""Two arms on the same samples: difference, interval, p value, wins and losses.

Axes: N samples, G clusters, K statistics, R resamples, B resamples in one chunk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from harness.core.protocols import Metric
from harness.core.types import FloatArray
from harness.stats.resampling import (
    LEVEL,
    MOST_UNDEFINED,
    bootstrap_values,
    cluster_totals,
    expanded_quantiles,
    has_no_spread,
    is_mean,
    is_zero_one,
    unseen_share,
)

MCNEMAR = "McNemar mid-p"
PERMUTATION = "paired permutation"
CLUSTERED = "paired permutation of groups"
_CHUNK_SIGNS = 2_000_000


@dataclass(frozen=True, slots=True)
class Paired:
    """Candidate against baseline on the same samples.

    delta: candidate minus baseline, signed so that positive is better; None where either is undefined.
    low, high: 95 % interval of delta; None where it cannot be had. p: two-sided, not yet adjusted.
    wins, ties, losses: samples by per-sample score; those without one on either side are in none of the three.
    candidate_scores_N, baseline_scores_N: per-sample scores as the metric gives them, not signed; nan where none.
    sd_difference: standard error of delta times sqrt(n_clusters), what `harness.stats.power` calls sd.
    """

    delta: float | None
    low: float | None
    high: float | None
    p: float | None
    test: str
    wins: int
    ties: int
    losses: int
    candidate_scores_N: FloatArray
    baseline_scores_N: FloatArray
    n: int
    n_clusters: int
    sd_difference: float | None


@dataclass(frozen=True, slots=True)
class _Finding:
    low: float | None
    high: float | None
    p: float | None
    test: str
    sd: float | None


def compare(
    metric: Metric,
    candidate_NK: FloatArray,
    baseline_NK: FloatArray,
    *,
    clusters: Sequence[str] | None,
    n_resamples: int,
    rng: np.random.Generator,
) -> Paired:
    """Test and interval of a paired difference; row i of both arrays is the same sample.

    Unclustered means of 0/1 scores: McNemar's exact test with mid-p (Fagerland, Lydersen and Laake 2013) and Bonett
    and Price's (2012) interval, both defined when no sample differs. All else: a permutation test that swaps the two
    arms in whole clusters, and the expanded percentile interval of a bootstrap that gives both arms the same weights.
    """
    if candidate_NK.shape != baseline_NK.shape:
        raise ValueError(f"arms of different shape: {candidate_NK.shape} and {baseline_NK.shape}")
    n = len(candidate_NK)
    arms_GK = cluster_totals(np.hstack([candidate_NK, baseline_NK]), clusters)
    difference = _difference(metric)
    delta = float(difference(arms_GK.sum(axis=0))) if n else float("nan")
    scores_N, other_N = metric.per_sample(candidate_NK), metric.per_sample(baseline_NK)
    found = _Finding(None, None, None, CLUSTERED if len(arms_GK) < n else PERMUTATION, None)
    if np.isfinite(delta):
        find = _proportions if _is_binary(metric, candidate_NK, baseline_NK, len(arms_GK)) else _resampled
        found = find(metric, candidate_NK, baseline_NK, arms_GK, n_resamples=n_resamples, rng=rng)
    wins, ties, losses = _tally(_sign(metric) * (scores_N - other_N))
    return Paired(
        delta=delta if np.isfinite(delta) else None,
        low=found.low,
        high=found.high,
        p=found.p,
        test=found.test,
        wins=wins,
        ties=ties,
        losses=losses,
        candidate_scores_N=scores_N,
        baseline_scores_N=other_N,
        n=n,
        n_clusters=len(arms_GK),
        sd_difference=found.sd,
    )


def mcnemar_mid_p(n_wins: int, n_losses: int) -> float:
    """Two-sided exact McNemar test with mid-p: half the probability of the observed split counts.

    Not conservative like the exact test, and keeps its level in practice (Fagerland, Lydersen and Laake 2013).

    >>> round(mcnemar_mid_p(9, 2), 6)
    0.038574
    """
    n = n_wins + n_losses
    if n == 0:
        return 1.0
    fewer = min(n_wins, n_losses)
    tail = special.bdtr(fewer, n, 0.5) + (special.bdtr(fewer - 1, n, 0.5) if fewer else 0.0)
    return float(min(1.0, tail))


def bonett_price(n_wins: int, n_losses: int, n: int) -> tuple[float, float]:
    """95 % interval for the difference of two paired proportions. Bonett and Price 2012, eq. 6.

    One win and one loss more than were seen keep it honest where there are none.
    """
    win, loss = (n_wins + 1) / (n + 2), (n_losses + 1) / (n + 2)
    half = special.ndtri(0.5 + LEVEL / 2) * np.sqrt((win + loss - (win - loss) ** 2) / (n + 2))
    return max(-1.0, float(win - loss - half)), min(1.0, float(win - loss + half))


def _sign(metric: Metric) -> int:
    return 1 if metric.higher_is_better else -1


def _difference(metric: Metric) -> Callable[[FloatArray], FloatArray]:
    """Function of totals (..., 2K), candidate first: how much better the candidate is."""

    def difference(arms: FloatArray) -> FloatArray:
        k = arms.shape[-1] // 2
        return _sign(metric) * (metric.value(arms[..., :k]) - metric.value(arms[..., k:]))

    return difference


def _is_binary(metric: Metric, candidate_NK: FloatArray, baseline_NK: FloatArray, n_clusters: int) -> bool:
    """Whether McNemar's test is a test of this metric: unclustered means of 0/1 scores."""
    unclustered = n_clusters == len(candidate_NK)
    return unclustered and all(is_mean(metric, arm) and is_zero_one(arm[:, 0]) for arm in (candidate_NK, baseline_NK))


def _tally(differences_N: FloatArray) -> tuple[int, int, int]:
    """Wins, ties and losses; rounding in the last digits is a tie."""
    # nan compares false with everything, so samples without a score fall out by themselves.
    wins, losses = int((differences_N > 1e-9).sum()), int((differences_N < -1e-9).sum())
    return wins, int(np.isfinite(differences_N).sum()) - wins - losses, losses


def _proportions(
    metric: Metric,
    candidate_NK: FloatArray,
    baseline_NK: FloatArray,
    arms_GK: FloatArray,
    *,
    n_resamples: int,
    rng: np.random.Generator,
) -> _Finding:
    differences_N = _sign(metric) * (candidate_NK[:, 0] - baseline_NK[:, 0])
    n, (wins, _, losses) = len(differences_N), _tally(differences_N)
    low, high = bonett_price(wins, losses, n) if n > 1 else (None, None)
    sd = float(differences_N.std(ddof=1)) if n > 1 else None
    return _Finding(low, high, mcnemar_mid_p(wins, losses), MCNEMAR, sd)


def _resampled(
    metric: Metric,
    candidate_NK: FloatArray,
    baseline_NK: FloatArray,
    arms_GK: FloatArray,
    *,
    n_resamples: int,
    rng: np.random.Generator,
) -> _Finding:
    n_clusters = len(arms_GK)
    test = CLUSTERED if n_clusters < len(candidate_NK) else PERMUTATION
    p = permutation_p(_difference(metric), arms_GK, n_resamples=n_resamples, rng=rng)
    if n_clusters < 2:
        return _Finding(None, None, p, test, None)
    deltas_R = bootstrap_values(_difference(metric), arms_GK, n_resamples=n_resamples, rng=rng)
    defined_R = deltas_R[np.isfinite(deltas_R)]
    if len(defined_R) < (1 - MOST_UNDEFINED) * n_resamples:
        return _Finding(None, None, p, test, None)
    if has_no_spread(defined_R):
        return _Finding(*_identical_differences(metric, candidate_NK, baseline_NK, n_clusters), p, test, 0.0)
    # The bootstrap's variance is that of the sample, (G - 1) / G too small.
    sd = float(defined_R.std() * n_clusters / np.sqrt(n_clusters - 1))
    return _Finding(*expanded_quantiles(defined_R, n_clusters), p, test, sd)


def _identical_differences(
    metric: Metric, candidate_NK: FloatArray, baseline_NK: FloatArray, n_clusters: int
) -> tuple[float | None, float | None]:
    """Interval where every sample differs by the same amount, most often none.

    For means: the share of the population that was not seen may differ by the whole range of the metric.
    """
    if not (is_mean(metric, candidate_NK) and is_mean(metric, baseline_NK)):
        return None, None
    reach = abs(metric.best - metric.worst)
    delta = _sign(metric) * float(candidate_NK[0, 0] - baseline_NK[0, 0])
    share = unseen_share(n_clusters)
    return delta - share * (delta + reach), delta + share * (reach - delta)


def permutation_p(
    difference: Callable[[FloatArray], FloatArray], arms_GK: FloatArray, *, n_resamples: int, rng: np.random.Generator
) -> float:
    """Two-sided p value of the hypothesis that the two arms could be swapped in every cluster.

    arms_GK: (G, 2K) cluster totals, candidate first. Swapping is a sign flip: an arm's totals are half the sum of
    both, plus or minus half the difference. The observed arrangement counts as one of R + 1, so p is never 0 and
    the test never anti-conservative (Phipson and Smyth 2010).
    """
    n_clusters, k = len(arms_GK), arms_GK.shape[1] // 2
    half_K = arms_GK.sum(axis=0).reshape(2, k).sum(axis=0) / 2
    halves_GK = (arms_GK[:, :k] - arms_GK[:, k:]) / 2
    observed = abs(float(difference(arms_GK.sum(axis=0))))
    # Rounding must not hide arrangements as extreme as the observed one.
    threshold = observed - 1e-9 * max(1.0, observed)
    rows = max(1, _CHUNK_SIGNS // n_clusters)
    n_extreme = 0
    for start in range(0, n_resamples, rows):
        signs_BG = rng.integers(0, 2, size=(min(rows, n_resamples - start), n_clusters)) * 2.0 - 1.0
        swing_BK = signs_BG @ halves_GK
        deltas_B = difference(np.concatenate([half_K + swing_BK, half_K - swing_BK], axis=-1))
        # An undefined arrangement counts against the finding.
        n_extreme += int((~(np.abs(deltas_B) < threshold)).sum())
    return (1 + n_extreme) / (n_resamples + 1)
