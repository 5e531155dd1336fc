"""Bootstrap sums and the interval of one metric."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.stats.resampling import bootstrap_values, cluster_totals, estimate, wilson


def interval(metric, statistics, *, clusters=None, n_resamples=2000, seed=0):
    rng = np.random.default_rng(seed)
    return estimate(metric, statistics, clusters=clusters, failures=3, n_resamples=n_resamples, rng=rng)


def test_clusters_are_summed_in_order_of_first_appearance():
    statistics = np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]])
    assert cluster_totals(statistics, ["z", "a", "z"]).tolist() == [[5.0, 50.0], [2.0, 20.0]]
    assert cluster_totals(statistics, None).tolist() == statistics.tolist()


def test_wrong_number_of_clusters_is_a_bug_not_a_result():
    with pytest.raises(ValueError, match="2 clusters for 3 samples"):
        cluster_totals(np.ones((3, 1)), ["a", "b"])


@given(names=st.lists(st.sampled_from("abcd"), min_size=1, max_size=30))
def test_cluster_totals_add_up_to_the_total(names):
    statistics = np.arange(2.0 * len(names)).reshape(-1, 2)
    totals = cluster_totals(statistics, names)
    assert totals.sum(0) == pytest.approx(statistics.sum(0))
    assert len(totals) == len(set(names))


def test_resampled_means_have_the_mean_and_variance_of_theory(rng):
    x = rng.lognormal(size=80)
    values = bootstrap_values(lambda t: t[..., 0] / 80, x[:, None], n_resamples=40_000, rng=rng)
    assert values.mean() == pytest.approx(x.mean(), rel=0.005)
    assert values.var() == pytest.approx(x.var() / 80, rel=0.05)  # plug-in variance: Efron and Tibshirani 1993, 5.12


def test_percentiles_agree_with_scipy_on_a_ratio_of_sums(rng, toy):
    statistics = np.column_stack([rng.poisson(5, 200), rng.poisson(9, 200) + 1.0, np.ones(200)])
    metric = toy("f1")
    ours = bootstrap_values(metric.value, statistics, n_resamples=20_000, rng=rng)
    theirs = stats.bootstrap(
        tuple(statistics.T),
        lambda a, b, c, axis: 2 * a.sum(axis) / (b.sum(axis) + c.sum(axis)),
        paired=True,
        method="percentile",
        n_resamples=5000,
        rng=rng,
    )
    spread = ours.std()
    assert np.quantile(ours, [0.025, 0.975]) == pytest.approx(list(theirs.confidence_interval), abs=0.1 * spread)


def test_chunking_does_not_change_the_number_of_resamples_and_memory_stays_bounded(rng):
    totals = np.ones((100_000, 10))
    tracemalloc.start()
    values = bootstrap_values(lambda t: t[..., 0], totals, n_resamples=61, rng=rng)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert values.tolist() == [100_000.0] * 61
    assert peak < 300e6


def test_same_seed_same_interval(as_mean, toy, rng):
    data = as_mean(rng.random(60))
    assert interval(toy(), data, seed=4) == interval(toy(), data, seed=4)
    assert interval(toy(), data, seed=4) != interval(toy(), data, seed=5)


def test_wilson_equals_scipy():
    for k, n in ((0, 20), (7, 31), (20, 20)):
        theirs = stats.binomtest(k, n).proportion_ci(method="wilson")
        assert wilson(k, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_all_right_at_n_20_is_not_certainty(as_mean, toy):
    found = interval(toy(), as_mean(np.ones(20)))
    assert (found.value, found.low, found.high) == pytest.approx((1.0, 0.8389, 1.0), abs=1e-4)
    assert found.undefined is None
    assert (found.n, found.n_clusters, found.failures) == (20, 20, 3)


def test_identical_fractional_scores_leave_room_for_what_was_not_seen(as_mean, toy):
    found = interval(toy(), as_mean(np.full(50, 0.5)))
    share = stats.binomtest(0, 50).proportion_ci(method="exact").high  # Clopper-Pearson by scipy
    assert (found.low, found.high) == pytest.approx((0.5 - share / 2, 0.5 + share / 2))


def test_identical_scores_in_groups_count_groups_not_samples(as_mean, toy):
    found = interval(toy(), as_mean(np.ones(50)), clusters=[str(i // 10) for i in range(50)])
    assert found.n_clusters == 5
    assert found.low == pytest.approx(1 - stats.binomtest(0, 5).proportion_ci(method="exact").high)


def test_a_corpus_metric_without_spread_has_no_interval_and_says_why(toy):
    found = interval(toy("f1"), np.tile([3.0, 4.0, 5.0], (30, 1)))
    assert found.value == pytest.approx(6 / 9)
    assert (found.low, found.high) == (None, None)
    assert "score the same" in found.undefined


def test_perfect_macro_f1_does_not_borrow_the_interval_of_accuracy(toy):
    eye = np.eye(2)[np.arange(20) % 2]
    found = interval(toy("macro"), np.hstack([eye, eye, eye]))
    assert (found.value, found.low) == (1.0, None)


@pytest.mark.parametrize("clusters", [None, ["only"]])
def test_one_sample_has_a_value_but_no_interval(as_mean, toy, clusters):
    found = interval(toy(), as_mean([1.0]), clusters=clusters)
    assert (found.value, found.low, found.high) == (1.0, None, None)
    assert "too few" in found.undefined


def test_undefined_value_is_none_with_a_reason_and_never_zero(toy):
    found = interval(toy(), np.zeros((5, 2)))
    assert (found.value, found.low) == (None, None)
    assert "not defined" in found.undefined


def test_no_samples_is_none_with_a_reason(toy):
    found = interval(toy(), np.zeros((0, 2)))
    assert (found.value, found.n) == (None, 0)
    assert found.undefined == "there are no samples"


def test_too_many_undefined_resamples_make_the_interval_undefined(toy):
    rows = np.zeros((10, 3))
    rows[0] = 1  # a third of the resamples miss the only sample that counts
    assert "too many resamples" in interval(toy("f1"), rows).undefined


@settings(max_examples=30, deadline=None)
@given(scores=st.lists(st.floats(0, 1), min_size=2, max_size=30))
def test_interval_stays_in_range_and_around_the_value(scores):
    from harness.metrics.mean import MeanMetric

    data = np.column_stack([scores, np.ones(len(scores))])
    found = interval(MeanMetric("m", "m", lambda c, r: 0.0), data, n_resamples=200)
    if found.low is not None:
        assert -1e-12 <= found.low <= found.high <= 1 + 1e-12
        # 200 resamples of a skewed sample: the ends are quantiles, so the value may only just lie outside.
        assert found.low - 0.2 <= found.value <= found.high + 0.2
