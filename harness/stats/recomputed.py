"""Metrics with no sum behind them, made additive: each row's statistics are one-hot, and a sum of them counts rows.

So every interval and paired test works for them unchanged; what it costs is one scoring for each resample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.core.protocols import AnyMetric, RecomputedMetric
from harness.core.types import FloatArray, Sample


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
    """A recomputed metric over (N, T) statistics; totals (..., T) say how often each of T rows occurs.

    samples, completions: the T rows; one sample may stand in several with different completions.
    """

    metric: RecomputedMetric
    samples: tuple[Sample, ...]
    completions: tuple[str, ...]

    @property
    def signature(self) -> str:
        """As wrapped, and that resamples are scored anew."""
        return f"{self.metric.signature}|recomputed"

    def measure(self, samples: Sequence[Sample], completions: Sequence[str]) -> FloatArray:
        """Not how these statistics are made: see `counted`."""
        raise NotImplementedError("rows are counted over whole arms")

    def value(self, totals: FloatArray) -> FloatArray:
        """The score of every multiset of rows, (..., T) -> (...)."""
        flat = totals.reshape(-1, len(self.samples))
        scores = np.array([self._score(counts) for counts in flat], dtype=np.float64)
        return scores.reshape(totals.shape[:-1])

    def per_sample(self, statistics: FloatArray) -> FloatArray:
        """The score of each row alone."""
        return self.value(statistics)

    def _score(self, counts: FloatArray) -> float:
        rows = np.repeat(np.arange(len(counts)), np.rint(counts).astype(np.int64))
        if not len(rows):
            return float("nan")
        return self.metric.score([self.samples[i] for i in rows], [self.completions[i] for i in rows])


def counted(
    metric: RecomputedMetric, samples: Sequence[Sample], arms: Sequence[Sequence[str]]
) -> tuple[CountedRows, list[FloatArray]]:
    """The additive form, and for each arm its one-hot statistics (N, T) with T = arms x N.

    arms: the N completions of each arm, aligned with the samples. All arms share the columns, so that rows can be
    swapped between them.
    """
    n, total = len(samples), len(samples) * len(arms)
    rows = CountedRows(metric, tuple(samples) * len(arms), tuple(text for arm in arms for text in arm))
    return rows, [np.eye(n, total, k=n * place) for place in range(len(arms))]
