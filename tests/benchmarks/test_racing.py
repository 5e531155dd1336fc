"""The simulation of races: what it promises in a few settings, and that it can tell a bad rule."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import racing
from benchmarks.racing import Cell, Setting, cell, main, shown, truth_of
from harness.stats.racing import Race


@pytest.mark.parametrize(
    ("setting", "most_of_all"),
    [(Setting(3, 300, 1.0), 0.65), (Setting(10, 100, 0.5), 0.6), (Setting(10, 300, 2.0), 0.45)],
)
def test_a_race_costs_less_than_a_quarter_of_a_standard_error_and_saves(setting, most_of_all):
    found = cell(setting, 180)
    assert found.regret + 2 * found.se < 0.25
    assert found.regret_one_se < 0.25
    assert found.share < most_of_all


def test_the_simulation_can_fail_choosing_by_the_first_round_costs_more():
    rng = np.random.default_rng(0)
    lost = []
    for seed in range(200):
        truth = truth_of(Setting(10, 300, 1.0), "unordered", "scores", rng)
        first = list(Race.plan(300, None, seed=seed).rounds[0])
        picks = [truth.scores_SN.mean(axis=1).argmax(), truth.scores_SN[:, first].mean(axis=1).argmax()]
        lost.append(np.subtract(*truth.quality_S[picks]) / truth.standard_error)
    assert np.mean(lost) > 0.25


@pytest.mark.parametrize("kind", racing.KINDS)
def test_the_standard_error_is_that_of_the_simulated_answers(kind):
    rng = np.random.default_rng(1)
    truths = [truth_of(Setting(2, 200, 0.0), "unordered", kind, rng) for _ in range(800)]
    differences = [np.subtract(*truth.scores_SN.mean(axis=1)) for truth in truths]
    assert np.std(differences) == pytest.approx(truths[0].standard_error, rel=0.08)


@pytest.mark.parametrize("shape", ["rising", "peaked"])
def test_learning_curves_have_the_spread_they_are_asked_for(shape):
    quality = truth_of(Setting(20, 100, 2.0), shape, "scores", np.random.default_rng(2))
    assert np.std(quality.quality_S / quality.standard_error) == pytest.approx(2)


def test_the_table_says_share_and_both_regrets():
    cells = [
        Cell(Setting(s, n, spread), 1, 0.5, 0.1, 0.01, -0.2, 0.3, 1.0)
        for s in racing.CHECKPOINTS
        for n in racing.SAMPLES
        for spread in racing.SPREADS
    ]
    assert "| 3 | 100 | 50%, +0.10 (-0.20) |" in shown(cells)


def test_the_command_writes_what_it_found(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(racing, "CHECKPOINTS", (3,))
    monkeypatch.setattr(racing, "SAMPLES", (100,))
    main(["--runs", "2", "--processes", "1", "--out", str(tmp_path / "racing.json")])
    document = json.loads((tmp_path / "racing.json").read_text())
    assert len(document["cells"]) == len(racing.SPREADS)
    assert document["settings"]["runs"] == 2
    assert "worst regret" in capsys.readouterr().out
