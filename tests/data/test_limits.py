"""What tuning of Gemini 2.5 takes, by Google Cloud's page "About supervised fine-tuning for Gemini models"."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.core.specs import DataSpec
from harness.core.types import Message, Sample
from harness.data import Dataset
from harness.data.converting import convert
from harness.data.limits import gemini_limits

SAMPLE = Sample("1", "train", (Message("user", "q"),), ("a",), origin="rows.jsonl:1")


def gemini(question: str, answer: str) -> dict[str, object]:
    return {
        "contents": [
            {"role": role, "parts": [{"text": text}]} for role, text in (("user", question), ("model", answer))
        ]
    }


def test_an_example_that_may_have_too_many_tokens_is_a_note_and_stops_nothing(
    read_rows: Callable[..., Dataset],
) -> None:
    # é has two bytes: 131,072 of them with the answer are at the limit, one more is above it.
    fits, long = gemini("é" * 65_535, "ab"), gemini("é" * 65_535, "abc")
    assert not read_rows(fits).findings
    dataset = read_rows(fits, long)
    (finding,) = dataset.findings
    assert (finding.code, finding.severity, finding.count) == ("E-GEMINI-LIMIT", "note", 1)
    assert "131,073 bytes" in finding.what
    assert "may exceed" in finding.what
    assert finding.examples[0].startswith("rows.jsonl:2")
    assert len(dataset.samples) == 2


def test_other_formats_have_no_such_limit(read_rows: Callable[..., Dataset]) -> None:
    assert not read_rows({"prompt": "x" * 200_000, "completion": "y"}).findings


@pytest.mark.parametrize(("split", "most"), [("train", 1_000_000), ("validation", 5_000)])
def test_more_rows_than_tuning_takes_are_a_note(split: str, most: int) -> None:
    sample = replace(SAMPLE, split=split)  # type: ignore[arg-type]
    assert not list(gemini_limits([sample] * most, name="rows.jsonl"))
    (note,) = gemini_limits([sample] * (most + 1), name="rows.jsonl")
    assert f"{most + 1:,} rows for {split}" in note.what


def test_a_file_of_more_than_a_gigabyte_is_a_note() -> None:
    assert not list(gemini_limits([SAMPLE], name="rows.jsonl", n_bytes=10**9))
    (note,) = gemini_limits([SAMPLE], name="rows.jsonl", n_bytes=10**9 + 1)
    assert "1,000,000,001 bytes" in note.what


@pytest.mark.parametrize(("to", "codes"), [("gemini", ["E-GEMINI-LIMIT"]), ("messages", [])])
def test_rows_written_for_gemini_are_held_to_its_limits(tmp_path: Path, to: str, codes: list[str]) -> None:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "%s", "completion": "y"}\n' % ("x" * 140_000))
    found = convert(DataSpec(source="rows.jsonl"), tmp_path, "out.jsonl", to, drop_bad=False)
    assert [finding.code for finding in found.findings] == codes
