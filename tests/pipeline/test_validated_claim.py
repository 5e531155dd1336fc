"""The claim of a finished run by labels of its own test answers: whose it is said to be, and what shortens it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from harness.core.judging import Label
from harness.core.records import RunResult, SampleRow
from harness.pipeline.validation import said_by_people
from harness.store.encoding import canonical, parse
from harness.store.view import StoredView
from tests.conftest import Ran
from tests.pipeline.loud import WORDS, make_judged_task

Harness = Callable[..., Ran]
FAKE = ("model=fake", "trainer=fake", "n_resamples=200")


@pytest.fixture
def run(harness: Harness, tmp_path: Path) -> Path:
    task = make_judged_task(tmp_path / "one")
    ran = harness("run", f"task={task}", *WORDS, *FAKE)
    assert ran.code == 0, ran.err
    [file] = Path("runs").glob("*/*/result.json")
    return file.parent


def final_labels(run: Path, annotator: str) -> list[Label]:
    """One person's of both sides of every test sample."""
    compared = parse(RunResult, (run / "result.json").read_bytes(), name="result").comparisons[-1]
    rows = [parse(SampleRow, line, name="row") for line in (run / "samples.jsonl").read_bytes().splitlines()]
    sides = (compared.candidate, compared.baseline)
    return [_label(row, side, annotator) for row in rows for side in sides]


def _label(row: SampleRow, side: str, annotator: str) -> Label:
    answer = str(row.outputs[side])
    return Label(
        id=f"final-{row.id}-{side}",
        kind="likert",
        criterion="loudness",
        value=5 if answer.isupper() else 1,
        annotator=annotator,
        question=" ".join(row.references[0].lower().split()),
        answers=(answer,),
        systems=(side,),
        round="final",
        sample=row.id,
        split="test",
    )


@pytest.mark.parametrize(("annotator", "who"), [("ann", "People"), ("Simulated-1", "Simulated annotators")])
def test_annotators_that_are_no_people_are_not_called_so(harness: Harness, run: Path, annotator: str, who: str) -> None:
    labels = final_labels(run, annotator)
    (run / "labels.jsonl").write_bytes(b"".join(canonical(label, indent=None) for label in labels))
    ran = harness("report", str(run))
    assert ran.out.startswith(f"{who}, blind, on 40 of 40 test prompts: loudness")
    kept = json.loads((run / "validation.json").read_text())
    assert kept["validation"]["simulated"] == (who != "People")


def test_a_claim_without_its_labels_is_not_shown(harness: Harness, run: Path) -> None:
    labels = final_labels(run, "ann")
    (run / "labels.jsonl").write_bytes(b"".join(canonical(label, indent=None) for label in labels))
    assert harness("report", str(run)).out.startswith("People, blind")
    (run / "labels.jsonl").unlink()
    assert StoredView(run).validation is None


def test_a_score_by_a_calibration_that_saw_the_answer_corrects_nothing(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three answers fitted the judge: one was scored without its own label, two were not."""
    labels = final_labels(run, "ann")
    rows = [parse(SampleRow, line, name="row") for line in (run / "samples.jsonl").read_bytes().splitlines()]
    scores = [row.scores[label.systems[0]]["judge:loud"] for row, label in zip(rows, labels[::2], strict=True)]
    fitted: Mapping[str, float] = {
        labels[0].item: float(scores[0] or 0),
        labels[2].item: float(scores[1] or 0) + 0.01,
        labels[4].item: float(scores[2] or 0) - 0.01,
    }
    monkeypatch.setattr(StoredView, "held_out", lambda self, judge: fitted)
    found = said_by_people(StoredView(run), labels)
    assert found.claim is not None, found.notes
    assert found.claim.difference.warning == "2 of 40 items have no verdict and stand at the mean of the others"
