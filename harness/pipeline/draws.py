"""An arm of several draws as one metric: its value is the mean of the draws' values.

The draws' statistics stand side by side along K, so every resample, test and choice sees all draws of the same samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.core.protocols import RECOMPUTED_RESAMPLES, AnyMetric, Metric
from harness.core.types import BoolArray, Completion, FloatArray, Outcome, Sample
from harness.metrics import parallel
from harness.stats.recomputed import Derived, counted, counted_steps

# In the signature of an arm of several draws, after the metric's own.
OF_DRAWS = "|mean-of-draws:"


@dataclass(frozen=True)
class MeanOverDraws(Derived):
    """A metric over (N, D * K) statistics: one metric for each of D draws, each of width K, all of one signature."""

    draws: tuple[Metric, ...]

    @property
    def metric(self) -> AnyMetric:  # type: ignore[override]
        """What all draws are measured by."""
        return self.draws[0]

    @property
    def signature(self) -> str:
        """The metric's signature, and how many draws are averaged."""
        return f"{self.metric.signature}{OF_DRAWS}{len(self.draws)}"

    def measure(self, samples: Sequence[Sample], completions: Sequence[str]) -> FloatArray:
        """The same completions in every draw, (N, D * K)."""
        joined: FloatArray = np.concatenate([draw.measure(samples, completions) for draw in self.draws], axis=1)
        return joined

    def value(self, totals: FloatArray) -> FloatArray:
        """Mean of the draws' values; nan where one is undefined."""
        parts = zip(self.draws, np.split(totals, len(self.draws), axis=-1), strict=True)
        mean: FloatArray = np.mean([draw.value(part) for draw, part in parts], axis=0)
        return mean

    def per_sample(self, statistics: FloatArray) -> FloatArray:
        """Mean of the draws' scores, (N,)."""
        parts = zip(self.draws, np.split(statistics, len(self.draws), axis=1), strict=True)
        mean: FloatArray = np.mean([draw.per_sample(part) for draw, part in parts], axis=0)
        return mean


@dataclass(frozen=True, slots=True)
class Drawn:
    """What an arm's draws gave by one metric, aligned with the samples.

    statistics: (D, N, K); of a recomputed metric they hold nothing, its rows are the completions themselves.
    """

    samples: Sequence[Sample]
    statistics: FloatArray
    outcomes: Sequence[Sequence[Outcome]]

    @property
    def scored(self) -> BoolArray:
        """(N,) whether the metric could score every draw's answer; a judge may have no verdict on one."""
        found: BoolArray = np.asarray(np.isfinite(self.statistics).all(axis=(0, 2)), bool)
        return found


def measured(metric: AnyMetric, samples: Sequence[Sample], outcomes: Sequence[Outcome]) -> FloatArray:
    """Statistics (N, K); a failed sample's row is zero and never used."""
    if not isinstance(metric, Metric):
        return np.zeros((len(samples), 1))
    pairs = [(s, o.text) for s, o in zip(samples, outcomes, strict=True) if isinstance(o, Completion)]
    found = parallel.measured(metric, [sample for sample, _ in pairs], [text for _, text in pairs])
    whole = np.zeros((len(samples), found.shape[1]))
    whole[[isinstance(outcome, Completion) for outcome in outcomes]] = found
    return whole


def additive(metric: AnyMetric, arms: Sequence[Drawn], used: BoolArray) -> tuple[Metric, list[FloatArray]]:
    """One additive metric for one or two arms, and each arm's statistics (n, D * K) over the samples in `used`.

    An arm of a single draw stands beside one of several with its draw repeated. used: (N,), all arms answered there.
    """
    n_draws = max(len(arm.outcomes) for arm in arms)
    if isinstance(metric, Metric):
        stacks = [arm.statistics[:, used] for arm in arms]
        return over_draws(metric, n_draws), [beside(stack, n_draws) for stack in stacks]
    samples = [sample for sample, keep in zip(arms[0].samples, used, strict=True) if keep]
    slots = [counted(metric, samples, [_texts(arm, draw, used) for arm in arms]) for draw in range(n_draws)]
    joined = [np.concatenate([statistics[a] for _, statistics in slots], axis=1) for a in range(len(arms))]
    rows: list[Metric] = [row for row, _ in slots]
    return rows[0] if n_draws == 1 else MeanOverDraws(tuple(rows)), joined


def additive_steps(metric: AnyMetric, arms: Sequence[Drawn], used: BoolArray) -> tuple[Metric, list[FloatArray]]:
    """The same for any number of checkpoints, which have one draw each, to choose among."""
    if isinstance(metric, Metric):
        return metric, [arm.statistics[0][used] for arm in arms]
    samples = [sample for sample, keep in zip(arms[0].samples, used, strict=True) if keep]
    return counted_steps(metric, samples, [_texts(arm, 0, used) for arm in arms])


def resamples_for(metric: AnyMetric, n_resamples: int) -> int:
    """How many resamples a metric gets: fewer where each has to be scored anew."""
    return n_resamples if isinstance(metric, Metric) else min(n_resamples, RECOMPUTED_RESAMPLES)


def over_draws(metric: Metric, n_draws: int) -> Metric:
    """The metric for arms of this many draws; itself for one, so that exact tests stay available."""
    return metric if n_draws == 1 else MeanOverDraws((metric,) * n_draws)


def beside(statistics: FloatArray, n_draws: int) -> FloatArray:
    """(D, N, K) -> (N, D * K); a single draw is repeated to stand beside an arm of several."""
    draws = [statistics[0]] * n_draws if len(statistics) == 1 else list(statistics)
    joined: FloatArray = np.concatenate(draws, axis=1)
    return joined


def _texts(arm: Drawn, draw: int, used: BoolArray) -> list[str]:
    """The completions of one draw; an arm of a single draw has it in every place."""
    outcomes = arm.outcomes[draw if len(arm.outcomes) > 1 else 0]
    return [o.text for o, keep in zip(outcomes, used, strict=True) if keep and isinstance(o, Completion)]
