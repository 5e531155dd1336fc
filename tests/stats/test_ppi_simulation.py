"""What corrected estimates promise, counted over simulated and replayed experiments, and the traps they avoid.

Expected widths and gains: the project's design tables, which were computed with other code.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from harness.stats import ppi, rates
from harness.stats.allocation import draw, neyman, proportional, score_strata
from harness.stats.decision import decide
from harness.stats.multiplicity import holm
from harness.stats.paired import mcnemar_mid_p

PANDALM = Path(__file__).resolve().parents[3] / "shared" / "labels" / "pandalm_pairs.jsonl"


class Tally:
    """How often intervals hold the truth, and their mean width."""

    def __init__(self) -> None:
        self.n = self.held = 0
        self.total_width = 0.0

    def add(self, low: float, high: float, truth: float) -> None:
        self.n += 1
        self.held += low <= truth <= high
        self.total_width += high - low

    @property
    def coverage(self) -> float:
        return self.held / self.n

    @property
    def width(self) -> float:
        return self.total_width / self.n


def scores(rng, n, n_judged, rho, *, scale=1.0, bias=0.1):
    human = rng.normal(size=n + n_judged)
    judged = 0.5 + bias + 0.2 * scale * (rho * human + np.sqrt(1 - rho**2) * rng.normal(size=n + n_judged))
    human = 0.5 + 0.2 * human
    return human[:n], judged[:n], judged[n:]


# Correlation; width of PPI++ with 100 labels of 2,100; its gain and that of lambda = 1, in labels.
CONTINUOUS = [
    (0.0, 0.0791, 1.00, 0.40),
    (0.3, 0.0754, 1.09, 0.56),
    (0.6, 0.0642, 1.52, 0.93),
    (0.9, 0.0388, 4.38, 2.83),
]


@pytest.mark.parametrize(("rho", "width", "gain", "untuned_gain"), CONTINUOUS)
def test_means_cover_and_gain_what_the_design_table_says(rho, width, gain, untuned_gain):
    rng = np.random.default_rng(int(10 * rho))
    tuned, alone, untuned, raw = Tally(), Tally(), Tally(), Tally()
    for run in range(1600):
        human_n, judged_n, judged_N = scores(rng, 100, 2000, rho, scale=1.2)
        found = ppi.mean(human_n, judged_n, judged_N)
        tuned.add(found.low, found.high, 0.5)
        raw.add(*stats.norm.interval(0.95, judged_N.mean(), judged_N.std() / np.sqrt(2000)), 0.5)
        if run < 200:
            labels = ppi.labels_only(human_n)
            alone.add(labels.low, labels.high, 0.5)
            plain = ppi.mean(human_n, judged_n, judged_N, lam=1.0)
            untuned.add(plain.low, plain.high, 0.5)
    assert tuned.coverage == pytest.approx(0.95, abs=0.015)
    assert tuned.width == pytest.approx(width, rel=0.02)
    assert (0.0793 / tuned.width) ** 2 == pytest.approx(gain, rel=0.06)
    assert (alone.width / untuned.width) ** 2 == pytest.approx(untuned_gain, rel=0.06)
    assert raw.coverage < 0.05


@pytest.mark.parametrize(("n", "n_judged", "gain"), [(50, 2000, 1.54), (100, 400, 1.41)])
def test_means_cover_with_other_numbers_of_labels_and_verdicts(n, n_judged, gain):
    """gain = 1 / (1 - rho^2 N / (n + N)) at rho .6."""
    rng = np.random.default_rng(n)
    tuned, gains = Tally(), []
    for _ in range(800):
        found = ppi.mean(*scores(rng, n, n_judged, 0.6))
        tuned.add(found.low, found.high, 0.5)
        gains.append(found.effective_labels / n)
    assert tuned.coverage == pytest.approx(0.95, abs=0.015)
    assert np.median(gains) == pytest.approx(gain, rel=0.06)


def verdicts(rng, n, n_judged, rate, sensitivity, specificity):
    human = (rng.random(n + n_judged) < rate).astype(float)
    said = np.where(human == 1, rng.random(n + n_judged) < sensitivity, rng.random(n + n_judged) >= specificity)
    return human[:n], said[:n].astype(float), said[n:].astype(float)


# Labels, rate, sensitivity, specificity; widths of Wilson on labels alone, and corrected.
BINARY = [
    (100, 0.6, 0.90, 0.80, 0.188, 0.137),
    (100, 0.6, 0.95, 0.95, 0.188, 0.091),
    (100, 0.6, 0.75, 0.60, 0.188, 0.176),
    (100, 0.8, 0.90, 0.70, 0.154, 0.128),
]


@pytest.mark.parametrize(("n", "rate", "sensitivity", "specificity", "alone", "corrected"), BINARY)
def test_rates_cover_and_are_as_wide_as_the_design_table_says(n, rate, sensitivity, specificity, alone, corrected):
    rng = np.random.default_rng(int(100 * sensitivity))
    labels, found = Tally(), Tally()
    for run in range(700):
        data = verdicts(rng, n, 2000, rate, sensitivity, specificity)
        each = rates.rate(*data)
        found.add(each.low, each.high, rate)
        if run < 200:
            each = rates.labels_only(data[0])
            labels.add(each.low, each.high, rate)
    assert found.coverage == pytest.approx(0.95, abs=0.018)
    assert found.width == pytest.approx(corrected, rel=0.03)
    assert labels.width == pytest.approx(alone, rel=0.03)


# Labels, rate, sensitivity, specificity, judged items: where the normal interval covers .59 to .89.
RARE = [
    (30, 0.95, 0.95, 0.6, 2000),
    (30, 0.98, 0.95, 0.6, 2000),
    (50, 0.95, 0.95, 0.6, 2000),
    (50, 0.98, 0.95, 0.6, 2000),
    (100, 0.98, 0.95, 0.6, 2000),
    (100, 0.90, 0.90, 0.7, 1000),
    (200, 0.95, 0.95, 0.6, 2000),
]


@pytest.mark.parametrize(("n", "rate", "sensitivity", "specificity", "n_judged"), RARE)
def test_rates_near_one_cover_because_three_of_the_rarer_value_are_asked_for(
    n, rate, sensitivity, specificity, n_judged
):
    rng = np.random.default_rng(n)
    found = Tally()
    for _ in range(800):
        each = rates.rate(*verdicts(rng, n, n_judged, rate, sensitivity, specificity))
        found.add(each.low, each.high, rate)
    assert found.coverage >= 0.935


def test_the_normal_interval_of_a_rare_failure_would_cover_too_rarely():
    rng = np.random.default_rng(1)
    normal = Tally()
    for _ in range(400):
        each = ppi.mean(*verdicts(rng, 50, 2000, 0.95, 0.95, 0.6), lam=0.3)
        normal.add(each.low, each.high, 0.95)
    assert normal.coverage < 0.92


def clustered(rng, n_clusters, n_judged_clusters, *, size=10, icc=0.3, rho=0.6):
    n = n_clusters + n_judged_clusters

    def noise():
        return np.sqrt(icc) * np.repeat(rng.normal(size=n), size) + np.sqrt(1 - icc) * rng.normal(size=n * size)

    human = noise()
    judged = 0.6 + 0.2 * (rho * human + np.sqrt(1 - rho**2) * noise())
    human, names, k = 0.5 + 0.2 * human, np.repeat(np.arange(n), size).tolist(), n_clusters * size
    return (human[:k], judged[:k], judged[k:]), {"clusters_n": names[:k], "clusters_N": names[k:]}


@pytest.mark.parametrize(("n_clusters", "width"), [(50, 0.058), (20, None)])
def test_clustered_means_cover_and_ignoring_the_clusters_does_not(n_clusters, width):
    rng = np.random.default_rng(n_clusters)
    known, ignored = Tally(), Tally()
    for _ in range(500):
        data, clusters = clustered(rng, n_clusters, 200)
        found, blind = ppi.mean(*data, **clusters), ppi.mean(*data)
        known.add(found.low, found.high, 0.5)
        ignored.add(blind.low, blind.high, 0.5)
    assert known.coverage >= 0.93
    assert ignored.coverage < 0.75
    assert width is None or known.width == pytest.approx(width, rel=0.03)


# Extra bias of the judge on the system that is claimed; coverage with labels of the other one.
TRANSPORT = [(0.0, 0.95), (0.02, 0.76), (0.05, 0.13), (0.10, 0.00)]


@pytest.mark.parametrize(("bias", "coverage"), TRANSPORT)
def test_labels_of_another_system_do_not_correct_a_bias_that_is_this_systems_own(bias, coverage):
    rng = np.random.default_rng(7)
    found = Tally()
    for _ in range(400):
        human_n, judged_n, _ = scores(rng, 100, 0, 0.7)
        _, judged_N, _ = scores(rng, 2000, 0, 0.7, bias=0.1 + 0.06 + bias)  # its true mean is .56
        each = ppi.mean(human_n, judged_n, judged_N, lam=1.0)
        found.add(each.low, each.high, 0.56)
    assert found.coverage == pytest.approx(coverage, abs=0.05)


# The judge's scores are the chance of a pass, drawn from Beta(a, b); width by uniform sampling.
ALLOCATED = [(2.0, 1.0, 0.156), (0.5, 0.3, 0.123), (0.2, 0.1, 0.086)]


@pytest.mark.parametrize(("a", "b", "uniform_width"), ALLOCATED)
def test_strata_and_active_sampling_cover_and_are_shorter_than_uniform_sampling(a, b, uniform_width):
    rng = np.random.default_rng(5)
    uniform, stratified, active = Tally(), Tally(), Tally()
    for _ in range(250):
        chance = rng.beta(a, b, 2000)
        passed = (rng.random(2000) < chance).astype(float)
        for tally, taken, options in (
            (uniform, rng.permutation(2000) < 100, {}),
            (stratified, *in_strata(rng, chance)),
            (active, *actively(rng, chance)),
        ):
            found = ppi.mean(passed[taken], chance[taken], chance[~taken], **options)
            tally.add(found.low, found.high, a / (a + b))
    # A binomial count of 250 at .945 strays by .043 at most, three standard errors.
    assert min(tally.coverage for tally in (uniform, stratified, active)) >= 0.90
    assert uniform.width == pytest.approx(uniform_width, rel=0.15)
    assert stratified.width < uniform.width
    assert active.width < uniform.width


def in_strata(rng, chance):
    """A first batch over quintiles of the score, then Neyman's allocation by the spread that chances have."""
    strata = score_strata(chance)
    sizes = {h: int((strata == h).sum()) for h in range(5)}
    first = proportional(sizes, 50)
    spreads = {h: float(np.sqrt((chance * (1 - chance))[strata == h].mean())) for h in range(5)}
    second = neyman(sizes, spreads, first, 50)
    drawn = draw(strata.tolist(), {h: first[h] + second[h] for h in range(5)}, rng)
    taken = np.zeros(len(chance), dtype=bool)
    taken[drawn.indices] = True
    return taken, {"strata_n": strata[taken].tolist(), "strata_N": strata[~taken].tolist()}


