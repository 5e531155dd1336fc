"""Maps from judge to people: the right curve, never fitted on what it is used on, and the trap if it were."""

from __future__ import annotations

import json
from typing import get_args

import numpy as np
import pytest
from scipy import stats
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression, Ridge
from statsmodels.miscmodels.ordinal_model import OrderedModel

from harness.stats.calibration import FittedMap, MapKind, choose_map, cross_fit, fit_map, folds_of

N = 160
KINDS: tuple[MapKind, ...] = get_args(MapKind)


@pytest.fixture
def judged(rng):
    """A judge's scores (N, 1), compressed and too high, and people's Likert scores."""
    quality = rng.random(N)
    scores = np.clip(0.5 * quality + 0.4 + rng.normal(0, 0.08, N), 0, 1)
    return scores[:, None], np.rint(np.clip(quality + rng.normal(0, 0.1, N), 0, 1) * 4) / 4


def human_for(kind, human):
    """The same people, in the labels that the kind of map is for."""
    if kind == "platt":
        return (human > 0.5).astype(float)
    return np.rint(human * 2) / 2 if kind == "symmetric" else human


def prompts(n: int, size: int = 2) -> list[str]:
    return [f"prompt {i // size}" for i in range(n)]


def test_the_map_is_as_free_as_the_labels_allow():
    chosen = {
        (label_kind, n, f): choose_map(label_kind, n=n, n_features=f)
        for label_kind in ("pass_fail", "likert", "pair")
        for n in (199, 200)
        for f in (1, 9)
    }
    assert [chosen["pass_fail", n, 1] for n in (199, 200)] == ["platt", "isotonic"]
    assert [chosen["likert", n, 1] for n in (199, 200)] == ["ordinal", "isotonic"]
    assert chosen["likert", 199, 9] == chosen["pass_fail", 200, 9] == "ridge"
    assert {kind for (label_kind, *_), kind in chosen.items() if label_kind == "pair"} == {"symmetric"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_map_is_plain_json_and_the_same_to_the_last_digit_when_read_back(kind, judged):
    features, human = judged
    fitted = fit_map(kind, features, human_for(kind, human))
    stored = json.loads(json.dumps(fitted.as_json(), allow_nan=False))
    grid = np.linspace(0, 1, 101)[:, None]
    assert fitted.kind == kind
    assert (FittedMap.from_json(stored)(grid) == fitted(grid)).all()
    assert ((fitted(grid) >= 0) & (fitted(grid) <= 1)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_every_map_follows_people_and_mends_the_judges_scale(kind, judged):
    features, human = judged
    human = human_for(kind, human)
    features = features - 0.15 if kind == "symmetric" else features  # a symmetric map cannot move the middle
    fitted = fit_map(kind, features, human)
    before, after = ((scores - human) @ (scores - human) for scores in (features[:, 0], fitted(features)))
    assert after < 0.8 * before


def test_platt_is_scikit_learns_logistic_regression_on_platts_targets(judged):
    features, human = judged
    human = human_for("platt", human)
    n_pass = human.sum()
    targets = np.where(human == 1, (n_pass + 1) / (n_pass + 2), 1 / (N - n_pass + 2))
    sure = np.clip(features, 0.001, 0.999)  # a hard verdict has no logit
    logits = np.log(sure / (1 - sure))
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=5000).fit(
        np.concatenate([logits, logits]), np.repeat([1, 0], N), sample_weight=np.concatenate([targets, 1 - targets])
    )
    parameters = fit_map("platt", features, human).parameters
    assert parameters["slope"] == pytest.approx(reference.coef_[0, 0], rel=1e-4)
    assert parameters["intercept"] == pytest.approx(reference.intercept_[0], rel=1e-4)


def test_isotonic_is_scikit_learns_and_keeps_the_mean_of_what_fitted_it(judged):
    features, human = judged
    fitted = fit_map("isotonic", features, human)
    reference = IsotonicRegression(out_of_bounds="clip").fit(features[:, 0], human)
    grid = np.linspace(0, 1, 501)
    assert fitted(grid[:, None]) == pytest.approx(reference.predict(grid), abs=1e-12)
    assert fitted(features).mean() == pytest.approx(human.mean(), abs=1e-12)


def test_ordinal_gives_the_mean_level_of_statsmodels_proportional_odds(judged):
    features, human = judged
    reference = OrderedModel(np.rint(human * 4).astype(int), features, distr="logit").fit(disp=False, method="bfgs")
    chances = reference.model.predict(reference.params, exog=features)
    assert fit_map("ordinal", features, human)(features) == pytest.approx(chances @ (np.arange(5) / 4), abs=1e-4)


def test_ridge_is_scikit_learns_at_its_penalty_with_few_features_and_with_more_than_labels(rng):
    for n_features in (5, 3 * N):
        features = rng.normal(3, 2, (N, n_features))
        human = np.clip(0.5 + 0.05 * (features[:, 0] - 3) + rng.normal(0, 0.05, N), 0, 1)
        fitted = fit_map("ridge", features, human)
        standard = (features - features.mean(0)) / features.std(0)
        reference = Ridge(alpha=fitted.parameters["penalty"]).fit(standard, human).predict(standard)
        assert fitted(features) == pytest.approx(np.clip(reference, 0, 1), abs=1e-9)


def test_ridge_takes_the_penalty_with_least_error_on_held_out_prompts(rng):
    features = rng.normal(size=(N, 12))
    human = np.clip(0.5 + 0.06 * features[:, 0] + rng.normal(0, 0.15, N), 0, 1)
    clusters = prompts(N, 4)
    folds = folds_of(clusters)

    def error(penalty):
        total = 0.0
        standard = (features - features.mean(0)) / features.std(0)
        for fold in range(5):
            held = folds == fold
            model = Ridge(alpha=penalty).fit(standard[~held], human[~held])
            total += ((model.predict(standard[held]) - human[held]) ** 2).sum()
        return total

    chosen = fit_map("ridge", features, human, clusters=clusters).parameters["penalty"]
    assert chosen == min(10.0 ** np.arange(-2, 5.1, 0.5), key=error)


def test_nothing_to_learn_is_learnt_as_nearly_nothing(rng):
    features, human, new = rng.normal(size=(60, 20)), rng.random(60), rng.normal(size=(500, 20))
    least_squares = new @ np.linalg.lstsq(features - features.mean(0), human - human.mean(), rcond=None)[0]
    assert fit_map("ridge", features, human)(new).std() < least_squares.std() / 3


@pytest.mark.parametrize("n_features", [1, 6])
def test_a_symmetric_map_of_the_turned_pair_is_one_minus_that_of_the_pair(rng, n_features):
    features = rng.random((N, n_features))
    human = np.rint(np.clip(features.mean(1) + rng.normal(0, 0.2, N), 0, 1) * 2) / 2
    fitted = fit_map("symmetric", features, human)
    assert fitted(1 - features) == pytest.approx(1 - fitted(features), abs=1e-14)
    assert fitted(np.full((1, n_features), 0.5))[0] == 0.5
    turned = fit_map("symmetric", 1 - features, 1 - human)
    assert turned(features) == pytest.approx(fitted(features), abs=1e-9)


def test_a_symmetric_map_of_one_feature_is_the_logistic_regression_without_intercept(judged):
    features, human = judged[0] - 0.15, human_for("symmetric", judged[1])
    high = (N / 2 + 1) / (N / 2 + 2)
    targets = 1 - high + human * (2 * high - 1)
    reference = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10, max_iter=5000).fit(
        np.concatenate([features, features]) - 0.5,
        np.repeat([1, 0], N),
        sample_weight=np.concatenate([targets, 1 - targets]),
    )
    assert fit_map("symmetric", features, human).parameters["slopes"] == pytest.approx(reference.coef_[0], rel=1e-4)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "ridge"])
