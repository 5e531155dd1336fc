"""What the statistics promise, counted over simulated experiments: coverage of intervals, false "better"."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from harness.stats.decision import decide
from harness.stats.multiplicity import holm
from harness.stats.paired import compare
from harness.stats.resampling import estimate

N_RUNS = 600


def bernoulli(rng, n):
    return np.column_stack([rng.random(n) < 0.8, np.ones(n)]).astype(float)


def skewed(rng, n):
    return np.column_stack([rng.beta(0.5, 0.2, n), np.ones(n)])


def ratio_of_sums(rng, n):
    lengths = rng.poisson(20, n) + 1
    matched = rng.binomial(lengths, rng.beta(2, 3, n))
    return np.column_stack([matched, lengths + rng.poisson(2, n), lengths]).astype(float)


@pytest.mark.parametrize("n", [50, 200])
@pytest.mark.parametrize(("draw", "kind"), [(bernoulli, "ratio"), (skewed, "ratio"), (ratio_of_sums, "f1")])
def test_intervals_cover_the_truth_as_often_as_they_say(draw, kind, n, toy):
    rng = np.random.default_rng(n)
    metric = toy(kind)
    truth = metric.value(draw(rng, 400_000).sum(0))
    covered = 0
    for _ in range(N_RUNS):
        found = estimate(metric, draw(rng, n), clusters=None, failures=0, n_resamples=500, rng=rng)
        covered += found.low <= truth <= found.high
    assert 0.92 <= covered / N_RUNS <= 0.98


def test_interval_of_grouped_samples_covers_only_when_it_knows_the_groups(toy):
    rng = np.random.default_rng(5)
    groups = [str(i // 10) for i in range(300)]
    covered = {"groups": 0, "ignored": 0}
    for _ in range(300):
        scores = 0.5 + grouped_noise(rng, 30)
        data = np.column_stack([scores, np.ones(300)])
        for name, clusters in (("groups", groups), ("ignored", None)):
            found = estimate(toy(), data, clusters=clusters, failures=0, n_resamples=400, rng=rng)
            covered[name] += found.low <= 0.5 <= found.high
    assert 0.92 <= covered["groups"] / 300 <= 0.98
    assert covered["ignored"] / 300 < 0.80


def grouped_noise(rng, n_groups):
    """Noise of ten samples a group, variance .04, of which the group's is .3 (ICC .3)."""
    group = np.repeat(rng.normal(0, np.sqrt(0.04 * 0.3), n_groups), 10)
    return group + rng.normal(0, np.sqrt(0.04 * 0.7), n_groups * 10)


def answers(metric, tuned, baselines, *, clusters, rng):
    """The pipeline's conclusion: compare with every baseline, Holm, decide."""
    found = [compare(metric, tuned, b, clusters=clusters, n_resamples=400, rng=rng) for b in baselines]
    adjusted = holm([f.p for f in found])
    return [
        decide(delta=f.delta, low=f.low, high=f.high, p_adjusted=p, smallest_effect=1e-6)
        for f, p in zip(found, adjusted, strict=True)
    ]


def most_allowed(n_runs):
    """Runs of n that may say "better" when its true probability is 5 %: the 99.9 % quantile."""
    return stats.binom.ppf(0.999, n_runs, 0.05)


@pytest.mark.parametrize(("draw", "kind"), [(bernoulli, "ratio"), (skewed, "ratio"), (ratio_of_sums, "f1")])
@pytest.mark.parametrize("n", [30, 150])
def test_under_the_null_it_says_better_at_most_once_in_twenty(draw, kind, n, toy):
    rng = np.random.default_rng(n)
    said, wrong = 0, 0
    for _ in range(N_RUNS):
        arms = [draw(rng, n) for _ in range(3)]
        found = answers(toy(kind), arms[0], arms[1:], clusters=None, rng=rng)
        said += "better" in found
        wrong += "better" in found or "worse" in found
    assert said <= most_allowed(N_RUNS)
    # Holm's promise is about both directions together.
    assert wrong <= most_allowed(N_RUNS)


def grouped_null_rate(toy, *, clusters, n_runs, kind="scores"):
    """Share of null experiments on 20 groups of ten that say "better" of a candidate that is not."""
    rng = np.random.default_rng(11)
    said = 0
    for _ in range(n_runs):
        arms = [0.5 + grouped_noise(rng, 20) for _ in range(3)]
        if kind == "right or wrong":
            arms = [(arm > 0.5).astype(float) for arm in arms]
        data = [np.column_stack([arm, np.ones(200)]) for arm in arms]
        said += "better" in answers(toy(), data[0], data[1:], clusters=clusters, rng=rng)
    return said, n_runs


GROUPS = [str(i // 10) for i in range(200)]


@pytest.mark.parametrize("kind", ["scores", "right or wrong"])
def test_under_the_null_with_groups_it_says_better_at_most_once_in_twenty(toy, kind):
    said, n_runs = grouped_null_rate(toy, clusters=GROUPS, n_runs=400, kind=kind)
    assert said <= most_allowed(n_runs)


def test_ignoring_the_groups_would_fail_that_test(toy):
    said, n_runs = grouped_null_rate(toy, clusters=None, n_runs=300)
    assert said > most_allowed(n_runs)


def test_a_real_difference_is_found_with_the_power_that_was_promised(toy):
    rng = np.random.default_rng(2)
    said = 0
    for _ in range(200):
        base = rng.random(100)
        better = base + rng.normal(0.1, 0.3, 100)  # 80 % needs n = 73, so more at 100, less two baselines
        data = [np.column_stack([x, np.ones(100)]) for x in (better, base)]
        said += answers(toy(), data[0], data[1:], clusters=None, rng=rng) == ["better"]
    assert said / 200 > 0.8
