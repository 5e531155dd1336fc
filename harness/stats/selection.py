"""Which checkpoint to ship: chosen on validation, with the optimism of having chosen.

Axes: S checkpoints (by step), N samples, G clusters, K statistics, R resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.core.errors import EnvironmentFault
from harness.core.protocols import Metric
from harness.core.types import FloatArray
from harness.stats.resampling import cluster_totals, resampled_totals

Rule = Literal["one_standard_error", "best", "last"]


@dataclass(frozen=True, slots=True)
class Choice:
    """The chosen checkpoint and how much the choice can be believed.

    best_step: highest score, the earliest of equals. tied_steps: those within one standard error of it, best included.
    standard_error: of the paired difference between chosen and best; 0.0 where they are one.
    optimism: expected excess of the best score over its true value, in the metric's unit; positive is too good,
    whichever direction is better. None where it cannot be estimated.
    no_signal: two or more checkpoints and all scores equal.
    """

    best_step: int
    chosen_step: int
    tied_steps: tuple[int, ...]
    standard_error: float
    optimism: float | None
    no_signal: bool


def choose(
    metric: Metric,
    statistics_by_step: Mapping[int, FloatArray],
    *,
    clusters: Sequence[str] | None,
    rule: Rule,
    n_resamples: int,
    rng: np.random.Generator,
) -> Choice:
    """Choose a checkpoint from statistics (N, K) of the same samples at every step.

    one_standard_error: the earliest step whose deficit to the best is at most one standard error of that deficit
    (Breiman et al. 1984, section 3.4.3, made paired). Paired, because checkpoints answer the same samples and agree on
    most: the standard error of the score itself would call nearly every checkpoint tied, and would grow with the
    difficulty of the samples, which all checkpoints share.
    best: the best score. last: the last step, whatever its score.
    EnvironmentFault where no checkpoint has a defined score.
    """
    steps = sorted(statistics_by_step)
    totals_SGK = np.stack([cluster_totals(statistics_by_step[step], clusters) for step in steps])
    goods_S = _goodness(metric, totals_SGK.sum(axis=1))
    if not np.isfinite(goods_S).any():
        raise EnvironmentFault(
            f"{metric.name} is defined at none of the {len(steps)} checkpoints, so none can be chosen",
            fix="choose another [metrics].primary, or give validation samples on which it is defined",
            code="E-METRIC",
            resumable=False,
        )
    best = int(np.nanargmax(goods_S))
    goods_RS = _resampled_goods(metric, totals_SGK, n_resamples=n_resamples, rng=rng)
    errors_S = _standard_errors(goods_RS, best)
    tied = np.flatnonzero(goods_S[best] - goods_S <= errors_S + 1e-12)
    chosen = {"one_standard_error": int(tied[0]), "best": best, "last": len(steps) - 1}[rule]
    return Choice(
        best_step=steps[best],
        chosen_step=steps[chosen],
        tied_steps=tuple(steps[s] for s in tied),
        standard_error=float(np.nan_to_num(errors_S[chosen])),
        optimism=_optimism(goods_RS, goods_S),
        no_signal=len(steps) > 1 and bool(np.ptp(goods_S) <= 1e-12),
    )


def _goodness(metric: Metric, totals: FloatArray) -> FloatArray:
    """The metric's value, negated where lower is better."""
    return metric.value(totals) if metric.higher_is_better else -metric.value(totals)


def _resampled_goods(
    metric: Metric, totals_SGK: FloatArray, *, n_resamples: int, rng: np.random.Generator
) -> FloatArray:
    """Goodness (R, S) of all checkpoints on the same resamples."""
    n_steps, n_clusters, k = totals_SGK.shape
    wide_GK = totals_SGK.transpose(1, 0, 2).reshape(n_clusters, n_steps * k)
    chunks = resampled_totals(wide_GK, n_resamples=n_resamples, rng=rng)
    return np.concatenate([_goodness(metric, chunk.reshape(-1, n_steps, k)) for chunk in chunks])


def _standard_errors(goods_RS: FloatArray, best: int) -> FloatArray:
    """Standard error (S,) of each checkpoint's deficit to the best one; 0 where it is never defined."""
    deficits_RS = goods_RS[:, [best]] - goods_RS
    defined_RS = np.isfinite(deficits_RS)
    n_S = np.maximum(defined_RS.sum(axis=0), 1)
    mean_S = np.where(defined_RS, deficits_RS, 0).sum(axis=0) / n_S
    squares_RS = np.where(defined_RS, deficits_RS - mean_S, 0) ** 2
    return np.asarray(np.sqrt(squares_RS.sum(axis=0) / n_S))


def _optimism(goods_RS: FloatArray, goods_S: FloatArray) -> float | None:
    """Mean over resamples of: score there of the step that is best there, minus its score on all samples.

    The bootstrap world knows the truth, the full sample, and repeats the choice (Efron 1983; Tibshirani and
    Tibshirani 2009 for the minimum over a path of models). One checkpoint is no choice: 0.
    """
    if len(goods_S) == 1:
        return 0.0
    filled_RS = np.where(np.isfinite(goods_RS) & np.isfinite(goods_S), goods_RS, -np.inf)
    picks_R = filled_RS.argmax(axis=1)
    gains_R = np.take_along_axis(filled_RS, picks_R[:, None], axis=1)[:, 0] - goods_S[picks_R]
    gains_R = gains_R[np.isfinite(gains_R)]
    return float(gains_R.mean()) if len(gains_R) else None
