"""How often one test split was looked at: every further comparison on it makes the best result less believable."""

from __future__ import annotations

from pathlib import Path

from harness.core.errors import EnvironmentFault
from harness.core.records import DataRecord
from harness.store import layout
from harness.store.encoding import parse


def test_looks(out: Path, sha256_of_test: str) -> tuple[str, ...]:
    """Ids of the runs below `out`, of any task, that compared on the test split with this hash; sorted.

    A look is a `comparisons.json`: the run has seen its test score, whether or not it went on to its report. A data
    record that cannot be read counts for nothing, as it names no split.
    """
    folders = (path.parent for path in out.glob(f"*/*/{layout.COMPARISONS}"))
    return tuple(sorted({folder.name for folder in folders if _test_hash(folder) == sha256_of_test}))


def _test_hash(folder: Path) -> str | None:
    try:
        record = parse(DataRecord, (folder / layout.DATA).read_bytes(), name=layout.DATA)
    except (OSError, EnvironmentFault):
        return None
    return record.sha256.get("test")
