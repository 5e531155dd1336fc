"""The benchmark of statistics: both ways make the same figures, every metric is measured."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import statistics
from benchmarks.statistics import (
    agreement,
    by_harness,
    by_sacrebleu,
    main,
    material_of,
    metric_of,
    names_of_metrics,
    texts_of,
)


@pytest.fixture(scope="module")
def both():
    texts = texts_of(150, seed=3)
    return by_harness(texts, 2000), by_sacrebleu(texts, 2000)


def test_both_ways_make_the_same_figures(both):
    ours, theirs = both
    assert ours.scores == pytest.approx(theirs.scores, rel=1e-12)
    assert ours.halves == pytest.approx(theirs.halves, rel=0.1)
    assert ours.p == pytest.approx(theirs.p, abs=0.01)
    agreement(ours, theirs)


def test_it_stops_where_scores_or_intervals_differ(both):
    ours, theirs = both
    for other in (replace(ours, scores=(ours.scores[0] + 1e-6, ours.scores[1])), replace(ours, halves=(9.0, 9.0))):
        with pytest.raises(SystemExit, match="disagree"):
            agreement(other, theirs)


@pytest.mark.parametrize("name", names_of_metrics())
def test_material_is_neither_perfect_nor_hopeless(name):
    samples, completions = material_of(name, 200)
    metric = metric_of(name, samples)
    value = float(metric.value(metric.measure(samples, completions).sum(axis=0)))
    assert np.isfinite(value)
    if name not in ("json_valid", "json_schema", "length_within", "length_ratio", "regex_match"):
        assert min(metric.best, metric.worst) < value < max(metric.best, metric.worst)


def test_the_command_writes_each_part(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(statistics, "COMMANDS", {k: statistics.COMMANDS[k] for k in ("--help", "run, finished")})
    out = tmp_path / "statistics.json"
    few = ["--samples", "100", "--resamples", "500", "--rows", "50", "--all-rows", "60", "--metrics", "rouge_l"]
    main([*few, "--rounds", "1", "--metric-rounds", "1", "--out", str(out)])
    document = json.loads(out.read_text())
    assert set(document["bleu"]["ratios"]) == {
        f"{what}_{clock}" for what in ("statistics", "resampling", "whole") for clock in ("wall", "cpu")
    }
    assert set(document["metrics"]) == {"rouge_l"}
    assert len(document["commands"]["run, finished"]) == 1
    shown = capsys.readouterr().out
    assert "| harness --help |" in shown
    assert "| rouge_l |" in shown
