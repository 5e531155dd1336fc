"""`harness list`: every kind, where each comes from, and with --check whether it works."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cli import listing
from tests.conftest import Ran

Harness = Callable[..., Ran]


def rows(ran: Ran) -> dict[str, dict[str, str]]:
    return {row["name"]: row for row in json.loads(ran.out)}


@pytest.mark.parametrize(
    ("things", "name"),
    [
        ("metrics", "exact_match"),
        ("backends", "hf"),
        ("trainers", "lora"),
        ("reporters", "html"),
        ("leaderboards", "html"),
        ("tasks", "headlines"),
        ("presets", "format"),
        ("models", "demo"),
    ],
)
def test_every_kind_is_listed_with_where_it_comes_from(harness: Harness, things: str, name: str) -> None:
    ran = harness("list", things, "--json")
    assert ran.code == 0, ran.err
    found = rows(ran)[name]
    assert found["summary"]
    assert found["origin"]
    assert found["check"] == ""


def test_kinds_without_any_say_so(harness: Harness) -> None:
    assert (harness("list", "runs").code, harness("list", "runs").out) == (0, "no runs yet\n")
    assert harness("list", "judges").code == 0
    assert harness("list", "graders").code == 2


def test_check_tries_reporters_and_imports_trainers(harness: Harness) -> None:
    ran = harness("list", "reporters", "--check", "--json")
    assert (ran.code, {row["check"] for row in rows(ran).values()}) == (0, {"keeps its promises"})
    ran = harness("list", "trainers", "--check")
    assert ran.code == 0
    assert "imports" in ran.out


def test_what_cannot_be_checked_says_what_can(harness: Harness) -> None:
    ran = harness("list", "runs", "--check")
    assert (ran.code, "harness list metrics" in ran.err) == (2, True)


def test_a_broken_metric_is_told_from_the_sound_ones(
    harness: Harness, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "site" / "mood-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mood\nVersion: 1.0\n")
    names = ("lost = no_such_module_at_all:create", "wild = wild_metric:create", "needy = needy_metric:create")
    (info / "entry_points.txt").write_text("[harness.metrics]\n" + "\n".join(names) + "\n")
    (tmp_path / "site" / "wild_metric.py").write_text("def create(context):\n    raise RuntimeError('\\x1b[31mwild')\n")
    needy = (
        "from harness.core.errors import HarnessError\ndef create(context):\n    raise HarnessError('no', fix='x')\n"
    )
    (tmp_path / "site" / "needy_metric.py").write_text(needy)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    wanted = {"lost", "wild", "needy", "exact_match"}
    every = listing.rows_of
    monkeypatch.setattr(
        "harness.cli.reading.rows_of", lambda kind, out: [row for row in every(kind, out) if row.name in wanted]
    )
    ran = harness("list", "metrics", "--check", "--json")
    found = {name: row["check"] for name, row in rows(ran).items()}
    assert ran.code == 4
    assert found["exact_match"] == "keeps its promises, tried on sentences"
    assert found["lost"].startswith("broken: ")
    assert "mood 1.0" in found["lost"]
    assert found["wild"] == "broken: RuntimeError: \\x1b[31mwild"
    assert found["needy"] == "imports; needs settings or data of its own to be tried"
    assert "no_such_module_at_all" not in sys.modules