def test_a_judge_that_says_the_opposite_of_people_is_not_turned_into_a_good_one(kind, judged):
    features, human = judged
    fitted = fit_map(kind, 1 - features, human_for(kind, human))
    assert np.ptp(fitted(features)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_degenerate_labels_and_judges_give_a_constant_near_what_people_say(kind, judged):
    features, human = judged
    human = human_for(kind, human)
    constant = fit_map(kind, np.full((N, 1), 0.4), human)(features)
    assert np.ptp(constant) == pytest.approx(0, abs=1e-12) or kind == "symmetric"
    for same in (0.0, 1.0):
        agreed = fit_map(kind, features, np.full(N, same))(features)
        assert np.isfinite(agreed).all()
        if kind != "symmetric":  # it may not prefer a side by itself
            assert agreed == pytest.approx(np.full(N, same), abs=0.01)


def test_a_perfect_judge_gets_a_finite_map():
    human = np.tile([0.0, 1.0], 40)
    for kind in KINDS:
        fitted = fit_map(kind, human[:, None], human)
        assert np.abs(fitted(human[:, None]) - human).max() < 0.03, kind
        json.dumps(fitted.as_json(), allow_nan=False)


def test_an_ordinal_map_that_cannot_be_fitted_says_what_took_its_place(judged, rng):
    features, human = judged
    many = fit_map("ordinal", features, rng.random(N))
    separated = fit_map("ordinal", human[:, None], human)
    wide = fit_map("ordinal", np.column_stack([features, features * 2]), rng.random(N))
    assert (many.kind, many.parameters["instead_of"]) == ("isotonic", "ordinal")
    assert "160 different scores" in many.parameters["why"]
    assert separated.kind == "isotonic"
    assert "no maximum" in separated.parameters["why"]
    assert (wide.kind, wide.parameters["instead_of"]) == ("ridge", "ordinal")


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_that_are_not_finite_are_refused(kind, judged):
    features, human = judged
    fitted = fit_map(kind, features, human_for(kind, human))
    for bad in (np.nan, np.inf):
        spoilt = np.vstack([features[1:], [[bad]]])
        with pytest.raises(ValueError, match="not a finite number"):
            fit_map(kind, spoilt, human)
        with pytest.raises(ValueError, match="not a finite number"):
            fitted(spoilt)
        with pytest.raises(ValueError, match="finite human scores"):
            fit_map(kind, features, np.append(human[1:], bad))
    with pytest.raises(ValueError, match="features for a map of 1"):
        fitted(np.zeros((3, 2)))


def test_what_is_no_map_is_not_read_as_one():
    for stored in ({}, {"kind": "spline", "parameters": {}}, {"kind": "platt", "parameters": None}):
        with pytest.raises(ValueError, match="not a calibration map"):
            FittedMap.from_json(stored)


def test_folds_hold_whole_prompts_are_even_and_forget_the_order(rng):
    clusters = [f"q{int(each)}" for each in rng.geometric(0.08, 300)]
    folds = folds_of(clusters, seed=3)
    where = {cluster: set(folds[[c == cluster for c in clusters]].tolist()) for cluster in set(clusters)}
    assert all(len(of_cluster) == 1 for of_cluster in where.values())
    assert np.bincount(folds).tolist() == pytest.approx([60] * 5, abs=2)
    order = rng.permutation(300)
    assert (folds_of([clusters[i] for i in order], seed=3) == folds[order]).all()
    assert (folds_of(clusters, seed=4) != folds).any()
    assert set(folds_of(["a", "b", "a"]).tolist()) == {0, 1}


@pytest.mark.parametrize("kind", KINDS)
def test_a_score_out_of_fold_does_not_depend_on_its_own_prompts_labels(kind, judged):
    features, human = judged
    human = human_for(kind, human)
    clusters = prompts(N, 4)
    before = cross_fit(features, human, clusters, kind=kind, seed=1)
    first_fold = before.folds_N == before.folds_N[0]
    changed = np.where(first_fold, 1 - human, human)
    after = cross_fit(features, changed, clusters, kind=kind, seed=1)
    assert (after.scores_N[first_fold] == before.scores_N[first_fold]).all()
    assert (after.scores_N[~first_fold] != before.scores_N[~first_fold]).any()
    own = np.array(clusters) == clusters[0]
    after = cross_fit(features, np.where(own, 1 - human, human), clusters, kind=kind, seed=1)
    assert (after.scores_N[own] == before.scores_N[own]).all()


def test_items_without_a_label_get_the_mean_of_all_maps(judged):
    features, human = judged
    fitted = cross_fit(features, human, prompts(N), kind="isotonic")
    new = np.linspace(0, 1, 40)[:, None]
    assert len(fitted.maps) == 5
    assert fitted.predict(new) == pytest.approx(sum(each(new) for each in fitted.maps) / 5, abs=1e-15)


def test_one_prompt_cannot_be_cross_fitted(judged):
    features, human = judged
    with pytest.raises(ValueError, match="two prompts"):
        cross_fit(features, human, ["the only one"] * N, kind="isotonic")


def coverage(kind: MapKind, *, n: int, n_features: int, runs: int) -> dict[str, float]:
    """How often 95 % intervals hold the human mean .5: of calibrated scores alone, and with the labels' residuals.

    The judge correlates .75 with people; all further features are noise. The residual step is prediction-powered
    inference with weight 1 (Angelopoulos et al. 2023): mean of the predictions plus mean of the residuals.
    """
    rng, n_judged, hits = np.random.default_rng(1), 2000, dict.fromkeys(("plug-in", "in sample", "cross-fitted"), 0)
    for _ in range(runs):
        quality = rng.normal(size=n + n_judged)
        human = np.clip(0.5 + 0.27 * quality, 0, 1)[:n]
        judge = 0.6 + 0.2 * (0.75 * quality + np.sqrt(1 - 0.75**2) * rng.normal(size=n + n_judged))
        features = np.column_stack([np.clip(judge, 0, 1), rng.normal(size=(n + n_judged, n_features - 1))])
        fitted = fit_map(kind, features[:n], human)
        crossed = cross_fit(features[:n], human, prompts(n, 1), kind=kind)
        ways = {
            "in sample": (fitted(features[:n]), fitted(features[n:])),
            "cross-fitted": (crossed.scores_N, crossed.predict(features[n:])),
        }
        for way, (on_labelled, on_judged) in ways.items():
            left = human - on_labelled
            error = np.sqrt(left.var(ddof=1) / n + on_judged.var(ddof=1) / n_judged)
            hits[way] += abs(on_judged.mean() + left.mean() - 0.5) < stats.t.ppf(0.975, n - 1) * error
        alone = ways["in sample"][1]
        hits["plug-in"] += abs(alone.mean() - 0.5) < 1.96 * alone.std(ddof=1) / np.sqrt(n_judged)
    return {way: count / runs for way, count in hits.items()}


def test_twenty_features_fitted_on_the_labels_that_correct_them_cover_too_little_and_cross_fitted_they_cover():
    held = coverage("ridge", n=50, n_features=20, runs=250)
    assert held["plug-in"] < 0.4  # calibrated is not yet estimated
    assert held["in sample"] < 0.9  # the trap
    assert held["cross-fitted"] >= 0.93


def test_steps_fitted_on_fifty_labels_cover_only_when_cross_fitted():
    held = coverage("isotonic", n=50, n_features=1, runs=300)
    assert held["plug-in"] < 0.4
    assert held["in sample"] < 0.91
    assert held["cross-fitted"] >= 0.93
