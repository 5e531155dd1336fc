"""Runs that were not scored alike, or not on the same rows, are not resampled together."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.bench.grid import plan
from harness.bench.result import Ended, assemble
from harness.cli import benching
from harness.core.bench import BenchResult
from harness.metrics import exact_match
from tests.conftest import Ran, make_echo_task, words_row

Harness = Callable[..., Ran]
COMMON = ("backend=fake", "trainers=fake", "n_resamples=200")


@pytest.fixture
def words(tmp_path: Path) -> tuple[str, ...]:
    """A bench of one task."""
    return (f"tasks={make_echo_task(tmp_path / 'one')}", "models=fake", *COMMON)


def assembled(words: tuple[str, ...]) -> BenchResult:
    grid = plan(words, drop_bad=False, identify=benching._run_id)
    return assemble(grid, [Ended(cell, 0) for cell in grid.cells])


def test_runs_scored_by_another_signature_are_not_resampled_together(
    harness: Harness, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert harness("bench", *words).code == 0
    assert assembled(words).contests[0].no_intervals == ""
    monkeypatch.setattr(exact_match, "VERSION", "harness:next")
    [contest] = assembled(words).contests
    assert "no longer what these runs were scored by" in contest.no_intervals
    assert [entry.rank_low for entry in contest.entries] == [None] * 3


def test_runs_tested_on_other_rows_are_not_resampled_together(
    harness: Harness, words: tuple[str, ...], tmp_path: Path
) -> None:
    assert harness("bench", *words).code == 0
    grid = plan(words, drop_bad=False, identify=benching._run_id)
    (tmp_path / "one" / "test.jsonl").write_text("".join(json.dumps(words_row(n)) + "\n" for n in range(700, 740)))
    [contest] = assemble(grid, [Ended(cell, 0) for cell in grid.cells]).contests
    assert "no longer what these runs were tested on" in contest.no_intervals
