"""Holm, power, and the four answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.stats.decision import decide
from harness.stats.multiplicity import holm
from harness.stats.power import minimum_detectable_effect, samples_needed


def test_holm_by_hand():
    # Sorted .005 .01 .03 .04 times 4 3 2 1 = .02 .03 .06 .04, made monotone: .02 .03 .06 .06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))


def test_missing_p_values_stay_missing_and_do_not_count():
    assert holm([None, 0.02, None, 0.5]) == (None, 0.04, None, 0.5)
    assert holm([None]) == (None,)
    assert holm([]) == ()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_only_raises_keeps_order_and_stays_a_probability(p_values):
    adjusted = holm(p_values)
    assert all(p <= a <= 1 for p, a in zip(p_values, adjusted, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert np.all(np.diff(np.array(adjusted)[order]) >= 0)


def test_samples_needed_of_a_textbook():
    # G*Power 3.1, two dependent means, d = 0.5, two-sided .05, power .8: 34 pairs.
    assert samples_needed(0.5, sd=1.0) == 34


def test_needed_and_detectable_are_inverse():
    n = samples_needed(0.03, sd=0.4)
    assert minimum_detectable_effect(n, sd=0.4) <= 0.03 < minimum_detectable_effect(n - 1, sd=0.4)


def test_detectable_effect_is_found_four_times_in_five():
    rng = np.random.default_rng(0)
    effect = minimum_detectable_effect(40, sd=1.0)
    p = stats.ttest_1samp(rng.normal(effect, 1, (4000, 40)), 0, axis=1).pvalue
    assert (p < 0.05).mean() == pytest.approx(0.8, abs=0.025)


def test_too_few_samples_detect_nothing_and_no_effect_needs_no_number():
    assert math.isinf(minimum_detectable_effect(1, sd=1.0))
    assert samples_needed(0.1, sd=0.0) == 2
    with pytest.raises(ValueError):
        samples_needed(0.0, sd=1.0)


@pytest.mark.parametrize(
    ("delta", "low", "high", "p", "answer"),
    [
        (0.06, 0.01, 0.11, 0.02, "better"),
        (-0.06, -0.11, -0.01, 0.02, "worse"),
        (0.06, -0.01, 0.13, 0.08, "cannot tell"),
        (0.01, 0.005, 0.015, 0.001, "no difference worth having"),
        (0.0, -0.01, 0.01, 1.0, "no difference worth having"),
        (0.0, -0.02, 0.02, 1.0, "cannot tell"),  # touching the limit is not inside it
        (0.03, 0.01, 0.05, 0.05, "better"),
        (None, None, None, None, "cannot tell"),
        (0.06, None, None, 0.001, "cannot tell"),
        (0.06, 0.01, 0.11, None, "cannot tell"),
    ],
)
def test_four_answers(delta, low, high, p, answer):
    assert decide(delta=delta, low=low, high=high, p_adjusted=p, smallest_effect=0.02) == answer
