"""Metrics that are the mean of a score per sample: most of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from harness.core.types import FloatArray, Sample


def ratio(numerators: FloatArray, denominators: FloatArray) -> FloatArray:
    """Elementwise quotient, nan (without a warning) where the denominator is 0."""
    undefined = np.full(np.broadcast_shapes(np.shape(numerators), np.shape(denominators)), np.nan)
    return np.asarray(np.divide(numerators, denominators, out=undefined, where=np.asarray(denominators) != 0))


@dataclass(frozen=True, slots=True)
class MeanMetric:
    """The mean of `score(completion, references)` over samples; a row of statistics is (score, 1).

    `harness.stats` recognises this layout and uses exact intervals and tests where scores are 0 or 1.
    caveats: what the metric cannot do for this task's texts, said to people after its name; every metric may have them.
    portable: other processes may measure it, see `harness.metrics.parallel`; then `score` must pickle.
    """

    name: str
    signature: str
    score: Callable[[str, Sequence[str]], float]
    higher_is_better: bool = True
    best: float = 1.0
    worst: float = 0.0
    caveats: tuple[str, ...] = ()
    portable: bool = False

    def measure(self, samples: Sequence[Sample], completions: Sequence[str]) -> FloatArray:
        """(N, 2): score and 1."""
        pairs = zip(samples, completions, strict=True)
        scores = [self.score(completion, sample.references) for sample, completion in pairs]
        return np.column_stack([np.array(scores, dtype=np.float64), np.ones(len(scores))])

    def value(self, totals: FloatArray) -> FloatArray:
        """Sum of scores by number of samples."""
        return ratio(totals[..., 0], totals[..., 1])

    def per_sample(self, statistics: FloatArray) -> FloatArray:
        """The scores."""
        return ratio(statistics[:, 0], statistics[:, 1])
