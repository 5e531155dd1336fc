"""Both ways of examining a judge give the same figures, and the document says what was measured; nothing is timed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.judging import _FIGURES, harness, main, material_of, script


def test_both_ways_give_the_same_figures_of_the_same_labels():
    material = material_of(300, 2000, seed=1)
    ours, theirs = harness(material, 200), script(material, 60)
    assert set(ours.figures) == set(theirs.figures) == {*_FIGURES, "mean"}
    for name in ours.figures:
        # Other folds and other draws: what is left is chance.
        assert ours.figures[name][0] == pytest.approx(theirs.figures[name][0], abs=0.04), name
        widths = [high - low for _, low, high in (ours.figures[name], theirs.figures[name])]
        assert widths[0] == pytest.approx(widths[1], rel=0.4), name


def test_results_name_the_machine_and_what_was_measured(tmp_path: Path):
    out = tmp_path / "judging.json"
    main(["--labels", "240", "--items", "200", "--draws", "20", "--repeats", "1", "--out", str(out)])
    found = json.loads(out.read_text())
    assert found["material"] == {"labels": 240, "items": 200, "draws": 20}
    assert found["machine"]["cores"] >= 1
    assert found["script_over_harness_wall"] > 0
    assert str(tmp_path) not in out.read_text()
