"""Prediction-powered means: against ppi-python, against least variances found by search, and by identities."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize

from harness.stats import ppi
from harness.stats.paired import bonett_price, mcnemar_mid_p


def scores(rng, n, n_judged, *, rho=0.6, scale=1.0):
    """People's scores (mean .5, sd .2) with verdicts that correlate rho with them, and lie .1 higher."""
    human = rng.normal(size=n + n_judged)
    judged = rho * human + np.sqrt(1 - rho**2) * rng.normal(size=n + n_judged)
    human, judged = 0.5 + 0.2 * human, 0.6 + scale * 0.2 * judged
    return human[:n], judged[:n], judged[n:]


def clustered_scores(rng, n_clusters, size, n_judged_clusters, *, icc=0.3, rho=0.6):
    def noise():
        n = n_clusters + n_judged_clusters
        of_cluster = np.repeat(rng.normal(size=n), size)
        return np.sqrt(icc) * of_cluster + np.sqrt(1 - icc) * rng.normal(size=n * size)

    human = noise()
    judged = 0.6 + 0.2 * (rho * human + np.sqrt(1 - rho**2) * noise())
    human = 0.5 + 0.2 * human
    names = [f"prompt-{i // size}" for i in range(len(human))]
    n = n_clusters * size
    return (human[:n], judged[:n], judged[n:]), {"clusters_n": names[:n], "clusters_N": names[n:]}


@pytest.mark.parametrize("kind", ["scores", "pass or fail", "useless judge"])
@pytest.mark.parametrize("sizes", [(40, 60), (100, 2000), (300, 100)])
def test_estimate_and_interval_are_those_of_ppi_python(kind, sizes, rng):
    reference = pytest.importorskip("ppi_py")
    human_n, judged_n, judged_N = scores(rng, *sizes, rho=0.0 if kind == "useless judge" else 0.7)
    if kind == "pass or fail":
        human_n, judged_n, judged_N = (np.asarray(each > 0.55, float) for each in (human_n, judged_n, judged_N))
    found = ppi.mean(human_n, judged_n, judged_N, clip=True, large_sample=True)
    ends = reference.ppi_mean_ci(human_n, judged_n, judged_N, alpha=0.05)
    assert found.value == pytest.approx(reference.ppi_mean_pointestimate(human_n, judged_n, judged_N)[0], abs=1e-9)
    assert [found.low, found.high] == pytest.approx([float(end[0]) for end in ends], abs=1e-9)
    assert found.p == pytest.approx(float(reference.ppi_mean_pval(human_n, judged_n, judged_N).item()), abs=1e-9)
    assert 0 <= found.lam <= 1


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0, 2.0])
def test_estimate_with_a_fixed_weight_is_that_of_ppi_python(lam, rng):
    reference = pytest.importorskip("ppi_py")
    data = scores(rng, 60, 500)
    found = ppi.mean(*data, lam=lam, large_sample=True)
    ends = reference.ppi_mean_ci(*data, alpha=0.05, lam=lam)
    assert [found.low, found.high] == pytest.approx([float(end[0]) for end in ends], abs=1e-9)


def test_lambda_makes_the_variance_least_as_a_search_finds_it(rng):
    human_n, judged_n, judged_N = scores(rng, 50, 150)
    n, n_judged, judged_I = 50, 150, np.concatenate([judged_n, judged_N])

    def variance(lam):
        covariance = np.mean((human_n - human_n.mean()) * (judged_n - judged_n.mean()))
        return (human_n.var() - 2 * lam * covariance) / n + lam**2 * (1 / n + 1 / n_judged) * judged_I.var(ddof=1)

    assert ppi.mean(human_n, judged_n, judged_N).lam == pytest.approx(optimize.minimize_scalar(variance).x, abs=1e-6)


def test_lambda_is_where_repeated_experiments_vary_least(rng):
    """With N = n the factor 1 + n / N halves lambda: a formula with it upside down doubles it."""
    drawn = [scores(rng, 50, 50) for _ in range(4000)]
    human_R = np.array([human_n.mean() for human_n, _, _ in drawn])
    judge_R = np.array([judged_N.mean() - judged_n.mean() for _, judged_n, judged_N in drawn])
    least = -np.cov(human_R, judge_R)[0, 1] / judge_R.var(ddof=1)
    assert np.mean([ppi.mean(*data).lam for data in drawn[:400]]) == pytest.approx(least, abs=0.03)
    assert least == pytest.approx(0.3, abs=0.03)  # rho / 2, both spreads being equal


