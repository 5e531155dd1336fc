"""Slices: named by field, tested before and after, and one that got worse is never hidden by the whole."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import numpy as np
import pytest

from harness.core.records import AuditRecord, Comparison, EvaluationRecord, Selection, SliceComparison
from harness.core.types import Arm, Candidate, Completion, Message, Sample
from harness.metrics.context import MetricContext
from harness.metrics.exact_match import create
from harness.pipeline.conclude import Evidence, _slice_caveats, _worse_slices
from harness.pipeline.evaluate import TestEvaluation
from harness.pipeline.slices import n_left_out, slice_value, slices_of
from harness.pipeline.slicewise import SliceComparing

N = 200
SAMPLES = tuple(
    Sample(f"s{i}", "test", (Message("user", "q"),), ("right",), {"language": "de" if i % 4 == 0 else "en"})
    for i in range(N)
)
METRIC = create(MetricContext("exact_match", SAMPLES, {}))


def arm(name: str, right: list[bool]) -> TestEvaluation:
    """An arm that answers exactly these samples rightly."""
    texts = ["right" if yes else "wrong" for yes in right]
    return TestEvaluation(
        Arm(name, (Candidate(name),)),
        SAMPLES,
        {"exact_match": METRIC.measure(SAMPLES, texts)[None]},
        np.ones(N, dtype=np.bool_),
        (tuple(Completion(text, "stop", 1) for text in texts),),
        cast(EvaluationRecord, None),
    )


def compared() -> tuple[SliceComparison, ...]:
    """German falls from 40 of 50 to 10 of 50, English rises from 30 of 150 to 120."""
    before = arm("base-0shot", [(i // 4) < 40 if i % 4 == 0 else i < 40 for i in range(N)])
    after = arm("step-000010", [(i // 4) < 10 if i % 4 == 0 else i < 160 for i in range(N)])
    comparing = SliceComparing([METRIC], ["language"], smallest_effect=0.02, seed=0, n_resamples=500)
    return comparing.compare(after, before)


def evidence(rows: tuple[SliceComparison, ...], answer: str = "better") -> Evidence:
    whole = cast(Comparison, type("Whole", (), {"answer": answer}))
    return Evidence([METRIC], cast(Selection, None), [whole], rows, {}, cast(AuditRecord, None), {})


def test_each_slice_is_compared_on_its_own_samples() -> None:
    german, english = compared()
    assert (german.name, english.name) == ("language=de", "language=en")
    assert (german.n, german.baseline_value, german.candidate_value) == (50, 0.8, 0.2)
    assert (english.n, english.baseline_value, english.candidate_value) == (150, 30 / 150, 120 / 150)
    assert (german.answer, english.answer) == ("worse", "better")
    assert german.delta == pytest.approx(-0.6)


def test_p_values_are_adjusted_over_the_slices() -> None:
    rows = compared()
    raw = sorted((row.p or 0) for row in rows)
    adjusted = sorted((row.p_adjusted or 0) for row in rows)
    assert adjusted == pytest.approx([2 * raw[0], max(2 * raw[0], raw[1])])


def test_a_slice_that_got_worse_is_named_when_the_whole_got_better() -> None:
    said = _worse_slices(evidence(compared()))
    assert "it got worse where language=de (-0.600 [" in said
    assert "n = 50" in said
    assert "language=en" not in said
    assert _worse_slices(evidence(compared(), answer="cannot tell")) == ""


def test_a_slice_that_may_have_fallen_by_chance_is_a_note() -> None:
    german, english = compared()
    unsure = (SliceComparison(**{**_fields(german), "answer": "cannot tell", "delta": -0.1}), english)
    [note] = _slice_caveats(evidence(unsure))
    assert "lower in 1 slices, which may be chance: language=de (-0.100" in note


def test_a_hostile_value_is_named_on_one_line() -> None:
    german, _ = compared()
    hostile = SliceComparison(**{**_fields(german), "value": "x\n\x1b[31mred"})
    assert "\n" not in _worse_slices(evidence((hostile,)))
    assert "\x1b" not in _worse_slices(evidence((hostile,)))


def test_dotted_names_reach_into_objects() -> None:
    assert slice_value({"a": {"b": {"c": 1}}}, "a.b.c") == "1"
    assert slice_value({"a.b": "flat", "a": {"b": "deep"}}, "a.b") == "flat"
    assert slice_value({"a": "text"}, "a.b") == "(none)"
    assert slice_value({"a": None}, "a") == "(none)"


def test_a_field_named_twice_is_compared_once() -> None:
    assert slices_of(SAMPLES, ["language", "language"]) == slices_of(SAMPLES, ["language"])


def test_slices_that_were_left_out_are_counted_in_a_note() -> None:
    many = [Sample(f"s{i}", "test", (), ("x",), {"user": str(i)}) for i in range(75)]
    assert n_left_out(many, ["user", "language"]) == {"user": 25}
    [note] = _slice_caveats(replace(evidence(()), left_out={"user": 25}))
    assert "only its 50 largest slices were compared, 25 were not" in note


def test_only_the_largest_slices_of_a_field_are_shown() -> None:
    many = [Sample(f"s{i}", "test", (), ("x",), {"user": i % 60 if i < 120 else "often"}) for i in range(130)]
    found = slices_of(many, ["user"])
    assert len(found) == 50
    assert any(one.value == "often" and len(one.inside) == 10 for one in found)


def _fields(row: SliceComparison) -> dict[str, object]:
    return {name: getattr(row, name) for name in SliceComparison.__slots__}
