"""Looks: runs that compared on the same test rows, however they asked them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.core.types import Message, Sample
from harness.store.looks import looks_at_test, row_digests

Make = Callable[..., Path]


def samples(numbers: range, prompt: str = "q") -> list[Sample]:
    return [Sample(f"test-{n}", "test", (Message("user", f"{prompt} {n}"),), (f"answer {n}",)) for n in numbers]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def folder(name: str, sha256: str, rows: list[Sample], *, compared: bool = True) -> Path:
        path = tmp_path / name
        path.mkdir(parents=True)
        (path / "data.json").write_text(json.dumps({"n_rows": 3, "sha256": {"train": "t", "test": sha256}}))
        (path / "test-rows.json").write_text(json.dumps(row_digests(rows)))
        if compared:
            (path / "comparisons.json").write_text("[]")
        return path

    return folder


def test_another_prompt_on_the_same_rows_is_another_look(make: Make) -> None:
    first = make("a/run-1", "one", samples(range(10)))
    make("a/run-2", "two", samples(range(10), prompt="Question:"))
    make("a/run-3", "three", samples(range(5)))
    make("a/run-4", "four", samples(range(100, 110)))
    make("a/run-5", "five", samples(range(6, 16)))
    assert looks_at_test(first) == ("run-1", "run-2", "run-3")


def test_runs_of_another_task_count_only_if_the_split_is_the_same(make: Make) -> None:
    first = make("a/run-1", "same", samples(range(10)))
    make("b/run-2", "same", samples(range(10)))
    make("b/run-3", "other", samples(range(10)))
    assert looks_at_test(first) == ("run-1", "run-2")


def test_a_run_that_has_not_compared_yet_has_not_looked(make: Make) -> None:
    first = make("a/run-1", "same", samples(range(3)), compared=False)
    assert looks_at_test(first) == ()
    make("a/run-2", "same", samples(range(3)))
    assert looks_at_test(first) == ("run-2",)


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"sha256": 3}'])
@pytest.mark.parametrize("name", ["data.json", "test-rows.json"])
def test_a_damaged_record_counts_for_nothing_and_hides_no_other(make: Make, damage: str, name: str) -> None:
    if (damage, name) == ("[]", "test-rows.json"):
        pytest.skip("a test split without rows is no damage")
    damaged = make("a/run-1", "same", samples(range(3)))
    good = make("a/run-2", "same", samples(range(3)))
    (damaged / name).write_text(damage)
    assert looks_at_test(damaged) == () or name == "test-rows.json"
    assert "run-2" in looks_at_test(good)
