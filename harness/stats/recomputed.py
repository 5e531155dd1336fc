"""Metrics with no sum behind them, made additive: a row's statistics say which sample it is of, and a sum counts rows.

So every interval and paired test works for them unchanged; what it costs is one scoring for each resample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.core.protocols import AnyMetric, RecomputedMetric
from harness.core.types import FloatArray, Sample

# More than any sample can occur in a resample; two digits fit into what float64 holds exactly.
_BASE = 1 << 24


class Derived:
    """What a metric made of another one takes over from it. Subclasses have a field `metric`."""

    metric: AnyMetric

    @property
    def name(self) -> str:
        """The metric's own name."""
        return self.metric.name

    @property
    def higher_is_better(self) -> bool:
        """As the metric says."""
        return self.metric.higher_is_better

    @property
    def best(self) -> float:
        """As the metric says."""
        return self.metric.best

    @property
    def worst(self) -> float:
        """As the metric says."""
        return self.metric.worst


@dataclass(frozen=True)
class CountedRows(Derived):
    """A recomputed metric over (N, N) statistics; totals (..., N) say how often each sample occurs, in which arm.

    completions: A arms of N. A total is a number in base `_BASE`: digit a counts the sample's rows of arm a, so that
    rows can be swapped between two arms, and sums stay exact in float64.
    """

    metric: RecomputedMetric
    samples: tuple[Sample, ...]
    completions: tuple[tuple[str, ...], ...]

    @property
    def signature(self) -> str:
        """As wrapped, and that resamples are scored anew."""
        return f"{self.metric.signature}|recomputed"

    def measure(self, samples: Sequence[Sample], completions: Sequence[str]) -> FloatArray:
        """Not how these statistics are made: see `counted`."""
        raise NotImplementedError("rows are counted over whole arms")

    def value(self, totals: FloatArray) -> FloatArray:
        """The score of every multiset of rows, (..., N) -> (...)."""
        flat = totals.reshape(-1, len(self.samples))
        scores = np.array([self._score(row) for row in flat], dtype=np.float64)
        return scores.reshape(totals.shape[:-1])

    def per_sample(self, statistics: FloatArray) -> FloatArray:
        """The score of each row alone."""
        return self.value(statistics)

    def _score(self, totals_N: FloatArray) -> float:
        left_N = np.rint(totals_N).astype(np.int64)
        samples: list[Sample] = []
        texts: list[str] = []
        for arm in self.completions:
            rows = np.repeat(np.arange(len(left_N)), left_N % _BASE)
            samples += [self.samples[i] for i in rows]
            texts += [arm[i] for i in rows]
            left_N //= _BASE
        return self.metric.score(samples, texts) if samples else float("nan")


@dataclass(frozen=True)
class CountedSteps(Derived):
    """A recomputed metric of several checkpoints at once: totals (..., S, N), one row of counts a checkpoint.

    completions: S checkpoints of N.
    """

    metric: RecomputedMetric
    samples: tuple[Sample, ...]
    completions: tuple[tuple[str, ...], ...]

    @property
    def signature(self) -> str:
        """As wrapped, and that resamples are scored anew."""
        return f"{self.metric.signature}|recomputed"

    def measure(self, samples: Sequence[Sample], completions: Sequence[str]) -> FloatArray:
        """Not how these statistics are made: see `counted_steps`."""
        raise NotImplementedError("rows are counted over whole arms")

    def value(self, totals: FloatArray) -> FloatArray:
        """The score of every checkpoint on every multiset of samples, (..., S, N) -> (..., S)."""
        steps = [
            CountedRows(self.metric, self.samples, (texts,)).value(totals[..., s, :])
            for s, texts in enumerate(self.completions)
        ]
        return np.stack(steps, axis=-1)

    def per_sample(self, statistics: FloatArray) -> FloatArray:
        """Choosing needs none."""
        raise NotImplementedError("checkpoints are compared as wholes")


def counted(
    metric: RecomputedMetric, samples: Sequence[Sample], arms: Sequence[Sequence[str]]
) -> tuple[CountedRows, list[FloatArray]]:
    """The additive form of one or two arms, and the statistics (N, N) of each.

    arms: the N completions of each arm, aligned with the samples.
    """
    rows = CountedRows(metric, tuple(samples), tuple(tuple(arm) for arm in arms))
    return rows, [np.eye(len(samples)) * float(_BASE**place) for place in range(len(arms))]


def counted_steps(
    metric: RecomputedMetric, samples: Sequence[Sample], steps: Sequence[Sequence[str]]
) -> tuple[CountedSteps, list[FloatArray]]:
    """The additive form of any number of checkpoints for `harness.stats.selection`, and their statistics (N, N)."""
    one_hot = np.eye(len(samples))
    return CountedSteps(metric, tuple(samples), tuple(tuple(step) for step in steps)), [one_hot] * len(steps)