def actively(rng, chance):
    """Each item by itself, with a chance that grows with the verdict's spread, three tenths of it uniform."""
    spread = np.sqrt(chance * (1 - chance))
    probabilities = np.minimum(1.0, (0.7 * spread / spread.mean() + 0.3) * 100 / len(chance))
    taken = rng.random(len(chance)) < probabilities
    return taken, {"probabilities_n": probabilities[taken]}


def test_from_choosing_a_checkpoint_to_the_claim_only_the_corrected_estimate_is_honest():
    """A judge that flatters tuned answers picks the best of eight; 100 labels among 1,100 test prompts check it."""
    rng = np.random.default_rng(9)
    corrected, labels, raw = Tally(), Tally(), Tally()
    n_null = said_corrected = said_raw = 0
    for _ in range(1000):
        effects, flattery = rng.normal(0, 0.03, 8), rng.normal(0.05, 0.03, 8)
        chosen = int(np.argmax(0.7 * effects + flattery + rng.normal(0, 0.01, 8)))
        truth = effects[chosen]
        human = truth + 0.25 * rng.normal(size=1100)
        judged = 0.7 * human + flattery[chosen] + 0.127 * rng.normal(size=1100)  # rho .81
        found = ppi.mean(human[:100], judged[:100], judged[100:])
        corrected.add(found.low, found.high, truth)
        low, high = stats.norm.interval(0.95, judged.mean(), judged.std() / np.sqrt(1100))
        raw.add(low, high, truth)
        half = stats.t.ppf(0.975, 99) * human[:100].std(ddof=1) / 10
        labels.add(human[:100].mean() - half, human[:100].mean() + half, truth)
        if truth <= 0:
            n_null += 1
            said = decide(delta=found.value, low=found.low, high=found.high, p_adjusted=found.p, smallest_effect=1e-6)
            said_corrected += said == "better"
            said_raw += low > 0
    assert 0.93 <= corrected.coverage <= 0.97
    assert corrected.width == pytest.approx(0.063, rel=0.05)
    assert labels.width == pytest.approx(0.099, rel=0.03)
    assert said_corrected / n_null <= 0.02
    assert raw.coverage < 0.35
    assert said_raw / n_null > 0.7


