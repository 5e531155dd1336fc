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
    harness("run", f"task={wordy_task}", *FAKE, "prompting.instruction=Say it in capitals.")
    lengths = {r.arm: r.mean_prompt_tokens for r in result(only_run()).evaluations if r.split == "validation"}
    difference = len("Say it in capitals.") - len("Shout.")
    assert lengths["base-0shot"] - lengths["base-instruction1-0shot"] == pytest.approx(difference)


@pytest.mark.parametrize("wordings", ['["a", "a"]', '[""]', '["Own."]'])
def test_a_wording_that_changes_nothing_is_refused(harness: Harness, echo_task: Path, wordings: str) -> None:
    ran = harness("run", f"task={echo_task}", *FAKE, "prompting.instruction=Own.", f"prompting.instructions={wordings}")
    assert ran.code == 2
    assert "instructions must differ" in ran.err


def test_two_metrics_of_one_name_are_refused(harness: Harness, echo_task: Path) -> None:
    (echo_task / "own.py").write_text(
        "from harness.metrics.mean import MeanMetric\n"
        "def create(context):\n    return MeanMetric('exact_match', 'half', lambda text, references: 0.5)\n"
    )
    ran = harness("run", f"task={echo_task}", *FAKE, "metrics.report=own.py:create")
    assert ran.code == 2
    assert "both call themselves 'exact_match'" in ran.err
    assert not Path("runs").exists()


@pytest.mark.parametrize("effect", ["1e-12", "99"])
def test_an_effect_that_makes_no_sense_is_refused(harness: Harness, echo_task: Path, effect: str) -> None:
    ran = harness("run", f"task={echo_task}", *FAKE, f"metrics.smallest_effect={effect}")
    assert ran.code == 2
    assert "which goes from 0 to 1" in ran.err


def test_a_metric_that_cannot_score_is_found_before_anything_is_written(harness: Harness, echo_task: Path) -> None:
    (echo_task / "own.py").write_text("def score(completion, references):\n    return 'good'\n")
    ran = harness("run", f"task={echo_task}", *FAKE, "metrics.primary=own.py:score")
    assert ran.code == 2, ran.err
    assert not Path("runs").exists()


def test_another_prompt_is_another_look_at_the_same_rows(harness: Harness, echo_task: Path) -> None:
    for prompt in ("{question}", "Q: {question}", "Question: {question}"):
        ran = harness("run", f"task={echo_task}", *FAKE, f"data.prompt={prompt}")
        assert ran.code == 0, ran.err
    assert "3 runs here compared on this test split" in ran.out


def test_a_backends_options_are_part_of_what_is_cached(harness: Harness, echo_task: Path) -> None:
    assert harness("run", f"task={echo_task}", *FAKE).code == 0
    ran = harness("run", f"task={echo_task}", *FAKE, "backend.options.fail.boom=0.5", "--allow-failures")
    assert "from the cache" not in ran.err


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(harness: Harness, echo_task: Path) -> None:
    Path("runs").mkdir()
    Path("runs/.cache").touch()
    ran = harness("run", f"task={echo_task}", *FAKE)
    assert ran.code == 0, ran.err
    assert "not cached" in (only_run() / "events.jsonl").read_text()


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


@pytest.mark.parametrize(
    ("option", "kept"), [("fail.boom=0.2", False), ("limit=165", True)], ids=["may pass", "never will"]
)
def test_failures_that_may_pass_are_not_cached(harness: Harness, echo_task: Path, option: str, kept: bool) -> None:
    words = (f"backend.options.{option}", "generation.max_tokens=40", "select.min_coverage=0.1", "--allow-failures")
    assert harness("run", f"task={echo_task}", *FAKE, *words).code == 0
    assert b'"failure"' in b"".join(file.read_bytes() for file in Path("runs").glob("echo/*/evaluations/*/*.jsonl"))
    cached = b"".join(file.read_bytes() for file in Path("runs/.cache").rglob("*") if file.is_file())
    assert b'"completion"' in cached
    assert (b'"failure"' in cached) is kept


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


def test_a_rescore_is_done_once_and_cannot_be_resumed(harness: Harness, echo_task: Path) -> None:
    assert harness("run", f"task={echo_task}", *FAKE).code == 0
    source = only_run()
    assert harness("rescore", str(source), "metric=rouge_l").code == 0
    [target] = Path("runs/echo").glob("*-rescored-*")
    written = (target / "result.json").stat().st_mtime_ns
    assert harness("rescore", str(source), "metric=rouge_l").code == 0
    assert (target / "result.json").stat().st_mtime_ns == written
    ran = harness("resume", str(target))
    assert ran.code == 2
    assert f"harness rescore {source.name} with the same words" in ran.err


def test_what_was_measured_before_is_reported_beside_a_new_metric(harness: Harness, echo_task: Path) -> None:
    words = ("metrics.primary=regex_match", "metrics.options.regex_match.pattern=[A-Z 0-9]+")
    ran = harness("run", f"task={echo_task}", *FAKE, *words)
    assert ran.code == 0, ran.err
    source = only_run()
    assert harness("rescore", str(source), "metric=rouge_l").code == 0
    [target] = Path("runs/echo").glob("*-rescored-*")
    assert result(target).metrics == ("rouge_l", "regex_match", "squad_f1")
    ran = harness("rescore", str(source), "metric=chrf", "metrics.report=exact_match")
    assert ran.code == 0, ran.err


def test_a_metric_that_cannot_rescore_writes_nothing(harness: Harness, echo_task: Path) -> None:
    assert harness("run", f"task={echo_task}", *FAKE).code == 0
    ran = harness("rescore", str(only_run()), "metrics.primary=mae")
    assert ran.code == 2, ran.err
    assert not list(Path("runs/echo").glob("*-rescored-*"))


def test_a_rescore_names_the_prompt_that_was_never_asked_the_test_samples(harness: Harness, echo_task: Path) -> None:
    words = 'prompting.instructions=["AAA", "BBB"]'
    ran = harness("evaluate", f"task={echo_task}", *UNTUNED, words, "prompting.shots=0", "metrics.primary=chrf")
    assert ran.code == 0, ran.err
    source = only_run()
    tested = {record.arm for record in result(source).evaluations if record.split == "test"}
    other = sorted({"base-instruction1-0shot", "base-instruction2-0shot"} - tested)[0]
    letter = "A" if "1" in other else "B"
    pattern = f"metrics.options.regex_match.pattern={letter}{letter}{letter}[\\s\\S]*"
    ran = harness("rescore", str(source), "metrics.primary=regex_match", pattern)
    assert ran.code == 0, ran.err
    [target] = Path("runs/echo").glob("*-rescored-*")
    selection = result(target).selection
    assert selection.best_untuned in tested
    assert "never asked it the test samples" in selection.excluded[other]
    assert f"{other} could not be chosen" in ran.out


@pytest.mark.parametrize(
    "word", ["prompting.shots=0", "generation.max_tokens=3", "model=other", "trainer.lr=5", "trainer=full", "out=other"]
)
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
