"""Doors besides a plain run: other wordings, evaluation without tuning, scoring again, and the shared cache."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.core.records import RunResult
from harness.store.encoding import parse
from tests.conftest import FAKE, Ran

Harness = Callable[..., Ran]
UNTUNED = tuple(word for word in FAKE if not word.startswith("trainer="))


def result(folder: Path) -> RunResult:
    return parse(RunResult, (folder / "result.json").read_bytes(), name="result.json")


def only_run(task: str = "echo") -> Path:
    [file] = Path("runs", task).glob("*/result.json")
    return file.parent


def files(folder: Path) -> dict[str, bytes]:
    """Everything below a folder that may not differ between two runs of the same."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*.json*"))
        if path.name not in ("environment.json", "events.jsonl", "reports.json", "stages.json")
    }


@pytest.fixture
def wordy_task(echo_task: Path) -> Path:
    file = echo_task / "task.toml"
    words = 'instructions = ["Shout.", "SAY IT LOUDER."]\n'
    file.write_text(file.read_text().replace("shots = [0, 2]", f"shots = [0, 2]\n{words}"))
    return echo_task


def test_other_wordings_are_tried_on_validation_and_only_the_best_arm_is_asked_test(
    harness: Harness, wordy_task: Path
) -> None:
    ran = harness("run", f"task={wordy_task}", *FAKE)
    assert ran.code == 0, ran.err
    found = result(only_run())
    validated = {record.arm for record in found.evaluations if record.split == "validation"}
    assert {"base-instruction1-0shot", "base-instruction2-0shot", "base-instruction2-2shot"} <= validated
    tested = {record.arm for record in found.evaluations if record.split == "test"}
    assert tested == {"base-0shot", "base-2shot", found.selection.best_untuned, found.evaluations[-1].arm}
    wordings = {record.arm: record.instruction for record in found.evaluations}
    assert wordings["base-instruction2-2shot"] == "SAY IT LOUDER."
    assert wordings["base-2shot"] is None
    scores = {name: estimate.value or 0 for name, estimate in found.selection.scores.items() if "base" in name}
    assert scores[str(found.selection.best_untuned)] == max(scores.values())


def test_another_wording_takes_the_place_of_the_tasks_own(harness: Harness, wordy_task: Path) -> None:
    harness("run", f"task={wordy_task}", *FAKE)
    lengths = {r.arm: r.mean_prompt_tokens for r in result(only_run()).evaluations if r.split == "validation"}
    difference = len("Repeat the words in capitals.") - len("Shout.")
    assert lengths["base-0shot"] - lengths["base-instruction1-0shot"] == pytest.approx(difference)


def test_evaluating_without_tuning_chooses_the_best_prompt_and_says_that_nothing_was_tuned(
    harness: Harness, wordy_task: Path
) -> None:
    ran = harness("evaluate", f"task={wordy_task}", *UNTUNED)
    assert ran.code == 0, ran.err
    found = result(only_run())
    assert found.selection.chosen_step is None
    assert found.checkpoints == ()
    assert found.conclusion.sentence.startswith("Untuned, exact_match is ")
    assert f"with {found.selection.best_untuned}" in found.conclusion.sentence
    assert "nothing was tuned" in found.conclusion.ship
    assert all(comparison.question == "best prompt" for comparison in found.comparisons)
    assert Path(only_run(), "report.html").is_file()
    again = harness("evaluate", f"task={wordy_task}", *UNTUNED)
    assert "this run is finished" in again.err


def test_evaluate_takes_no_trainer(harness: Harness, echo_task: Path) -> None:
    ran = harness("evaluate", f"task={echo_task}", *FAKE)
    assert ran.code == 2
    assert "takes no trainer" in ran.err
    assert not Path("runs").exists()


