"""Fixtures that every folder shares: a small task for the fake backend, and the command line run in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

# What a machine is busy with is no property of the code.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")

TASK = """
name = "{name}"
summary = "Say it in capitals."
licence = "CC0-1.0"

[data]
train = "train.jsonl"
validation = "validation.jsonl"
test = "test.jsonl"
prompt = "{{question}}"
reference = "{{answer}}"

[prompting]
system = "Repeat the words in capitals."
shots = [0, 2]

[generation]
max_tokens = 64

[metrics]
primary = "exact_match"
report = ["squad_f1"]
smallest_effect = 0.05
"""
WORDS = ("river", "stone", "cloud", "amber", "window", "lantern", "harbour", "meadow", "copper", "thistle", "velvet")


def words_row(number: int) -> dict[str, str]:
    """A row whose question no other row has."""
    words = [WORDS[(number * factor + number // 11) % len(WORDS)] for factor in (1, 3, 7)]
    question = f"{' '.join(words)} {number}"
    return {"id": f"row-{number}", "question": question, "answer": question.upper()}


def write_rows(path: Path, numbers: range) -> None:
    """A JSONL file with these rows."""
    path.write_text("".join(json.dumps(words_row(number)) + "\n" for number in numbers))


@pytest.fixture
def echo_task(tmp_path: Path) -> Path:
    """A task folder for the fake backend: 24 training, 16 validation and 40 test rows."""
    return make_echo_task(tmp_path / "echo")


def make_echo_task(folder: Path) -> Path:
    """Write the fake backend's task into a folder."""
    folder.mkdir(parents=True)
    (folder / "task.toml").write_text(TASK.format(name=folder.name))
    write_rows(folder / "train.jsonl", range(24))
    write_rows(folder / "validation.jsonl", range(100, 116))
    write_rows(folder / "test.jsonl", range(200, 240))
    return folder


@dataclass(frozen=True)
class Ran:
    """What a command line did: exit code and both streams."""

    code: int
    out: str
    err: str


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Ran]:
    """Run the command line in this process, in a folder of its own."""
    from harness.cli import app as cli
    from harness.cli import execution

    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> Ran:
        monkeypatch.setattr("sys.argv", ["harness", *words])
        execution.exit_code, execution.resume_command = 0, ""
        code = cli.run_command_line()
        streams = capsys.readouterr()
        return Ran(code, streams.out, streams.err)

    return call


FAKE = ("backend=fake", "model=fake", "trainer=fake", "n_resamples=500")
