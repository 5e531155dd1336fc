"""Verdicts out of a file: found by the text or the id, turned with the pair, never invented."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.core.errors import HarnessError
from harness.core.judging import Pair, Single, Verdict, text_hash
from harness.core.protocols import JudgeContext
from judges.replay import NOT_STORED, UNPARSED, kind

SINGLE = Single("sample-1", "q", "base", "Why?", "Because.")
PAIR = Pair("sample-1", "q", ("base", "tuned"), "Why?", ("Because.", "No."))


def judge(folder: Path, *rows, label_kind="likert"):
    (folder / "verdicts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return kind.create(JudgeContext("old", "help", "", label_kind, 5, {"file": "verdicts.jsonl"}, folder))


def said(folder: Path, item, *rows, label_kind="likert"):
    return dict(judge(folder, *rows, label_kind=label_kind).rate([item], None))[item.id]


@pytest.mark.parametrize(
    "name",
    [{"id": "sample-1"}, {"item": text_hash("Why?", "Because.")}, {"question": "Why?", "answers": ["Because."]}],
)
def test_item_is_found_by_its_id_its_hash_or_its_text(tmp_path: Path, name):
    assert said(tmp_path, SINGLE, {**name, "score": 0.25}) == Verdict(0.25, (0.25,))


def test_verdict_on_the_text_counts_before_one_on_the_id(tmp_path: Path):
    rows = [{"id": "sample-1", "score": 0.1}, {"question": "Why?", "answers": ["Because."], "score": 0.9}]
    assert said(tmp_path, SINGLE, *rows).score == 0.9


def test_unread_verdict_is_a_failure_and_so_is_a_missing_one(tmp_path: Path):
    assert said(tmp_path, SINGLE, {"id": "sample-1", "score": None}) == UNPARSED
    for orders in (["first", None], [None, "first"]):
        assert said(tmp_path, PAIR, {"id": "sample-1", "orders": orders}, label_kind="pair") == UNPARSED
    assert said(tmp_path, SINGLE, {"id": "sample-2", "score": 0.5}) == NOT_STORED


@pytest.mark.parametrize(("choice", "score"), [("first", 1.0), ("second", 0.0), ("tie", 0.5)])
def test_choice_is_a_score_for_the_first_answer(tmp_path: Path, choice, score):
    assert said(tmp_path, PAIR, {"id": "sample-1", "choice": choice}, label_kind="pair").score == score


def test_two_orders_are_averaged_and_kept(tmp_path: Path):
    found = said(tmp_path, PAIR, {"id": "sample-1", "orders": ["first", "tie"]}, label_kind="pair")
    assert (found.score, found.orders) == (0.75, (1.0, 0.5))
    assert said(tmp_path, PAIR, {"id": "sample-1", "orders": ["first", None]}, label_kind="pair") == UNPARSED


def test_pair_that_is_turned_round_has_its_verdict_turned_round(tmp_path: Path):
    row = {"question": "Why?", "answers": ["Because.", "No."], "orders": [0.9, 0.6]}
    forth, back = (said(tmp_path, pair, row, label_kind="pair") for pair in (PAIR, PAIR.swapped))
    assert back.score == pytest.approx(1 - forth.score)
    # Shown first, the second answer of the one is the first of the other.
    assert back.orders == pytest.approx((1 - 0.6, 1 - 0.9))


@pytest.mark.parametrize(
    ("row", "word"),
    [
        ({"id": "a"}, "give one of"),
        ({"id": "a", "score": 0.5, "choice": "tie"}, "give one of"),
        ({"score": 0.5}, "name the item"),
        ({"id": "a", "item": "b", "score": 0.5}, "name the item"),
        ({"question": "Why?", "score": 0.5}, "go together"),
        ({"id": "a", "score": 4}, "less than or equal to 1"),
        ({"id": "a", "score": "0.5"}, "valid number"),
        ({"id": "a", "score": True}, "valid number"),
        ({"id": "a", "choice": "A"}, "first"),
        ({"id": "a", "choice": "tie"}, "between two answers"),
        ({"id": "a", "score": 0.5, "model": "x"}, "model"),
    ],
)
def test_row_that_is_no_verdict_is_refused_with_its_line(tmp_path: Path, row, word):
    with pytest.raises(HarnessError) as error:
        judge(tmp_path, {"id": "fine", "score": 0.5}, row)
    assert error.value.code == "E-VERDICTS"
    assert "verdicts.jsonl:2" in error.value.details[0]
    assert word in error.value.details[0]


def test_two_different_verdicts_on_one_item_are_refused_and_equal_ones_are_one(tmp_path: Path):
    row = {"id": "a", "score": 0.5}
    assert judge(tmp_path, row, row).stored == {"a": Verdict(0.5, (0.5,))}
    with pytest.raises(HarnessError):
        judge(tmp_path, row, {"id": "a", "score": 0.6})


def test_line_that_is_no_json_is_refused_too(tmp_path: Path):
    (tmp_path / "verdicts.jsonl").write_text('{"id": "a", "score": 0.5}\n{"id": "b", "score": NaN}\n')
    with pytest.raises(HarnessError) as error:
        kind.create(JudgeContext("old", "help", "", "likert", 5, {"file": "verdicts.jsonl"}, tmp_path))
    assert error.value.code == "E-VERDICTS"


def test_missing_file_is_a_mistake_in_the_options(tmp_path: Path):
    with pytest.raises(HarnessError) as error:
        kind.create(JudgeContext("old", "help", "", "likert", 5, {"file": "none.jsonl"}, tmp_path))
    assert error.value.code == "E-OPTION"


def test_identity_changes_with_the_file(tmp_path: Path):
    one = judge(tmp_path, {"id": "a", "score": 0.5}).identity
    assert one != judge(tmp_path, {"id": "a", "score": 0.6}).identity
