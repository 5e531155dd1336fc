"""The shipped tasks and the model folder are what their generators and cards say."""

import hashlib
import json
import re
import tomllib
from pathlib import Path

import pytest

import harness.demo
from harness.demo import tasks as generator
from harness.demo.tasks import TASKS, folded, input_text, rows, word_runs

SHIPPED = Path(__file__).parents[2] / "tasks"
MODEL = Path(harness.demo.__path__[0]) / "model"


def read(task: str, split: str) -> list[dict[str, str]]:
    lines = (SHIPPED / task / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_the_data_files_are_what_the_generator_writes(tmp_path: Path) -> None:
    generator.write(tmp_path)
    written = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.jsonl"))
    assert len(written) == 3 * len(TASKS)
    for path in written:
        assert (tmp_path / path).read_bytes() == (SHIPPED / path).read_bytes(), path


@pytest.mark.parametrize("task", list(TASKS))
def test_no_two_rows_of_a_task_share_an_input_or_a_long_run_of_words(task: str) -> None:
    seen: dict[str, str] = {}
    for _, row in rows(task):
        text = input_text(row, TASKS[task][1])
        for trace in {folded(text)} | word_runs(text):
            assert seen.setdefault(trace, row["id"]) == row["id"]


@pytest.mark.parametrize("task", list(TASKS))
def test_the_data_card_counts_the_rows_and_names_the_licence(task: str) -> None:
    card = (SHIPPED / task / "README.md").read_text(encoding="utf-8")
    for split in ("train", "validation", "test"):
        assert f"| {split} | {len(read(task, split))} |" in card
    assert "CC0-1.0" in card
    assert "python -m harness.demo.tasks" in card


@pytest.mark.parametrize("task", list(TASKS))
def test_the_task_file_joins_inputs_as_the_generator_does(task: str) -> None:
    data = tomllib.loads((SHIPPED / task / "task.toml").read_text(encoding="utf-8"))["data"]
    assert data["prompt"] == "\n".join(f"{{{field}}}" for field in TASKS[task][1])
    assert all(data["reference"].strip("{}") in row for row in read(task, "test"))


def test_ticket_answers_are_the_json_of_their_columns() -> None:
    for row in read("tickets", "test"):
        assert json.loads(row["triage"]) == {"category": row["category"], "priority": row["priority"]}


def test_the_model_folder_is_small_and_its_card_has_the_hashes_of_its_files() -> None:
    card = (MODEL / "README.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"\| `([\w.]+)` \| `([0-9a-f]{64})` \|", card))
    files = {path.name: path for path in MODEL.iterdir() if path.name != "README.md"}
    assert set(listed) == set(files)
    assert {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()} == listed
    assert sum(path.stat().st_size for path in MODEL.iterdir()) < 10_000_000
