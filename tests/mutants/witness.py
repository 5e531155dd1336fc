"""A pytest plug-in for runs on a copy: which tests failed, with what exception, and whose modules were imported.

Loaded with `-p witness`; writes JSON to the file that MUTANTS_RECORD names.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

_OURS = ("harness", "trainers", "reports", "judges", "tests")
_found: list[dict[str, str]] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note what failed, and the type of its exception, which reports do not keep."""
    report = yield
    if report.failed and call.excinfo is not None:
        _found.append({"test": item.nodeid, "when": report.when, "raised": call.excinfo.typename})
    return report


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """A file that cannot be imported is an error, not a failing test."""
    if report.failed:
        _found.append({"test": report.nodeid, "when": "collect", "raised": ""})


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write down what was found."""
    record = {"failed": _found, "strangers": strangers(session.config.rootpath)}
    Path(os.environ["MUTANTS_RECORD"]).write_text(json.dumps(record), encoding="utf-8")


def strangers(root: Path) -> list[str]:
    """Files of our own packages that were imported from somewhere else than the copy."""
    ours = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] in _OURS]
    files = {Path(file) for module in ours if (file := getattr(module, "__file__", None))}
    return sorted(str(file) for file in files if not file.is_relative_to(root))
