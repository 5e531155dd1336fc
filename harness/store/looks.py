"""How often one test split was looked at: every further comparison on it makes the best result less believable."""

from __future__ import annotations

import json
from pathlib import Path

from harness.store import layout


def test_looks(out: Path, sha256_of_test: str) -> tuple[str, ...]:
    """Ids of the runs below `out`, of any task, that compared on the test split with this hash; sorted.

    A look is a `comparisons.json`: the run has seen its test score, whether or not it went on to its report. Runs of
    other versions of the harness count too; a data record that cannot be read names no split and counts for nothing.
    """
    folders = (path.parent for path in out.glob(f"*/*/{layout.COMPARISONS}"))
    return tuple(sorted({folder.name for folder in folders if _test_hash(folder) == sha256_of_test}))


def _test_hash(folder: Path) -> str | None:
    try:
        record = json.loads((folder / layout.DATA).read_bytes())
    except (OSError, ValueError):
        return None
    hashes = record.get("sha256") if isinstance(record, dict) else None
    found = hashes.get("test") if isinstance(hashes, dict) else None
    return found if isinstance(found, str) else None
