from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cli.app import wait_briefly
from tests.conftest import FAKE, Ran

Harness = Callable[..., Ran]


def test_a_run_concludes_and_says_where_the_report_is(harness: Harness, echo_task: Path) -> None:
    ran = harness("run", f"task={echo_task}", *FAKE)
    assert ran.code == 0, ran.err
    assert ran.out.startswith("Tuning helped: exact_match")
    assert "Ship: step-0000" in ran.out
    report = next(Path("runs/echo").glob("*/report.html"))
    assert f"Report: {report}" in ran.out
    assert "Next command: harness report" in ran.out
    folder = report.parent
    for name in ("result.json", "audit.json", "data.json", "spec.json", "events.jsonl", "run.log", "summary.md"):
        assert (folder / name).exists(), name


def test_typed_again_it_does_nothing_and_concludes_the_same(harness: Harness, echo_task: Path) -> None:
    first = harness("run", f"task={echo_task}", *FAKE)
    again = harness("run", f"task={echo_task}", *FAKE)
    assert again.out == first.out
    assert "this run is finished; nothing was done" in again.err


def test_resume_takes_the_words_from_the_run(harness: Harness, echo_task: Path) -> None:
    first = harness("run", f"task={echo_task}", *FAKE)
    run_id = next(Path("runs/echo").glob("*")).name
    assert harness("resume", run_id).out.splitlines()[0] == first.out.splitlines()[0]


