"""Folders called `trainers` or `reports` are common: where one stands before the harness's own, that is said."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

import harness.registry.own as own
from harness.registry.own import shadows

SCRIPT = Path(sysconfig.get_path("scripts")) / "harness"


def run(words: list[str], folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    settings = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | environment
    return subprocess.run(words, cwd=folder, env=settings, capture_output=True, text=True, check=False)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Somebody's own project, with a package called trainers and a folder called tasks."""
    (tmp_path / "trainers").mkdir()
    (tmp_path / "trainers" / "__init__.py").write_text("raise RuntimeError('not the one')\n")
    (tmp_path / "tasks").mkdir()
    return tmp_path


def test_the_command_works_beside_a_package_of_the_same_name(project: Path) -> None:
    if not SCRIPT.exists():
        pytest.skip("the command is not installed in this environment")
    done = run([str(SCRIPT), "list", "trainers"], project)
    assert done.returncode == 0, done.stderr
    assert "lora" in done.stdout
    assert run([str(SCRIPT), "list", "tasks"], project).returncode == 0


@pytest.mark.parametrize("words", [["-m", "harness"], ["-c", "from harness.cli import main; main()"]])
def test_a_package_in_front_of_ours_is_named_with_both_paths(project: Path, words: list[str]) -> None:
    done = run([sys.executable, *words, "list", "trainers"], project, PYTHONPATH=".")
    assert done.returncode == 4
    ours = Path(own.__file__).resolve().parents[2] / "trainers"
    assert done.stderr.startswith("error[E-SHADOW]: ")
    assert f"the package 'trainers' is found at {project / 'trainers'}" in done.stderr
    assert f"the harness's own is {ours}" in done.stderr
    assert f"fix: rename {project / 'trainers'}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_module_in_front_of_ours_is_named_too(tmp_path: Path) -> None:
    (tmp_path / "reports.py").write_text("")
    done = run([sys.executable, "-m", "harness", "--help"], tmp_path)
    assert done.returncode == 4
    assert str(tmp_path / "reports.py") in done.stderr


def test_python_m_harness_is_the_command(tmp_path: Path) -> None:
    done = run([sys.executable, "-m", "harness", "list", "metrics"], tmp_path)
    assert done.returncode == 0, done.stderr
    assert "exact_match" in done.stdout


def test_our_own_packages_stand_in_nobodys_place() -> None:
    assert shadows() == ()


def test_a_distribution_that_wrote_over_ours_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two distributions with one package name share its folder in site-packages, file by file."""
    home = tmp_path / "site-packages"
    (home / "harness-3.1.dist-info").mkdir(parents=True)
    (home / "harness-3.1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: harness\nVersion: 3.1\n")
    for package in own.OWN_PACKAGES:
        (home / package).mkdir()
        (home / package / "__init__.py").write_text("")
    monkeypatch.setattr(own, "__file__", str(home / "harness" / "registry" / "own.py"))
    monkeypatch.setattr(own, "place_of", lambda package: str(home / package))
    monkeypatch.syspath_prepend(str(home))
    [shadow] = shadows()
    assert "the distribution harness 3.1 has written its own files" in shadow.what
    assert shadow.fix == "pip uninstall harness, then pip install --force-reinstall sft-harness"
