"""An arm of several draws as one metric: its value is the mean of the draws' values.

The draws' statistics stand side by side along K, so every resample, test and choice sees all draws of the same samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.core.protocols import RECOMPUTED_RESAMPLES, AnyMetric, Metric
from harness.core.types import BoolArray, Completion, FloatArray, Outcome, Sample
from harness.stats.recomputed import Derived, counted


@dataclass(frozen=True)
class MeanOverDraws(Derived):
    """A metric over (N, D * K) statistics: D draws of the wrapped metric, each of width K."""

    metric: Metric
    n_draws: int

    @property
    def signature(self) -> str:
        """The wrapped metric's signature, and how many draws are averaged."""
        return f"{self.metric.signature}|mean-of-draws:{self.n_draws}"

    def measure(self, samples: Sequence[Sample], completions: Sequence[str]) -> FloatArray:
        """The same completions in every draw, (N, D * K)."""
        return beside(self.metric.measure(samples, completions)[None], self.n_draws)

    def value(self, totals: FloatArray) -> FloatArray:
        """Mean of the draws' values; nan where one is undefined."""
        draws = np.split(totals, self.n_draws, axis=-1)
        mean: FloatArray = np.mean([self.metric.value(draw) for draw in draws], axis=0)
        return mean

    def per_sample(self, statistics: FloatArray) -> FloatArray:
        """Mean of the draws' scores, (N,)."""
        draws = np.split(statistics, self.n_draws, axis=1)
        mean: FloatArray = np.mean([self.metric.per_sample(draw) for draw in draws], axis=0)
        return mean


@dataclass(frozen=True, slots=True)
class Drawn:
    """What an arm's draws gave by one metric, aligned with the samples.

    statistics: (D, N, K); of a recomputed metric they hold nothing, its rows are the completions themselves.
    """

    samples: Sequence[Sample]
    statistics: FloatArray
    outcomes: Sequence[Sequence[Outcome]]


def measured(metric: AnyMetric, samples: Sequence[Sample], outcomes: Sequence[Outcome]) -> FloatArray:
    """Statistics (N, K); a failed sample's row is zero and never used."""
    if not isinstance(metric, Metric):
        return np.zeros((len(samples), 1))
    pairs = [(s, o.text) for s, o in zip(samples, outcomes, strict=True) if isinstance(o, Completion)]
    found = metric.measure([sample for sample, _ in pairs], [text for _, text in pairs])
    whole = np.zeros((len(samples), found.shape[1]))
    whole[[isinstance(outcome, Completion) for outcome in outcomes]] = found
    return whole


def additive(metric: AnyMetric, arms: Sequence[Drawn], used: BoolArray) -> tuple[Metric, list[FloatArray]]:
    """One additive metric for these arms, and each arm's statistics (n, D * K) over the samples in `used`.

    An arm of a single draw stands beside one of several with its draw repeated. used: (N,), all arms answered there.
    """
    n_draws = max(len(arm.outcomes) for arm in arms)
    if isinstance(metric, Metric):
        stacks = [arm.statistics[:, used] for arm in arms]
        return over_draws(metric, n_draws), [beside(stack, n_draws) for stack in stacks]
    samples = [sample for sample, keep in zip(arms[0].samples, used, strict=True) if keep]
    texts = [[_texts(draw, used) for draw in arm.outcomes] for arm in arms]
    rows, statistics = counted(metric, samples, [draw for arm in texts for draw in arm])
    ends = np.cumsum([len(arm) for arm in texts])
    stacks = [np.stack(statistics[end - len(arm) : end]) for arm, end in zip(texts, ends, strict=True)]
    return over_draws(rows, n_draws), [beside(stack, n_draws) for stack in stacks]


def resamples_for(metric: AnyMetric, n_resamples: int) -> int:
    """How many resamples a metric gets: fewer where each has to be scored anew."""
    return n_resamples if isinstance(metric, Metric) else min(n_resamples, RECOMPUTED_RESAMPLES)


def over_draws(metric: Metric, n_draws: int) -> Metric:
    """The metric for arms of this many draws; itself for one, so that exact tests stay available."""
    return metric if n_draws == 1 else MeanOverDraws(metric, n_draws)


def beside(statistics: FloatArray, n_draws: int) -> FloatArray:
    """(D, N, K) -> (N, D * K); a single draw is repeated to stand beside an arm of several."""
    draws = [statistics[0]] * n_draws if len(statistics) == 1 else list(statistics)
    joined: FloatArray = np.concatenate(draws, axis=1)
    return joined


def _texts(draw: Sequence[Outcome], used: BoolArray) -> list[str]:
    return [o.text for o, keep in zip(draw, used, strict=True) if keep and isinstance(o, Completion)]
