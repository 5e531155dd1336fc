"""Promises about the source itself."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.config import task_schema

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted(path for name in ("harness", "judges", "trainers", "reports") for path in (ROOT / name).rglob("*.py"))
# Calls that run code from data, or read formats that can.
BANNED = {
    "eval", "exec", "pickle.load", "pickle.loads", "torch.load", "dill.loads", "joblib.load", "shelve.open",
    "marshal.loads", "yaml.load", "tempfile.mktemp", "jinja2.Template",
}  # fmt: skip
# What a process of the harness is sent by the one that started it, through a pipe of its own: no data, no file.
FROM_ITS_PARENT = {("harness/metrics/worker.py", "pickle.loads")}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_runs_code_from_data(path: Path) -> None:
    for name, call in calls(ast.parse(path.read_text())):
        banned = name in BANNED and (str(path.relative_to(ROOT)), name) not in FROM_ITS_PARENT
        assert not banned, f"{path}:{call.lineno} calls {name}"
        for keyword in call.keywords:
            spelled = f"{keyword.arg}={ast.unparse(keyword.value)}"
            assert spelled not in ("allow_pickle=True", "shell=True", "verify=False"), f"{path}:{call.lineno}"
            if keyword.arg == "trust_remote_code":
                assert ast.unparse(keyword.value) == "False", f"{path}:{call.lineno}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_the_command_line_prints_or_exits(path: Path) -> None:
    if "cli" in path.parts or "demo" in path.parts:
        return
    for name, call in calls(ast.parse(path.read_text())):
        assert name not in ("print", "sys.exit", "exit"), f"{path}:{call.lineno} calls {name}"


def test_the_clock_is_read_only_for_progress_and_events() -> None:
    allowed = {"events.py", "stages.py", "outcomes.py", "display.py", "portions.py"}
    for path in SOURCES:
        if path.name in allowed or "demo" in path.parts:
            continue
        for name, call in calls(ast.parse(path.read_text())):
            assert name not in ("time.time", "datetime.now", "time.monotonic"), f"{path}:{call.lineno}"
            assert not name.endswith("st_mtime"), f"{path}:{call.lineno}"


def test_the_task_schema_beside_the_tasks_is_the_specs_own() -> None:
    assert json.loads((ROOT / "tasks" / "task.schema.json").read_text()) == task_schema(), "run make schema"


def test_every_folder_of_the_engine_says_what_is_in_it() -> None:
    folders = [path for path in (ROOT / "harness").iterdir() if (path / "__init__.py").exists()]
    exempt = {"core", "cli"}
    missing = [p.name for p in folders if p.name not in exempt and not (p / "README.md").exists()]
    assert missing == []