@pytest.mark.parametrize("design", ["clustered", "shared clusters", "weighted", "finite pool in clusters"])
def test_lambda_makes_the_reported_variance_least_in_every_design(design, rng):
    data, clusters = clustered_scores(rng, 30, 4, 60)
    options = dict(clusters)
    if design == "shared clusters":
        options = {"clusters_n": [f"p{i % 40}" for i in range(120)], "clusters_N": [f"p{i % 70}" for i in range(240)]}
    if design == "weighted":
        options["probabilities_n"] = np.linspace(0.2, 0.9, 120)
    if design == "finite pool in clusters":
        options["pool"] = 360
    found = ppi.mean(*data, **options)
    least = optimize.minimize_scalar(
        lambda lam: ppi.mean(*data, lam=lam, **options).se ** 2, bracket=(0, 1), options={"xtol": 1e-9}
    )
    assert found.lam == pytest.approx(least.x, abs=1e-4)
    assert found.lam > 0.1


def test_each_stratum_has_the_lambda_that_it_would_have_alone(rng):
    good, bad = scores(rng, 60, 200, rho=0.9), scores(rng, 40, 300, rho=0.2)
    together = [np.concatenate(pair) for pair in zip(good, bad, strict=True)]
    found = ppi.mean(*together, strata_n=["good"] * 60 + ["bad"] * 40, strata_N=["good"] * 200 + ["bad"] * 300)
    alone = {"good": ppi.mean(*good), "bad": ppi.mean(*bad)}
    assert found.lams == {name: pytest.approx(each.lam) for name, each in alone.items()}
    shares = {"good": 260 / 600, "bad": 340 / 600}
    assert found.value == pytest.approx(sum(shares[name] * each.value for name, each in alone.items()))
    least = np.sqrt(sum((shares[name] * each.se) ** 2 for name, each in alone.items()))
    assert least <= found.se <= 1.05 * least


def test_weight_zero_is_the_labels_own_t_interval(rng):
    human_n, judged_n, judged_N = scores(rng, 80, 300)
    found = ppi.mean(human_n, judged_n, judged_N, lam=0.0)
    from scipy import stats

    ends = stats.t.interval(0.95, 79, loc=human_n.mean(), scale=stats.sem(human_n))
    assert (found.low, found.high) == pytest.approx(ends)
    assert found.effective_labels == pytest.approx(80)
    assert found.p == pytest.approx(stats.ttest_1samp(human_n, 0).pvalue)


def test_a_judge_that_is_always_right_gives_the_mean_over_all_items(rng):
    human = rng.random(400)
    found = ppi.mean(human[:100], human[:100], human[100:], lam=300 / 400)
    assert found.value == pytest.approx(human.mean())
    tuned = ppi.mean(human[:100], human[:100], human[100:])
    assert tuned.value == pytest.approx(human.mean(), abs=0.005)
    assert tuned.effective_labels == pytest.approx(400, rel=0.2)
    pooled = ppi.mean(human[:100], human[:100], human[100:], pool=400, lam=300 / 400)
    assert pooled.high - pooled.low == pytest.approx(0, abs=1e-12)


def test_swapping_the_two_systems_turns_the_estimate_round(rng):
    data, clusters = clustered_scores(rng, 40, 3, 80)
    for options in ({}, clusters):
        found, swapped = ppi.mean(*data, **options), ppi.mean(*(1 - each for each in data), **options)
        assert (swapped.value, swapped.low, swapped.high) == pytest.approx(
            (1 - found.value, 1 - found.high, 1 - found.low)
        )
        assert swapped.lam == pytest.approx(found.lam)


