"""Small metrics for the statistics: a mean, a ratio of sums, macro-F1, and their data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest

from harness.core.types import FloatArray


@dataclass(frozen=True)
class ToyMetric:
    """value: first / second column ("ratio"), 2 first / (second + third) ("f1"), or macro-F1 of C classes."""

    kind: Literal["ratio", "f1", "macro"] = "ratio"
    higher_is_better: bool = True
    best: float = 1.0
    worst: float = 0.0
    name: str = "toy"
    signature: str = "toy|1"

    def measure(self, samples, completions):
        raise NotImplementedError

    def value(self, totals: FloatArray) -> FloatArray:
        with np.errstate(invalid="ignore", divide="ignore"):
            if self.kind == "ratio":
                return totals[..., 0] / totals[..., 1]
            if self.kind == "f1":
                return 2 * totals[..., 0] / (totals[..., 1] + totals[..., 2])
            right, out, true = np.moveaxis(totals.reshape(*totals.shape[:-1], 3, -1), -2, 0)
            seen = out + true > 0
            return np.where(seen, 2 * right / np.where(seen, out + true, 1), 0).sum(-1) / seen.sum(-1)

    def per_sample(self, statistics: FloatArray) -> FloatArray:
        if self.kind == "macro":
            return statistics[:, : statistics.shape[1] // 3].sum(1)
        return self.value(statistics)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)


@pytest.fixture
def toy() -> type[ToyMetric]:
    return ToyMetric


@pytest.fixture
def as_mean():
    """Scores as the statistics of a mean: (score, 1)."""
    return lambda scores: np.column_stack([np.asarray(scores, float), np.ones(len(scores))])
