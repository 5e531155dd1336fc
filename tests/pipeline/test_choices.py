"""What a run does at its edges: early stopping, no validation, ties, excluded candidates, slices and groups."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.core.records import RunResult
from harness.store.encoding import parse
from tests.conftest import FAKE, Ran, words_row

Harness = Callable[..., Ran]


def result(task: str = "echo") -> RunResult:
    [file] = Path("runs", task).glob("*/result.json")
    return parse(RunResult, file.read_bytes(), name="result.json")


def test_training_stops_when_patience_is_over_and_resumes_to_the_same(harness: Harness, echo_task: Path) -> None:
    words = ["run", f"task={echo_task}", *FAKE, "trainer.epochs=12", "trainer.lr=0.9", "select.patience=2"]
    ran = harness(*words)
    assert ran.code == 0, ran.err
    steps = [checkpoint.step for checkpoint in result().checkpoints]
    assert 2 < len(steps) < 12
    scores = [result().evaluation(f"step-{step:06d}", "validation").estimates[0].value for step in steps]
    assert max(filter(None, scores[-2:])) <= max(filter(None, scores[:-2]))


def test_without_validation_the_last_checkpoint_is_taken_only_when_asked(harness: Harness, echo_task: Path) -> None:
    (echo_task / "all.jsonl").write_text("".join(json.dumps(words_row(n)) + "\n" for n in range(60)))
    file = echo_task / "task.toml"
    text = file.read_text().replace('train = "train.jsonl"\nvalidation = "validation.jsonl"\ntest = "test.jsonl"\n', "")
    split = 'source = "all.jsonl"\nsplit = { train = 0.5, validation = 0.0, test = 0.5 }'
    file.write_text(text.replace("[data]", f"[data]\n{split}"))
    refused = harness("run", f"task={echo_task}", *FAKE)
    assert refused.code == 2
    assert "E-NOVALIDATION" in refused.err
    ran = harness("run", f"task={echo_task}", *FAKE, "select.rule=last")
    assert ran.code == 0, ran.err
    assert result().selection.chosen_step == result().checkpoints[-1].step


def test_a_candidate_that_fails_too_often_cannot_be_chosen(harness: Harness, echo_task: Path) -> None:
    # two shots do not fit, zero-shot does
    ran = harness(
        "run", f"task={echo_task}", *FAKE, "backend.options.limit=165", "generation.max_tokens=40", "--allow-failures"
    )
    assert ran.code == 0, ran.err
    found = result()
    few_shot = found.evaluation("base-2shot", "validation")
    assert few_shot.estimates[0].value is None
    assert few_shot.failures == {"prompt: too long for the context": 3 * 16}
    assert found.selection.best_untuned == "base-0shot"
    assert "prompts with 2 shots leave no room" in ran.err
    assert "which is also the best untuned candidate" in found.conclusion.sentence


def test_an_ineffective_tuning_is_not_called_better(harness: Harness, echo_task: Path) -> None:
    ran = harness("run", f"task={echo_task}", *FAKE, "trainer.lr=0.001", "trainer.epochs=1")
    assert ran.code == 0, ran.err
    assert result().conclusion.answer in ("cannot tell", "no difference worth having", "worse")
    assert result().conclusion.ship != "step-000002"


def test_groups_are_the_units_of_the_statistics(harness: Harness, echo_task: Path) -> None:
    for name in ("train", "validation", "test"):
        path = echo_task / f"{name}.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps({**row, "who": f"{name}{i // 4}"}) + "\n" for i, row in enumerate(rows)))
    file = echo_task / "task.toml"
    file.write_text(file.read_text().replace("[data]", '[data]\ngroup = "who"'))
    ran = harness("run", f"task={echo_task}", *FAKE)
    assert ran.code == 0, ran.err
    comparison = result().comparisons[0]
    assert (comparison.n, comparison.n_clusters) == (40, 10)
    assert "groups" in comparison.test


def test_slices_are_estimated_on_their_samples(harness: Harness, echo_task: Path) -> None:
    for name in ("train", "validation", "test"):
        path = echo_task / f"{name}.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps({**row, "half": "ab"[i % 2]}) + "\n" for i, row in enumerate(rows)))
    ran = harness("run", f"task={echo_task}", *FAKE, "metrics.slices=half")
    assert ran.code == 0, ran.err
    record = result().evaluation("base-0shot", "test")
    assert {key: estimates[0].n for key, estimates in record.slices.items()} == {"half=a": 20, "half=b": 20}
    whole = record.estimates[0].value
    assert whole is not None
    halves = [estimates[0].value for estimates in record.slices.values()]
    assert sum(filter(None, halves)) / 2 == pytest.approx(whole)


def test_leaked_test_rows_are_listed_and_the_difference_is_given_without_them(
    harness: Harness, echo_task: Path
) -> None:
    train = (echo_task / "train.jsonl").read_text().splitlines()
    leaked = [{**json.loads(line), "id": f"leak-{i}"} for i, line in enumerate(train[:5])]
    with (echo_task / "test.jsonl").open("a") as stream:
        stream.write("".join(json.dumps({**row, "question": row["question"].title() + "!"}) + "\n" for row in leaked))
    ran = harness("run", f"task={echo_task}", *FAKE)
    assert ran.code == 0, ran.err
    assert "5 test samples also stand in train" in ran.out
    for comparison in result().comparisons:
        assert comparison.without_leaked is not None
        assert comparison.without_leaked["n"] == 40
        assert comparison.without_leaked["n_left_out"] == 5
        assert comparison.n == 45


def test_permuting_test_references_changes_no_choice(harness: Harness, echo_task: Path) -> None:
    harness("run", f"task={echo_task}", *FAKE)
    first = result()
    adapters = [checkpoint.sha256 for checkpoint in first.checkpoints]
    path = echo_task / "test.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    moved = [{**row, "answer": other["answer"]} for row, other in zip(rows, rows[1:] + rows[:1], strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in moved))
    ran = harness("run", f"task={echo_task}", *FAKE, "out=elsewhere")
    assert ran.code == 0, ran.err
    [file] = Path("elsewhere/echo").glob("*/result.json")
    second = parse(RunResult, file.read_bytes(), name="result.json")
    assert second.selection == first.selection
    assert [checkpoint.sha256 for checkpoint in second.checkpoints] == adapters
    assert second.comparisons != first.comparisons
