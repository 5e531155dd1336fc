"""What reaches the command line and cannot be meant: names no file has, bytes that are no text, figures past all sense.

Each is one error with exit code 2, never a traceback.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.conftest import FAKE, Ran

Harness = Callable[..., Ran]
LONG = "x" * 300
NOT_UTF8 = b"caf\xe9".decode("utf-8", "surrogateescape")


def refused(ran: Ran, code: str) -> None:
    assert ran.code == 2, ran.err
    assert ran.err.count("error[") == 1
    assert f"error[{code}]" in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.parametrize("name", [LONG, f"echo/{LONG}", f"{LONG}/{LONG}", "a\0b", "a\0b/c"])
@pytest.mark.parametrize("command", ["report", "resume", "rescore"])
def test_a_run_whose_name_no_folder_can_have_is_not_found(harness: Harness, command: str, name: str) -> None:
    ran = harness(command, name)
    refused(ran, "E-NORUN")
    assert "there is no run" in ran.err
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    "words",
    [
        ("evaluate", "task=echo", "model=demo", f"adapter={LONG}"),
        ("run", "task=echo", *FAKE[:2], f"trainer={LONG}.py:x"),
        ("run", "task=echo", *FAKE, f"metric={LONG}.py:x"),
        ("run", "task=echo", f"model={LONG}", "--dry-run"),
        ("data", "convert", "echo/test.jsonl", f"{LONG}.jsonl"),
        ("new", "task", "x", "--data", "echo/test.jsonl", "--dir", LONG),
        ("list", "runs", "--out", LONG),
    ],
)
def test_a_name_too_long_for_any_file_is_no_bug(
    harness: Harness, echo_task: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    ran = harness(*words)
    assert ran.code == 2, ran.err
    assert ran.err.count("error[") == 1
    assert "Traceback" not in ran.err
    assert "xxx" in ran.err
    assert [path.name for path in Path().iterdir()] == ["echo"]


@pytest.mark.parametrize(
    "words",
    [
        ("run", NOT_UTF8),
        ("run", f"task={NOT_UTF8}"),
        ("run", f"data={NOT_UTF8}.jsonl", *FAKE),
        ("run", "task=headlines", f"prompting.system={NOT_UTF8}", *FAKE),
        ("report", NOT_UTF8),
        ("list", NOT_UTF8),
        ("data", "show", NOT_UTF8),
        ("new", "task", "x", "--data", NOT_UTF8),
        (NOT_UTF8,),
    ],
)
def test_a_word_that_is_not_utf8_is_refused_and_shown_escaped(harness: Harness, words: tuple[str, ...]) -> None:
    ran = harness(*words)
    refused(ran, "E-USAGE")
    place = next(number for number, word in enumerate(words, 1) if NOT_UTF8 in word)
    assert f"word {place} of the command is not UTF-8" in ran.err
    assert "caf\\udce9" in ran.err


@pytest.mark.parametrize(
    ("flag", "value"),
    [("--input-tokens", "9" * 300), ("--output-tokens", "9" * 300), ("--rows", "9" * 300), ("--memory-gb", "1e308")],
)
def test_advice_on_figures_past_all_sense_is_refused(harness: Harness, flag: str, value: str) -> None:
    given = {
        "--modality": "text", "--complexity": "low", "--priority": "cost", "--safety": "low", "--facts": "stable",
        "--arrangement": "gpu", "--memory-gb": "24", "--rows": "500", "--input-tokens": "900", "--output-tokens": "20",
    }  # fmt: skip
    assert harness("advise", "model", *(word for pair in given.items() for word in pair)).code == 0
    ran = harness("advise", "model", *(word for pair in {**given, flag: value}.items() for word in pair))
    refused(ran, "E-OPTION")
    assert flag in ran.err


def test_a_file_in_place_of_the_folder_of_runs_is_refused_before_anything(harness: Harness, echo_task: Path) -> None:
    Path("taken").write_text("mine")
    for out in ("taken", "taken/below", ""):
        ran = harness("run", f"task={echo_task}", *FAKE, f"out={out}")
        refused(ran, "E-OPTION")
        assert "resume with" not in ran.err
    assert Path("taken").read_text() == "mine"
    assert sorted(path.name for path in Path().iterdir()) == ["echo", "taken"]


def test_until_the_folder_is_made_the_same_command_is_what_resumes(harness: Harness, echo_task: Path) -> None:
    Path("runs").mkdir()
    Path("runs/echo").write_text("in the way")
    ran = harness("run", f"task={echo_task}", *FAKE)
    assert ran.code == 4
    assert ran.err.splitlines()[-1] == f"resume with: harness run task={echo_task} {' '.join(FAKE)}"
    Path("runs/echo").unlink()
    assert harness("run", f"task={echo_task}", *FAKE).code == 0


def test_a_gpu_that_is_full_is_no_bug_and_the_run_can_be_resumed(
    harness: Harness, echo_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_up(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr("trainers.fake.FakeTrainer.train", full_up)
    ran = harness("run", f"task={echo_task}", *FAKE)
    assert ran.code == 4, ran.err
    assert "error[E-OOM]: out of memory" in ran.err
    assert "Traceback" not in ran.err
    assert ran.err.rstrip().splitlines()[-1].startswith("resume with: harness resume ")
