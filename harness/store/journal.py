"""An append-only file of records that survives being killed at any instruction.

One record is one line: sha256 of the payload, its length, the payload (JSON without a line break). On opening, a torn
last record is cut off; a damaged record in the middle is set aside and the others are kept.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType

from pydantic import JsonValue

from harness.store import disk
from harness.store.encoding import canonical, sha256


class Journal:
    """An open journal: what it held, and room for more. `append` returns when the records are on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._recovered, torn = _recover(path)
        with disk.guarded(path, "open"):
            disk.make_folder(path.parent)
            fresh = not path.exists()
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
            if torn is not None:
                os.ftruncate(self._descriptor, torn)
                os.fsync(self._descriptor)
            if fresh:
                disk.sync_folder(path.parent)

    @property
    def recovered(self) -> Sequence[JsonValue]:
        """The records that were there when the journal was opened."""
        return self._recovered

    def append(self, records: Iterable[JsonValue]) -> None:
        """Add records, durable when this returns."""
        content = b"".join(_line(record) for record in records)
        with disk.guarded(self.path, "append to"):
            disk.write_all(self._descriptor, content)
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file; records stay."""
        os.close(self._descriptor)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def read(path: Path) -> Sequence[JsonValue]:
    """The intact records of a journal, without touching it."""
    return _recover(path, keep=True)[0]


def _line(record: JsonValue) -> bytes:
    payload = canonical(record, indent=None).rstrip(b"\n")
    return b"%s %d %s\n" % (sha256(payload).encode(), len(payload), payload)


def _recover(path: Path, *, keep: bool = False) -> tuple[list[JsonValue], int | None]:
    """(intact records, length to cut the file to if its tail is torn). Damaged middles go to a .bad file."""
    if not path.exists():
        return [], None
    content = path.read_bytes()
    whole, _, tail = content.rpartition(b"\n")
    lines = whole.split(b"\n") if whole or content else []
    parsed = [(line, _parse(line)) for line in lines if line]
    records: list[JsonValue] = [record for _, record in parsed if record is not None]
    damaged = [line for line, record in parsed if record is None]
    if damaged and not keep:
        _set_aside(path, damaged, [line for line, record in parsed if record is not None])
        return records, None
    return records, len(content) - len(tail) if tail else None


def _parse(line: bytes) -> JsonValue:
    digest, _, rest = line.partition(b" ")
    length, _, payload = rest.partition(b" ")
    if not length.isdigit() or int(length) != len(payload) or sha256(payload).encode() != digest:
        return None
    record: JsonValue = json.loads(payload)
    return record


def _set_aside(path: Path, damaged: Sequence[bytes], intact: Sequence[bytes]) -> None:
    disk.write_atomic(disk.free_name(path), b"\n".join(damaged) + b"\n")
    disk.write_atomic(path, b"".join(line + b"\n" for line in intact))
