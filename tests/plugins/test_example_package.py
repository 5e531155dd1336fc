"""A third party's package, built and installed as pip does it, and used by name: nothing in the harness knows it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both packages installed."""
    target = tmp_path_factory.mktemp("site")
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation", "--no-index", "-q"]
    packages = [str(HERE / "example_package"), str(HERE / "broken_package")]
    done = subprocess.run([*install, "--target", str(target), *packages], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


def python(site: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the packages installed and the harness as it is found by this process."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join((str(site), str(ROOT)))}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def listed(site: Path, folder: Path, kind: str) -> dict[str, dict[str, str]]:
    done = python(site, folder, "-m", "harness", "list", kind, "--json")
    assert done.returncode == 0, done.stderr
    return {row["name"]: row for row in json.loads(done.stdout)}


@pytest.mark.parametrize(
    ("kind", "name", "summary"),
    [
        ("metrics", "same_vowels", "Same vowels: the completion has the reference's vowels in the reference's order."),
        ("trainers", "steady", "A trainer for the fake backend that gains the same skill with every checkpoint."),
        ("reporters", "one_line", "The conclusion in one line, for a chat channel."),
    ],
)
def test_its_plug_ins_are_listed_with_their_distribution(
    site: Path, tmp_path: Path, kind: str, name: str, summary: str
) -> None:
    row = listed(site, tmp_path, kind)[name]
    assert (row["summary"], row["origin"]) == (summary, "sft-example 1.2")


def test_its_task_is_found_by_name(site: Path, tmp_path: Path) -> None:
    row = listed(site, tmp_path, "tasks")["capitals"]
    assert row["summary"] == "Say it in capitals."
    assert str(site / "sft_example" / "tasks" / "capitals") in row["origin"]


def test_its_task_runs_with_its_metric_trainer_and_reporter(site: Path, tmp_path: Path) -> None:
    words = ("task=capitals", "backend=fake", "model=fake", "n_resamples=200")
    done = python(site, tmp_path, "-m", "harness", "run", *words)
    assert done.returncode == 0, done.stderr
    assert "same_vowels" in done.stdout
    [folder] = (tmp_path / "runs" / "capitals").iterdir()
    result = json.loads((folder / "result.json").read_text())
    assert (result["primary"], result["trainer"]) == ("same_vowels", "steady")
    # 12 rows, a step a row, two passes.
    assert [checkpoint["step"] for checkpoint in result["checkpoints"]] == [12, 24]
    line = (folder / "one_line.txt").read_text()
    assert line.startswith("capitals: ")
    assert result["conclusion"]["ship"] in line


def test_its_own_tests_hold_it_to_the_promises(site: Path, tmp_path: Path) -> None:
    file = HERE / "example_package" / "promises.py"
    done = python(site, tmp_path, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout


def test_a_package_that_does_not_import_is_listed_and_told_apart(site: Path, tmp_path: Path) -> None:
    row = listed(site, tmp_path, "metrics")["moods"]
    assert (row["summary"], row["origin"]) == ("Scores by mood, with a library that nobody has.", "sft-broken 0.3")
    words = ("task=capitals", "backend=fake", "model=fake", "metric=moods")
    done = python(site, tmp_path, "-m", "harness", "run", *words)
    assert done.returncode == 4
    assert done.stderr.startswith("error[E-PLUGIN]: the metric 'moods' of sft-broken 0.3 (sft_broken.moods:create)")
    assert "No module named 'no_such_mood_library'" in done.stderr
    assert "fix: pip install no_such_mood_library" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()
