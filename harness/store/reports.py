"""Reports into the run folder. They may hold times, so they belong to no stage and can always be made again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.core.protocols import Reporter
from harness.store import disk
from harness.store.view import StoredView


def write_reports(folder: Path, reporters: Mapping[str, Reporter]) -> None:
    """Render every report of a finished run into its folder."""
    view = StoredView(folder)
    for reporter in reporters.values():
        for name, content in reporter.render(view).items():
            disk.write_atomic(folder / name, content)