def test_what_was_generated_once_is_not_generated_again_by_another_run(
    harness: Harness, echo_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert harness("run", f"task={echo_task}", *FAKE).code == 0
    from harness.backends.fake import FakeBackend

    asked: list[str] = []
    generate = FakeBackend.generate

    def counting(self: FakeBackend, requests):  # type: ignore[no-untyped-def]
        asked.extend(str(request.checkpoint is not None) for request in requests)
        return generate(self, requests)

    monkeypatch.setattr(FakeBackend, "generate", counting)
    ran = harness("run", f"task={echo_task}", *FAKE, "trainer.lr=0.5")
    assert ran.code == 0, ran.err
    assert set(asked) == {"True"}, "only the new checkpoints had to be asked"
    assert "from the cache" in ran.err


def test_a_damaged_cache_entry_is_no_entry(harness: Harness, echo_task: Path) -> None:
    assert harness("run", f"task={echo_task}", *FAKE, "out=first").code == 0
    assert harness("run", f"task={echo_task}", *FAKE).code == 0
    for file in Path("runs/.cache").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes().replace(b"completion", b"complexion"))
    whole = files(only_run())
    assert harness("evaluate", f"task={echo_task}", *UNTUNED).code == 0
    [first] = Path("first/echo").glob("*")
    assert files(first) == whole
    [untuned] = Path("runs/echo").glob("fake-none-*")
    name = "evaluations/base-0shot.test/outcomes.jsonl"
    assert (untuned / name).read_bytes() == (first / name).read_bytes()


def test_failures_are_not_cached(harness: Harness, echo_task: Path) -> None:
    words = ("backend.options.limit=165", "generation.max_tokens=40", "--allow-failures")
    assert harness("run", f"task={echo_task}", *FAKE, *words).code == 0
    cached = b"".join(file.read_bytes() for file in Path("runs/.cache").rglob("*") if file.is_file())
    assert b'"completion"' in cached
    assert b'"failure"' not in cached


def test_rescoring_with_nothing_changed_gives_the_same_numbers(harness: Harness, echo_task: Path) -> None:
    assert harness("run", f"task={echo_task}", *FAKE).code == 0
    source = only_run()
    ran = harness("rescore", str(source))
    assert ran.code == 0, ran.err
    [target] = Path("runs/echo").glob("*-rescored-*")
    before, after = json.loads((source / "result.json").read_text()), json.loads((target / "result.json").read_text())
    for name in before:
        if name not in ("run_id", "identity"):
            assert after[name] == before[name], name
    assert after["identity"]["rescored"] == before["run_id"]


def test_rescoring_needs_no_model_and_reads_other_metrics(
    harness: Harness, echo_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert harness("run", f"task={echo_task}", *FAKE).code == 0
    from harness.backends.fake import FakeKind

    def gone(*_: object, **__: object) -> None:
        raise AssertionError("a rescore must not open the model")

    monkeypatch.setattr(FakeKind, "create", gone)
    source = only_run()
    ran = harness("rescore", str(source), "metrics.primary=rouge_l", "metrics.report=exact_match,chrf")
    assert ran.code == 0, ran.err
    assert "rouge_l" in ran.out.splitlines()[0]
    [target] = Path("runs/echo").glob("*-rescored-*")
    assert result(target).metrics == ("rouge_l", "exact_match", "chrf")
    old, new = (result(folder).evaluation("base-0shot", "test").estimate("exact_match") for folder in (source, target))
    assert (old.value, old.low, old.high) == (new.value, new.low, new.high)


def test_rescoring_keeps_the_tested_checkpoint_where_another_metric_would_choose_otherwise(
    harness: Harness, echo_task: Path
) -> None:
    assert harness("run", f"task={echo_task}", *FAKE, "trainer.epochs=8").code == 0
    source = only_run()
    chosen = result(source).selection.chosen_step
    assert chosen != result(source).checkpoints[-1].step
    ran = harness("rescore", str(source), "select.rule=last")
    assert ran.code == 0, ran.err
    [target] = Path("runs/echo").glob("*-rescored-*")
    selection = result(target).selection
    assert (selection.chosen_step, selection.rule) == (chosen, "recorded")


@pytest.mark.parametrize("word", ["prompting.shots=0", "generation.max_tokens=3", "model=other"])
def test_rescoring_refuses_what_would_generate_something_else(harness: Harness, echo_task: Path, word: str) -> None:
    assert harness("run", f"task={echo_task}", *FAKE).code == 0
    ran = harness("rescore", str(only_run()), word)
    assert ran.code == 2
    assert "would generate something else" in ran.err
    assert not list(Path("runs/echo").glob("*-rescored-*"))


def test_rescoring_refuses_data_that_has_changed(harness: Harness, echo_task: Path) -> None:
    assert harness("run", f"task={echo_task}", *FAKE).code == 0
    file = echo_task / "test.jsonl"
    file.write_text(file.read_text().replace("RIVER", "DELTA"))
    ran = harness("rescore", str(only_run()))
    assert ran.code == 2
    assert "no longer what" in ran.err
    assert "test changed" in ran.err
