"""The wheel, installed in an environment of its own and used outside the clone."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel; its dependencies are this environment's."""
    home = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q"]
    subprocess.run([*build, "-w", str(home), str(ROOT)], check=True)
    venv.create(home / "venv", with_pip=False)
    [packages] = (home / "venv").glob("lib/python*/site-packages")
    (packages / "parent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    install = [sys.executable, "-m", "pip", "--python", str(home / "venv/bin/python"), "install", "--no-deps"]
    subprocess.run([*install, "--no-index", "-q", *map(str, home.glob("*.whl"))], check=True)
    return home / "venv"


def harness(installed: Path, *words: str) -> str:
    done = subprocess.run(
        [str(installed / "bin/harness"), *words], cwd=installed.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_its_tasks_are_found_outside_the_clone(installed: Path) -> None:
    tasks = {row["name"]: row["origin"] for row in json.loads(harness(installed, "list", "tasks", "--json"))}
    shipped = {"headlines", "tickets", "orders", "general", "delays", "notices-zh"}
    assert shipped <= tasks.keys()
    assert tasks["headlines"].startswith(str(installed / "share"))


def test_its_model_trainers_and_plan_work_outside_the_clone(installed: Path) -> None:
    plan = json.loads(harness(installed, "run", "task=headlines", "--dry-run", "--json"))
    assert plan["run_id"].startswith("demo-lora-")
    assert plan["training"]["n_rows"] == 200


def test_it_holds_no_tests_and_no_stray_package(installed: Path) -> None:
    [packages] = installed.glob("lib/python*/site-packages")
    found = {path.name for path in packages.iterdir() if path.is_dir() and not path.name.endswith(".dist-info")}
    assert found == {"harness", "judges", "trainers", "reports"}
