"""Closed forms over clusters, against scipy, statsmodels and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from harness.stats.equivalence import (
    centred,
    cluster_sums,
    enough_for,
    equivalence,
    holm_adjusted,
    mean,
    mean_difference,
    within_correlation,
)


def paired(n: int = 40, shift: float = 0.05):
    """n prompts on two systems: values (2 n), who is who, and the prompts."""
    rng = np.random.default_rng(0)
    prompt = rng.normal(size=n)
    values = np.r_[prompt + rng.normal(size=n) * 0.2, prompt + rng.normal(size=n) * 0.2 + shift]
    return values, np.repeat([False, True], n), np.tile(np.arange(n), 2)


def test_difference_within_prompts_is_the_paired_t_test():
    values, second, prompts = paired()
    found = mean_difference(values, second, ~second, prompts)
    expected = stats.ttest_rel(values[second], values[~second])
    assert found.df == expected.df
    assert float(found.value / found.se) == pytest.approx(expected.statistic, rel=1e-12)
    interval = expected.confidence_interval(0.9)
    assert found.interval(0.9) == pytest.approx((interval.low, interval.high), rel=1e-10)


def test_two_one_sided_tests_are_those_of_statsmodels():
    values, second, prompts = paired()
    found = equivalence(mean_difference(values, second, ~second, prompts), 0.1)
    p, *_ = ttost_paired(values[second], values[~second], -0.1, 0.1)
    assert float(found.p_inside) == pytest.approx(p, rel=1e-10)


def test_difference_of_unpaired_prompts_has_the_error_of_two_separate_means():
    rng = np.random.default_rng(1)
    values, second = rng.normal(size=2000), np.arange(2000) % 2 == 0
    found = mean_difference(values, second, ~second, np.arange(2000))
    expected = stats.ttest_ind(values[second], values[~second], equal_var=False)
    assert float(found.value / found.se) == pytest.approx(expected.statistic, rel=1e-3)


def test_mean_of_items_without_groups_is_the_t_test():
    values = np.random.default_rng(2).normal(size=30)
    found = mean(values, np.arange(30))
    assert float(found.value / found.se) == pytest.approx(stats.ttest_1samp(values, 0).statistic, rel=1e-12)


def test_mean_of_a_group_repeated_is_no_surer_than_the_group():
    values = np.random.default_rng(2).normal(size=30)
    once, thrice = mean(values, np.arange(30)), mean(np.tile(values, 3), np.tile(np.arange(30), 3))
    assert (float(thrice.se), thrice.df) == (pytest.approx(float(once.se)), once.df)


def test_rows_are_experiments_of_their_own():
    values, second, prompts = paired()
    both = mean_difference(np.stack([values, values * 2]), second, ~second, prompts)
    alone = mean_difference(values * 2, second, ~second, prompts)
    assert (both.value[1], both.se[1]) == pytest.approx((float(alone.value), float(alone.se)))


@pytest.mark.parametrize("rho", [0.0, 0.4, 0.8])
def test_interval_of_a_correlation_covers_with_prompts_in_common(rho: float):
    # 60 prompts with two answers each, half of all variance shared; 2,000 experiments, error of a coverage .005.
    rng = np.random.default_rng(3)
    size, n = (2000,), 60
    signal, noise = (
        np.sqrt(0.5) * rng.standard_normal((*size, 1, n)) + np.sqrt(0.5) * rng.standard_normal((*size, 2, n))
        for _ in range(2)
    )
    human, judged = signal.reshape(*size, -1), (rho * signal + np.sqrt(1 - rho**2) * noise).reshape(*size, -1)
    found = within_correlation(human, judged, np.repeat([0, 1], n), np.tile(np.arange(n), 2))
    low, high = found.interval(0.95)
    assert np.mean((low <= rho) & (rho <= high)) == pytest.approx(0.945, abs=0.015)
    # Taking the answers for independent would be too sure.
    careless = np.arctanh(found.value)[:, None] + np.array([-1.96, 1.96]) / np.sqrt(2 * n - 3)
    assert np.mean((careless[:, 0] <= np.arctanh(rho)) & (np.arctanh(rho) <= careless[:, 1])) < 0.93


def test_correlation_within_groups_is_pearsons_of_centred_values():
    rng = np.random.default_rng(4)
    one, other, groups = rng.normal(size=50), rng.normal(size=50), np.arange(50) % 3
    one[groups == 1] += 5
    found = within_correlation(one, other, groups, np.arange(50))
    parts = [each - np.array([each[groups == g].mean() for g in range(3)])[groups] for each in (one, other)]
    assert float(found.value) == pytest.approx(stats.pearsonr(*parts).statistic, rel=1e-12)


@pytest.mark.parametrize("values", [np.zeros(20), np.full(20, 0.1)])
def test_correlation_with_what_does_not_vary_is_undefined(values):
    found = within_correlation(np.arange(20.0), values, np.zeros(20, np.int64), np.arange(20))
    assert np.isnan(found.value)


def test_perfect_correlation_has_a_finite_interval():
    found = within_correlation(np.arange(20.0), np.arange(20.0), np.zeros(20, np.int64), np.arange(20))
    low, high = found.interval(0.95)
    assert 0.999 < float(low) <= float(high) <= 1


def test_one_prompt_says_nothing():
    found = mean(np.arange(5.0), np.zeros(5, np.int64))
    assert found.interval(0.9) == (-np.inf, np.inf)
    tests = equivalence(found, 0.1)
    assert (float(tests.p_inside), float(tests.p_outside)) == (1, 1)


def test_difference_without_spread_is_decided_by_its_size():
    values, sides = np.r_[np.zeros(5), np.full(5, 0.3)], np.repeat([False, True], 5)
    found = equivalence(mean_difference(values, sides, ~sides, np.tile(np.arange(5), 2)), 0.1)
    assert (float(found.p_inside), float(found.p_outside)) == (1, 0)


def test_number_of_items_that_is_asked_for_has_the_power_promised():
    # A mean of .3 with sd 1: the one-sided t test of 0 at 5 %.
    n = enough_for(0.3, bound=0.0, se=1 / np.sqrt(50), n=50)
    assert n is not None
    drawn = np.random.default_rng(5).normal(0.3, 1, size=(4000, n))
    p = stats.ttest_1samp(drawn, 0, axis=1, alternative="greater").pvalue
    assert np.mean(p < 0.05) == pytest.approx(0.8, abs=0.03)


def test_sums_and_means_by_group_do_not_hang_on_the_order():
    rng = np.random.default_rng(6)
    values, groups, order = rng.normal(size=(2, 30)), rng.permutation(np.arange(30) % 4), rng.permutation(30)
    expected = np.stack([np.bincount(groups, weights=row) for row in values])
    assert cluster_sums(values, groups) == pytest.approx(expected)
    assert centred(values, groups)[:, order] == pytest.approx(centred(values[:, order], groups[order]))


def test_holm_works_on_columns_apart():
    table = np.array([[0.01, 0.5], [0.02, 0.01]])
    assert pytest.approx(np.array([[0.02, 0.02], [0.5, 0.02]])) == holm_adjusted(table).T
