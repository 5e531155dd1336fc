"""Folding: what counts as the same question. Expected pairs written by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.data.fold import fold

SHARED = Path(__file__).parents[2].parent / "shared" / "data"


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("How do I pay?", " how do i  PAY "),
        ("don't", "don\u2019t"),
        ("ｆｕｌｌ　ｗｉｄｔｈ", "full width"),
        ("Straße", "STRASSE"),
        ("wait, what", "wait - what"),
        ("«Bonjour», dit-il", "bonjour dit il"),
        ("caf\u00e9", "cafe\u0301"),
    ],
)
def test_same(one: str, two: str):
    assert fold(one) == fold(two)


@pytest.mark.parametrize(
    ("one", "two"),
    [("2+2", "2-2"), ("1.5", "15"), ("1.5", "1 5"), ("-5", "5"), ("14:30", "1430"), ("£20", "$20"), ("?!", "...")],
)
def test_different(one: str, two: str):
    assert fold(one) != fold(two)


def test_marks_of_other_scripts_stay():
    assert fold("हिन्दी।") == "हिन्दी"


@given(st.text())
def test_folded_text_has_single_blanks_and_none_around_it(text: str):
    once = fold(text)
    assert "  " not in once
    assert once == once.strip()


def questions(path: str) -> list[str]:
    return [json.loads(line)["input"] for line in (SHARED / path).read_bytes().split(b"\n") if line]


@pytest.mark.skipif(
    not SHARED.is_dir(), reason="the reference data stands beside the project only where it is developed"
)
@pytest.mark.parametrize(
    ("folder", "test", "n_raw", "n_folded"),
    [
        ("banking77", "test.jsonl", 0, range(5, 6)),
        ("scitldr_a", "test.jsonl", 2, range(2, 3)),
        ("scitldr_a", "validation.jsonl", 1, range(1, 2)),
        ("restaurant8k", "test_full.jsonl", 125, range(230, 240)),
    ],
)
def test_known_leaks_of_published_data(folder: str, test: str, n_raw: int, n_folded: range):
    train = questions(f"{folder}/train.jsonl")
    rows = questions(f"{folder}/{test}")
    folded = {fold(text) for text in train}
    raw = set(train)
    assert sum(text in raw for text in rows) == n_raw
    assert sum(fold(text) in folded for text in rows) in n_folded
