"""Agreement of a judge with people, and of people with each other, against scikit-learn, krippendorff and scipy."""

from __future__ import annotations

import doctest
import importlib
import warnings

import krippendorff
import numpy as np
import pytest
from scipy import stats
from sklearn import metrics
from statsmodels.stats.inter_rater import cohens_kappa

from harness.stats import raters
from harness.stats.agreement import agreement, ceiling, confusion, judged_levels, levels

N = 240


def names(n: int, size: int = 1) -> list[str]:
    return [f"prompt {i // size}" for i in range(n)]


def found(human, judge, clusters=None, *, label_kind, n_resamples=200, scale=5, **more):
    human, judge = np.asarray(human, float), np.asarray(judge, float)
    clusters = names(len(human)) if clusters is None else clusters
    figures = agreement(
        human,
        judge,
        clusters,
        label_kind=label_kind,
        scale=scale,
        n_resamples=n_resamples,
        rng=np.random.default_rng(0),
        **more,
    )
    return {figure.name: figure for figure in figures}


def people(ratings, clusters=None, *, label_kind, n_resamples=200, **more):
    clusters = names(len(ratings)) if clusters is None else clusters
    rng = np.random.default_rng(0)
    figures = ceiling(ratings, clusters, label_kind=label_kind, n_resamples=n_resamples, rng=rng, **more)
    return {figure.name: figure for figure in figures}


@pytest.fixture
def likert(rng):
    """People's 1 to 5 as scores, and a judge that follows them."""
    human = rng.integers(0, 5, N) / 4
    return human, np.clip(0.7 * human + 0.15 + rng.normal(0, 0.2, N), 0, 1)


@pytest.fixture
def pairs(rng):
    """People's second, tie, first, and a judge with hard verdicts."""
    human = rng.choice([0.0, 0.5, 1.0], N, p=[0.35, 0.2, 0.45])
    return human, np.where(rng.random(N) < 0.7, human, rng.choice([0.0, 0.5, 1.0], N))


def test_pass_fail_figures_are_those_of_scikit_learn_and_krippendorff(rng):
    human = (rng.random(N) < 0.7).astype(float)
    judge = np.clip(0.3 + 0.4 * human + rng.normal(0, 0.25, N), 0, 1)
    said, got = (judge > 0.5).astype(int), found(human, judge, label_kind="pass_fail")
    truth = human.astype(int)
    assert got["accuracy"].value == pytest.approx(metrics.accuracy_score(truth, said), abs=1e-12)
    assert got["balanced_accuracy"].value == pytest.approx(metrics.balanced_accuracy_score(truth, said), abs=1e-12)
    assert got["weighted_f1"].value == pytest.approx(metrics.f1_score(truth, said, average="weighted"), abs=1e-12)
    assert got["kappa"].value == pytest.approx(metrics.cohen_kappa_score(truth, said), abs=1e-12)
    alpha = krippendorff.alpha([truth, said], level_of_measurement="nominal")
    assert got["alpha"].value == pytest.approx(alpha, abs=1e-12)
    assert confusion(human, judge, "pass_fail", 5) == (
        ("fail", "pass"),
        tuple(map(tuple, metrics.confusion_matrix(truth, said).tolist())),
    )


def test_likert_figures_are_those_of_scikit_learn_scipy_and_krippendorff(likert):
    human, judge = likert
    got, truth, said = found(human, judge, label_kind="likert"), np.rint(human * 4), np.rint(judge * 4)
    quadratic = metrics.cohen_kappa_score(truth, said, weights="quadratic")
    assert got["weighted_kappa"].value == pytest.approx(quadratic, abs=1e-12)
    assert got["weighted_f1"].value == pytest.approx(metrics.f1_score(truth, said, average="weighted"), abs=1e-12)
    assert got["balanced_accuracy"].value == pytest.approx(metrics.balanced_accuracy_score(truth, said), abs=1e-12)
    interval = krippendorff.alpha([human, judge], level_of_measurement="interval")
    assert got["alpha"].value == pytest.approx(interval, abs=1e-12)
    assert got["spearman"].value == pytest.approx(stats.spearmanr(human, judge)[0], abs=1e-12)
    assert got["kendall"].value == pytest.approx(stats.kendalltau(human, judge)[0], abs=1e-9)
    assert got["pearson"].value == pytest.approx(stats.pearsonr(human, judge)[0], abs=1e-12)
    assert confusion(human, judge, "likert", 5)[0] == ("1", "2", "3", "4", "5")