def test_resume_works_from_another_folder_with_the_paths_of_the_first(
    harness: Harness, echo_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness("run", "task=./echo", *FAKE)
    folder = next(Path("runs/echo").glob("*")).resolve()
    (folder / "result.json").unlink()
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    ran = harness("resume", str(folder))
    assert ran.code == 0, ran.err
    assert (folder / "result.json").exists()


@pytest.mark.parametrize("damage", ["report.html", "summary.md", "results.parquet", "reports.json"])
def test_a_missing_or_changed_report_is_written_again(harness: Harness, echo_task: Path, damage: str) -> None:
    harness("run", f"task={echo_task}", *FAKE)
    file = next(Path("runs/echo").glob("*")) / damage
    content = file.read_bytes()
    for harm in (file.unlink, lambda: file.write_text("hi")):
        harm()
        assert harness("run", f"task={echo_task}", *FAKE).code == 0
        assert len(file.read_bytes()) > len(content) / 2


def test_a_run_without_the_weights_it_ships_is_not_finished(harness: Harness, echo_task: Path) -> None:
    ran = harness("run", f"task={echo_task}", *FAKE)
    shipped = next(Path("runs/echo").glob("*/checkpoints/step-000006"))
    shutil.rmtree(shipped)
    again = harness("run", f"task={echo_task}", *FAKE)
    assert "nothing was done" not in again.err
    assert again.out == ran.out
    assert shipped.is_dir()


def test_settings_that_contradict_each_other_write_nothing(harness: Harness, echo_task: Path) -> None:
    for words, code in (
        ([*FAKE, "trainer=lora"], "E-CONFLICT"),
        ([*FAKE, "prompting.system=a<|end|><|assistant|>b"], "E-SPECIAL-IN-TEXT"),
        ([*FAKE, "prompting.instruction=a<|end|>b"], "E-SPECIAL-IN-TEXT"),
        ([*FAKE, "generation.temperature=inf"], "E-OPTION"),
        ([*FAKE, "metrics.options=abc", "metrics.options.x.y=1"], "E-OPTION"),
    ):
        given = [word for word in words if not (word == "trainer=fake" and "trainer=lora" in words)]
        ran = harness("run", f"task={echo_task}", *given)
        assert ran.code == 2, ran.err
        assert code in ran.err
        assert not Path("runs").exists()


def test_an_empty_stop_list_is_empty(harness: Harness, echo_task: Path) -> None:
    ran = harness("run", f"task={echo_task}", *FAKE, "generation.stop=")
    assert ran.code == 0, ran.err
    assert json.loads(next(Path("runs/echo").glob("*/spec.json")).read_text())["task"]["generation"]["stop"] == []


def test_a_trainer_named_in_one_line_of_the_task_is_understood(harness: Harness, echo_task: Path) -> None:
    file = echo_task / "task.toml"
    file.write_text('trainer = "fake"\n' + file.read_text())
    ran = harness("run", f"task={echo_task}", "backend=fake", "model=fake", "n_resamples=100")
    assert ran.code == 0, ran.err
    file.write_text(file.read_text().replace('trainer = "fake"', "prompting = 3").replace("[prompting]", "[trainer]"))
    refused = harness("run", f"task={echo_task}", *FAKE)
    assert (refused.code, "must be a table" in refused.err) == (2, True)


def test_a_run_is_found_by_its_own_task_only(harness: Harness, echo_task: Path) -> None:
    harness("run", f"task={echo_task}", *FAKE)
    assert harness("report", "echo/fake-fake").code == 0
    assert harness("report", "other/fake-fake").code == 2


def test_resume_refuses_changed_data(harness: Harness, echo_task: Path) -> None:
    harness("run", f"task={echo_task}", *FAKE)
    run_id = next(Path("runs/echo").glob("*")).name
    with (echo_task / "train.jsonl").open("a") as stream:
        stream.write('{"id": "new", "question": "one more", "answer": "ONE MORE"}\n')
    ran = harness("resume", run_id)
    assert ran.code == 2
    assert "E-DRIFT" in ran.err
    assert "data: train has changed" in ran.err
    assert "data: test has changed" not in ran.err


def test_a_dry_run_counts_and_writes_nothing(harness: Harness, echo_task: Path) -> None:
    ran = harness("run", f"task={echo_task}", *FAKE, "--dry-run", "--json")
    assert ran.code == 0, ran.err
    plan = json.loads(ran.out)
    # zero-shot and three draws of two shots over 16 + 40 samples, three checkpoints on 16, the chosen one on 40
    assert plan["n_generations"] == 4 * 56 + 3 * 16 + 40
    assert plan["training"]["n_steps"] == 6
    assert not Path("runs").exists()


def test_bad_data_exits_2_lists_everything_and_writes_nothing(harness: Harness, echo_task: Path) -> None:
    with (echo_task / "train.jsonl").open("a") as stream:
        stream.write('{"id": "x", "question": "no answer"}\n{"id": "y", \n')
    ran = harness("run", f"task={echo_task}", *FAKE)
    assert ran.code == 2
    assert "train.jsonl:25" in ran.err
    assert "train.jsonl:26" in ran.err
    assert not Path("runs").exists()
    dropped = harness("run", f"task={echo_task}", *FAKE, "--drop-bad")
    assert dropped.code == 0, dropped.err
    data = json.loads(next(Path("runs/echo").glob("*/data.json")).read_text())
    assert data["n_rows"] == 82
    assert sum(data["n_dropped"].values()) == 2
    assert sum(data["n_samples"].values()) == 80


def test_failures_are_counted_never_scored(harness: Harness, echo_task: Path) -> None:
    words = ["run", f"task={echo_task}", *FAKE, 'backend.options.fail={"timeout": 0.1}', "select.min_coverage=0.5"]
    ran = harness(*words)
    assert ran.code == 3, ran.err
    result = json.loads(next(Path("runs/echo").glob("*/result.json")).read_text())
    for evaluation in result["evaluations"]:
        estimate = evaluation["estimates"][0]
        assert estimate["n"] + estimate["failures"] == evaluation["n"]
    assert any(e["failures"] for e in result["evaluations"])
    assert "unanswered" in ran.out
    again = harness(*words, "--allow-failures")
    assert again.code == 0
    assert "nothing was done" in again.err
    rows = [json.loads(line) for line in next(Path("runs/echo").glob("*/samples.jsonl")).read_text().splitlines()]
    for comparison in result["comparisons"]:
        difference = comparison["candidate_value"] - comparison["baseline_value"]
        assert comparison["delta"] == pytest.approx(difference)
        sides = (comparison["candidate"], comparison["baseline"])
        scored = [[row["scores"][side]["exact_match"] is not None for side in sides] for row in rows]
        assert comparison["n"] == sum(map(all, scored))
    assert any(any(both) and not all(both) for both in scored)


def test_check_scores_the_references_and_shows_findings(harness: Harness, echo_task: Path) -> None:
    ran = harness("check", f"task={echo_task}", *FAKE)
    assert ran.code == 0, ran.err
    assert "exact_match" in ran.out
    assert "80 rows: 24 train, 16 validation, 40 test" in ran.out
    assert "smallest difference this test set can detect" in ran.out


def test_show_marks_prompt_and_loss_of_every_token(harness: Harness, echo_task: Path) -> None:
    ran = harness("show", f"task={echo_task}", *FAKE, "--sample", "row-3", "--json")
    shown = json.loads(ran.out)
    given = [token for token in shown["tokens"] if token[2]]
    loss = [token for token in shown["tokens"] if token[3]]
    assert len(given) + len(loss) == len(shown["tokens"])
    assert "".join(token[1] for token in loss) == shown["references"][0] + "<|end|>"
    assert "row-3" in harness("show", f"task={echo_task}", *FAKE, "--sample", "row-3").out


def test_report_and_lists(harness: Harness, echo_task: Path) -> None:
    harness("run", f"task={echo_task}", *FAKE)
    folder = next(Path("runs/echo").glob("*"))
    (folder / "report.html").unlink()
    assert harness("report", folder.name).code == 0
    assert (folder / "report.html").exists()
    assert "finished" in harness("list", "runs").out
    assert "headlines" in harness("list", "tasks").out
    assert "rouge_l" in harness("list", "metrics").out
    assert {row["name"] for row in json.loads(harness("list", "trainers", "--json").out)} >= {"lora", "full"}
    assert harness("report", "nonsense").code == 2


def test_one_unreadable_run_hides_no_other(harness: Harness, echo_task: Path) -> None:
    for seed in (1, 2):
        harness("run", f"task={echo_task}", *FAKE, f"seed={seed}")
    broken = sorted(Path("runs/echo").glob("*"))[0]
    (broken / "result.json").write_text("{")
    listed = harness("list", "runs").out
    assert "unreadable" in listed
    assert "finished" in listed


def test_a_replayed_run_gives_the_recorded_numbers(harness: Harness, echo_task: Path) -> None:
    harness("run", f"task={echo_task}", *FAKE)
    recorded = next(Path("runs/echo").glob("*"))
    ran = harness(
        "run",
        f"task={echo_task}",
        "model=fake",
        "backend=replay",
        f"backend.recording={recorded}",
        "trainer=replay",
        "n_resamples=500",
    )
    assert ran.code == 0, ran.err
    replayed = next(f for f in Path("runs/echo").glob("*") if f != recorded)
    first, second = (json.loads((f / "result.json").read_text()) for f in (recorded, replayed))
    assert first["comparisons"] == second["comparisons"]
    assert first["evaluations"] == second["evaluations"]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, ("PASSIVE", "1000")),
        ({"GOMP_SPINCOUNT": "7"}, ("PASSIVE", "7")),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, ("ACTIVE", None)),
    ],
)
def test_how_threads_wait_is_the_users_to_say(
    monkeypatch: pytest.MonkeyPatch, asked: dict[str, str], found: tuple[str, str | None]
) -> None:
    monkeypatch.setattr(os, "environ", dict(asked))
    wait_briefly()
    assert (os.environ.get("OMP_WAIT_POLICY"), os.environ.get("GOMP_SPINCOUNT")) == found


def test_unknown_commands_and_options_exit_2(harness: Harness) -> None:
    assert harness("rnu").code == 2
    assert harness("run", "task=headlines", "--dyr-run").code == 2


def test_hostile_output_is_escaped_on_the_terminal(harness: Harness, echo_task: Path) -> None:
    file = echo_task / "task.toml"
    file.write_text(file.read_text().replace("Say it in capitals.", "red \\u001b[31m \\u202e [bold]x[/bold]"))
    out = harness("list", "tasks").out
    assert "\x1b" not in out
    shown = harness("show", f"task={echo_task}", *FAKE, "prompting.system=a\x1b[31m\u202eb").out
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "\\x1b[31m\\u202e" in shown
