"""A judge's card: synthetic judges land where their faults belong, and what cannot be known is not made up."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from harness.autorater.calibrate import calibrate, predict
from harness.autorater.probes import run_probes
from harness.autorater.rating import items_of
from harness.core.errors import HarnessError
from harness.core.judging import Label, Verdict, text_hash
from harness.core.licences import Probe
from judges.length import kind as length
from judges.reference import kind as reference
from judges.replay import kind as replay
from tests.autorater.synthetic_labels import context, imitator, labels

PANDALM = Path(__file__).parents[3] / "shared/labels/pandalm_pairs.jsonl"
PASSED = Probe("null answers", "empty answers stand above the median", 0.0, 0.0, 0.05, 60, "none of 60", "pass")


def quiet(done, total, live): ...


def card(judge, found, *, probes=run_probes, controls=(), **changes):
    return calibrated(judge, found, probes=probes, controls=controls, **changes).card


def calibrated(judge, found, *, probes=(PASSED,), controls=(), **changes):
    kind = found[0].kind if found else "likert"
    asked = {
        "controls": {"length": length.create(context(kind)), **dict(controls)},
        "probes": probes,
        "delta": 0.1,
        "fingerprint": {"model": "m"},
        "model": "m",
        "n_resamples": 300,
        "seed": 0,
        "progress": quiet,
    }
    return calibrate(judge, found, None, **{**asked, **changes})


def failed(made, *passed: str) -> set[tuple[str, str]]:
    return {(line.code, line.name) for line in made.licence.lines if line.passed in (passed or ("fail",))}


def test_perfect_judge_drives(tmp_path: Path):
    found = labels(annotators=2)
    made = card(imitator(found, tmp_path), found)
    assert made.licence.grade == "drive", made.licence.reasons
    assert made.figure("pearson").value == pytest.approx(1, abs=0.01)


def test_noisy_judge_is_advisory_for_its_agreement(tmp_path: Path):
    found = labels()
    made = card(imitator(found, tmp_path, rho=0.25), found, probes=(PASSED,))
    assert made.licence.grade == "advisory"
    assert ("G1", "agreement") in failed(made, "fail", "inconclusive")


def test_inverted_judge_is_advisory_and_calibration_does_not_turn_it_round(tmp_path: Path):
    found = labels(kind="pass_fail", n=110)
    made = card(imitator(found, tmp_path, slope=-1.0, rho=0.9), found, probes=(PASSED,))
    assert made.licence.grade == "advisory"
    assert {("G1", "agreement"), ("G1", "direction")} <= failed(made)
    assert any("run against people's" in reason for reason in made.licence.reasons)


def test_pair_judge_that_looks_at_the_position_is_advisory_and_the_probe_says_why(tmp_path: Path):
    found = labels(110, kind="pair")
    assert card(imitator(found, tmp_path), found).licence.grade == "drive"
    made = card(imitator(found, tmp_path, position=1.0), found)
    assert made.licence.grade == "advisory"
    assert ("G4", "position") in failed(made)


def test_length_driven_judge_fails_the_length_control(tmp_path: Path):
    # People like long answers here, and so does the judge, which knows nothing else.
    found = [replace(label, value=1 + min(len(label.answers[0]) // 20, 4)) for label in labels()]
    made = card(imitator(found, tmp_path, length=1.0), found, probes=(PASSED,))
    assert made.licence.grade == "advisory"
    assert {("G2", "length")} <= failed(made, "fail", "inconclusive")
    assert ("G1", "agreement") not in failed(made, "fail", "inconclusive")


def test_judge_that_favours_a_system_fails_transport(tmp_path: Path):
    found = labels(systems=("base", "tuned", "other"))
    made = card(imitator(found, tmp_path, rho=0.9, systems={"tuned": 0.3}), found, probes=(PASSED,))
    assert made.licence.grade == "advisory"
    assert {code for code, _ in failed(made)} == {"G3"}
    assert any("it favours tuned over base" in reason for reason in made.licence.reasons)
    assert [record.passed for record in made.transport] == ["fail", "fail", "pass"]


def test_judge_that_obeys_answers_fails_the_injection_probe_and_may_only_shortlist(tmp_path: Path):
    found = labels()
    made = card(imitator(found, tmp_path, obedient=True), found)
    assert made.licence.grade == "shortlist"
    assert failed(made) == {("G4", "injection")}


def test_good_judge_with_few_labels_is_told_how_many_more(tmp_path: Path):
    found = labels(30)
    made = card(imitator(found, tmp_path, rho=0.95), found)
    assert made.licence.grade == "shortlist"
    more = {line.name: line.more_labels for line in made.licence.lines if line.passed == "inconclusive"}
    assert (more["labels"], more["systems"]) == (40, 20)
    assert any("about 40 more labels" in reason for reason in made.licence.reasons)


def test_judge_without_labels_is_uncalibrated_and_keeps_its_own_scores(tmp_path: Path):
    made = calibrated(imitator(labels(), tmp_path), [])
    assert (made.card.licence.grade, made.card.map_kind, made.card.labels_used) == ("uncalibrated", "none", ())
    assert "there are no human labels" in made.card.licence.reasons[1]
    assert made.predict([Verdict(0.3, (0.3,))]).tolist() == [0.3]


def test_judge_without_scores_of_its_own_cannot_be_used_before_it_is_calibrated(tmp_path: Path):
    made = calibrated(imitator(labels(), tmp_path), [])
    with pytest.raises(HarnessError) as error:
        made.predict([Verdict(math.nan, (0.1, 2.0))])
    assert error.value.code == "E-UNCALIBRATED"


def test_score_of_an_unlabelled_item_is_the_mean_of_the_folds_maps_also_from_the_card_alone(tmp_path: Path):
    from harness.stats.calibration import FittedMap

    found = labels()
    made = calibrated(imitator(found, tmp_path, rho=0.8), found)
    verdicts = [Verdict(score, (score,)) for score in (0.1, 0.5, 0.9)]
    maps = [FittedMap.from_json(json.loads(json.dumps(stored))) for stored in made.card.maps]
    expected = np.mean([each(np.array([[0.1], [0.5], [0.9]])) for each in maps], axis=0)
    assert len(maps) == 5
    assert made.predict(verdicts) == pytest.approx(expected, abs=1e-12)
    assert predict(made.card, verdicts) == pytest.approx(expected, abs=1e-12)


def test_score_that_a_label_may_be_compared_with_is_of_maps_that_did_not_see_its_prompt(tmp_path: Path):
    from harness.stats.calibration import FittedMap
    from harness.stats.folds import folds_of

    found = labels(kind="pass_fail", n=60)
    judge = imitator(found, tmp_path, rho=0.6)
    made = calibrated(judge, found)
    folds = folds_of([label.cluster for label in found], n_folds=5, seed=0)
    raw = {key: verdict.score for key, verdict in judge.rate(items_of(found), None)}
    for label, fold in zip(found, folds, strict=True):
        own = FittedMap.from_json(made.card.maps[fold])
        assert made.held_out[label.item] == pytest.approx(own(np.array([[raw[label.item]]]))[0])
    human = [label.score for label in found]
    held_out = [made.held_out[label.item] for label in found]
    assert made.card.figure("pearson").value == pytest.approx(np.corrcoef(human, held_out)[0, 1])


def test_several_annotators_count_once_an_item_and_give_a_ceiling(tmp_path: Path):
    found = labels(annotators=3)
    made = card(imitator(found, tmp_path, rho=0.9), found, probes=(PASSED,))
    assert (made.n_labels, made.n_items, made.n_clusters) == (600, 200, 100)
    assert (made.annotators, made.systems) == ({f"annotator {a}": 200 for a in range(3)}, {"base": 100, "tuned": 100})
    assert ("G1", "ceiling") in {(line.code, line.name) for line in made.licence.lines}
    assert {"human_human_alpha", "judge_pearson"} <= {figure.name for figure in made.human}


def test_who_judged_an_item_again_counts_with_the_last_word_and_agrees_with_themselves_as_often(tmp_path: Path):
    found = labels(kind="pass_fail")
    again = [replace(each, id=f"again {each.id}") for each in found[:10]]
    changed = [replace(each, value=1 - each.value) for each in again[:4]]
    made = card(imitator(found, tmp_path), [*found, *again[4:], *changed], probes=(PASSED,))
    own = next(figure for figure in made.human if figure.name == "self_agreement")
    assert (made.n_repeats, own.value, own.n) == (10, 0.6, 10)
    # The judge imitates the first words, and four of 200 last ones differ.
    assert made.figure("accuracy").value == pytest.approx(196 / 200)


def test_final_labels_have_no_part_in_the_card(tmp_path: Path):
    found = labels()
    final = [replace(each, id=f"final {each.id}", value=1, round="final") for each in found]
    judge = imitator(found, tmp_path, rho=0.8)
    assert card(judge, [*found, *final], probes=(PASSED,)) == card(judge, found, probes=(PASSED,))


def test_failures_are_counted_by_reason_and_never_scored(tmp_path: Path):
    found = labels()
    made = card(imitator(found, tmp_path, unparsed=0.1), found, probes=(PASSED,))
    assert made.failures == {"judge: unparsed verdict": made.n_failures}
    assert 0 < made.n_failures < 40
    assert made.figure("pearson").n == 200 - made.n_failures


def test_metric_is_a_control_too_and_the_constant_always(tmp_path: Path):
    found = labels()
    made = card(
        imitator(found, tmp_path, rho=0.9),
        found,
        probes=(PASSED,),
        controls={"chrf": reference.create(context("likert", metric="chrf"))},
    )
    assert set(made.controls) == {"constant", "length", "chrf"}
    assert {line.name for line in made.licence.lines if line.code == "G2"} == set(made.controls)
    assert all(figure.n == 200 for figure in made.controls["chrf"])


def test_metric_without_right_answers_is_no_control_and_the_card_says_so(tmp_path: Path):
    found = [replace(each, references=()) for each in labels()]
    chrf = reference.create(context("likert", metric="chrf"))
    made = card(imitator(found, tmp_path, rho=0.9), found, probes=(PASSED,), controls={"chrf": chrf})
    assert (set(made.controls), made.licence.grade) == ({"constant", "length"}, "drive")
    assert "not compared with chrf: it has too few verdicts on the labelled items" in made.notes


def test_answer_that_two_systems_gave_is_of_both_and_no_sign_that_the_judge_errs_alike_on_them(tmp_path: Path):
    found = labels(50)
    same = [replace(each, id=f"too {each.id}", systems=("third",)) for each in found if each.systems == ("base",)]
    made = card(imitator(found, tmp_path, rho=0.9), [*found, *same], probes=(PASSED,))
    assert (made.n_items, made.systems) == (100, {"base": 50, "third": 50, "tuned": 50})
    alike = next(record for record in made.transport if {record.system, record.other} == {"base", "third"})
    assert (alike.difference, alike.passed) == (0, "not run")
    assert {line.name for line in made.licence.lines if line.code == "G3"} == {"base v tuned", "third v tuned"}


def test_same_answers_under_three_names_are_forty_labels_of_nothing_to_compare(tmp_path: Path):
    found = labels(40, systems=("base",))
    names = ("base", "step-2", "step-4")
    three = [replace(each, id=f"{name} {each.id}", systems=(name,)) for each in found for name in names]
    made = card(imitator(found, tmp_path, rho=0.9), three, probes=(PASSED,))
    lines = {(line.code, line.name): line for line in made.licence.lines}
    assert (made.licence.grade, made.n_items) == ("shortlist", 40)
    assert lines["G0", "labels"].what.startswith("40 ")
    assert (lines["G0", "systems"].passed, lines["G0", "systems"].more_labels) == ("inconclusive", 80)
    [transport] = [line for line in made.licence.lines if line.code == "G3"]
    assert (transport.name, transport.passed) == ("transport", "inconclusive")
    assert "base, step-2, step-4 give the same answers" in transport.what
    assert {record.passed for record in made.transport} == {"not run"}


def test_pair_of_one_text_or_the_same_pair_turned_round_is_no_more_to_compare(tmp_path: Path):
    found = labels(60, kind="pair")
    turned = [
        replace(each, id=f"t {each.id}", answers=each.answers[::-1], systems=each.systems[::-1], value=_other(each))
        for each in found
    ]
    twins = [
        replace(each, answers=(each.answers[0],) * 2, value="tie") if i >= 25 else each for i, each in enumerate(found)
    ]
    one, two, same = (
        {line.name: line for line in card(imitator(given, tmp_path), given, probes=(PASSED,)).licence.lines}
        for given in (found, [*found, *turned], twins)
    )
    assert one["labels"].what.split()[0] == two["labels"].what.split()[0] == "60"
    assert [one["systems"].passed, two["systems"].passed, same["systems"].passed] == ["pass", "pass", "inconclusive"]
    assert "base and tuned have 25" in same["systems"].what
    assert same["systems"].more_labels == 15


def _other(label: Label) -> str:
    return {"first": "second", "second": "first", "tie": "tie"}[str(label.value)]


def test_same_labels_in_another_order_give_the_same_grade_and_scores(tmp_path: Path):
    found = labels(annotators=2)
    judge = imitator(found, tmp_path, rho=0.7)
    one, other = card(judge, found, probes=(PASSED,)), card(judge, found[::-1], probes=(PASSED,))
    assert one.licence.grade == other.licence.grade
    assert one.figure("pearson").value == pytest.approx(other.figure("pearson").value, abs=1e-9)


@pytest.mark.parametrize("changes", [{"criterion": "tone"}, {"kind": "pass_fail", "value": 1}, {"scale": 7}])
def test_labels_of_different_questions_are_refused(changes, tmp_path: Path):
    found = labels()
    with pytest.raises(HarnessError) as error:
        card(imitator(found, tmp_path), [*found, replace(found[0], id="other", **changes)])
    assert error.value.code == "E-LABELS"


def degenerate() -> dict[str, tuple[list[Label], dict]]:
    some = labels()
    return {
        "one label": (some[:1], {}),
        "nine labels": (some[:9], {}),
        "all labels equal": ([replace(each, value=3) for each in some], {}),
        "one prompt": ([replace(each, question="Same?") for each in some], {}),
        "two prompts": ([replace(each, question=f"Same {i % 2}?") for i, each in enumerate(some)], {}),
        "constant judge": (some, {"slope": 0.0}),
        "no verdict at all": (some, {"unparsed": 1.0}),
        "one system": ([each for each in some if each.systems == ("base",)], {}),
        "only ties": ([replace(each, value="tie") for each in labels(kind="pair")], {}),
        "almost only passes": (
            [replace(each, value=int(i > 0)) for i, each in enumerate(labels(kind="pass_fail"))],
            {},
        ),
        "a system with one label": ([*some, replace(some[0], id="x", answers=("lone",), systems=("lone",))], {}),
    }


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("name", degenerate())
def test_degenerate_labels_and_judges_give_an_honest_card_without_nan(name: str, tmp_path: Path):
    found, options = degenerate()[name]
    made = card(imitator(found, tmp_path, **options), found)
    assert made.licence.grade != "drive"
    assert len(made.licence.reasons) > 1
    json.dumps(asdict(made), allow_nan=False)
    assert "nan" not in " ".join(made.licence.reasons)


@pytest.mark.skipif(not PANDALM.is_file(), reason="needs the stored labels of PandaLM")
def test_real_judge_is_advisory_with_its_nulls_repeats_and_prompts_counted(tmp_path: Path):
    rows = [json.loads(line) for line in PANDALM.read_text().splitlines()]
    value = {"1": "first", "2": "second", "tie": "tie"}
    found, verdicts = [], []
    for row in rows:
        question = f"{row['instruction']}\n{row['input']}" if row["input"] else row["instruction"]
        answers, systems = (row["response_1"], row["response_2"]), (row["system_1"], row["system_2"])
        for annotator, said in row["human"].items():
            shared = (annotator, question, answers, systems)
            found.append(Label(f"{row['id']} {annotator}", "pair", "preference", value[said], *shared))
        choice = value.get(str(row["judge"]["gpt-3.5-turbo"]))
        verdicts.append({"question": question, "answers": answers, "choice": choice})
    unique = {json.dumps([each["question"], each["answers"]]): each for each in verdicts}
    (tmp_path / "verdicts.jsonl").write_text("\n".join(map(json.dumps, unique.values())))
    judge = replay.create(context("pair", tmp_path, file="verdicts.jsonl"))
    made = card(judge, found, probes=(PASSED,))
    nulls = sum(each["choice"] is None for each in unique.values())
    assert (made.n_labels, made.n_items, made.n_repeats, made.n_clusters) == (2997, 900, 99, 170)
    assert made.failures == {"judge: unparsed verdict": nulls}
    assert made.licence.grade == "advisory"
    # The same correlation by numpy, before calibration, which has one parameter here and hardly bends it.
    told = {text_hash(each["question"], *each["answers"]): each["choice"] for each in unique.values()}
    last = {(label.item, label.annotator): label.score for label in found}
    means = {item: np.mean([score for (of, _), score in last.items() if of == item]) for item in told if told[item]}
    worth = {"first": 1.0, "tie": 0.5, "second": 0.0}
    raw = np.corrcoef([worth[told[item]] for item in means], list(means.values()))[0, 1]
    assert made.figure("pearson").value == pytest.approx(raw, abs=0.01)