def test_tests_of_paired_items_keep_their_level():
    rng = np.random.default_rng(3)
    n_runs, n = 1500, 100
    passed = rng.random((2, n_runs, n)) < 0.7
    wins, losses = (passed[0] & ~passed[1]).sum(axis=1), (~passed[0] & passed[1]).sum(axis=1)
    mid_p = np.array([mcnemar_mid_p(int(w), int(x)) for w, x in zip(wins, losses, strict=True)])
    t_test = np.array([ppi.labels_only(d).p for d in 0.3 * rng.normal(size=(n_runs, n))])
    assert 0.035 <= (mid_p < 0.05).mean() <= 0.065
    assert 0.035 <= (t_test < 0.05).mean() <= 0.065


@pytest.mark.parametrize(("n_clusters", "size"), [(50, 4), (20, 10)])
def test_tests_of_clustered_differences_keep_their_level(n_clusters, size):
    rng = np.random.default_rng(size)
    rejected = {"known": 0, "ignored": 0}
    names = np.repeat(np.arange(n_clusters), size).tolist()
    for _ in range(1000):
        differences = np.repeat(np.sqrt(0.3) * rng.normal(size=n_clusters), size)
        differences = differences + np.sqrt(0.7) * rng.normal(size=n_clusters * size)
        rejected["known"] += ppi.labels_only(differences, clusters_n=names).p < 0.05
        rejected["ignored"] += ppi.labels_only(differences).p < 0.05
    assert 0.035 <= rejected["known"] / 1000 <= 0.065
    assert rejected["ignored"] / 1000 > 0.1


