"""Ranks and their intervals: small cases by hand, coverage by simulation against ranks known beforehand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from harness.bench.standings import (
    Ranks,
    Scored,
    first_shares,
    mean_ranks,
    observed_scores,
    percentile_interval,
    rank,
    resampled_scores,
    spread,
)
from harness.core.types import FloatArray

NAN = float("nan")


def mean(totals: FloatArray) -> FloatArray:
    """A mean of scores: (sum of scores, number of samples)."""
    value: FloatArray = totals[..., 0] / totals[..., 1]
    return value


def scored(scores: list[float]) -> Scored:
    return Scored(np.array([[score, 1.0] for score in scores]), mean)


def test_best_score_has_rank_one_in_either_direction() -> None:
    assert rank(np.array([0.1, 0.7, 0.4]), higher_is_better=True).tolist() == [3, 1, 2]
    assert rank(np.array([0.1, 0.7, 0.4]), higher_is_better=False).tolist() == [1, 3, 2]


def test_ties_share_the_mean_of_their_places() -> None:
    scores = np.array([[0.5, 0.5, 0.9, 0.5], [0.2, 0.2, 0.2, 0.2]])
    assert rank(scores, higher_is_better=True).tolist() == [[3, 3, 1, 3], [2.5, 2.5, 2.5, 2.5]]


def test_scores_that_differ_by_rounding_are_a_tie() -> None:
    assert rank(np.array([0.1 + 0.2, 0.3]), higher_is_better=True).tolist() == [1.5, 1.5]


def test_an_undefined_score_is_last_in_either_direction() -> None:
    for higher in (True, False):
        assert rank(np.array([0.3, NAN, 0.3]), higher_is_better=higher).tolist() == [1.5, 3, 1.5]


def test_scores_are_of_the_summed_statistics() -> None:
    """Sums by hand: 2 of 4 right, and 3 of 4."""
    competitors = [scored([1, 0, 1, 0]), scored([1, 1, 1, 0])]
    assert observed_scores(competitors).tolist() == [0.5, 0.75]


def test_all_competitors_get_the_same_resamples() -> None:
    """One is always exactly 0.25 above the other, whatever is drawn, only if both are scored on the same rows."""
    lower = [0.1, 0.6, 0.3, 0.75, 0.0]
    scores_RC = resampled_scores(
        [scored(lower), scored([score + 0.25 for score in lower])],
        clusters=None,
        n_resamples=200,
        rng=np.random.default_rng(0),
    )
    assert scores_RC.shape == (200, 2)
    assert np.ptp(scores_RC[:, 0]) > 0.1
    assert np.allclose(scores_RC[:, 1] - scores_RC[:, 0], 0.25)


def test_whole_groups_are_resampled() -> None:
    """Two groups, one all right and one all wrong: a resample has both, only one or only the other."""
    scores_RC = resampled_scores(
        [scored([1, 1, 1, 0, 0, 0])],
        clusters=["a", "a", "a", "b", "b", "b"],
        n_resamples=4000,
        rng=np.random.default_rng(0),
    )
    values, counts = np.unique(scores_RC, return_counts=True)
    assert values.tolist() == [0, 0.5, 1]
    # Two draws of two groups: 1/4, 1/2, 1/4; four standard errors of 4000 draws are 0.03.
    assert counts / 4000 == pytest.approx([0.25, 0.5, 0.25], abs=0.03)


def test_arms_with_statistics_of_different_width_stand_side_by_side() -> None:
    wide = Scored(np.array([[1.0, 1, 0, 1], [0.0, 1, 1, 1]]), lambda t: (mean(t[..., :2]) + mean(t[..., 2:])) / 2)
    scores_RC = resampled_scores(
        [wide, scored([1, 0])], clusters=["x", "x"], n_resamples=3, rng=np.random.default_rng(0)
    )
    assert scores_RC.tolist() == [[0.5, 0.5]] * 3


def test_mean_rank_is_over_the_tasks_a_competitor_took_part_in() -> None:
    """By hand: the first has ranks 1 and 2, the second 2 and 1 and 1, the third only 3."""
    tasks = [
        Ranks(np.array([1.0, 2.0, 3.0]), np.array([[1.0, 2.0, 3.0], [2.0, 1.0, 3.0]])),
        Ranks(np.array([2.0, 1.0, NAN]), np.array([[2.0, 1.0, NAN], [1.0, 2.0, NAN]])),
        Ranks(np.array([NAN, 1.0, NAN]), np.array([[NAN, 1.0, NAN], [NAN, 1.0, NAN]])),
    ]
    found = mean_ranks(tasks)
    assert found.ranks_C == pytest.approx([1.5, 4 / 3, 3])
    assert found.ranks_RC == pytest.approx(np.array([[1.5, 4 / 3, 3], [1.5, 4 / 3, 3]]))


def test_a_task_without_resamples_leaves_only_its_competitors_without_an_interval() -> None:
    tasks = [
        Ranks(np.array([1.0, 2.0]), np.array([[1.0, 2.0], [2.0, 1.0]])),
        Ranks(np.array([NAN, 1.0]), None),
    ]
    found = mean_ranks(tasks)
    assert found.ranks_C.tolist() == [1, 1.5]
    assert found.ranks_RC is not None
    assert percentile_interval(found.ranks_RC[:, 0]) is not None
    assert percentile_interval(found.ranks_RC[:, 1]) is None
    assert mean_ranks(tasks[1:]).ranks_RC is None


def test_a_few_competitors_are_put_into_the_columns_of_all() -> None:
    found = spread(Ranks(np.array([1.0, 2.0]), np.array([[2.0, 1.0]])), [2, 0], 3)
    assert np.array_equal(found.ranks_C, [2, NAN, 1], equal_nan=True)
    assert found.ranks_RC is not None
    assert np.array_equal(found.ranks_RC, [[1, NAN, 2]], equal_nan=True)


def test_first_shares_count_ties_in_parts_and_add_up_to_one() -> None:
    ranks_RC = np.array([[1.0, 2, 3], [1.5, 1.5, 3], [2, 2, 2], [3, 1, 2]])
    # First: 1 + 1/2 + 1/3 of four; second: 1/2 + 1/3 + 1; third: 1/3.
    assert first_shares(ranks_RC) == pytest.approx([11 / 24, 11 / 24, 2 / 24])


def test_interval_of_ranks_is_their_middle_95_percent() -> None:
    assert percentile_interval(np.arange(1.0, 42.0)) == pytest.approx((2, 40))
    assert percentile_interval(np.array([])) is None


@pytest.mark.parametrize("n_tasks", [1, 3])
@pytest.mark.parametrize("accuracies", [(0.5, 0.6, 0.65, 0.8), (0.6, 0.6, 0.6, 0.6)], ids=["different", "equal"])
def test_the_interval_covers_the_true_mean_rank(accuracies: tuple[float, ...], n_tasks: int) -> None:
    """The truth is the rank of the accuracies that the samples are drawn with; nominal coverage is 95 %.

    Four competitors in each of 200 simulations; 91 % leaves room for the error of the simulation itself.
    """
    rng, n, n_simulations = np.random.default_rng(1), 80, 200
    truth_C = rank(np.array(accuracies), higher_is_better=True)
    covered = 0
    for _ in range(n_simulations):
        tasks = []
        for _ in range(n_tasks):
            skill_NC = 0.7 * rng.normal(size=(n, 1)) + np.sqrt(0.51) * rng.normal(size=(n, len(accuracies)))
            right_NC = skill_NC < norm.ppf(accuracies)
            competitors = [scored(right_NC[:, c].astype(float).tolist()) for c in range(len(accuracies))]
            scores_RC = resampled_scores(competitors, clusters=None, n_resamples=300, rng=rng)
            ranks_C = rank(observed_scores(competitors), higher_is_better=True)
            tasks.append(Ranks(ranks_C, rank(scores_RC, higher_is_better=True)))
        means = mean_ranks(tasks)
        assert means.ranks_RC is not None
        intervals = [percentile_interval(means.ranks_RC[:, c]) for c in range(len(accuracies))]
        covered += sum(i is not None and i[0] <= true <= i[1] for i, true in zip(intervals, truth_C, strict=True))
    assert covered / (n_simulations * len(accuracies)) >= 0.91
