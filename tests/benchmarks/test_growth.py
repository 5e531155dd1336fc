"""The benchmark of growth: the runs it starts, the exponents it fits."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import growth
from benchmarks.growth import Cell, exponent, growths, main, row, shown_growth, write_task
from benchmarks.measuring import Measured
from harness.catalogue import read_toml
from harness.core.specs import TaskSpec


def test_exponent_of_a_power_law():
    sizes = np.array([100.0, 1000.0, 10_000.0])
    assert exponent(sizes, 3 * sizes**1.5) == pytest.approx(1.5)


def test_growth_is_told_apart_by_samples_and_by_checkpoints():
    """Seconds n^2 / 10^4 * k, memory sqrt(n), by hand."""
    medians = {
        Cell("fake", n, k): Measured(n**2 / 1e4 * k, 2 * n**2 / 1e4 * k, n**0.5) for n in (100, 1000) for k in (1, 10)
    }
    found = {one.of: one for one in growths(medians)}
    assert set(found) == {f"samples, checkpoints {k}" for k in (1, 10)} | {
        f"checkpoints, samples {n}" for n in (100, 1000)
    }
    by_samples, by_checkpoints = found["samples, checkpoints 10"], found["checkpoints, samples 100"]
    assert (by_samples.wall, by_samples.memory, by_samples.last_cpu) == pytest.approx((2, 0.5, 2))
    assert (by_checkpoints.wall, by_checkpoints.memory) == pytest.approx((1, 0))
    assert "| fake: samples, checkpoints 1 | 2.00 | 2.00 | 0.50 | 2.00 | 2.00 |" in shown_growth(growths(medians))


def test_the_task_is_one_and_its_rows_differ(tmp_path):
    write_task(tmp_path / "growth", Cell("fake", 300, 1))
    TaskSpec.model_validate(read_toml(tmp_path / "growth" / "task.toml"))
    rows = [json.loads(line) for f in (tmp_path / "growth").glob("*.jsonl") for line in f.read_text().splitlines()]
    assert len({one["question"] for one in rows}) == 900
    assert row(5)["answer"] == row(5)["question"].upper()


def test_what_takes_minutes_is_measured_less_often():
    asked = growth._arguments([])
    cells = [Cell("fake", 100, 10), Cell("fake", 10_000, 1), Cell("hf", 100, 3), Cell("hf", 1000, 1)]
    assert [growth.rounds_of(one, asked) for one in cells] == [5, 1, 3, 1]


@pytest.mark.slow
def test_the_command_runs_and_writes(tmp_path, capsys):
    out = tmp_path / "growth.json"
    sizes = ["--samples", "20", "40", "--checkpoints", "1", "--hf-samples", "--hf-checkpoints"]
    main([*sizes, "--rounds", "1", "--out", str(out)])
    document = json.loads(out.read_text())
    assert [(one["n_samples"], len(one["runs"])) for one in document["runs"]] == [(20, 1), (40, 1)]
    assert all(one["median"]["peak_mib"] > 20 for one in document["runs"])
    assert document["exponents"][0]["of"] == "samples, checkpoints 1"
    assert "| fake | 20 | 1 |" in capsys.readouterr().out


def test_with_a_real_model_few_rows_are_tuned_on(tmp_path):
    write_task(tmp_path / "growth", Cell("hf", 100, 1))
    assert len((tmp_path / "growth" / "train.jsonl").read_text().splitlines()) == 64
    assert "backend=hf" in growth.command(Cell("hf", 100, 1))
