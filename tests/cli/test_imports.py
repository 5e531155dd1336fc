"""What help, lists and reports must not import, asserted in a fresh interpreter."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import FAKE

HEAVY = ("torch", "transformers", "datasets", "nltk", "sklearn", "peft", "accelerate")
PROBE = """
import json, sys
sys.argv = ["harness", *json.loads(sys.argv[1])]
from harness.cli.app import run_command_line
code = run_command_line()
sys.stdout.flush()
print("\\n" + json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def imported_by(words: list[str], folder: Path) -> tuple[int, set[str]]:
    done = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(words)], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.stdout, done.stderr
    code, modules = json.loads(done.stdout.rstrip().rpartition("\n")[2])
    return code, set(modules)


@pytest.mark.parametrize(
    "words",
    [["--help"], ["run", "--help"], ["list", "tasks"], ["list", "metrics"], ["list", "trainers"], ["list", "runs"]],
)
def test_help_and_lists_import_no_model_library(words: list[str], tmp_path: Path) -> None:
    code, modules = imported_by(words, tmp_path)
    assert code == 0
    assert not modules & set(HEAVY)


def test_a_finished_run_and_its_report_import_no_model_library(tmp_path: Path, echo_task: Path) -> None:
    words = ["run", f"task={echo_task}", *FAKE]
    assert imported_by(words, tmp_path)[0] == 0
    code, modules = imported_by(words, tmp_path)
    assert code == 0
    assert not modules & set(HEAVY)
    code, modules = imported_by(["report", next((tmp_path / "runs/echo").glob("*")).name], tmp_path)
    assert code == 0
    assert not modules & set(HEAVY)
