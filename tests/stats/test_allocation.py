"""Which items to label, and how many: the design's own table, exact counts, and power by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from harness.stats.allocation import (
    draw,
    effective_labels,
    label_spreads,
    labels_for_equivalence,
    labels_needed,
    labels_to_settle,
    neyman,
    plan,
    proportional,
    score_parts,
    score_strata,
)
from harness.stats.ppi import mean

# Difference, standard deviation; labels needed at correlation 0, .3, .6, .8, .9 with 2,000 judged items.
TABLE = [
    (0.10, 0.85, (568, 527, 397, 244, 138)),
    (0.20, 0.85, (142, 130, 94, 54, 29)),
    (0.20, 1.00, (197, 181, 130, 76, 41)),
    (0.10, 0.45, (159, 146, 105, 61, 33)),
    (0.05, 0.45, (636, 592, 449, 279, 159)),
]


@pytest.mark.parametrize(("effect", "sd", "expected"), TABLE)
def test_labels_needed_are_those_of_the_published_table(effect, sd, expected):
    assert tuple(labels_needed(effect, sd=sd, rho=rho, n_judged=2000) for rho in (0, 0.3, 0.6, 0.8, 0.9)) == expected


def test_without_judged_items_or_correlation_the_labels_needed_are_the_textbooks():
    """(1.96 + 0.8416)^2 (.5 / .1)^2 = 196.2."""
    assert labels_needed(0.1, sd=0.5, rho=0.9, n_judged=0) == 197
    assert labels_needed(0.1, sd=0.5, rho=0.0, n_judged=10_000) == 197


def test_as_many_labels_as_are_needed_find_the_effect_as_often_as_promised():
    rng = np.random.default_rng(3)
    n, found = labels_needed(0.1, sd=0.45, rho=0.6, n_judged=1000), 0
    for _ in range(500):
        human = rng.normal(size=n + 1000)
        judged = 0.6 * human + 0.8 * rng.normal(size=n + 1000)
        human = 0.1 + 0.45 * human
        found += mean(human[:n], judged[:n], judged[n:]).p < 0.05
    assert found / 500 == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize("change", [{"effect": 0.0}, {"sd": 0.0}, {"rho": 1.1}, {"n_judged": -1}])
def test_what_has_no_answer_is_refused(change):
    with pytest.raises(ValueError):
        labels_needed(**{"effect": 0.1, "sd": 1.0, "rho": 0.5, "n_judged": 10, **change})


def test_a_plan_lists_what_labels_can_show_and_the_number_that_is_needed():
    rows = plan(0.10, sd=0.45, rho=0.6, n_judged=2000)
    assert [row.n_labels for row in rows] == [50, 100, 105, 200, 400, 800]
    (needed,) = [row for row in rows if row.settles]
    assert needed.n_labels == 105
    assert needed.power == pytest.approx(0.8, abs=0.005)
    assert needed.detectable == pytest.approx(0.10, abs=0.001)
    assert rows[1].half_width == pytest.approx(
        1.96 * 0.45 / np.sqrt(effective_labels(100, rho=0.6, n_judged=2000)), rel=1e-4
    )
    assert rows[1].labels_alone == 153  # 100 / (1 - .36 * 2000 / 2100) = 152.2


def test_equivalence_needs_the_labels_that_simulation_says():
    rng = np.random.default_rng(4)
    for difference in (0.0, 0.03):
        n = labels_for_equivalence(0.1, sd=0.3, difference=difference)
        means = difference + 0.3 * rng.normal(size=(20_000, n)).mean(axis=1)
        inside = np.abs(means) + 1.645 * 0.3 / np.sqrt(n) < 0.1
        assert inside.mean() == pytest.approx(0.8, abs=0.02)
    assert labels_for_equivalence(0.1, sd=0.3, difference=-0.1) is None


def test_labels_to_settle_grow_with_the_square_of_what_is_missing():
    assert labels_to_settle(0.6, 0.1, 100, 0.4) == 100  # settled already
    assert labels_to_settle(0.45, 0.1, 100, 0.4) == 400
    assert labels_to_settle(0.4, 0.1, 100, 0.4) is None


def test_strata_are_quantiles_and_equal_scores_stay_together(rng):
    scores = rng.random(1000)
    strata = score_strata(scores)
    assert np.bincount(strata).tolist() == [200] * 5
    assert all(scores[strata == h].max() < scores[strata == h + 1].min() for h in range(4))
    assert score_strata(np.array([0.0, 0.0, 0.0, 1.0])).tolist() == [0, 0, 0, 1]
    assert score_strata(np.ones(7)).tolist() == [0] * 7
    with pytest.raises(ValueError, match="finite"):
        score_strata(np.array([np.nan, 1.0]))


def test_strata_are_as_many_as_have_the_least_items_each():
    scores = np.arange(35.0)
    assert np.bincount(score_strata(scores, least=7)).tolist() == [7] * 5
    assert np.bincount(score_strata(scores, least=10)).tolist() == [12, 12, 11]
    assert score_strata(scores, least=18).tolist() == [0] * 35
    # Nine ones of a hundred are too few for a part of their own, ten are not.
    assert set(score_parts([0.0] * 91 + [1.0] * 9)) == {""}
    assert score_parts([0.0] * 90 + [1.0] * 10)[-1] == "part 2 of 2 by the judge's score"


def test_what_has_no_score_stands_at_the_mean_of_the_others():
    names = score_parts([*np.arange(50.0), None, None])
    assert names[0] == "part 1 of 5 by the judge's score"
    assert names[-2:] == ("part 3 of 5 by the judge's score",) * 2
    assert score_parts([None, None]) == ("", "")
    assert score_parts([]) == ()


def test_a_first_batch_is_proportional_with_some_labels_everywhere():
    assert proportional({"a": 800, "b": 150, "c": 50}, 100) == {"a": 76, "b": 14, "c": 10}
    assert proportional({"a": 995, "b": 5}, 100) == {"a": 95, "b": 5}  # no more than there are
    assert proportional({"a": 3, "b": 4}, 100) == {"a": 3, "b": 4}
    assert sum(proportional(dict.fromkeys(range(5), 400), 33).values()) == 33


def test_both_batches_together_are_in_proportion_to_size_times_spread():
    sizes, spreads = {"calm": 500, "usual": 300, "wild": 200}, {"calm": 0.1, "usual": 0.2, "wild": 0.5}
    second = neyman(sizes, spreads, {"calm": 10, "usual": 10, "wild": 10}, 180)
    # 50 : 60 : 100 of 210 labels.
    assert second == {"calm": 40, "usual": 50, "wild": 90}


def test_labels_that_cannot_be_taken_back_leave_the_rest_to_the_others():
    sizes, spreads = {"calm": 500, "usual": 300, "wild": 200}, {"calm": 0.0, "usual": 0.2, "wild": 0.3}
    assert neyman(sizes, spreads, {"calm": 50, "usual": 0, "wild": 0}, 100) == {"calm": 0, "usual": 50, "wild": 50}
    assert neyman({"a": 10, "b": 500}, {"a": 9.0, "b": 0.1}, {"a": 4, "b": 4}, 50) == {"a": 6, "b": 44}
    assert neyman({"a": 50, "b": 50}, {"a": 0.0, "b": 0.0}, {}, 20) == {"a": 10, "b": 10}


def test_ten_labels_that_agree_do_not_make_a_stratum_certain():
    errors = np.concatenate([np.zeros(10), np.tile([-0.3, 0.3], 5)])
    spreads = label_spreads(errors, ["calm"] * 10 + ["wild"] * 10)
    pooled = 10 * 0.09 / 18
    assert spreads["calm"] == pytest.approx(np.sqrt(5 * pooled / 14))
    assert spreads["wild"] == pytest.approx(np.sqrt((0.9 + 5 * pooled) / 14))


def test_drawn_items_are_as_many_as_wanted_and_carry_their_chances(rng):
    strata = ["a"] * 80 + ["b"] * 20
    drawn = draw(strata, {"a": 8, "b": 10}, rng)
    assert len(set(drawn.indices.tolist())) == 18
    chance = dict(zip(drawn.indices.tolist(), drawn.probabilities.tolist(), strict=True))
    assert all(p == (0.1 if index < 80 else 0.5) for index, p in chance.items())
    assert sum(1 / p for p in chance.values()) == pytest.approx(100)
    with pytest.raises(ValueError, match="has 20 items"):
        draw(strata, {"b": 21}, rng)


def test_a_second_batch_leaves_the_first_alone_and_a_larger_one_takes_more_of_the_same():
    strata, first = ["a"] * 80 + ["b"] * 20, [index % 4 == 0 for index in range(100)]
    small = draw(strata, {"a": 6, "b": 5}, np.random.default_rng(1), labelled_I=first)
    large = draw(strata, {"a": 30, "b": 15}, np.random.default_rng(1), labelled_I=first)
    assert not any(first[index] for index in large.indices)
    assert set(small.indices.tolist()) < set(large.indices.tolist())
    assert dict(zip(large.indices.tolist(), large.probabilities.tolist(), strict=True)) == {
        index: 30 / 80 if index < 80 else 15 / 20 for index in large.indices.tolist()
    }
    with pytest.raises(ValueError, match="has 15 items"):
        draw(strata, {"b": 16}, np.random.default_rng(1), labelled_I=first)