def test_ten_checkpoints_tested_by_holm_rarely_beat_a_baseline_that_equals_them_and_the_naive_best_often_does():
    rng = np.random.default_rng(4)
    n_runs, n, n_checkpoints = 1500, 200, 10
    naive = adjusted = 0
    for _ in range(n_runs):
        # Difficulty is shared: errors of all correlate by one half.
        arms = rng.normal(size=n) + rng.normal(size=(n_checkpoints + 1, n))
        tests = stats.ttest_rel(arms[1:], arms[0][None], axis=1)
        one_sided = np.where(tests.statistic > 0, tests.pvalue / 2, 1 - tests.pvalue / 2)
        naive += one_sided.min() < 0.05
        adjusted += min(holm(one_sided.tolist())) < 0.05
    assert adjusted / n_runs <= 0.06
    assert naive / n_runs > 0.2


@pytest.mark.skipif(not PANDALM.exists(), reason="needs the reference data beside the checkout")
@pytest.mark.parametrize(("judge", "rho", "gain"), [("gpt-3.5-turbo", 0.59, 1.55), ("pandalm-7b", 0.50, 1.35)])
def test_a_hundred_labels_correct_a_real_judge_of_pairs(judge, rho, gain):
    """999 real comparisons over 170 prompts; the truth is the mean of all people's votes."""
    rows = [json.loads(line) for line in PANDALM.read_text().splitlines()]
    value = {"1": 1.0, "tie": 0.5, "2": 0.0, None: 0.5}  # 25 verdicts could not be read: no information, a tie
    human = np.array([value[Counter(row["human"].values()).most_common(1)[0][0]] for row in rows])
    judged = np.array([value[row["judge"][judge]] for row in rows])
    prompts = [row["instruction"] + "\n" + row["input"] for row in rows]
    assert (len(rows), len(set(prompts)), sum(row["judge"]["gpt-3.5-turbo"] is None for row in rows)) == (999, 170, 25)
    rng = np.random.default_rng(0)
    tally, gains = Tally(), []
    for _ in range(800):
        taken = rng.permutation(999) < 100
        found = ppi.mean(
            human[taken],
            judged[taken],
            judged[~taken],
            clusters_n=[prompts[i] for i in np.flatnonzero(taken)],
            clusters_N=[prompts[i] for i in np.flatnonzero(~taken)],
            pool=999,
        )
        tally.add(found.low, found.high, human.mean())
        gains.append(found.effective_labels / 100)
    assert np.corrcoef(human, judged)[0, 1] == pytest.approx(rho, abs=0.01)
    assert 0.93 <= tally.coverage <= 0.97
    assert np.mean(gains) == pytest.approx(gain, abs=0.1)
