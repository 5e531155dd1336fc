"""Rates: Wilson's interval against statsmodels, and the small-count fallback."""

from __future__ import annotations

import numpy as np
import pytest

from harness.stats import ppi, rates


def passes(rng, n, n_judged, *, rate, sensitivity=0.9, specificity=0.8):
    human = (rng.random(n + n_judged) < rate).astype(float)
    said = np.where(human == 1, rng.random(n + n_judged) < sensitivity, rng.random(n + n_judged) >= specificity)
    judged = said.astype(float)
    return human[:n], judged[:n], judged[n:]


@pytest.mark.parametrize(("n_right", "n"), [(0, 20), (7, 20), (100, 100), (99, 100)])
def test_interval_of_labels_alone_is_wilsons(n_right, n):
    from statsmodels.stats.proportion import proportion_confint

    found = rates.labels_only(np.array([1.0] * n_right + [0.0] * (n - n_right)))
    assert (found.low, found.high) == pytest.approx(proportion_confint(n_right, n, method="wilson"), abs=1e-12)
    assert found.value == pytest.approx(n_right / n)


def test_corrected_interval_is_wilsons_with_the_effective_number_of_labels(rng):
    from statsmodels.stats.proportion import proportion_confint

    data = passes(rng, 100, 2000, rate=0.7)
    found, mean = rates.rate(*data), ppi.mean(*data)
    assert found.value == mean.value
    effective = mean.value * (1 - mean.value) / mean.se**2
    assert (found.low, found.high) == pytest.approx(
        proportion_confint(mean.value * effective, effective, method="wilson"), abs=1e-12
    )
    assert effective == pytest.approx(found.effective_labels, rel=0.1)
    assert found.high - found.low < 0.85 * np.subtract(*reversed(proportion_confint(70, 100, method="wilson")))


@pytest.mark.parametrize("n_wrong", [0, 1, 2])
def test_fewer_than_three_of_the_rarer_value_leave_the_labels_alone(n_wrong, rng):
    human_n = np.array([1.0] * (100 - n_wrong) + [0.0] * n_wrong)
    found = rates.rate(human_n, human_n, (rng.random(1000) < 0.9).astype(float))
    alone = rates.labels_only(human_n)
    assert (found.value, found.low, found.high) == (alone.value, alone.low, alone.high)
    assert found.method == "labels alone, Wilson"
    assert found.N == 1000


def test_three_of_the_rarer_value_are_enough(rng):
    human_n = np.array([1.0] * 97 + [0.0] * 3)
    assert rates.rate(human_n, human_n, (rng.random(1000) < 0.95).astype(float)).method == "PPI++, Wilson"


def test_fewer_than_thirty_labels_are_never_corrected(rng):
    assert rates.rate(*passes(rng, 29, 1000, rate=0.5)).method == "labels alone, Wilson"
    assert rates.rate(*passes(rng, 30, 1000, rate=0.5)).method == "PPI++, Wilson"


def test_labels_of_few_prompts_count_as_few():
    human_n = np.repeat([1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0], 10)
    names = np.repeat(np.arange(10), 10).tolist()
    clustered, independent = rates.labels_only(human_n, clusters_n=names), rates.labels_only(human_n)
    # Ten prompts of which seven pass, each ten times: nine observations, as one goes into the variance.
    ends = rates.wilson(0.7, 9, quantile=2.262157)  # t of 9 degrees of freedom
    assert (clustered.low, clustered.high) == pytest.approx(ends, abs=1e-6)
    assert clustered.high - clustered.low > 2.5 * (independent.high - independent.low)
    equal = rates.labels_only(np.ones(100), clusters_n=names)
    assert equal.low < rates.wilson(1.0, 10, quantile=1.96)[0] + 1e-3


def test_a_rate_near_one_stays_within_bounds_and_keeps_some_width(rng):
    found = rates.rate(*passes(rng, 100, 1000, rate=0.96, sensitivity=0.99, specificity=0.9))
    assert 0 < found.low < found.value <= found.high <= 1


def test_scores_that_are_no_rates_are_refused():
    with pytest.raises(ValueError, match="0 or 1"):
        rates.rate(np.array([0.5, 1.0]), np.ones(2), np.ones(2))
