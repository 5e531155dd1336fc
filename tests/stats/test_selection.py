"""Choosing a checkpoint on validation."""

from __future__ import annotations

import numpy as np
import pytest

from harness.core.errors import HarnessError
from harness.stats.selection import choose


def run(metric, by_step, *, clusters=None, rule="one_standard_error", n_resamples=1500, seed=0):
    rng = np.random.default_rng(seed)
    return choose(metric, by_step, clusters=clusters, rule=rule, n_resamples=n_resamples, rng=rng)


@pytest.fixture
def improving(as_mean):
    """10: bad; 20: as good as 30 but for noise that differs by sample; 30: best; 40: clearly worse again."""
    rng = np.random.default_rng(3)
    hard = rng.random(200) * 0.4
    noise = rng.normal(0, 0.1, 200)
    noise -= noise.mean()
    return {
        30: as_mean(hard + 0.5),
        10: as_mean(hard + 0.1 + noise),
        20: as_mean(hard + 0.497 + noise),
        40: as_mean(hard + 0.45 + noise),
    }


def test_one_standard_error_takes_the_earliest_tied_step(toy, improving):
    choice = run(toy(), improving)
    assert (choice.best_step, choice.chosen_step, choice.tied_steps) == (30, 20, (20, 30))
    # By hand: the deficit's standard error is the standard deviation of the noise over sqrt(200).
    assert choice.standard_error == pytest.approx(0.1 / np.sqrt(200), rel=0.15)


def test_the_rule_is_paired_difficulty_shared_by_all_steps_does_not_tie_them(toy, as_mean, rng):
    hard = rng.random(50)  # standard error of each score: .04, ten times the consistent difference
    choice = run(toy(), {1: as_mean(hard), 2: as_mean(hard + 0.004)})
    assert (choice.best_step, choice.chosen_step, choice.tied_steps) == (2, 2, (2,))


def test_best_and_last_do_what_they_say(toy, improving):
    assert run(toy(), improving, rule="best").chosen_step == 30
    last = run(toy(), improving, rule="last")
    assert (last.chosen_step, last.best_step) == (40, 30)


def test_exact_ties_go_to_the_earliest(toy, as_mean):
    scores = as_mean([0, 1, 1, 0])
    choice = run(toy(), {300: scores, 100: scores, 200: scores}, rule="best")
    assert (choice.best_step, choice.chosen_step, choice.tied_steps) == (100, 100, (100, 200, 300))
    assert choice.no_signal
    assert choice.optimism == pytest.approx(0, abs=0.02)


def test_equal_scores_from_different_answers_are_no_signal_either(toy, as_mean):
    assert run(toy(), {1: as_mean([0, 1]), 2: as_mean([1, 0])}).no_signal


def test_undefined_is_never_best(toy, as_mean):
    choice = run(toy(), {1: np.zeros((4, 2)), 2: as_mean([0, 1, 0, 1])}, rule="best")
    assert (choice.best_step, choice.tied_steps) == (2, (2,))
    assert not choice.no_signal


def test_undefined_everywhere_is_an_error_not_a_choice(toy):
    with pytest.raises(HarnessError, match="none can be chosen"):
        run(toy(), {1: np.zeros((4, 2))})


def test_lower_is_better_chooses_low_and_optimism_keeps_its_sign(toy, as_mean, rng):
    losses = {step: as_mean(rng.random(40)) for step in range(1, 9)}
    mirrored = {step: as_mean(1 - data[:, 0]) for step, data in losses.items()}
    low = run(toy(higher_is_better=False), losses, rule="best")
    high = run(toy(), mirrored, rule="best")
    assert low.best_step == high.best_step
    assert low.optimism == pytest.approx(high.optimism)
    assert low.optimism > 0


def test_one_checkpoint_is_no_choice(toy, as_mean, rng):
    choice = run(toy(), {7: as_mean(rng.random(30))})
    assert (choice.chosen_step, choice.optimism, choice.no_signal) == (7, 0.0, False)


def test_optimism_is_about_the_true_excess_of_the_maximum(toy, as_mean):
    """Eight equally good checkpoints, true score .5: the best one's validation score is too high by so much."""
    rng = np.random.default_rng(8)
    excess, claimed = [], []
    for seed in range(60):
        data = {step: as_mean(rng.random(50) < 0.5) for step in range(8)}
        excess.append(max(d[:, 0].mean() for d in data.values()) - 0.5)
        claimed.append(run(toy(), data, n_resamples=200, seed=seed).optimism)
    # The bootstrap starts from a sample whose steps already differ, so it claims less than all of it, never more.
    assert 0.5 * np.mean(excess) < np.mean(claimed) <= 1.05 * np.mean(excess)


def test_clusters_widen_the_standard_error(toy, as_mean, rng):
    """A difference that varies by group, not by sample: ties the steps only for who knows the groups."""
    groups = [str(i // 10) for i in range(200)]
    shift = np.repeat(rng.normal(0, 0.2, 20), 10)
    shift -= shift.mean() + 0.03  # standard errors: .2 / sqrt(20) = .045 by groups, .014 by samples
    base = rng.random(200)
    data = {1: as_mean(base + shift), 2: as_mean(base)}
    assert run(toy(), data, clusters=groups).tied_steps == (1, 2)
    assert run(toy(), data).tied_steps == (2,)
