from __future__ import annotations

import io
import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Ran, write_rows

Harness = Callable[..., Ran]
FLAGS = [
    "--modality=text", "--complexity=low", "--priority=cost", "--safety=low", "--facts=stable", "--arrangement=gpu",
    "--memory-gb=24", "--rows=800", "--input-tokens=300", "--output-tokens=20",
]  # fmt: skip


class Terminal(io.StringIO):
    """Standard input that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())


def test_flags_alone_are_enough(harness: Harness) -> None:
    ran = harness("advise", "model", *FLAGS)
    assert ran.code == 0, ran.err
    assert "task complexity: the class to end with: about 0.5B" in ran.out
    assert ran.out.count("    because ") >= 9


def test_without_a_terminal_missing_answers_are_named_with_their_flags(harness: Harness) -> None:
    ran = harness("advise", "model", *FLAGS[2:])
    assert ran.code == 2
    assert "2 answers are missing" in ran.err
    assert "--modality text|image|audio|video" in ran.err
    assert "--complexity low|medium|high" in ran.err


def test_a_terminal_is_asked_until_the_answer_is_one_of_the_choices(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("text\nvery\nlow\n"))
    ran = harness("advise", "model", *FLAGS[2:])
    assert ran.code == 0, ran.err
    assert "please answer low/medium/high" in ran.err
    assert "about 0.5B" in ran.out


def test_sizes_are_measured_on_the_rows(harness: Harness) -> None:
    write_rows(Path("rows.jsonl"), range(120))
    ran = harness("advise", "model", *FLAGS[:7], "--data", "rows.jsonl", "--json")
    answers = json.loads(ran.out)["answers"]
    longest = max(len(json.loads(line)["question"]) for line in Path("rows.jsonl").read_text().splitlines())
    assert (answers["rows"], answers["input_tokens"]) == (120, -(-longest // 3))


@pytest.mark.parametrize("name", ["advice.toml", "advice.json"])
def test_the_advice_is_recorded_once(harness: Harness, name: str) -> None:
    assert harness("advise", "model", *FLAGS, "--out", name).code == 0
    text = Path(name).read_text()
    record = tomllib.loads(text) if name.endswith("toml") else json.loads(text)
    assert record["answers"]["memory_gb"] == 24
    assert {"topic", "advice", "reason"} == set(record["advice"][0])
    assert len(record["memory_gb"]) == 7
    again = harness("advise", "model", *FLAGS, "--out", name)
    assert (again.code, Path(name).read_text()) == (2, text)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--complexity=some"], "--complexity: Input should be 'low', 'medium' or 'high'"),
        (["--memory-gb=lots"], "--memory-gb: Input should be a valid number"),
        (["--out=advice.txt"], "is neither .toml nor .json"),
        (["--out=none/advice.toml"], "cannot be written"),
        (["--data=none.jsonl"], "does not exist"),
    ],
)
def test_mistakes_are_one_error(harness: Harness, words: list[str], said: str) -> None:
    changed = {word.partition("=")[0] for word in words}
    ran = harness("advise", "model", *(flag for flag in FLAGS if flag.partition("=")[0] not in changed), *words)
    assert ran.code in (2, 4)
    assert said in ran.err
    assert "Traceback" not in ran.err
