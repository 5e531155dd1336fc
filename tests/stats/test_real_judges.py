"""Judges and people that really were: PandaLM's test set (Wang et al. 2023) and LLMBar (Zeng et al. 2023).

The figures are those of the project's design, counted there from the same files with scikit-learn, statsmodels,
krippendorff and evalica. Skipped where the files are not.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score
from statsmodels.stats.inter_rater import cohens_kappa

from harness.stats import raters
from harness.stats.agreement import agreement, ceiling, confusion
from harness.stats.annotators import alt_test, majority
from harness.stats.calibration import cross_fit
from harness.stats.position import position_bias
from harness.stats.slopes import coefficient

LABELS = Path(__file__).parents[2].parent / "shared" / "labels"
SCORES = {"1": 1.0, "tie": 0.5, "2": 0.0, None: np.nan}

pytestmark = pytest.mark.skipif(not LABELS.is_dir(), reason="the real judges' verdicts are not on this machine")


def rows_of(name: str) -> list[dict]:
    return [json.loads(line) for line in (LABELS / name).read_text().splitlines()]


class PandaLM:
    """999 pairs, three annotators, two judges; scores of the first answer, nan without a verdict."""

    def __init__(self) -> None:
        self.rows = rows_of("pandalm_pairs.jsonl")
        self.clusters = [json.dumps([row["instruction"], row["input"]]) for row in self.rows]
        self.ratings = [{name: SCORES[said] for name, said in row["human"].items()} for row in self.rows]
        self.human = np.array([majority(list(of_item.values())) for of_item in self.ratings])

    def judge(self, name: str) -> np.ndarray:
        return np.array([SCORES[row["judge"][name]] for row in self.rows])


@pytest.fixture(scope="module")
def pandalm() -> PandaLM:
    return PandaLM()


def figures(human, judge, clusters):
    got = agreement(human, judge, clusters, label_kind="pair", n_resamples=1000, rng=np.random.default_rng(0))
    return {figure.name: figure for figure in got}


def test_pandalms_rows_are_few_prompts_and_some_stand_twice(pandalm):
    assert (len(pandalm.rows), len(set(pandalm.clusters))) == (999, 170)
    judged = [(row["instruction"], row["input"], row["response_1"], row["response_2"]) for row in pandalm.rows]
    assert len(judged) - len(set(judged)) == 99


def test_gpt_35_agrees_with_people_as_counted_and_its_nulls_are_a_choice_that_is_named(pandalm):
    judge = pandalm.judge("gpt-3.5-turbo")
    given = np.isfinite(judge)
    assert int((~given).sum()) == 25
    dropped = figures(
        pandalm.human[given], judge[given], [c for c, kept in zip(pandalm.clusters, given, strict=True) if kept]
    )
    assert dropped["accuracy"].value == pytest.approx(0.716, abs=0.0005)
    assert dropped["kappa"].value == pytest.approx(0.493, abs=0.0005)
    assert dropped["pearson"].value == pytest.approx(0.59, abs=0.005)
    # Null as a class of its own: a table of four columns.
    levels = {0.0: 0, 0.5: 1, 1.0: 2}
    rows, columns = (
        np.array([levels[each] for each in pandalm.human]),
        np.where(given, np.nan_to_num(judge) * 2, 3).astype(int),
    )
    as_class = raters.counted(raters.kappa, rows, columns, 4, pandalm.clusters)(np.ones((1, 170)))[0]
    assert as_class == pytest.approx(0.476, abs=0.0005)
    assert as_class == pytest.approx(cohen_kappa_score(rows, columns), abs=1e-12)


def test_pandalm_7b_agrees_with_people_as_counted(pandalm):
    got = figures(pandalm.human, pandalm.judge("pandalm-7b"), pandalm.clusters)
    assert got["accuracy"].value == pytest.approx(0.668, abs=0.0005)
    assert got["kappa"].value == pytest.approx(0.44, abs=0.005)
    assert got["pearson"].value == pytest.approx(0.50, abs=0.005)
    assert sum(map(sum, confusion(pandalm.human, pandalm.judge("pandalm-7b"), "pair", 5)[1])) == 999


def test_clusters_of_real_prompts_widen_the_intervals(pandalm):
    judge = pandalm.judge("pandalm-7b")
    known = figures(pandalm.human, judge, pandalm.clusters)["accuracy"]
    ignored = figures(pandalm.human, judge, [str(i) for i in range(999)])["accuracy"]
    effect = ((known.high - known.low) / (ignored.high - ignored.low)) ** 2
    assert 1.3 < effect < 2.8  # the design counted 1.6 to 2.4


def test_people_agree_with_each_other_as_counted(pandalm):
    table = np.array([[of_item[name] for name in ("a1", "a2", "a3")] for of_item in pandalm.ratings])
    shares = [float((table[:, a] == table[:, b]).mean()) for a, b in ((0, 1), (0, 2), (1, 2))]
    assert (min(shares), max(shares)) == pytest.approx((0.913, 0.929), abs=0.0005)
    first_two = [{name: of_item[name] for name in ("a1", "a2")} for of_item in pandalm.ratings]
    got = people(first_two, [str(i) for i in range(999)])
    reference = cohens_kappa(np.array(confusion(table[:, 0], table[:, 1], "pair", 5)[1]))
    assert reference.kappa == pytest.approx(0.852, abs=0.0005)
    # Ours takes the two in both orders, which moves kappa by the difference of their habits.
    assert got["human_human_kappa"].value == pytest.approx(0.852, abs=0.0005)
    assert (got["human_human_kappa"].low, got["human_human_kappa"].high) == pytest.approx((0.822, 0.882), abs=0.006)


def people(ratings, clusters, judge=None):
    got = ceiling(ratings, clusters, label_kind="pair", n_resamples=500, rng=np.random.default_rng(0), judge_N=judge)
    return {figure.name: figure for figure in got}


def test_alpha_and_the_ceiling_are_as_counted(pandalm):
    alone = people(pandalm.ratings, pandalm.clusters)
    assert alone["human_human_alpha"].value == pytest.approx(0.86422, abs=5e-6)
    assert alone["human_human_kappa"].value == pytest.approx(0.86, abs=0.005)
    judged = people(pandalm.ratings, pandalm.clusters, pandalm.judge("gpt-3.5-turbo"))
    assert judged["human_human_kappa"].n == 974
    assert judged["judge_kappa"].value == pytest.approx(0.48, abs=0.005)
    assert judged["ceiling_ratio_kappa"].value == pytest.approx(0.56, abs=0.01)


@pytest.mark.parametrize("by_prompt", [False, True])
def test_the_alternative_annotator_test_refuses_gpt_35_up_to_a_fifth(pandalm, by_prompt):
    clusters = pandalm.clusters if by_prompt else None
    judge = pandalm.judge("gpt-3.5-turbo")
    rates = [alt_test(pandalm.ratings, judge, e, clusters=clusters).winning_rate for e in (0.1, 0.15, 0.2, 0.3)]
    assert rates == [0.0, 0.0, 0.0, 1.0]
    vote = alt_test(pandalm.ratings, pandalm.human, 0.2, clusters=clusters)
    assert (vote.winning_rate, vote.advantage_probability) == (1.0, 1.0)


def test_the_advantage_of_gpt_35_is_smaller_when_its_nulls_count(pandalm):
    judge = pandalm.judge("gpt-3.5-turbo")
    given = np.flatnonzero(np.isfinite(judge))
    dropped = alt_test([pandalm.ratings[i] for i in given], judge[given])
    assert dropped.advantage_probability == pytest.approx(0.758, abs=0.0005)
    # By hand: all three annotators agree with somebody on every null but a few, so 25 of 999 are lost: .758 * .975.
    assert alt_test(pandalm.ratings, judge).advantage_probability == pytest.approx(0.758 * 974 / 999, abs=0.004)


def test_a_symmetric_map_of_a_real_judge_keeps_its_correlation_on_held_out_prompts(pandalm):
    judge = pandalm.judge("pandalm-7b")
    fitted = cross_fit(judge[:, None], pandalm.human, pandalm.clusters, kind="symmetric")
    assert np.corrcoef(fitted.scores_N, pandalm.human)[0, 1] == pytest.approx(0.50, abs=0.02)
    assert ((fitted.scores_N - pandalm.human) ** 2).mean() < ((judge - pandalm.human) ** 2).mean()


@pytest.mark.parametrize("name", ["gpt-3.5-turbo", "pandalm-7b"])
def test_people_like_length_more_than_these_judges_do(pandalm, name):
    lengths = np.array([len(row["response_1"]) - len(row["response_2"]) for row in pandalm.rows], dtype=float)
    judge = pandalm.judge(name)
    given = np.isfinite(judge)
    design = np.column_stack([np.ones(999), np.tanh(lengths / lengths.std())])[given]
    clusters = [cluster for cluster, kept in zip(pandalm.clusters, given, strict=True) if kept]
    sides = (pandalm.human[given], judge[given], (judge - pandalm.human)[given])
    people_, of_judge, residual = (coefficient(side, design, 1, clusters) for side in sides)
    assert (float(people_.value), float(of_judge.value)) == pytest.approx((0.32, 0.23), abs=0.006)
    assert [float(end) for end in residual.interval(0.95)] == pytest.approx([-0.16, -0.02], abs=0.008)


@pytest.fixture(scope="module")
def llmbar() -> list[dict]:
    return rows_of("llmbar_pairs.jsonl")


# natural, adversarial neighbor, gptinst, gptout, manual: the authors' own statistics.json.
ACCURACIES = {
    "GPT-4": (95.5, 78.7, 86.4, 77.7, 80.4),
    "ChatGPT": (81.5, 19.4, 26.6, 41.5, 34.8),
    "PaLM2": (83.0, 62.7, 73.4, 59.6, 65.2),
}


@pytest.mark.parametrize("judge", ACCURACIES)
def test_llmbars_published_accuracies(llmbar, judge):
    right = Counter()
    for row in llmbar:
        verdicts = row["judge"][f"{judge}:Vanilla"].values()
        right[row["subset"]] += sum(said == row["gold"] for said in verdicts)
    sizes = Counter(row["subset"] for row in llmbar)
    subsets = ("natural", "adv_neighbor", "adv_gptinst", "adv_gptout", "adv_manual")
    assert [50 * right[each] / sizes[each] for each in subsets] == pytest.approx(ACCURACIES[judge], abs=0.06)


def llmbar_sides(llmbar, judge):
    orders = [row["judge"][f"{judge}:Vanilla"] for row in llmbar]
    return [(SCORES[each["as_given"]], SCORES[each["swapped"]]) for each in orders]


@pytest.mark.parametrize(
    ("judge", "consistent", "accuracy", "first_slot"),
    [("GPT-4", 0.93, 0.845, 0.67), ("ChatGPT", 0.66, 0.40, 0.93), ("Falcon", 0.42, 0.56, 0.97)],
)
def test_the_first_places_pull_on_real_judges(llmbar, judge, consistent, accuracy, first_slot):
    orders, clusters = llmbar_sides(llmbar, judge), [row["id"] for row in llmbar]
    bias = position_bias(orders, clusters, n_resamples=1000, rng=np.random.default_rng(0))
    assert bias.consistency.value == pytest.approx(consistent, abs=0.006)
    assert bias.first_slot.value == pytest.approx(first_slot, abs=0.005)
    gold = np.array([SCORES[row["gold"]] for row in llmbar])
    got = figures(gold, np.mean(orders, axis=1), clusters)
    # People's labels hold no tie, so a judge that changes its mind is half right: the mean of both orders.
    assert got["accuracy_without_ties"].value == pytest.approx(accuracy, abs=0.006)
    if judge == "GPT-4":
        assert bias.p == pytest.approx(0.10, abs=0.005)  # not detectable
        assert bias.first_slot.low < 0.5 < bias.first_slot.high
    else:
        assert bias.p < 1e-27
        assert bias.first_slot.low > 0.85
