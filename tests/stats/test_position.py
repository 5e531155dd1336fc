"""A judge of pairs that looks at places."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from harness.stats.position import position_bias


def found(orders, clusters=None):
    clusters = [str(i) for i in range(len(orders))] if clusters is None else clusters
    return position_bias(orders, clusters, n_resamples=400, rng=np.random.default_rng(0))


def test_splits_towards_the_first_place_are_counted_and_tested_exactly():
    # Six pairs keep their side; four times the answer shown first is preferred, whichever it is.
    bias = found([(0.9, 0.8), (0.1, 0.3), (0.5, 0.5), (1.0, 1.0), (0.2, 0.2), (0.6, 0.9)] + [(0.9, 0.1)] * 4)
    assert bias.consistency.value == 0.6
    assert bias.first_slot.value == 1.0
    assert bias.p == pytest.approx(2 * 0.5**4)
    assert (bias.first_slot.n, bias.consistency.n) == (4, 10)
    # Clopper and Pearson by hand: (alpha / 2) ** (1 / 4).
    assert (bias.first_slot.low, bias.first_slot.high) == pytest.approx((0.025**0.25, 1.0))


def test_the_second_place_counts_as_well_and_ties_in_one_order_lean_to_a_place():
    bias = found([(0.1, 0.9), (0.5, 0.9), (0.0, 0.5), (0.5, 0.0), (0.7, 0.8)])
    # second, second, second, first; one consistent
    assert (bias.first_slot.value, bias.consistency.value) == (0.25, 0.2)
    assert bias.p == pytest.approx(stats.binomtest(1, 4).pvalue)


def test_turning_every_pair_round_turns_nothing(rng):
    orders = [tuple(pair) for pair in rng.random((80, 2))]
    turned = [(1 - second, 1 - first) for first, second in orders]
    assert found(turned) == found(orders)


def test_a_fair_judge_is_rarely_accused(rng):
    accused = 0
    for _ in range(300):
        bias = position_bias(rng.random((40, 2)), [str(i) for i in range(40)], n_resamples=2, rng=rng)
        accused += bias.p < 0.05
    assert accused <= 22  # the exact test keeps 5 %, 15; 22 would be two standard errors more


def test_answers_of_one_prompt_are_one_witness():
    orders = [(0.9, 0.1)] * 12
    alone, together = found(orders), found(orders, [str(i // 4) for i in range(12)])
    assert alone.p == pytest.approx(2 * 0.5**12)
    assert together.p == pytest.approx(2 * 0.5**3)


def test_a_consistent_judge_has_no_splits_to_test():
    bias = found([(0.9, 0.8), (0.2, 0.1)])
    assert (bias.consistency.value, bias.first_slot.value, bias.p) == (1.0, None, None)
    assert "no pair is inconsistent" in bias.first_slot.note


def test_missing_scores_are_refused():
    with pytest.raises(ValueError, match="not a finite number"):
        found([(0.5, float("nan"))])
