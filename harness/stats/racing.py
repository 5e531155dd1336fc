"""A race over checkpoints: all answer a part of the validation samples, and only those that could be chosen go on.

What is spent is bounded, not what is believed. After each round the harness works out what it would cost to leave
checkpoints out: the expected true quality of the one that all samples would choose, less that of the one that the rest
of the race would choose. Checkpoints go, the least promising first, as long as all that went together are expected to
cost no more than ALLOWANCE standard errors. Expected is meant in the sense of Bayes, so looking after every round does
no harm: checkpoints differ by a normal spread that is unknown (one of SPREADS, all as likely) and is learned with the
rest; the noise is the samples' own, jackknifed over clusters. benchmarks/racing.py counts what it costs indeed.

Axes: S checkpoints (by step), N samples, G clusters, K statistics, D draws of what may be true.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.core.protocols import Metric
from harness.core.types import FloatArray, IntArray
from harness.stats.resampling import cluster_ids, cluster_totals

# Expected loss that a whole race may cause, in standard errors of the paired difference on all samples.
ALLOWANCE = 0.1
# Standard deviations of the checkpoints' true quality that are thought possible, in the same unit.
SPREADS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
# Shares of the samples after which checkpoints may go.
LOOKS = (0.125, 0.25, 0.375, 0.5, 0.75)
# Fewer clusters than this say too little of the noise to drop anything.
LEAST_CLUSTERS = 12
N_DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Standing:
    """How the race stands. kept: steps that go on. seen: step -> rounds that a dropped one has run.

    spent: expected loss so far by what was dropped, in standard errors of the paired difference on all samples.
    """

    kept: tuple[int, ...]
    seen: Mapping[int, int]
    spent: float = 0.0


@dataclass(frozen=True, slots=True)
class Race:
    """Which samples each round adds, and who goes on after it.

    rounds: places of samples, in order, each in one round; whole clusters together. The last round ends the race:
    those that are left have answered everything, and are chosen among as ever.
    """

    rounds: tuple[tuple[int, ...], ...]
    n_clusters: int
    seed: int

    @classmethod
    def plan(cls, n_samples: int, clusters: Sequence[str] | None, *, seed: int) -> Race:
        """The rounds over these samples, shuffled by the seed; a single one where there are too few clusters to race.

        clusters: name of each sample's cluster; None: every sample its own.
        """
        ids_N, n_clusters = cluster_ids(n_samples, clusters)
        order_G = np.random.default_rng([seed, n_samples]).permutation(n_clusters)
        place_G = np.empty(n_clusters, dtype=np.int64)
        place_G[order_G] = np.arange(n_clusters)
        ends = [round(look * n_clusters) for look in LOOKS]
        starts = sorted({end for end in ends if end >= LEAST_CLUSTERS})
        round_N = np.searchsorted(starts, place_G[ids_N], side="right")
        rounds = [tuple(np.flatnonzero(round_N == number).tolist()) for number in range(len(starts) + 1)]
        return cls(tuple(rounds), n_clusters, seed)

    def start(self, steps: Sequence[int]) -> Standing:
        """Everybody runs the first round."""
        return Standing(tuple(sorted(steps)), {})

    def seen(self, n_rounds: int) -> tuple[int, ...]:
        """Places of the samples of the first rounds, in the data's order."""
        return tuple(sorted(place for places in self.rounds[:n_rounds] for place in places))

    def share(self, standing: Standing) -> float:
        """Part of all generations that the race takes if nobody is dropped from here on."""
        n_samples = sum(map(len, self.rounds))
        spent = len(standing.kept) * n_samples + sum(len(self.seen(n)) for n in standing.seen.values())
        return spent / max(1, n_samples * (len(standing.kept) + len(standing.seen)))

    def keep(
        self,
        standing: Standing,
        n_rounds: int,
        metric: Metric,
        statistics_by_step: Mapping[int, FloatArray],
        *,
        clusters: Sequence[str] | None,
    ) -> Standing:
        """Who goes on after so many rounds.

        statistics_by_step: (n, K) of every step in `standing.kept`, over the same samples of these rounds; samples that
        not all could answer are left out before. clusters: of these rows. Nobody is dropped after the last round, nor
        where the metric is undefined for somebody, nor by fewer than LEAST_CLUSTERS clusters.
        """
        if n_rounds >= len(self.rounds) or len(standing.kept) < 2:
            return standing
        totals_SGK = np.stack([cluster_totals(statistics_by_step[step], clusters) for step in standing.kept])
        n_seen = totals_SGK.shape[1]
        if n_seen < LEAST_CLUSTERS:
            return standing
        goods_S, noise_SS = _measured(metric, totals_SGK)
        if not (np.isfinite(goods_S).all() and np.isfinite(noise_SS).all()):
            return standing
        rng = np.random.default_rng([self.seed, n_rounds])
        order_S, costs_S = _costs(goods_S, noise_SS, min(1.0, n_seen / self.n_clusters), rng)
        # Never below 0 by rounding: keeping all costs exactly that.
        left = max(0.0, ALLOWANCE * n_rounds / (len(self.rounds) - 1) - standing.spent)
        # Successive halving: what one look cannot tell, the next one may.
        n_kept = max(int(np.argmax(costs_S <= left)) + 1, -(-len(order_S) // 2))
        going = {standing.kept[s] for s in order_S[n_kept:]}
        return replace(
            standing,
            kept=tuple(step for step in standing.kept if step not in going),
            seen={**standing.seen, **dict.fromkeys(sorted(going), n_rounds)},
            spent=standing.spent + max(0.0, float(costs_S[n_kept - 1])),
        )


def _measured(metric: Metric, totals_SGK: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Goodness (S,), and the covariance (S, S) of its noise: the jackknife over clusters (Efron and Stein 1981).

    Few clusters cannot show that two checkpoints differ nowhere: the covariance is drawn towards independent noise of
    equal size, by as many imagined clusters as there are checkpoints.
    """
    sign = 1 if metric.higher_is_better else -1
    n_steps, n_clusters, _ = totals_SGK.shape
    sums_SK = totals_SGK.sum(axis=1)
    goods_S = sign * metric.value(sums_SK)
    left_out_GS = sign * metric.value(sums_SK[None] - totals_SGK.transpose(1, 0, 2))
    # What all checkpoints share cancels in every difference.
    own_GS = left_out_GS - left_out_GS.mean(axis=1, keepdims=True)
    own_GS = own_GS - own_GS.mean(axis=0)
    noise_SS = (n_clusters - 1) / n_clusters * own_GS.T @ own_GS
    weight = n_steps / (n_steps + n_clusters)
    level = np.trace(noise_SS) / max(1, n_steps - 1)
    return goods_S, (1 - weight) * noise_SS + weight * level * np.eye(n_steps)


def _costs(
    goods_S: FloatArray, noise_SS: FloatArray, share: float, rng: np.random.Generator
) -> tuple[IntArray, FloatArray]:
    """Checkpoints by promise, and what keeping only the first 1, 2, ... S of them costs, in standard errors.

    share: part of the clusters that was seen. The unit is the standard error of a paired difference on all of them,
    the root of its mean square over pairs.
    """
    n_steps = len(goods_S)
    unit = float(np.sqrt(2 * (np.trace(noise_SS) - noise_SS.mean() * n_steps) / (n_steps - 1) * share))
    if unit == 0:
        # They did alike on every cluster so far, which says nothing of where they will differ: nobody may go.
        return np.argsort(-goods_S, kind="stable"), np.append(np.full(n_steps - 1, np.inf), 0.0)
    true_DS = _what_may_be_true(goods_S / unit, noise_SS / unit**2, rng)
    order_S = np.argsort(-true_DS.mean(axis=0), kind="stable")
    root_SS = np.linalg.cholesky(noise_SS / unit**2 * share / (1 - share) + 1e-12 * np.eye(n_steps))
    rest_DS = true_DS + rng.standard_normal(true_DS.shape) @ root_SS.T
    in_the_end_DS = (share * goods_S / unit + (1 - share) * rest_DS)[:, order_S]
    return order_S, _added_regret(true_DS[:, order_S], in_the_end_DS)


def _added_regret(true_DS: FloatArray, seen_DS: FloatArray) -> FloatArray:
    """Mean true quality (S,) of the best seen of all, less that of the best seen of the first 1, 2, ... S."""
    leaders_DS = np.maximum.accumulate(seen_DS, axis=1) == seen_DS
    places_DS = np.maximum.accumulate(np.where(leaders_DS, np.arange(seen_DS.shape[1]), 0), axis=1)
    chosen_DS = np.take_along_axis(true_DS, places_DS, axis=1)
    return np.asarray((chosen_DS[:, [-1]] - chosen_DS).mean(axis=0))


def _what_may_be_true(goods_S: FloatArray, noise_SS: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Draws (D, S) of the true qualities given what was measured, up to a constant for all.

    For each spread the measured values are normal about an unknown mean, with covariance noise + spread^2; draws are
    made by simulating the same measurement and carrying over what it misses (Hoffman and Ribak 1991).
    """
    values_S, vectors_SS = np.linalg.eigh(noise_SS)
    values_S = np.maximum(values_S, 1e-12)
    ones_S, goods_in_S = vectors_SS.sum(axis=0), goods_S @ vectors_SS
    spreads_J = np.array(SPREADS)
    inverse_JS = 1 / (values_S + spreads_J[:, None] ** 2)
    precision_J = inverse_JS @ ones_S**2
    mean_J = inverse_JS @ (ones_S * goods_in_S) / precision_J
    misfit_J = (inverse_JS * (goods_in_S - mean_J[:, None] * ones_S) ** 2).sum(axis=1)
    log_J = 0.5 * (np.log(inverse_JS).sum(axis=1) - np.log(precision_J) - misfit_J)
    weights_J = np.exp(log_J - log_J.max())
    draws_D = np.repeat(np.arange(len(SPREADS)), rng.multinomial(N_DRAWS, weights_J / weights_J.sum()))
    spread_D1, inverse_DS = spreads_J[draws_D, None], inverse_JS[draws_D]
    prior_DS = spread_D1 * rng.standard_normal((N_DRAWS, len(goods_S)))
    simulated_DS = prior_DS + np.sqrt(values_S) * rng.standard_normal(prior_DS.shape)
    missed_DS = goods_in_S - simulated_DS
    mean_D1 = ((inverse_DS * ones_S * missed_DS).sum(axis=1) / precision_J[draws_D])[:, None]
    true_DS = prior_DS + mean_D1 * ones_S + spread_D1**2 * inverse_DS * (missed_DS - mean_D1 * ones_S)
    return np.asarray(true_DS @ vectors_SS.T)
