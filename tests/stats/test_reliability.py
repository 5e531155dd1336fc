"""Do calibrated scores mean what they say? Against scikit-learn and hand calculations."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss
from statsmodels.stats.proportion import proportion_confint

from harness.stats.reliability import bins, brier

N = 400


def names(n: int, size: int = 1) -> list[str]:
    return [f"prompt {i // size}" for i in range(n)]


def found(human, predicted, clusters=None, n_resamples=300):
    clusters = names(len(human)) if clusters is None else clusters
    rng = np.random.default_rng(0)
    figures = brier(np.asarray(human), np.asarray(predicted), clusters, n_resamples=n_resamples, rng=rng)
    return {figure.name: figure for figure in figures}


@pytest.fixture
def calibrated(rng):
    """Pass and fail labels drawn with the scores as chances."""
    predicted = rng.random(N)
    return (rng.random(N) < predicted).astype(float), predicted


def test_the_brier_score_is_scikit_learns_and_its_parts_add_up_to_it(calibrated):
    human, predicted = calibrated
    got = found(human, predicted)
    assert got["brier"].value == pytest.approx(brier_score_loss(human, predicted), abs=1e-12)
    parts = [got[f"brier_{part}"].value for part in ("reliability", "resolution", "uncertainty", "within_bins")]
    assert got["brier"].value == pytest.approx(parts[0] - parts[1] + parts[2] + parts[3], abs=1e-12)
    assert got["brier"].low < got["brier"].value < got["brier"].high


def test_murphys_parts_by_hand():
    # Three of four pass where .5 is said, none of two where .2 is said; half of six pass.
    human = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    predicted = np.array([0.5, 0.5, 0.5, 0.5, 0.2, 0.2])
    got = found(human, predicted)
    assert got["brier_reliability"].value == pytest.approx((4 * 0.25**2 + 2 * 0.2**2) / 6)
    assert got["brier_resolution"].value == pytest.approx((4 * 0.25**2 + 2 * 0.5**2) / 6)
    assert got["brier_uncertainty"].value == pytest.approx(0.25)
    assert got["brier_within_bins"].value == pytest.approx(0.0, abs=1e-12)
    assert got["ece"].value == pytest.approx((4 * 0.25 + 2 * 0.2) / 6)


def test_the_diagram_is_scikit_learns_curve_with_wilsons_bars(calibrated):
    human, predicted = calibrated
    observed, said = calibration_curve(human, predicted, n_bins=10, strategy="quantile")
    bars = bins(human, predicted)
    assert [bar.observed for bar in bars] == pytest.approx(observed.tolist())
    assert [bar.predicted for bar in bars] == pytest.approx(said.tolist())
    assert sum(bar.n for bar in bars) == N
    middle = bars[4]
    low, high = proportion_confint(round(middle.observed * middle.n), middle.n, method="wilson")
    # One label's worth: the sample's variance has n - 1 below.
    assert (middle.low, middle.high) == pytest.approx((low, high), abs=0.01)


def test_equal_scores_share_a_bar_however_they_were_rounded():
    predicted = np.tile([0.1 + 0.2, 0.3, 0.7], 30)
    assert [(bar.predicted, bar.n) for bar in bins(np.tile([0.0, 1.0, 1.0], 30), predicted)] == [
        (pytest.approx(0.3), 60),
        (pytest.approx(0.7), 30),
    ]


def test_a_bar_in_which_all_agree_is_as_wide_as_its_prompts_are_few():
    bars = bins(np.ones(40), np.full(40, 0.9), names(40, 4))
    low, high = proportion_confint(10, 10, method="wilson")
    assert (bars[0].low, bars[0].high) == pytest.approx((low, high))


def test_copies_within_a_prompt_do_not_shorten_the_bars(calibrated):
    human, predicted = calibrated
    once = bins(human, predicted)
    known = bins(np.repeat(human, 5), np.repeat(predicted, 5), names(5 * N, 5))
    ignored = bins(np.repeat(human, 5), np.repeat(predicted, 5))
    for one, same, short in zip(once, known, ignored, strict=True):
        assert (same.low, same.high) == pytest.approx((one.low, one.high), abs=0.02)
        assert short.high - short.low < 0.6 * (one.high - one.low)


def test_a_calibrated_judge_has_the_calibration_error_expected_of_one(rng):
    inside = 0
    for _ in range(60):
        predicted = rng.random(100)
        human = (rng.random(100) < predicted).astype(float)
        got = found(human, predicted, n_resamples=2)
        inside += got["expected_ece"].low <= got["ece"].value <= got["expected_ece"].high
    # 95 % of 60 is 57; 52 or fewer would be a chance of 1 in 70.
    assert inside >= 53


def test_few_labels_make_the_calibration_error_of_a_perfect_judge_large(rng):
    predicted = np.full(40, 0.5)
    predicted[:20] = 0.3
    human = (rng.random(40) < predicted).astype(float)
    # By hand: two bars of 20; the mean absolute error of a share is about .8 sd, sqrt(p q / 20), of .5 and .3.
    by_hand = 0.8 * (np.sqrt(0.25 / 20) + np.sqrt(0.21 / 20)) / 2
    assert found(human, predicted)["expected_ece"].value == pytest.approx(by_hand, rel=0.05)


def test_an_overconfident_judge_stands_out(calibrated):
    human, predicted = calibrated
    got = found(human, np.where(predicted > 0.5, 0.95, 0.05))
    assert got["ece"].value > got["expected_ece"].high


def test_likert_scores_are_held_against_judges_with_the_same_leftovers(rng):
    predicted = np.clip(rng.normal(0.5, 0.2, N), 0, 1)
    human = np.clip(predicted + rng.normal(0, 0.15, N), 0, 1)
    off = np.clip(human + 0.2, 0, 1)
    well, badly = found(human, predicted), found(off, predicted)
    assert well["expected_ece"].low <= well["ece"].value <= well["expected_ece"].high
    assert badly["ece"].value > badly["expected_ece"].high


def test_no_items_give_nothing_and_missing_scores_are_refused():
    assert bins(np.zeros(0), np.zeros(0)) == ()
    assert found(np.zeros(0), np.zeros(0)) == {}
    with pytest.raises(ValueError, match="not a finite number"):
        found(np.zeros(2), np.array([0.5, np.nan]))