@pytest.mark.parametrize("design", ["simple", "clustered", "weighted", "stratified", "pool"])
def test_a_constant_added_to_all_verdicts_and_the_order_of_rows_change_nothing(design, rng):
    (human_n, judged_n, judged_N), clusters = clustered_scores(rng, 40, 3, 80)
    options = {
        "simple": {},
        "clustered": clusters,
        "weighted": {"probabilities_n": np.linspace(0.2, 0.9, 120)},
        "stratified": {"strata_n": [i % 3 for i in range(120)], "strata_N": [i % 3 for i in range(240)]},
        "pool": {"pool": 360},
    }[design]
    found = ppi.mean(human_n, judged_n, judged_N, **options)
    shifted = ppi.mean(human_n, judged_n + 7, judged_N + 7, **options)
    order_n, order_N = rng.permutation(120), rng.permutation(240)
    turned = {
        name: [value[i] for i in (order_n if name.endswith("_n") else order_N)] if name != "pool" else value
        for name, value in options.items()
    }
    if design == "weighted":
        turned["probabilities_n"] = np.array(turned["probabilities_n"])
    reordered = ppi.mean(human_n[order_n], judged_n[order_n], judged_N[order_N], **turned)
    for other in (shifted, reordered):
        assert (other.value, other.low, other.high) == pytest.approx((found.value, found.low, found.high), abs=1e-9)


def test_lambda_is_not_clipped_where_the_judge_uses_a_part_of_the_scale(rng):
    data = scores(rng, 200, 2000, rho=0.6, scale=0.25)
    found, clipped = ppi.mean(*data), ppi.mean(*data, clip=True)
    assert found.lam == pytest.approx(0.6 / 0.25 / 1.1, rel=0.2)
    assert clipped.lam == 1.0
    assert found.se < clipped.se


def test_a_judge_that_people_contradict_gets_no_say(rng):
    human_n, judged_n, judged_N = scores(rng, 100, 1000, rho=-0.8)
    found = ppi.mean(human_n, judged_n, judged_N)
    assert (found.lam, found.value) == (0.0, pytest.approx(human_n.mean()))


def test_standard_error_of_clustered_labels_is_that_of_statsmodels(rng):
    from statsmodels.api import OLS

    (human_n, _, _), names = clustered_scores(rng, 25, 4, 1)
    groups = [int(name.split("-")[1]) for name in names["clusters_n"]]
    reference = OLS(human_n, np.ones(100)).fit(cov_type="cluster", cov_kwds={"groups": groups})
    found = ppi.labels_only(human_n, clusters_n=names["clusters_n"])
    assert found.se == pytest.approx(reference.bse[0])
    assert (found.n_clusters, found.df) == (25, 24)


def test_repeating_every_row_within_its_cluster_adds_nothing(rng):
    human_n, judged_n, judged_N = scores(rng, 50, 200)
    once = ppi.mean(human_n, judged_n, judged_N, lam=0.5)
    names = [str(i) for i in range(250)]
    thrice = ppi.mean(
        *(np.repeat(each, 3) for each in (human_n, judged_n, judged_N)),
        clusters_n=np.repeat(names[:50], 3).tolist(),
        clusters_N=np.repeat(names[50:], 3).tolist(),
        lam=0.5,
    )
    assert (thrice.value, thrice.low, thrice.high) == pytest.approx((once.value, once.low, once.high))
    assert thrice.effective_labels == pytest.approx(3 * once.effective_labels, rel=0.02)


def test_equal_chances_given_as_probabilities_are_no_chances_given(rng):
    human_n, judged_n, judged_N = scores(rng, 100, 300)
    # Without chances the verdicts of the others stand for all; with them all verdicts do, by 300 / 400 of the weight.
    plain = ppi.mean(human_n, judged_n, judged_N, lam=0.6 * 300 / 400)
    weighted = ppi.mean(human_n, judged_n, judged_N, lam=0.6, probabilities_n=np.full(100, 0.25))
    assert weighted.value == pytest.approx(plain.value)
    assert weighted.se == pytest.approx(plain.se, rel=0.02)


def test_interval_for_a_test_set_leaves_out_what_is_known_of_it(rng):
    human_n, judged_n, judged_N = scores(rng, 50, 50)
    half = ppi.labels_only(human_n, pool=100)
    assert half.se == pytest.approx(np.sqrt(0.5 * human_n.var(ddof=1) / 50))  # Cochran 1977, theorem 2.2
    assert half.effective_labels == pytest.approx(50)
    assert ppi.labels_only(human_n, pool=50).se == 0
    population, pool = ppi.mean(human_n, judged_n, judged_N), ppi.mean(human_n, judged_n, judged_N, pool=100)
    assert pool.value == population.value
    assert pool.se < population.se


