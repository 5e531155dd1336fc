"""Metrics that are scored anew on every resample get exactly what an additive metric would get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from harness.core.types import Completion, Message, Sample
from harness.metrics.mean import MeanMetric
from harness.pipeline.draws import Drawn, additive
from harness.stats.paired import compare
from harness.stats.recomputed import counted, counted_steps
from harness.stats.resampling import estimate, estimate_parts
from harness.stats.selection import choose

N = 40
SAMPLES = [Sample(f"s{i}", "test", (Message("user", "q"),), (f"answer {i}",)) for i in range(N)]
RNG = np.random.default_rng(5)
ARMS = [[f"answer {i}"[: RNG.integers(2, 10)] for i in range(N)] for _ in range(3)]


def overlap(completion: str, references: Sequence[str]) -> float:
    """Share of the reference that is there: a score with many values, so that no exact interval applies."""
    return len(completion) / len(references[0])


ADDITIVE = MeanMetric("overlap", "overlap|test", overlap)


@dataclass(frozen=True)
class Anew:
    """The same mean, but only ever of whole sets of rows."""

    name: str = "overlap"
    signature: str = "overlap|anew"
    higher_is_better: bool = True
    best: float = 1.0
    worst: float = 0.0

    def score(self, samples: Sequence[Sample], completions: Sequence[str]) -> float:
        return float(np.mean([overlap(c, s.references) for s, c in zip(samples, completions, strict=True)]))


def rng() -> np.random.Generator:
    return np.random.default_rng(11)


@pytest.mark.parametrize("clusters", [None, [f"g{i % 13}" for i in range(N)]])
def test_the_interval_is_the_additive_metrics(clusters: list[str] | None) -> None:
    metric, (one_hot,) = counted(Anew(), SAMPLES, ARMS[:1])
    plain = ADDITIVE.measure(SAMPLES, ARMS[0])
    settings = {"clusters": clusters, "failures": 0, "n_resamples": 400}
    found, expected = (
        estimate(m, statistics, rng=rng(), **settings)  # type: ignore[arg-type]
        for m, statistics in ((metric, one_hot), (ADDITIVE, plain))
    )
    assert (found.value, found.low, found.high) == pytest.approx((expected.value, expected.low, expected.high))
    assert found.signature.endswith("|recomputed")


@pytest.mark.parametrize("clusters", [None, [f"g{i % 13}" for i in range(N)]])
def test_the_paired_test_is_the_additive_metrics(clusters: list[str] | None) -> None:
    metric, (candidate, baseline) = counted(Anew(), SAMPLES, ARMS[:2])
    found = compare(metric, candidate, baseline, clusters=clusters, n_resamples=300, rng=rng())
    expected = compare(
        ADDITIVE,
        ADDITIVE.measure(SAMPLES, ARMS[0]),
        ADDITIVE.measure(SAMPLES, ARMS[1]),
        clusters=clusters,
        n_resamples=300,
        rng=rng(),
    )
    assert (found.delta, found.low, found.high) == pytest.approx((expected.delta, expected.low, expected.high))
    assert (found.p, found.wins, found.losses) == (expected.p, expected.wins, expected.losses)


def test_arms_of_several_draws_are_averaged_and_unanswered_samples_left_out() -> None:
    used = np.array([i % 5 != 0 for i in range(N)])
    drawn = [
        Drawn(SAMPLES, np.zeros((len(texts), N, 1)), [[Completion(t, "stop", 1) for t in draw] for draw in texts])
        for texts in (ARMS[:1], ARMS[1:])
    ]
    metric, (single, double) = additive(Anew(), drawn, used)

    def mean(arm: list[str]) -> float:
        return float(
            np.mean([overlap(c, s.references) for s, c in zip(SAMPLES, arm, strict=True) if used[int(s.id[1:])]])
        )

    assert metric.value(single.sum(axis=0)) == pytest.approx(mean(ARMS[0]))
    assert metric.value(double.sum(axis=0)) == pytest.approx((mean(ARMS[1]) + mean(ARMS[2])) / 2)


def test_the_choice_among_checkpoints_is_the_additive_metrics() -> None:
    steps = [1, 2, 3]
    metric, statistics = counted_steps(Anew(), SAMPLES, ARMS)
    settings = {"clusters": None, "rule": "one_standard_error", "n_resamples": 200}
    found = choose(metric, dict(zip(steps, statistics, strict=True)), rng=rng(), **settings)  # type: ignore[arg-type]
    plain = {step: ADDITIVE.measure(SAMPLES, arm) for step, arm in zip(steps, ARMS, strict=True)}
    expected = choose(ADDITIVE, plain, rng=rng(), **settings)  # type: ignore[arg-type]
    assert (found.best_step, found.chosen_step, found.tied_steps) == (
        expected.best_step,
        expected.chosen_step,
        expected.tied_steps,
    )
    assert (found.standard_error, found.optimism) == pytest.approx((expected.standard_error, expected.optimism))


def test_parts_on_shared_resamples_are_what_each_gets_alone() -> None:
    statistics = np.hstack([ADDITIVE.measure(SAMPLES, arm) for arm in ARMS])
    parts = [(ADDITIVE, (2 * i, 2 * i + 1)) for i in range(3)]
    together = estimate_parts(parts, statistics, clusters=None, failures=2, n_resamples=500, rng=rng())
    alone = [
        estimate(ADDITIVE, statistics[:, 2 * i : 2 * i + 2], clusters=None, failures=2, n_resamples=500, rng=rng())
        for i in range(3)
    ]
    for found, expected in zip(together, alone, strict=True):
        assert (found.value, found.low, found.high) == pytest.approx((expected.value, expected.low, expected.high))
        assert (found.n, found.failures, found.signature) == (expected.n, expected.failures, expected.signature)
