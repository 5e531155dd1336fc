"""However rows are written, the run is the same run: every format, converted and run, gives the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import FAKE, Ran

Harness = Callable[..., Ran]
WRITTEN = [
    ("messages", "jsonl"),
    ("messages", "parquet"),
    ("gemini", "jsonl"),
    ("gemini", "json"),
    ("prompt-completion", "jsonl"),
    ("prompt-completion", "csv"),
    ("alpaca", "json"),
    ("alpaca", "tsv"),
    ("sharegpt", "jsonl"),
    ("sharegpt", "parquet"),
    ("columns", "csv"),
    ("columns", "parquet"),
]
# What says where the rows came from, and what holds times.
_TOLD = {
    "spec.json",
    "data.json",
    "stages.json",
    "environment.json",
    "events.jsonl",
    "reports.json",
    "run.log",
    "run.lock",
}
_REPORTS = {"report.html", "summary.md", "results.parquet"}


def files(out: str) -> dict[str, bytes]:
    [folder] = Path(out, "echo").glob("*")
    kept = (path for path in folder.rglob("*") if path.is_file() and path.name not in _TOLD | _REPORTS)
    return {str(path.relative_to(out)): path.read_bytes() for path in kept}


def converted(harness: Harness, task: Path, target: Path, form: str, suffix: str) -> Path:
    """The task with its rows in another format, made by the command that users have."""
    target.mkdir()
    templates = ["data.prompt={question}", "data.reference={answer}"]
    for split in ("train", "validation", "test"):
        source, file = task / f"{split}.jsonl", target / f"{split}.{suffix}"
        ran = harness("data", "convert", str(source), str(file), "--to", form, *templates)
        assert ran.code == 0, ran.err
    text = (task / "task.toml").read_text().replace(".jsonl", f".{suffix}").replace('prompt = "{question}"\n', "")
    columns = 'prompt = "{prompt}"\nreference = "{reference}"\n' if form == "columns" else ""
    (target / "task.toml").write_text(text.replace('reference = "{answer}"\n', columns))
    return target


@pytest.fixture
def whole(harness: Harness, echo_task: Path) -> dict[str, bytes]:
    """The files of the run on the task's own rows."""
    ran = harness("run", f"task={echo_task}", *FAKE, "out=own")
    assert ran.code == 0, ran.err
    return files("own")


@pytest.mark.parametrize(("form", "suffix"), WRITTEN)
def test_the_same_rows_in_another_format_are_the_same_run(
    harness: Harness, echo_task: Path, whole: dict[str, bytes], tmp_path: Path, form: str, suffix: str
) -> None:
    task = converted(harness, echo_task, tmp_path / "other", form, suffix)
    ran = harness("run", f"task={task}", *FAKE, "out=other-runs")
    assert ran.code == 0, ran.err
    assert files("other-runs") == whole
    assert len(whole) > 20


def test_other_words_in_one_row_are_another_run(
    harness: Harness, echo_task: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    task = converted(harness, echo_task, tmp_path / "other", "gemini", "jsonl")
    file = task / "test.jsonl"
    file.write_text(file.read_text().replace("RIVER", "DELTA", 1))
    assert harness("run", f"task={task}", *FAKE, "out=other-runs").code == 0
    assert not set(files("other-runs")) & set(whole)