def test_pair_figures_are_those_of_scikit_learn_and_ties_are_left_out_where_the_name_says_so(pairs):
    human, judge = pairs
    got, truth, said = found(human, judge, label_kind="pair"), (human * 2).astype(int), (judge * 2).astype(int)
    assert got["accuracy"].value == pytest.approx(metrics.accuracy_score(truth, said), abs=1e-12)
    assert got["kappa"].value == pytest.approx(metrics.cohen_kappa_score(truth, said), abs=1e-12)
    decided = human != 0.5
    by_hand = np.where(judge == human, 1.0, np.where(judge == 0.5, 0.5, 0.0))[decided].mean()
    assert got["accuracy_without_ties"].value == pytest.approx(by_hand, abs=1e-12)
    assert f"{decided.sum()} pairs" in got["accuracy_without_ties"].note


@pytest.mark.parametrize("figure", ["spearman", "kendall", "pearson"])
def test_a_resample_gives_what_scipy_gives_on_the_repeated_items(figure, likert, rng):
    human, judge = likert
    clusters = names(N, 3)
    formula = getattr(raters, figure)(human, judge, clusters)
    drawn = rng.integers(0, N // 3, N // 3)
    weights = np.bincount(drawn, minlength=N // 3).astype(float)
    rows = np.concatenate([np.arange(3 * g, 3 * g + 3) for g in drawn])
    reference = {"spearman": stats.spearmanr, "kendall": stats.kendalltau, "pearson": stats.pearsonr}[figure]
    assert formula(weights[None])[0] == pytest.approx(reference(human[rows], judge[rows])[0], abs=1e-9)


def test_kendall_of_very_many_different_scores_is_within_a_hundredth(rng):
    human = rng.random(3000)
    judge = human + rng.normal(0, 0.3, 3000)
    grouped = raters.kendall(human, judge, names(3000))(np.ones((1, 3000)))[0]
    assert grouped == pytest.approx(stats.kendalltau(human, judge)[0], abs=0.01)


def test_a_level_that_people_never_give_does_not_count_against_the_judge():
    human, judge = np.array([0.0, 0.25, 0.75, 1.0] * 10), np.array([0.0, 0.5, 0.75, 0.75] * 10)
    got = found(human, judge, label_kind="likert")
    assert got["balanced_accuracy"].value == pytest.approx(0.5)  # 1 and 4 found again, 2 and 5 not, 3 never given


def test_the_interval_of_kappa_is_that_of_its_standard_error(pairs):
    human, judge = pairs
    table = np.array(confusion(human, judge, "pair", 5)[1])
    reference = cohens_kappa(table)
    kappa = found(human, judge, label_kind="pair", n_resamples=2000)["kappa"]
    assert (kappa.low, kappa.high) == pytest.approx((reference.kappa_low, reference.kappa_upp), abs=0.012)


def test_answers_copied_within_their_prompt_add_no_certainty(pairs):
    human, judge = pairs
    once = found(human, judge, label_kind="pair", n_resamples=1500)["kappa"]
    copied = (np.repeat(human, 4), np.repeat(judge, 4))
    known = found(*copied, names(4 * N, 4), label_kind="pair", n_resamples=1500)["kappa"]
    ignored = found(*copied, label_kind="pair", n_resamples=1500)["kappa"]
    assert known.high - known.low == pytest.approx(once.high - once.low, rel=0.08)
    assert ignored.high - ignored.low == pytest.approx((once.high - once.low) / 2, rel=0.08)
    assert (known.n, known.n_clusters) == (4 * N, N)


def clustered_scores(rng, n_clusters=60, size=4):
    """Scores whose prompts share most of what they vary by, with true correlation .6."""

    def shared():
        return np.repeat(rng.normal(size=n_clusters), size) * 0.8 + rng.normal(size=n_clusters * size) * 0.6

    human = shared()
    return human, 0.6 * human + 0.8 * shared()


def test_intervals_cover_with_clusters_and_do_not_without_them():
    rng = np.random.default_rng(4)
    hits = {"known": 0, "ignored": 0}
    runs = 300
    for _ in range(runs):
        human, judge = clustered_scores(rng)
        for way, clusters in (("known", names(240, 4)), ("ignored", names(240))):
            ids, n_clusters = np.unique(clusters, return_inverse=True)[1], len(set(clusters))
            measure = raters.Measure("pearson", raters.pearson(human, judge, clusters), -1.0)
            (figure,) = raters.figures([measure], ids, n_clusters, n_resamples=400, rng=rng)
            hits[way] += figure.low < 0.6 < figure.high
    # 95 % +- 2.5 standard errors of a count of 300; expected without clusters, at a design effect of 1 + 3 * .64**2
    # for the product of two such scores, 81 %.
    assert 0.918 < hits["known"] / runs < 0.982
    assert hits["ignored"] / runs < 0.88


def test_within_systems_a_judge_that_only_knows_the_better_system_is_worth_nothing(rng):
    system = rng.integers(0, 2, 400)
    human = np.clip(0.3 + 0.4 * system + rng.normal(0, 0.1, 400), 0, 1)
    judge = 0.2 + 0.6 * system + rng.normal(0, 0.05, 400)
    got = found(human, judge, label_kind="likert", systems=[str(each) for each in system])
    assert got["pearson"].value > 0.85
    assert abs(got["pearson_within_system"].value) < 0.15
    # The definition, by hand: correlate what is left when both sides lose their system's mean.
    centred = [
        side - np.where(system == 1, side[system == 1].mean(), side[system == 0].mean()) for side in (human, judge)
    ]
    assert got["pearson_within_system"].value == pytest.approx(np.corrcoef(*centred)[0, 1], abs=1e-12)


def test_halfway_scores_go_outwards_so_that_turning_the_scale_round_turns_the_levels_round(rng):
    assert levels(np.array([0.125, 0.375, 0.5, 0.625, 0.875]), 5).tolist() == [0, 1, 2, 3, 4]
    assert levels(np.array([0.0, 1 / 3, 0.5, 2 / 3, 1.0]), 4).tolist() == [0, 1, 1, 2, 3]
    assert levels(np.array([np.mean([2 / 3, 1])]), 4).tolist() == [3]  # in binary a little under 5 / 6
    scores = rng.random(500)
    for n_levels in (2, 3, 5, 7):
        assert (levels(1 - scores, n_levels) == n_levels - 1 - levels(scores, n_levels)).all()


def test_a_pair_is_judged_a_tie_as_often_as_people_see_ties_and_always_at_exactly_one_half():
    human = np.array([1, 0, 0.5, 1, 0, 0.5, 1, 1, 0, 0.5])  # 3 of 10 ties
    judge = np.array([0.9, 0.1, 0.52, 0.8, 0.3, 0.45, 0.7, 0.56, 0.2, 0.35])
    assert judged_levels(human, judge, "pair", 5).tolist() == [2, 0, 1, 2, 0, 1, 2, 1, 0, 0]
    assert judged_levels(np.array([1.0, 0.0]), np.array([0.51, 0.5]), "pair", 5).tolist() == [2, 1]
    hard = np.array([1, 0, 0.5, 0.5, 0.5, 0.5, 1, 1, 0, 1])  # more ties than people: they stay ties
    assert (judged_levels(human, hard, "pair", 5) == hard * 2).all()


def test_swapping_every_pair_changes_no_figure_of_agreement(pairs):
    human, judge = pairs
    judge = np.clip(judge + np.linspace(-0.2, 0.2, N), 0, 1)
    as_given, swapped = (found(*sides, label_kind="pair") for sides in ((human, judge), (1 - human, 1 - judge)))
    for name, figure in as_given.items():
        assert swapped[name].value == pytest.approx(figure.value, abs=1e-9), name


def test_a_perfect_judge_is_not_certain_after_twenty_prompts():
    human = np.tile([0.0, 1.0], 10)
    for figure in found(human, human, label_kind="pass_fail").values():
        assert (figure.value, figure.high) == pytest.approx((1.0, 1.0))
        # By hand: .025 ** (1 / 20) = .8316, so 16.84 % of prompts can have been missed, as bad as can be.
        worst = 0.0 if figure.name in ("accuracy", "balanced_accuracy", "weighted_f1") else -1.0
        assert figure.low == pytest.approx(1 - 0.16843 * (1 - worst), abs=1e-4)
        assert "20 prompts can have missed" in figure.note


def test_a_constant_judge_has_no_correlation_and_no_kappa_beyond_chance(likert):
    human, _ = likert
    got = found(human, np.full(N, 0.5), label_kind="likert")
    assert got["kappa"].value == pytest.approx(0.0)
    for name in ("pearson", "spearman", "kendall"):
        assert (got[name].value, got[name].low) == (None, None)
        assert "same score" in got[name].note


def test_labels_that_are_all_equal_leave_only_the_share_of_hits():
    got = found(np.ones(30), np.full(30, 0.9), label_kind="pass_fail")
    assert got["accuracy"].value == 1.0
    assert (got["kappa"].value, got["alpha"].value, got["pearson"].value) == (None, None, None)


def test_ties_only_leave_no_accuracy_without_ties():
    got = found(np.full(20, 0.5), np.linspace(0, 1, 20), label_kind="pair")
    assert got["accuracy_without_ties"].value is None
    assert got["accuracy"].value == 1.0  # as many ties as people have


def test_one_prompt_gives_figures_without_intervals(likert):
    human, judge = likert
    figure = found(human, judge, ["the only prompt"] * N, label_kind="likert")["pearson"]
    assert figure.value == pytest.approx(stats.pearsonr(human, judge)[0])
    assert (figure.low, figure.high, figure.n_clusters) == (None, None, 1)


def test_a_missing_verdict_is_refused_and_no_items_give_no_figures():
    with pytest.raises(ValueError, match="not a finite number"):
        found([0.0, 1.0], [0.5, np.nan], label_kind="pass_fail")
    assert found([], [], label_kind="pass_fail") == {}


def annotated(rng, n=150, noise=(0.15, 0.2, 0.3), gaps=0.0):
    """Likert ratings of three annotators around a true quality, some missing."""
    truth = rng.random(n)
    rounded = [np.clip(np.rint((truth + rng.normal(0, sd, n)) * 4), 0, 4) / 4 for sd in noise]
    kept = rng.random((len(noise), n)) >= gaps
    return truth, [{f"a{j}": float(scores[i]) for j, scores in enumerate(rounded) if kept[j, i]} for i in range(n)]


@pytest.mark.parametrize("gaps", [0.0, 0.4])
def test_alpha_between_people_is_krippendorffs_with_gaps_too(rng, gaps):
    _, ratings = annotated(rng, gaps=gaps)
    table = [[of_item.get(f"a{j}", np.nan) for of_item in ratings] for j in range(3)]
    interval = people(ratings, label_kind="likert")["human_human_alpha"]
    assert interval.value == pytest.approx(krippendorff.alpha(table, level_of_measurement="interval"), abs=1e-12)
    passed = [{name: float(score > 0.5) for name, score in of_item.items()} for of_item in ratings]
    table = [[of_item.get(f"a{j}", np.nan) for of_item in passed] for j in range(3)]
    nominal = people(passed, label_kind="pass_fail")["human_human_alpha"]
    assert nominal.value == pytest.approx(krippendorff.alpha(table, level_of_measurement="nominal"), abs=1e-12)


def test_people_and_judge_are_held_against_the_same_others(rng):
    truth, ratings = annotated(rng)
    got = people(ratings, label_kind="likert", judge_N=truth)
    table = np.array([list(of_item.values()) for of_item in ratings])
    others = np.column_stack([np.delete(table, j, axis=1).mean(1) for j in range(3)]).ravel()
    human = stats.pearsonr(others, table.ravel())[0]
    judge = stats.pearsonr(others, np.repeat(truth, 3))[0]
    assert got["human_human_pearson"].value == pytest.approx(human, abs=1e-12)
    assert got["judge_pearson"].value == pytest.approx(judge, abs=1e-12)
    ratio = got["ceiling_ratio_pearson"]
    assert ratio.value == pytest.approx(judge / human, abs=1e-12)
    assert 1 < ratio.low < ratio.value < ratio.high  # the truth itself beats any annotator
    assert ratio.n_clusters == 150


def test_people_agree_pair_by_pair_as_scikit_learn_counts_it(rng):
    _, ratings = annotated(rng)
    table = np.array([list(of_item.values()) for of_item in ratings]) * 4
    both = [(table[:, a], table[:, b]) for a in range(3) for b in range(3) if a != b]
    one, other = (np.concatenate(sides) for sides in zip(*both, strict=True))
    got = people(ratings, label_kind="likert")
    assert got["human_human_kappa"].value == pytest.approx(metrics.cohen_kappa_score(one, other), abs=1e-12)
    assert got["human_human_accuracy"].value == pytest.approx((one == other).mean(), abs=1e-12)


def test_the_ceiling_leaves_out_what_the_judge_did_not_judge(rng):
    truth, ratings = annotated(rng)
    part = np.where(np.arange(150) < 90, truth, np.nan)
    got = people(ratings, label_kind="likert", judge_N=part)
    alone = people(ratings[:90], label_kind="likert", judge_N=truth[:90])
    assert got["ceiling_ratio_pearson"].value == alone["ceiling_ratio_pearson"].value
    assert got["human_human_pearson"].n == 90


def test_one_annotator_is_no_ceiling():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (figure,) = people([{"anna": 1.0}, {"bert": 0.0}], label_kind="pass_fail").values()
    assert (figure.value, figure.n) == (None, 0)
    assert "nobody rated an item that another had rated" in figure.note


@pytest.mark.parametrize("module", ["agreement", "annotators", "calibration"])
def test_the_examples_in_the_docstrings_are_true(module):
    tried = doctest.testmod(importlib.import_module(f"harness.stats.{module}"))
    assert (tried.failed, tried.attempted > 0) == (0, True)
