"""Looks: runs that compared on one test split, whatever their task."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.store import looks

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def folder(name: str, sha256: str, *, compared: bool = True) -> Path:
        path = tmp_path / name
        path.mkdir(parents=True)
        (path / "data.json").write_text(json.dumps({"n_rows": 3, "sha256": {"train": "t", "test": sha256}}))
        if compared:
            (path / "comparisons.json").write_text("[]")
        return path

    return folder


def test_runs_of_every_task_that_compared_on_the_split_are_looks(make: Make, tmp_path: Path) -> None:
    make("a/run-2", "same")
    make("a/run-1", "same")
    make("b/run-3", "same")
    make("b/run-4", "other")
    assert looks.test_looks(tmp_path, "same") == ("run-1", "run-2", "run-3")
    assert looks.test_looks(tmp_path, "other") == ("run-4",)
    assert looks.test_looks(tmp_path, "none") == ()


def test_a_run_that_has_not_compared_yet_has_not_looked(make: Make, tmp_path: Path) -> None:
    make("a/run-1", "same", compared=False)
    assert looks.test_looks(tmp_path, "same") == ()


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"sha256": 3}'])
def test_a_damaged_record_names_no_split_and_hides_no_other(make: Make, tmp_path: Path, damage: str) -> None:
    (make("a/run-1", "same") / "data.json").write_text(damage)
    make("a/run-2", "same")
    assert looks.test_looks(tmp_path, "same") == ("run-2",)


def test_a_folder_that_is_not_there_has_no_looks(tmp_path: Path) -> None:
    assert looks.test_looks(tmp_path / "nowhere", "same") == ()
