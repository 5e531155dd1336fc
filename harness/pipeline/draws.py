"""An arm of several draws as one metric: its value is the mean of the draws' values.

The draws' statistics stand side by side along K, so every resample, test and choice sees all draws of the same samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.core.protocols import Metric
from harness.core.types import FloatArray, Sample


@dataclass(frozen=True, slots=True)
class MeanOverDraws:
    """A metric over (N, D * K) statistics: D draws of the wrapped metric, each of width K."""

    metric: Metric
    n_draws: int

    @property
    def name(self) -> str:
        """The wrapped metric's name."""
        return self.metric.name

    @property
    def signature(self) -> str:
        """The wrapped metric's signature, and how many draws are averaged."""
        return f"{self.metric.signature}|mean-of-draws:{self.n_draws}"

    @property
    def higher_is_better(self) -> bool:
        """As wrapped."""
        return self.metric.higher_is_better

    @property
    def best(self) -> float:
        """As wrapped."""
        return self.metric.best

    @property
    def worst(self) -> float:
        """As wrapped."""
        return self.metric.worst

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


def over_draws(metric: Metric, n_draws: int) -> Metric:
    """The metric for arms of this many draws; itself for one, so that exact tests stay available."""
    return metric if n_draws == 1 else MeanOverDraws(metric, n_draws)


def beside(statistics: FloatArray, n_draws: int) -> FloatArray:
    """(D, N, K) -> (N, D * K); a single draw is repeated to stand beside an arm of several."""
    draws = [statistics[0]] * n_draws if len(statistics) == 1 else list(statistics)
    joined: FloatArray = np.concatenate(draws, axis=1)
    return joined