def test_chances_of_a_sheet_that_was_labelled_in_part_are_scaled_to_the_labels_there_are(rng):
    human_n, judged_n, judged_N = scores(rng, 50, 150)
    chances = np.linspace(0.1, 0.4, 50)
    chances *= (1 / chances).sum() / 200
    half_done = ppi.mean(human_n, judged_n, judged_N, probabilities_n=chances, pool=200)
    assert ppi.mean(human_n, judged_n, judged_N, probabilities_n=2 * chances, pool=200).se == pytest.approx(
        half_done.se
    )


def test_few_labels_or_few_of_the_rarer_value_speak_alone(rng):
    human_n, judged_n, judged_N = scores(rng, 29, 500, rho=0.9)
    found = ppi.mean(human_n, judged_n, judged_N)
    assert (found.method, found.lam, found.value) == ("labels alone", 0.0, pytest.approx(human_n.mean()))
    assert (found.n, found.N) == (29, 500)
    rare = np.array([1.0] * 98 + [0.0] * 2)
    found = ppi.mean(rare, rng.random(100), rng.random(900), bounds=(0, 1))
    assert found.method.startswith("labels alone")


def test_equal_labels_never_give_an_interval_of_no_width():
    found = ppi.mean(np.zeros(100), np.linspace(0, 1, 100), np.linspace(0, 1, 500), bounds=(-1, 1))
    assert (found.low, found.high) == pytest.approx(bonett_price(0, 0, 100))
    assert found.p == 1.0
    found = ppi.labels_only(np.array([1.0] * 2 + [0.0] * 98), bounds=(-1, 1))
    assert (found.low, found.high) == pytest.approx(bonett_price(2, 0, 100))
    assert found.p == mcnemar_mid_p(2, 0)
    with pytest.raises(ValueError, match="all labels are equal"):
        ppi.mean(np.ones(50), np.ones(50), np.ones(50))


def test_equal_labels_of_few_clusters_are_worth_as_many_as_there_are_clusters():
    names = [str(i // 10) for i in range(100)]
    clustered = ppi.labels_only(np.zeros(100), clusters_n=names, bounds=(-1, 1))
    assert (clustered.low, clustered.high) == pytest.approx(bonett_price(0, 0, 10))


def test_a_constant_judge_leaves_the_labels_alone(rng):
    human_n = rng.random(100)
    found = ppi.mean(human_n, np.full(100, 0.5), np.full(900, 0.5))
    assert (found.method, found.rho) == ("labels alone", None)
    assert found.value == pytest.approx(human_n.mean())


def test_strata_that_were_labelled_unequally_weigh_what_they_are_also_without_verdicts():
    human_n = np.array([1.0, 0.9] * 10 + [0.0, 0.1] * 5)
    found = ppi.mean(
        human_n,
        np.zeros(30),
        np.zeros(970),
        strata_n=["rare"] * 20 + ["usual"] * 10,
        strata_N=["rare"] * 80 + ["usual"] * 890,
    )
    assert found.value == pytest.approx(0.1 * 0.95 + 0.9 * 0.05)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"human_n": np.array([np.nan] * 40)}, "finite"),
        ({"judged_N": np.array([np.inf, 1.0])}, "finite"),
        ({"judged_n": np.zeros(39)}, "39 verdicts"),
        ({"human_n": np.zeros(1), "judged_n": np.zeros(1)}, "1 labelled"),
        ({"clusters_n": ["a"] * 40, "clusters_N": ["b"] * 60}, "1 labelled"),
        ({"clusters_n": ["a"] * 39, "clusters_N": ["b"] * 60}, "a name for each"),
        ({"clusters_n": ["a"] * 40}, "a name for each"),
        ({"strata_n": ["a"] * 39 + ["b"], "strata_N": ["a"] * 60}, "stratum 'b'"),
        ({"probabilities_n": np.zeros(40)}, "probability"),
        ({"pool": 99}, "pool of 99"),
    ],
)
def test_what_cannot_be_estimated_is_refused(change, says, rng):
    human_n, judged_n, judged_N = scores(rng, 40, 60)
    arguments = {"human_n": human_n, "judged_n": judged_n, "judged_N": judged_N, "lam": 1.0, **change}
    with pytest.raises(ValueError, match=says):
        ppi.mean(**arguments)
