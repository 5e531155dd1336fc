"""Paired differences: tests, intervals, wins and losses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from harness.stats.paired import bonett_price, compare, mcnemar_mid_p, permutation_p


def run(metric, candidate, baseline, *, clusters=None, n_resamples=4000, seed=0):
    rng = np.random.default_rng(seed)
    return compare(metric, candidate, baseline, clusters=clusters, n_resamples=n_resamples, rng=rng)


@pytest.mark.parametrize(("wins", "losses"), [(9, 2), (2, 9), (5, 5), (1, 0), (30, 12)])
def test_mcnemar_mid_p_by_hand_from_the_binomial(wins, losses):
    n, fewer = wins + losses, min(wins, losses)
    pmf = [stats.binom.pmf(k, n, 0.5) for k in range(n + 1)]
    by_hand = 2 * (sum(pmf[:fewer]) + 0.5 * pmf[fewer])
    assert mcnemar_mid_p(wins, losses) == pytest.approx(min(1.0, by_hand), abs=1e-12)


def test_mcnemar_mid_p_of_a_published_example():
    # Fagerland, Lydersen and Laake 2013, airway hyper-responsiveness: 1 against 7 discordant pairs,
    # exact p .070, mid-p .039.
    assert mcnemar_mid_p(7, 1) == pytest.approx(0.0391, abs=5e-5)


def test_no_discordant_pair_is_p_one():
    assert mcnemar_mid_p(0, 0) == 1.0


def test_bonett_price_by_hand():
    # 13 wins, 5 losses of 50: (14 - 6) / 52 = .153846, se = sqrt((20/52 - (8/52)^2) / 52) = .083333.
    assert bonett_price(13, 5, 50) == pytest.approx((0.153846 - 0.163331, 0.153846 + 0.163331), abs=2e-4)


def test_zero_one_scores_take_mcnemar(as_mean, toy):
    candidate, baseline = as_mean([1] * 12 + [0] * 3 + [1] * 15), as_mean([0] * 12 + [1] * 3 + [1] * 15)
    found = run(toy(), candidate, baseline)
    assert found.test == "McNemar mid-p"
    assert (found.wins, found.ties, found.losses, found.n, found.n_clusters) == (12, 15, 3, 30, 30)
    assert found.delta == pytest.approx(0.3)
    assert found.p == pytest.approx(mcnemar_mid_p(12, 3))
    assert found.sd_difference == pytest.approx(np.std([1] * 12 + [-1] * 3 + [0] * 15, ddof=1))


def test_macro_f1_does_not_take_mcnemar_although_its_rows_are_zero_or_one(toy, rng):
    eye = np.eye(3)
    true = rng.integers(0, 3, 40)
    arms = []
    for share in (0.5, 0.9):
        out = np.where(rng.random(40) < share, true, 0)
        arms.append(np.hstack([eye[true] * (out == true)[:, None], eye[out], eye[true]]))
    assert run(toy("macro"), *arms).test == "paired permutation"


def test_grouped_zero_one_scores_take_the_permutation_of_groups(as_mean, toy, rng):
    groups = [str(i // 4) for i in range(40)]
    found = run(toy(), as_mean(rng.integers(0, 2, 40)), as_mean(rng.integers(0, 2, 40)), clusters=groups)
    assert (found.test, found.n_clusters) == ("paired permutation of groups", 10)


def test_permutation_p_agrees_with_scipy(as_mean, toy, rng):
    a, b = rng.random(12) + 0.15, rng.random(12)
    found = run(toy(), as_mean(a), as_mean(b), n_resamples=40_000)
    exact = stats.permutation_test(
        (a - b,), lambda d, axis: np.abs(d.mean(axis)), permutation_type="samples", n_resamples=10_000,
        vectorized=True, alternative="greater",
    )  # fmt: skip
    assert found.p == pytest.approx(exact.pvalue, abs=0.01)


def test_permutation_of_a_ratio_swaps_whole_rows(toy, rng):
    """By hand: all 2^8 swaps of rows between two arms, the metric recomputed on each."""
    metric = toy("f1")
    a, b = rng.poisson(6, (8, 3)) + 1.0, rng.poisson(4, (8, 3)) + 1.0
    observed = abs(metric.value(a.sum(0)) - metric.value(b.sum(0)))
    extreme = 0
    for bits in range(256):
        swap = np.array([bits >> i & 1 for i in range(8)], bool)[:, None]
        delta = metric.value(np.where(swap, b, a).sum(0)) - metric.value(np.where(swap, a, b).sum(0))
        extreme += abs(delta) >= observed - 1e-12
    found = run(metric, a, b, n_resamples=40_000)
    assert found.p == pytest.approx(extreme / 256, abs=0.01)


def test_p_is_never_zero(as_mean, toy):
    found = run(toy(), as_mean(np.linspace(0.8, 1, 60)), as_mean(np.linspace(0, 0.3, 60)), n_resamples=999)
    assert found.p == pytest.approx(1 / 1000)


def test_delta_is_positive_when_better_also_where_lower_is_better(as_mean, toy, rng):
    low, high = as_mean(rng.random(30)), as_mean(rng.random(30) + 1)
    found = run(toy(higher_is_better=False, best=0.0, worst=2.0), low, high)
    assert found.delta > 0
    assert (found.low > 0, found.wins, found.losses) == (True, 30, 0)


def test_swapping_the_arms_mirrors_everything(as_mean, toy, rng):
    a, b = as_mean(rng.random(50)), as_mean(rng.random(50))
    one, other = run(toy(), a, b), run(toy(), b, a)
    assert one.delta == pytest.approx(-other.delta)
    assert (one.wins, one.losses) == (other.losses, other.wins)
    assert one.p == other.p
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))


def test_identical_arms_differ_by_zero_with_an_interval_that_shrinks_with_n(as_mean, toy):
    widths = []
    for n in (20, 500):
        scores = as_mean(np.linspace(0, 0.9, n))
        found = run(toy(), scores, scores, n_resamples=200)
        assert (found.delta, found.p, found.ties) == (0.0, 1.0, n)
        assert found.low == pytest.approx(-found.high)
        widths.append(found.high)
    assert widths[0] > 0.1
    assert widths[1] < 0.01


def test_identical_differences_of_a_corpus_metric_have_no_interval(toy):
    same = np.tile([3.0, 4.0, 5.0], (10, 1))
    found = run(toy("f1"), same, same)
    assert (found.delta, found.low, found.high, found.p) == (0.0, None, None, 1.0)


def test_undefined_side_is_none_all_the_way(toy, as_mean):
    found = run(toy(), np.zeros((4, 2)), as_mean([1, 0, 1, 0]))
    assert (found.delta, found.low, found.p) == (None, None, None)
    assert (found.wins, found.ties, found.losses) == (0, 0, 0)


def test_one_sample_has_a_delta_and_no_interval(toy, as_mean):
    for first in (1.0, 0.7):
        found = run(toy(), as_mean([first]), as_mean([0.0]))
        assert (found.delta, found.low, found.high) == (first, None, None)


def test_sd_is_that_of_the_differences_for_a_mean(as_mean, toy, rng):
    a, b = rng.random(100), rng.random(100)
    found = run(toy(), as_mean(a), as_mean(b), n_resamples=20_000)
    assert found.sd_difference == pytest.approx((a - b).std(ddof=1), rel=0.03)


def test_interval_is_paired(as_mean, toy, rng):
    """Strongly correlated arms: the interval of the difference is far narrower than independent arms' would be."""
    hard = rng.random(200)
    found = run(toy(), as_mean(hard + 0.05 + 0.01 * rng.standard_normal(200)), as_mean(hard))
    assert found.high - found.low < 0.01


def test_arms_of_different_length_are_a_bug(as_mean, toy):
    with pytest.raises(ValueError, match="different shape"):
        run(toy(), as_mean([1, 0]), as_mean([1]))


@given(st.integers(0, 40), st.integers(0, 40))
def test_mid_p_is_a_symmetric_probability(wins, losses):
    p = mcnemar_mid_p(wins, losses)
    assert 0 < p <= 1
    assert p == pytest.approx(mcnemar_mid_p(losses, wins))


def test_undefined_arrangements_count_against_the_finding():
    always_nan = lambda arms: np.where(arms[..., 0] == 2.0, 1.0, np.nan)  # noqa: E731
    arms = np.array([[2.0, 0.0]])
    p = permutation_p(always_nan, arms, n_resamples=99, rng=np.random.default_rng(0))
    assert p == 1.0
