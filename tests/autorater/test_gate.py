"""What the gate decides, and how often it is wrong: the table in the design of the judge (6.4), simulated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.autorater import gate
from harness.autorater.evidence import Evidence, follows_people, gain_over, transport_passed, transports, within_systems
from harness.core.licences import Figure, Probe
from harness.core.types import BoolArray, FloatArray
from harness.stats import equivalence

# Human scores vary by .25, of which 30 % belongs to the prompt.
SD, SHARE = 0.25, 0.3


def two_systems(n: int, rho: float, bias: float, rng: np.random.Generator, *, size: tuple[int, ...] = ()):
    """People's and the judge's scores (..., 2 n): a judge calibrated to E[human | judge], n prompts on two systems.

    The judge is `bias` too kind to the second system.
    """
    prompt = np.sqrt(SHARE) * rng.standard_normal((*size, 1, n))
    human = SD * (prompt + np.sqrt(1 - SHARE) * rng.standard_normal((*size, 2, n)))
    judged = rho**2 * human + SD * rho * np.sqrt(1 - rho**2) * rng.standard_normal(human.shape)
    judged[..., 1, :] += bias
    return human.reshape(*size, 2 * n), judged.reshape(*size, 2 * n)


def drives_and_fails(human: FloatArray, judged: FloatArray, delta: float) -> tuple[BoolArray, BoolArray]:
    """Of each experiment: G1 and G3 pass; G3 fails. The functions are those that the gate itself calls."""
    n = human.shape[-1] // 2
    systems, prompts = np.repeat([0, 1], n), np.tile(np.arange(n), 2)
    agrees = follows_people(equivalence.within_correlation(human, judged, systems, prompts))
    difference = equivalence.mean_difference(judged - human, systems == 1, systems == 0, prompts)
    tests = equivalence.equivalence(difference, delta)
    one_pair = replace(tests, p_inside=tests.p_inside[None], p_outside=tests.p_outside[None])
    inside, outside = transport_passed(one_pair)
    return agrees & inside[0], outside[0]


# judge.md 6.4: (labels of each system, delta, rho) -> share graded drive | share where G3 fails, by bias.
TABLE = {
    (50, 0.10, 0.6): {0: (0.64, 0.00), 0.05: (0.33, 0.00), 0.10: (0.04, 0.06), 0.20: (0.00, 0.86)},
    (50, 0.10, 0.8): {0: (0.93, 0.00), 0.05: (0.53, 0.00), 0.10: (0.05, 0.04), 0.20: (0.00, 0.97)},
    (100, 0.10, 0.6): {0: (0.96, 0.00), 0.05: (0.60, 0.00), 0.10: (0.05, 0.05), 0.20: (0.00, 0.99)},
    (100, 0.10, 0.8): {0: (1.0, 0.00), 0.05: (0.81, 0.00), 0.10: (0.05, 0.05), 0.20: (0.00, 1.0)},
    (200, 0.10, 0.6): {0: (1.0, 0.00), 0.05: (0.86, 0.00), 0.10: (0.05, 0.05), 0.20: (0.00, 1.0)},
    (200, 0.05, 0.8): {0: (0.94, 0.00), 0.05: (0.05, 0.05), 0.10: (0.00, 0.97), 0.20: (0.00, 1.0)},
}


@pytest.mark.parametrize(("n", "delta", "rho"), TABLE)
def test_gate_errs_as_rarely_as_its_table_says(n: int, delta: float, rho: float):
    rng = np.random.default_rng(4)
    for bias, expected in TABLE[n, delta, rho].items():
        found = [share.mean() for share in drives_and_fails(*two_systems(n, rho, bias, rng, size=(3000,)), delta)]
        assert found == pytest.approx(expected, abs=0.04), bias


@pytest.mark.parametrize("n", [50, 400])
def test_judge_with_a_correlation_of_three_tenths_never_drives(n: int):
    drives, _ = drives_and_fails(*two_systems(n, 0.3, 0.0, np.random.default_rng(4), size=(1000,)), 0.1)
    assert not drives.any()


def evidence(n: int = 100, rho: float = 0.8, bias: float = 0.0, *, seed: int = 4, **changes) -> Evidence:
    """One experiment as the gate gets it; the control knows nothing."""
    human, judged = two_systems(n, rho, bias, np.random.default_rng(seed))
    return replace(
        Evidence(
            human=human + 0.5,
            judged=judged + 0.5,
            raw=judged + 0.5,
            clusters=[f"prompt {i}" for i in [*range(n), *range(n)]],
            systems=[("base",)] * n + [("tuned",)] * n,
            controls={"length": np.full(2 * n, 0.5)},
        ),
        **changes,
    )


PASSED = Probe("null answers", "empty answers stand above the median", 0.0, 0.0, 0.05, 60, "none of 60", "pass")


def licence(found: Evidence, *, delta: float = 0.1, probes=(PASSED,)):
    return gate.grade(
        "judge",
        found,
        transport=transports(found, delta),
        probes=probes,
        delta=delta,
        fingerprint={"model": "m"},
        n_resamples=500,
        rng=np.random.default_rng(0),
    )


def line(found, code: str, name: str | None = None):
    return next(each for each in found.lines if each.code == code and name in (None, each.name))


def test_gate_decides_each_experiment_as_the_vectorised_tests_do():
    for seed in range(12):
        found = evidence(50, 0.6, 0.05, seed=seed)
        drives, fails = drives_and_fails(found.human, found.judged, 0.1)
        lines = licence(found).lines
        transport = next(each for each in lines if each.code == "G3")
        agreement = next(each for each in lines if each.name == "agreement")
        assert (transport.passed == "pass" and agreement.passed == "pass") == bool(drives)
        assert (transport.passed == "fail") == bool(fails)


def test_judge_that_meets_every_condition_drives():
    found = licence(evidence())
    assert (found.grade, {each.passed for each in found.lines}) == ("drive", {"pass"})
    assert found.reasons[0] == "It may choose a checkpoint alone."


def test_weak_judge_is_advisory_for_its_agreement():
    found = licence(evidence(rho=0.3))
    assert found.grade == "advisory"
    assert line(found, "G1").passed == "fail"
    assert any("within systems the correlation with people" in reason for reason in found.reasons)


def test_judge_that_favours_a_system_is_advisory_and_says_which():
    found = licence(evidence(bias=0.25))
    assert (found.grade, line(found, "G3").passed) == ("advisory", "fail")
    assert "it favours tuned over base" in line(found, "G3").what
    assert [each.passed for each in found.lines if each.code in ("G1", "G2")] == ["pass"] * 3


def test_judge_whose_bias_is_not_known_may_shortlist_and_says_how_many_labels_more():
    found = licence(evidence(50, 0.8, 0.08))
    assert (found.grade, line(found, "G3").passed) == ("shortlist", "inconclusive")
    more = line(found, "G3").more_labels
    assert more is not None
    assert any(f"about {more} more labels" in reason for reason in found.reasons)


def test_labels_asked_for_settle_the_bias_in_most_experiments():
    # A bias of .03 at rho .8: with so many labels the 90 % interval must lie within .1 in about four of five.
    n = 15
    judged = two_systems(n, 0.8, 0.03, np.random.default_rng(1), size=(400,))
    systems, prompts = np.repeat([0, 1], n), np.tile(np.arange(n), 2)
    spread = equivalence.mean_difference(judged[1] - judged[0], systems == 1, systems == 0, prompts)
    asked = equivalence.enough_for(0.1 - 0.03, bound=0, se=float(np.sqrt((spread.se**2).mean())), n=2 * n)
    assert asked is not None
    inside, _ = drives_and_fails(*two_systems(asked // 2, 0.8, 0.03, np.random.default_rng(2), size=(3000,)), 0.1)
    assert inside.mean() == pytest.approx(0.8, abs=0.05)


def test_few_labels_keep_a_good_judge_from_driving():
    found = licence(evidence(30, 0.9))
    assert found.grade == "shortlist"
    assert (line(found, "G0", "labels").more_labels, line(found, "G0", "systems").more_labels) == (40, 20)


def test_an_answer_that_several_systems_gave_is_counted_once():
    # Both systems said the same to the first 60 of 100 prompts: 200 rows, 140 texts; to 90: 110; to all of them: 100.
    for n_shared, n_texts in ((60, 140), (90, 110), (100, 100)):
        items = [f"base {i}" for i in range(100)]
        items += [f"base {i}" if i < n_shared else f"tuned {i}" for i in range(100)]
        labels = line(licence(evidence(items=items)), "G0", "labels")
        assert labels.passed == "pass"
        assert labels.what.startswith(f"{n_texts} different labelled answers")
    few = line(licence(evidence(items=[f"text {i % 51}" for i in range(200)])), "G0", "labels")
    assert (few.passed, few.more_labels) == ("inconclusive", 49)


def ceiling(value: float | None, n: int) -> Figure:
    return Figure("ceiling_ratio_pearson", value, None, None, n, n)


def test_agreement_of_people_on_a_handful_of_answers_settles_nothing():
    few = licence(evidence(ceiling=ceiling(1.31, 4)))
    assert few.grade == "shortlist"
    assert not [each for each in few.lines if each.name == "ceiling"]
    shared = line(few, "G0", "shared answers")
    assert (shared.passed, shared.more_labels) == ("inconclusive", 26)
    assert any("about 26 more labels" in reason for reason in few.reasons)
    enough = licence(evidence(ceiling=ceiling(1.31, 30)))
    assert (enough.grade, line(enough, "G1", "ceiling").passed) == ("drive", "pass")
    assert licence(evidence(ceiling=ceiling(0.5, 30))).grade == "advisory"


def test_figures_have_three_digits_and_no_negative_zero():
    found = evidence()
    nearly = replace(found, controls={"length": found.judged + 1e-6})
    said = line(licence(nearly), "G2").what
    assert "it explains +0.000 [+0.000, +0.000] more than length" in said
    assert "-0.000" not in " ".join(each.what for each in licence(nearly).lines)


def test_the_first_obstacle_is_the_one_that_decides_the_grade():
    assert gate.obstacle(licence(evidence())) == ""
    weak = licence(evidence(30, 0.1))
    assert gate.obstacle(weak) == line(weak, "G1").what
    assert not gate.obstacle(weak).endswith(".")
    unlabelled = gate.uncalibrated("judge", "there are no human labels for it", delta=0.1, fingerprint={})
    assert gate.obstacle(unlabelled) == "there are no human labels for it"


def shared(n: int, n_different: int, **changes) -> Evidence:
    """Two systems on n prompts that give different answers to some and the same one to the others."""
    found = evidence(n, 0.8)
    twice = np.r_[np.arange(n), np.where(np.arange(n) < n_different, np.arange(n) + n, np.arange(n))]
    return replace(
        found,
        human=found.human[twice],
        judged=found.judged[twice],
        raw=found.raw[twice],
        items=[f"item {i}" for i in twice],
        **changes,
    )


@pytest.mark.parametrize(
    ("n", "n_different", "expected", "more"),
    [
        # No exception in 28 prompts leaves room for a share of .1 (.9 ** 28 = .052), none in 29 does not (.047).
        (28, 0, "inconclusive", 10),
        (29, 0, "not run", None),
        # Of 100 prompts 9 differ: by the exact bound as many as .152 might.
        (100, 9, "inconclusive", 13),
        (300, 9, "not run", None),
        (100, 10, "pass", None),
    ],
)
def test_systems_that_say_the_same_pass_nothing(n: int, n_different: int, expected: str, more: int | None):
    found = shared(n, n_different)
    [record] = transports(found, 0.1)
    assert record.passed == expected
    transport = line(licence(found), "G3")
    assert transport.passed == ("pass" if expected == "pass" else "inconclusive")
    if more is not None:
        assert transport.more_labels == more
        assert f"{n_different} labelled answers tell them apart; 10 are needed" in transport.what
    assert licence(found).grade == "shortlist"


def test_system_is_ready_when_it_gave_forty_answers_that_another_did_not():
    few, enough = (line(licence(shared(100, n)), "G0", "systems") for n in (39, 40))
    assert (few.passed, enough.passed, few.more_labels) == ("inconclusive", "pass", 2)
    assert "base and tuned have 39 and 39" in few.what
    assert licence(shared(100, 40)).grade == "drive"


def test_systems_that_hardly_differ_do_not_hold_up_those_that_do():
    found = evidence()
    twin = np.r_[np.arange(200), np.arange(100)]
    three = replace(
        found,
        human=found.human[twin],
        judged=found.judged[twin],
        raw=found.raw[twin],
        clusters=[found.clusters[i] for i in twin],
        systems=[*found.systems, *[("twin",)] * 100],
        controls={"length": np.full(300, 0.5)},
        items=[f"item {i}" for i in twin],
    )
    assert {(each.system, each.other): each.passed for each in transports(three, 0.1)} == {
        ("base", "tuned"): "pass",
        ("tuned", "twin"): "pass",
        ("base", "twin"): "not run",
    }
    assert licence(three).grade == "drive"


def test_errors_that_do_not_vary_are_known_as_well_as_prompts_without_an_exception_allow():
    perfect = [evidence(n) for n in (28, 29, 100)]
    records = [transports(replace(found, judged=found.human), 0.1)[0] for found in perfect]
    assert [record.passed for record in records] == ["inconclusive", "pass", "pass"]
    # The rule of three, exactly: 1 - .05 ** (1 / 100).
    assert (records[2].low, records[2].high) == (pytest.approx(-0.02951, abs=1e-5), pytest.approx(0.02951, abs=1e-5))
    biased = replace(perfect[2], judged=perfect[2].human + np.repeat([0.0, 0.3], 100))
    assert transports(biased, 0.1)[0].passed == "fail"


def test_labels_of_one_system_cannot_show_a_bias():
    found = evidence(systems=[("base",)] * 200)
    assert transports(found, 0.1) == ()
    assert (licence(found).grade, line(licence(found), "G3").passed) == ("shortlist", "inconclusive")


def test_judge_no_better_than_length_is_advisory():
    found = evidence()
    same = replace(found, controls={"length": found.judged.copy()})
    assert (licence(same).grade, line(licence(same), "G2").passed) == ("advisory", "fail")


def test_judge_compared_with_nothing_is_advisory():
    assert licence(evidence(controls={})).grade == "advisory"


@pytest.mark.parametrize(
    ("passed", "limit", "expected"),
    [
        ("pass", "none", "drive"),
        ("fail", "none", "shortlist"),
        ("inconclusive", "none", "shortlist"),
        ("not run", "none", "shortlist"),
        ("not run", "not applicable", "drive"),
    ],
)
def test_probe_that_is_not_passed_keeps_the_judge_from_driving_unless_it_does_not_apply(passed, limit, expected):
    assert licence(evidence(), probes=(replace(PASSED, passed=passed, limit=limit),)).grade == expected


def test_judge_without_probes_does_not_drive():
    assert licence(evidence(), probes=()).grade == "shortlist"


def test_missing_verdicts_keep_from_driving_and_many_from_being_heard():
    assert [licence(evidence(n_unscored=n)).grade for n in (0, 1, 40)] == ["drive", "shortlist", "advisory"]


def test_model_that_does_not_keep_to_the_labels_does_not_drive():
    assert [licence(evidence(label_mass=mass)).grade for mass in (0.9, 0.4)] == ["drive", "shortlist"]


def test_judge_that_says_the_opposite_is_told_so():
    found = evidence(rho=0.8)
    turned = replace(found, raw=1 - found.raw)
    assert line(licence(turned), "G1", "direction").passed == "fail"
    assert "run against people's" in line(licence(turned), "G1", "direction").what


def test_correlation_is_within_systems():
    # The judge knows which system is better and nothing else: .5 for the one, 1 for the other, plus noise.
    rng = np.random.default_rng(0)
    human, noise = rng.normal(size=200) * 0.1, rng.normal(size=200) * 0.1
    lift = np.repeat([0.0, 1.0], 100)
    found = replace(evidence(), human=human + lift, judged=noise + lift)
    pooled = np.corrcoef(found.human, found.judged)[0, 1]
    centred = [
        np.r_[each[:100] - each[:100].mean(), each[100:] - each[100:].mean()] for each in (found.human, found.judged)
    ]
    assert pooled > 0.9
    assert float(within_systems(found, found.judged).value) == pytest.approx(np.corrcoef(centred)[0, 1], abs=1e-12)


def test_gain_is_the_difference_of_two_r_squared():
    found = evidence()
    control = found.judged * 0.5 + 0.2
    from sklearn.metrics import r2_score

    gain = gain_over(found, control, n_resamples=500, rng=np.random.default_rng(0))
    assert gain is not None
    assert gain.value == pytest.approx(r2_score(found.human, found.judged) - r2_score(found.human, control), abs=1e-12)
    assert gain.low < gain.value < gain.high


def pairs(n: int = 60, bias: float = 0.0, *, turned: bool = False) -> Evidence:
    """Pairs of `a` and `b`, in both orders; the judge gives `a` too much by `bias`."""
    rng = np.random.default_rng(2)
    a_wins = rng.integers(0, 3, 2 * n) / 2
    judged = np.clip(a_wins * 0.8 + 0.1 + rng.normal(size=2 * n) * 0.1, 0, 1) + bias
    order = np.arange(2 * n) % 2 == 0
    if turned:
        order = ~order
    return Evidence(
        human=np.where(order, a_wins, 1 - a_wins),
        judged=np.where(order, judged, 1 - judged),
        raw=np.where(order, judged, 1 - judged),
        clusters=[f"prompt {i}" for i in range(2 * n)],
        systems=[("a", "b") if first else ("b", "a") for first in order],
        controls={"length": np.full(2 * n, 0.5)},
    )


def test_of_pairs_the_bias_is_for_one_system_whatever_the_order():
    one, other = (transports(pairs(bias=0.3, turned=turned), 0.1) for turned in (False, True))
    assert one == other
    assert (one[0].system, one[0].other, one[0].passed) == ("a", "b", "fail")
    assert one[0].difference == pytest.approx(0.3, abs=0.05)
    assert licence(pairs()).grade == "drive"


def test_interval_within_the_limit_that_holm_does_not_trust_says_so():
    # Labels that are enough to call two systems alike, but not these two among three pairs.
    found = evidence(60, 0.8, 0.03, seed=0)
    n = 60
    three = replace(
        found,
        human=np.r_[found.human, found.human[:n]],
        judged=np.r_[found.judged, found.judged[:n] - 0.02],
        raw=np.r_[found.raw, found.raw[:n]],
        clusters=[*found.clusters, *found.clusters[:n]],
        systems=[*found.systems, *[("third",)] * n],
        controls={},
    )
    kept = [record for record in transports(three, 0.1) if record.passed == "inconclusive" and record.low > -0.1]
    assert [{record.system, record.other} for record in kept] == [{"base", "tuned"}]
    assert any("not surely so for all 3 pairs" in each.what for each in licence(three).lines if each.code == "G3")


def test_holm_over_pairs_of_systems_asks_more_of_the_smallest_p():
    p = np.array([0.01, 0.04, 0.03])
    from harness.stats.multiplicity import holm

    assert equivalence.holm_adjusted(p) == pytest.approx(holm(p.tolist()))


@pytest.mark.parametrize(
    "changes",
    [
        {"judged": np.full(200, 0.5)},
        {"human": np.full(200, 0.5)},
        {"clusters": ["one"] * 200},
        {"human": np.full(200, 0.5), "judged": np.full(200, 0.5)},
    ],
    ids=["constant judge", "constant labels", "one prompt", "both constant"],
)
def test_degenerate_evidence_gives_honest_lines_and_no_nan(changes):
    found = licence(evidence(**changes))
    assert found.grade == "advisory"
    assert "nan" not in " ".join(each.what for each in found.lines)
    assert all(np.isfinite([t.low, t.high]).all() for t in transports(evidence(**changes), 0.1))


def test_names_from_outside_cannot_act_in_reasons():
    found = evidence(bias=0.25, systems=[("ba\x1b[31mse",)] * 100 + [("tuned",)] * 100)
    assert "\x1b" not in " ".join((*licence(found).reasons, *(each.what + each.name for each in licence(found).lines)))
