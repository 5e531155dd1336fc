"""Which items to label: exact counts, and what a batch leaves to the next."""

from __future__ import annotations

import numpy as np
import pytest

from harness.stats.allocation import (
    draw,
    label_spreads,
    neyman,
    proportional,
    score_parts,
    score_strata,
)


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
    assert neyman({"a": 49}, {"a": 1.0}, {"a": 1}, 0) == {"a": 0}


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
