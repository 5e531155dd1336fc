"""How often the same test rows were looked at: every further comparison on them makes the best result less believable.

Another prompt, another metadata column or a filter gives the split another hash, but the rows are the same. So a run
keeps a short digest of each test row's id and references, and runs of one task are compared by them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.core.types import Sample
from harness.store import layout

# Runs of one task that share at least this much of the smaller test split have looked at the same rows.
_SAME = 0.5


def row_digests(samples: Iterable[Sample]) -> list[str]:
    """Sorted digests of what does not change with the prompt: id and references."""
    return sorted(_digest(sample) for sample in samples)


def looks_at_test(run: Path) -> tuple[str, ...]:
    """Ids of the runs beside this one, itself among them, that compared on its test rows; sorted.

    Runs of other tasks count if their test split is the same in every byte. A look is a `comparisons.json`: the run has
    seen its test score, whether or not it went on to its report. Records that cannot be read count for nothing.
    """
    own = _asked(run)
    if own is None:
        return ()
    folders = {path.parent.resolve() for path in run.parents[1].glob(f"[!.]*/*/{layout.COMPARISONS}")}
    return tuple(sorted(folder.name for folder in folders if _same(own, _asked(folder))))


@dataclass(frozen=True)
class _Asked:
    task: str
    sha256: str
    rows: frozenset[str]


def _same(one: _Asked, other: _Asked | None) -> bool:
    if other is None:
        return False
    if one.sha256 == other.sha256:
        return True
    smaller = min(len(one.rows), len(other.rows))
    return one.task == other.task and smaller > 0 and len(one.rows & other.rows) >= _SAME * smaller


def _asked(run: Path) -> _Asked | None:
    try:
        sha256 = json.loads((run / layout.DATA).read_bytes())["sha256"]["test"]
        rows = json.loads((run / layout.TEST_ROWS).read_bytes())
        return _Asked(run.resolve().parent.name, str(sha256), frozenset(str(row) for row in rows))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _digest(sample: Sample) -> str:
    return hashlib.sha256(json.dumps([sample.id, sample.references]).encode()).hexdigest()[:12]
