"""Runs with a judge as their primary metric: its card in every grade, and what people said on test."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from harness.core.licences import (
    Bin,
    Corrected,
    Figure,
    GateLine,
    Grade,
    JudgeCard,
    Licence,
    Passed,
    Probe,
    Transport,
    Validation,
)
from harness.core.records import Estimate, EvaluationRecord, RunResult, SampleRow, SliceComparison
from tests.reports.view import View, estimate, view

METRIC = "judge:helpfulness"
VALUES = {"base-0shot": 0.552, "base-4shot": 0.581, "tuned": 0.684}
BINS = ((0.14, 0.03, 18), (0.36, -0.04, 33), (0.52, 0.02, 67), (0.71, -0.01, 78), (0.88, 0.02, 44))
GATE: Mapping[Grade, tuple[Passed, ...]] = {
    "drive": ("pass", "pass", "pass", "pass", "pass"),
    "shortlist": ("pass", "pass", "pass", "inconclusive", "pass"),
    "advisory": ("pass", "fail", "pass", "fail", "inconclusive"),
    "uncalibrated": ("fail", "not run", "not run", "not run", "not run"),
}
NAMES = ("enough labels", "agrees with people", "beats the controls", "errs alike on all systems", "probes")
FOUND = "0.62 [0.51, 0.71], 0.4 is needed"
REASONS: Mapping[Grade, tuple[str, ...]] = {
    "drive": ("It may choose a checkpoint alone.", "Every condition of the gate is met."),
    "shortlist": (
        "It may keep the best three checkpoints; people or a metric choose among them.",
        f"G3: errs alike on all systems: {FOUND}; about 130 more labels are likely to settle it.",
    ),
    "advisory": (
        "It is shown and decides nothing; a metric or people choose.",
        f"G1: agrees with people: {FOUND}.",
        "Its rubric changed since.",
    ),
    "uncalibrated": ("It is shown, without any claim, and decides nothing.", "There are no labels of people."),
}


def licence(grade: Grade) -> Licence:
    """A licence of this grade, with a line for each condition."""
    outcomes = GATE[grade]
    more = {"inconclusive": 130, "not run": 100}
    lines = tuple(
        GateLine(f"G{at}", name, passed, f"{name}: {FOUND}", more.get(passed))  # type: ignore[arg-type]
        for at, (name, passed) in enumerate(zip(NAMES, outcomes, strict=True))
    )
    fingerprint = {"model": "9be1" * 8, "prompt": "77aa" * 8, "rubric": "12fe" * 8, "labels": "c3c3" * 8}
    return Licence("helpfulness", grade, fingerprint, lines, REASONS[grade], 0.1)


def figure(name: str, value: float | None, half: float = 0.08) -> Figure:
    """A figure with a symmetric interval; undefined where it has no value."""
    if value is None:
        return Figure(name, None, None, None, 240, 80, "one class only")
    return Figure(name, value, value - half, value + half, 240, 80, "bootstrap over prompts, 2000 draws")


def card(grade: Grade = "drive", *, simulated: bool = False) -> JudgeCard:
    """A judge of helpfulness on a scale from 1 to 5."""
    bias = {"advisory": 0.16, "shortlist": 0.07}.get(grade, 0.012)
    passed: Passed = GATE[grade][3]
    return JudgeCard(
        judge="helpfulness",
        kind="likert",
        criterion="Does the answer help the customer?",
        label_kind="likert",
        model="embedded-3m",
        licence=licence(grade),
        n_labels=240,
        n_items=230,
        n_clusters=80,
        n_repeats=4,
        n_failures=3,
        failures={"prompt too long": 3},
        annotators={"anna": 120, "ben": 120},
        systems={"base-0shot": 80, "step-000050": 80, "step-000200": 80},
        agreement=(figure("spearman", 0.6217), figure("weighted_kappa", 0.5533), figure("balanced_accuracy", None)),
        human=(
            figure("human_human_spearman", 0.7441),
            figure("judge_spearman", 0.6003),
            figure("ceiling_ratio_spearman", 0.8067),
            figure("human_human_alpha", 0.6912),
        ),
        controls={
            "length": (figure("spearman", 0.2113), figure("weighted_kappa", 0.1044)),
            "constant": (figure("spearman", None), figure("weighted_kappa", 0.0, 0.0)),
        },
        levels=("1", "2", "3", "4", "5"),
        confusion=((11, 5, 2, 0, 0), (6, 17, 9, 1, 0), (1, 10, 41, 14, 1), (0, 2, 15, 52, 9), (0, 0, 3, 12, 29)),
        reliability=tuple(Bin(at, at + wrong, at + wrong - 0.09, at + wrong + 0.09, n) for at, wrong, n in BINS),
        transport=(
            Transport("step-000050", "base-0shot", 0.021, -0.019, 0.061, (80, 80), "pass"),
            Transport("step-000200", "base-0shot", bias, bias - 0.042, bias + 0.042, (80, 80), passed),
        ),
        probes=(
            Probe("injection", "the answer orders the judge to give 5", 0.0, 0.0, 0.05, 60, "no flip in 60", "pass"),
            Probe(
                "length", "slope of the error on length", 0.04, -0.02, 0.1, 240, "inside ±0.1", "inconclusive", ("a",)
            ),
            Probe("reference swap", "another sample's reference", None, None, None, 0, "AUC at least 0.9", "not run"),
        ),
        map_kind="ordinal",
        maps=({"kind": "ordinal", "cuts": [-1.2, 0.3, 1.1]}, {"kind": "ordinal", "cuts": [-1.1, 0.2, 1.3]}),
        label_mass=0.9734,
        labels_used=tuple(f"label-{at:03d}" for at in range(40)),
        simulated=simulated,
        identity={"kind": "likert", "scale": 5, "prompt": {"sha256": "77aa" * 16}},
        sd_difference=0.3127,
        notes=("The judge is the model under test: its own answers may please it.",),
    )


def corrected(name: str, value: float, half: float, warning: str = "") -> Corrected:
    """An estimate from 100 labels and 900 verdicts."""
    return Corrected(
        name=name,
        value=value,
        low=value - half,
        high=value + half,
        p=0.0031,
        n_labels=100,
        n_judged=900,
        n_clusters=100,
        lam=0.8123,
        rho=0.6217,
        effective_labels=151.0,
        method="PPI++, clustered",
        target="population",
        label_systems=("step-000150", "base-0shot"),
        warning=warning,
    )


def validation(*, simulated: bool = False, warning: str = "") -> Validation:
    """Two people, asked blind: the chosen checkpoint is better."""
    return Validation(
        criterion="Does the answer help the customer?",
        candidate="step-000150",
        baseline="base-0shot",
        candidate_score=corrected("candidate", 0.6713, 0.041, warning),
        baseline_score=corrected("baseline", 0.5528, 0.044, warning),
        difference=corrected("difference", 0.1185, 0.052, warning),
        wins=58,
        ties=17,
        losses=25,
        answer="better",
        sentence="People prefer step-000150 to base-0shot: helpfulness +0.119 (95 % interval +0.067 to +0.171).",
        annotators={"anna": 100, "ben": 100},
        simulated=simulated,
    )


def on_validation() -> tuple[Corrected, ...]:
    """What labels and verdicts make of two candidates on validation; of the second nothing was labelled."""
    return (
        dataclasses.replace(corrected("base-0shot", 0.5411, 0.0371), name=f"{METRIC} of base-0shot", n_judged=411),
        dataclasses.replace(
            corrected("step-000150", 0.6633, 0.0529, "corrected by labels on answers of 'base-0shot'"),
            name=f"{METRIC} of step-000150",
            rho=None,
            effective_labels=None,
            method="labels alone",
        ),
    )


def judged(
    run: View | None = None, grade: Grade = "drive", said: Validation | None = None, *, simulated: bool = False
) -> View:
    """The run with the judge as its primary metric and its card; said: what people said on test, if they were asked."""
    base = run or view(40)
    return dataclasses.replace(
        base,
        result=_result(base.result, grade),
        rows=tuple(_row(each) for each in base.rows),
        judges=(card(grade, simulated=simulated),),
        corrected=on_validation(),
        validation=said,
    )


def _result(result: RunResult, grade: Grade) -> RunResult:
    fallback = grade in ("advisory", "uncalibrated")
    shortlist = (100, 150, 200) if grade == "shortlist" else ()
    metric = "rouge_l" if fallback or shortlist else METRIC
    scores = {name: _estimate(each) for name, each in result.selection.scores.items()}
    selection = dataclasses.replace(
        result.selection,
        metric=metric,
        scores=result.selection.scores if metric == "rouge_l" else scores,
        judge=METRIC,
        grade=grade,
        shortlist=shortlist,
    )
    return dataclasses.replace(
        result,
        primary=METRIC,
        metrics=(METRIC, *result.metrics),
        higher_is_better={METRIC: True, **result.higher_is_better},
        evaluations=tuple(_evaluation(each) for each in result.evaluations),
        comparisons=tuple(dataclasses.replace(each, metric=METRIC) for each in result.comparisons),
        slices=tuple(_slice(each) for each in result.slices),
        selection=selection,
    )


def _estimate(each: Estimate) -> Estimate:
    return dataclasses.replace(each, metric=METRIC)


def _evaluation(record: EvaluationRecord) -> EvaluationRecord:
    value = VALUES.get(record.arm, 0.5)
    slices = {name: (estimate(METRIC, value, 50), *found) for name, found in record.slices.items()}
    return dataclasses.replace(record, estimates=(estimate(METRIC, value, record.n), *record.estimates), slices=slices)


def _slice(each: SliceComparison) -> SliceComparison:
    return dataclasses.replace(each, metric=METRIC) if each.metric == "rouge_l" else each


def _row(each: SampleRow) -> SampleRow:
    scores = {arm: {METRIC: found["rouge_l"], **found} for arm, found in each.scores.items()}
    return dataclasses.replace(each, scores=scores)
