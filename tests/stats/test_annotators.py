"""May the judge take an annotator's place?"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from harness.stats.annotators import alt_test, majority, spearman_brown

NAMES = ("anna", "bert", "cleo", "dora")


@pytest.fixture
def ratings(rng):
    """Four annotators who see the truth of 120 answers four times in five, or each another share."""
    truth = rng.integers(0, 2, 120).astype(float)
    seen = {name: np.where(rng.random(120) < 0.8, truth, 1 - truth) for name in NAMES}
    return truth, [{name: float(seen[name][i]) for name in NAMES} for i in range(120)]


def test_the_truth_replaces_everybody_and_a_coin_nobody(ratings, rng):
    truth, given = ratings
    best, coin = alt_test(given, truth), alt_test(given, rng.integers(0, 2, 120).astype(float))
    assert (best.winning_rate, best.passed, best.n_annotators) == (1.0, True, 4)
    assert (coin.winning_rate, coin.passed) == (0.0, False)
    assert best.advantage_probability > 0.85 > coin.advantage_probability


@pytest.mark.parametrize("epsilon", [0.05, 0.1, 0.15, 0.2, 0.25])
def test_p_values_are_scipys_paired_t_test_and_the_correction_is_statsmodels(ratings, rng, epsilon):
    truth, given = ratings
    judge = np.where(rng.random(120) < 0.8, truth, 1 - truth)
    got = alt_test(given, judge, epsilon)
    table = np.array([[of_item[name] for name in NAMES] for of_item in given])
    expected, advantages = {}, []
    for j, name in enumerate(NAMES):
        others = np.delete(table, j, axis=1)
        by_judge, by_person = ((others == side[:, None]).mean(1) for side in (judge, table[:, j]))
        judge_wins, person_wins = (by_judge >= by_person).astype(float), (by_person >= by_judge).astype(float)
        expected[name] = stats.ttest_1samp(person_wins - judge_wins, epsilon, alternative="less").pvalue
        advantages.append(judge_wins.mean())
    assert got.p_values == pytest.approx(expected, rel=1e-9)
    rejected = multipletests(list(expected.values()), alpha=0.05, method="fdr_by")[0]
    assert got.winning_rate == rejected.mean()
    assert got.advantage_probability == pytest.approx(np.mean(advantages))


def test_copied_answers_prove_nothing_more_when_their_prompt_is_known(ratings, rng):
    truth, given = ratings
    judge = np.where(rng.random(120) < 0.85, truth, 1 - truth)
    once = alt_test(given, judge)
    copies = [of_item for of_item in given for _ in range(6)]
    prompts = [str(i // 6) for i in range(720)]
    known, ignored = (alt_test(copies, np.repeat(judge, 6), clusters=each) for each in (prompts, None))
    assert known.p_values == pytest.approx(once.p_values, rel=1e-9)
    assert max(ignored.p_values.values()) < min(once.p_values.values())


def test_a_larger_epsilon_is_easier(ratings, rng):
    truth, given = ratings
    judge = np.where(rng.random(120) < 0.75, truth, 1 - truth)
    rates = [alt_test(given, judge, epsilon).winning_rate for epsilon in (0.0, 0.1, 0.2, 0.4)]
    assert rates == sorted(rates)
    assert rates[0] < rates[-1]


def test_scores_are_compared_by_distance():
    given = [{"anna": 0.5, "bert": 0.5, "cleo": 0.75}] * 40
    near = alt_test(given, np.full(40, 0.6), scoring="rmse")
    # By hand: the judge is .1 and .15 from the others of anna, who is 0 and .25; and nearer to anna and bert than cleo.
    assert near.advantage_probability == 1.0
    assert alt_test(given, np.full(40, 0.6), scoring="accuracy").advantage_probability == pytest.approx(1 / 3)


def test_an_item_without_a_verdict_is_lost_not_left_out(ratings):
    truth, given = ratings
    half = np.where(np.arange(120) % 2 == 0, truth, np.nan)
    assert alt_test(given, half).winning_rate == 0.0
    assert alt_test(given, half).advantage_probability < alt_test(given, truth).advantage_probability - 0.3


def test_two_annotators_or_few_items_are_no_test(ratings):
    truth, given = ratings
    two = [{name: of_item[name] for name in NAMES[:2]} for of_item in given]
    for few, judge in ((two, truth), (given[:29], truth[:29])):
        got = alt_test(few, judge)
        assert (got.winning_rate, got.passed, got.advantage_probability) == (None, False, None)
        assert "it takes 3" in got.why


def test_annotators_who_rated_few_items_are_not_tested_but_still_agreed_with(ratings):
    truth, given = ratings
    fewer = [{k: v for k, v in of_item.items() if k != "dora" or i < 20} for i, of_item in enumerate(given)]
    got = alt_test(fewer, truth)
    assert set(got.p_values) == {"anna", "bert", "cleo"}


def test_all_agreeing_with_the_judge_is_a_pass_without_a_spread():
    got = alt_test([dict.fromkeys(NAMES, 1.0)] * 30, np.ones(30))
    assert (got.winning_rate, got.advantage_probability) == (1.0, 1.0)


def test_the_majority_decides_and_of_equals_the_middle():
    assert majority([0.0, 0.0, 1.0]) == 0.0
    assert majority([0.0, 0.5, 1.0]) == 0.5
    assert majority([0.0, 1.0]) == 0.0


def test_the_mean_of_more_raters_is_more_reliable():
    # Spearman 1910: doubling a test of reliability .6 gives .75.
    assert spearman_brown(0.6, 2) == pytest.approx(0.75)
    assert spearman_brown(spearman_brown(0.4, 3), 1 / 3) == pytest.approx(0.4)
    rng = np.random.default_rng(2)
    truth = rng.normal(size=20_000)
    one, other = (np.mean([truth + rng.normal(0, 1.2, 20_000) for _ in range(4)], axis=0) for _ in range(2))
    single = 1 / (1 + 1.2**2)
    assert np.corrcoef(one, other)[0, 1] == pytest.approx(spearman_brown(single, 4), abs=0.02)
    assert np.corrcoef(one, truth)[0, 1] == pytest.approx(np.sqrt(spearman_brown(single, 4)), abs=0.02)
