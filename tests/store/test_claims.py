"""What people said of a run holds for exactly the labels and the result that it was computed from."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.store.claims import keep_claim, kept_claim
from harness.testing.cards import validation

CLAIM = validation("more polite")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "labels.jsonl").write_text('{"id": "one"}\n')
    (tmp_path / "result.json").write_text("{}\n")
    keep_claim(tmp_path, CLAIM)
    return tmp_path


def test_a_claim_comes_back_as_it_was_kept(run: Path) -> None:
    assert kept_claim(run) == CLAIM


def test_without_a_claim_there_is_none(tmp_path: Path) -> None:
    assert kept_claim(tmp_path) is None


def edited(run: Path, change: Callable[[dict[str, object]], object]) -> None:
    file = run / "validation.json"
    kept = json.loads(file.read_text())
    change(kept)
    file.write_text(json.dumps(kept))


@pytest.mark.parametrize(
    "change",
    [
        lambda run: (run / "labels.jsonl").unlink(),
        lambda run: (run / "labels.jsonl").write_text('{"id": "one"}\n{"id": "two"}\n'),
        lambda run: (run / "result.json").write_text('{"run_id": "another"}\n'),
        lambda run: edited(run, lambda kept: kept["validation"].update(sentence="People, blind: perfect")),
        lambda run: edited(run, lambda kept: kept["validation"].update(simulated=False)),
        lambda run: edited(run, lambda kept: kept.pop("of")),
        lambda run: (run / "validation.json").write_text('{"criterion": "tone"'),
    ],
    ids=["labels gone", "labels added", "another result", "sentence", "annotators", "sources", "half a file"],
)
def test_a_claim_whose_grounds_or_words_were_changed_is_no_claim(run: Path, change: Callable[[Path], object]) -> None:
    change(run)
    assert kept_claim(run) is None
