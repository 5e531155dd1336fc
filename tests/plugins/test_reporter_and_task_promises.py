"""The suites for reporters and task folders: the harness's own pass, and what breaks a promise is noticed."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytest

from harness import registry
from harness.core.protocols import Reporter, RunView
from harness.testing import ConformanceError, check_reporter, check_task
from tests.reports.view import view

TASKS = Path(__file__).resolve().parents[2] / "tasks"


@pytest.mark.parametrize("name", registry.names("reporters"))
def test_every_reporter_of_the_harness_keeps_every_promise(name: str) -> None:
    check_reporter(cast(Reporter, registry.load("reporters", name)), view=view(24))


class Sound:
    """The conclusion in one line of plain text, hostile characters escaped."""

    name = "conclusion.txt"

    def render(self, view: RunView) -> Mapping[str, bytes]:
        return {self.name: ascii(view.result.conclusion.sentence).encode()}


class Silent(Sound):
    def render(self, view: RunView) -> Mapping[str, bytes]:
        return {}


class Stringy(Sound):
    def render(self, view: RunView) -> Mapping[str, bytes]:
        return {self.name: "text"}  # type: ignore[dict-item]


class Hollow(Sound):
    def render(self, view: RunView) -> Mapping[str, bytes]:
        return {self.name: b""}


class Numbered(Sound):
    counter = itertools.count()

    def render(self, view: RunView) -> Mapping[str, bytes]:
        return {self.name: str(next(self.counter)).encode()}


class Climbing(Sound):
    name = "../conclusion.txt"


class Hidden(Sound):
    name = ".conclusion"


class Overwriting(Sound):
    name = "result.json"


class Tuned(Sound):
    """Takes for granted that something was tuned."""

    def render(self, view: RunView) -> Mapping[str, bytes]:
        return {self.name: f"{view.result.checkpoints[-1].step}".encode()}


class Page(Sound):
    def render(self, view: RunView) -> Mapping[str, bytes]:
        rows = "".join(f"<p>{row.prompt}</p>" for row in view.samples())
        return {"page.html": rows.encode("utf-8", "replace")}


class Terminal(Sound):
    def render(self, view: RunView) -> Mapping[str, bytes]:
        return {"said.txt": view.result.summary.encode("utf-8", "replace")}


def test_the_reporter_that_the_broken_ones_are_made_from_is_sound() -> None:
    check_reporter(Sound())


@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        (Silent, "at least one file"),
        (Stringy, "bytes, and not empty"),
        (Hollow, "bytes, and not empty"),
        (Numbered, "same run gives the same bytes"),
        (Climbing, "one plain name"),
        (Hidden, "one plain name"),
        (Overwriting, "overwrites none"),
        (Tuned, "every finished run can be rendered"),
        (Page, "stays text"),
        (Terminal, "shown as escapes"),
    ],
)
def test_a_reporters_broken_promise_is_named(broken: type[Sound], promise: str) -> None:
    with pytest.raises(ConformanceError, match=promise) as caught:
        check_reporter(broken())
    assert caught.value.example


@pytest.mark.parametrize(
    "folder", sorted(file.parent for file in TASKS.glob("*/task.toml")), ids=lambda path: path.name
)
def test_every_task_of_the_harness_keeps_every_promise(folder: Path) -> None:
    check_task(folder, smallest_split=20)


@pytest.fixture
def task(tmp_path: Path, echo_task: Path) -> Path:
    (echo_task / "README.md").write_text("# echo\n")
    return echo_task


def refused(task: Path, promise: str, **options: int) -> ConformanceError:
    with pytest.raises(ConformanceError, match=promise) as caught:
        check_task(task, **options)  # type: ignore[arg-type]
    return caught.value


def test_a_sound_task_passes_with_the_words_that_it_is_checked_with(task: Path) -> None:
    check_task(task)
    check_task(task, words=["metric=squad_f1"], smallest_split=20)
    refused(task, "at least 30 rows to train", smallest_split=30)


def test_a_task_without_a_card_or_a_licence_is_named(task: Path) -> None:
    file = task / "task.toml"
    file.write_text(file.read_text().replace("CC0-1.0", ""))
    assert "licence" in refused(task, "under which licence").promise
    file.write_text(file.read_text().replace('licence = ""', 'licence = "CC0-1.0"'))
    (task / "README.md").unlink()
    assert "data card" in refused(task, "data card").promise


def test_a_task_with_a_broken_row_is_named_with_its_line(task: Path) -> None:
    with (task / "train.jsonl").open("a") as stream:
        stream.write('{"id": "x", \n')
    assert "train.jsonl:25" in refused(task, "every row can be read").example


def test_a_task_whose_metric_finds_fault_with_its_references_is_named(task: Path) -> None:
    file = task / "task.toml"
    file.write_text(file.read_text().replace('primary = "exact_match"', 'primary = "json_valid"'))
    assert "json_valid" in refused(task, "references perfect").example


def test_a_task_that_does_not_load_is_named_with_its_mistakes(task: Path) -> None:
    file = task / "task.toml"
    file.write_text(file.read_text().replace("[generation]", "[generation]\ncolour = 1"))
    assert "colour" in refused(task, "a task loads").example
    shutil.rmtree(task)
    refused(task, "a task loads")
