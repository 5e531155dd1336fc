"""What judge models answered, kept in two places: a cache beside the runs, and a record inside one.

The cache is one SQLite file, content-addressed: a key covers everything that decides the answer. It may be deleted at
any time; one that is damaged, locked or not to be written is no cache, and `note` says so. The record is a file of
JSON lines in the order asked, durable line by line: a resumed run goes on where it ends.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from harness.core.errors import HarnessError
from harness.data.display import escape
from harness.store import disk
from harness.store.encoding import sha256
from harness.store.places import is_there

FILE = ".cache/scores.sqlite"

_WAIT_S = 5.0
# SQLite's own limit on the variables of one statement was 999 for long.
_AT_ONCE = 500
_DIGEST = 64


class ScoreCache:
    """Entries in one file below a folder of runs, shared by processes; each call opens and closes it."""

    def __init__(self, runs: Path, *, wait_s: float = _WAIT_S) -> None:
        """wait_s: how long another process may hold the file before this one goes on without."""
        self.file = runs / FILE
        self.note: str | None = None
        self._wait_s = wait_s

    def get(self, keys: Sequence[str]) -> dict[str, bytes]:
        """The entries there are, verified."""
        found: dict[str, bytes] = {}
        if self.note is not None or not keys or not is_there(self.file):
            return found
        with self._noting(), closing(self._open()) as connection:
            for start in range(0, len(keys), _AT_ONCE):
                found.update(_read(connection, keys[start : start + _AT_ONCE]))
        return {key: content for key, packed in found.items() if (content := _unpacked(packed)) is not None}

    def put(self, entries: Mapping[str, bytes]) -> None:
        """Keep entries, in place of those that are there."""
        if self.note is not None or not entries:
            return
        with self._noting():
            disk.make_folder(self.file.parent)
            rows = [(key, sha256(content).encode() + content) for key, content in entries.items()]
            with closing(self._open()) as connection, connection:
                connection.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?)", rows)

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.file, timeout=self._wait_s)
        try:
            _prepare(connection)
        except sqlite3.Error:
            connection.close()
            raise
        return connection

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """No trouble with the cache is anybody's error: it is said once, and the cache is not used any more."""
        try:
            yield
        except (sqlite3.Error, OSError, HarnessError) as err:
            why = escape(str(err).partition("\n")[0], 200)
            self.note = (
                f"verdicts are not shared between runs, as {escape(str(self.file), 300)} cannot be used ({why}); "
                "it may be deleted"
            )


class ScoreRecord:
    """A file of lines: those that were there when it was opened, and room for more."""

    def __init__(self, path: Path) -> None:
        """Opens nothing for writing yet; a torn last line is not among the lines and is cut off by the first append."""
        self.path = path
        with disk.guarded(path, "read"):
            content = path.read_bytes() if path.exists() else b""
        whole, _, _ = content.rpartition(b"\n")
        self.lines: tuple[bytes, ...] = tuple(line for line in whole.split(b"\n") if line)

    def append(self, lines: Sequence[bytes]) -> None:
        """Add lines, durable when this returns."""
        if not lines:
            return
        disk.make_folder(self.path.parent)
        with disk.guarded(self.path, "append to"):
            fresh = not self.path.exists()
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
            try:
                _cut_torn_line(descriptor)
                disk.write_all(descriptor, b"".join(line + b"\n" for line in lines))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            if fresh:
                disk.sync_folder(self.path.parent)


def _cut_torn_line(descriptor: int) -> None:
    """What a killed process left of its last line would make the next one unreadable."""
    length = os.fstat(descriptor).st_size
    if length and os.pread(descriptor, 1, length - 1) != b"\n":
        os.ftruncate(descriptor, os.pread(descriptor, length, 0).rfind(b"\n") + 1)


def _prepare(connection: sqlite3.Connection) -> None:
    try:
        connection.execute("PRAGMA journal_mode = WAL")
    except sqlite3.OperationalError as err:
        # Another process is doing the same at this moment; the mode stays with the file.
        if err.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise
    # Losing the newest entries in a power cut costs time only.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("CREATE TABLE IF NOT EXISTS scores (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID")


def _read(connection: sqlite3.Connection, keys: Sequence[str]) -> dict[str, bytes]:
    marks = ", ".join("?" * len(keys))
    rows = connection.execute(f"SELECT key, value FROM scores WHERE key IN ({marks})", keys)  # noqa: S608
    return {key: value for key, value in rows if isinstance(value, bytes)}


def _unpacked(packed: bytes) -> bytes | None:
    content = packed[_DIGEST:]
    return content if sha256(content).encode() == packed[:_DIGEST] else None
