"""Reports into the run folder. They may hold times, so they belong to no stage and can always be made again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import JsonValue

from harness.core.errors import EnvironmentFault
from harness.core.protocols import Reporter
from harness.store import disk, layout
from harness.store.encoding import canonical, parse, sha256, sha256_file
from harness.store.view import StoredView


def write_reports(folder: Path, reporters: Mapping[str, Reporter]) -> None:
    """Render every report of a finished run into its folder."""
    view = StoredView(folder)
    hashes: dict[str, JsonValue] = {}
    for reporter in reporters.values():
        for name, content in reporter.render(view).items():
            disk.write_atomic(folder / name, content)
            hashes[name] = sha256(content)
    disk.write_atomic(folder / layout.REPORTS, canonical(hashes))


def reports_intact(folder: Path) -> bool:
    """Whether all reports were written and none was changed since."""
    try:
        hashes = parse(dict[str, str], (folder / layout.REPORTS).read_bytes(), name=layout.REPORTS)
        return all(sha256_file(folder / name) == digest for name, digest in hashes.items())
    except (OSError, EnvironmentFault):
        return False
