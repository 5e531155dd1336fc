"""Regular files, line by line as bytes: opened with suspicion, hashed on the way, checked for change at the end."""

from __future__ import annotations

import errno
import hashlib
import os
import shlex
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from harness.core.errors import EnvironmentFault, HarnessError
from harness.data.display import escape, quote

BOM = b"\xef\xbb\xbf"
_WIDE_BOMS = {
    b"\xff\xfe\0\0": "UTF-32-LE",
    b"\0\0\xfe\xff": "UTF-32-BE",
    b"\xff\xfe": "UTF-16-LE",
    b"\xfe\xff": "UTF-16-BE",
}
_MAGIC = {
    b"\x1f\x8b": ("gzip", "gunzip it"),
    b"\x28\xb5\x2f\xfd": ("Zstandard", "unpack it with unzstd"),
    b"BZh": ("bzip2", "bunzip2 it"),
    b"\xfd7zXZ\0": ("xz", "unxz it"),
    b"PAR1": ("Parquet", "give it the suffix .parquet"),
    b"ARROW1": ("Arrow", "write it as JSON Lines"),
    b"PK\x03\x04": ("a zip archive (or .xlsx)", "unpack it, or save the sheet as CSV (UTF-8)"),
    b"%PDF": ("PDF", "write its rows as JSON Lines"),
    b"SQLite format 3\0": ("SQLite", "export the table as CSV"),
}
_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe, which cannot be read twice"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)
_CHUNK = 1 << 20
MAX_WHOLE = 2 << 30


@dataclass(frozen=True, slots=True)
class Line:
    """One line without its end. offset: of its first byte in the file.

    ended: whether a newline followed. oversize: longer than the limit; then `content` is empty.
    """

    number: int
    offset: int
    content: bytes
    ended: bool
    oversize: bool


class Lines:
    """The lines of one file, split at newline bytes only. After the last one `sha256` is the hash of the whole file.

    Raises HarnessError for what is not a readable text file (E-FILE, E-FORMAT, E-ENC), and EnvironmentFault
    E-CHANGED at the end where the file was written to in the meantime. No line longer than `limit` is kept in memory.
    """

    def __init__(self, path: Path, name: str, *, limit: int) -> None:
        self.path = path
        self.name = name
        self.limit = limit
        self.sha256 = ""
        self.has_bom = False

    def __iter__(self) -> Iterator[Line]:
        digest = hashlib.sha256()
        with open_regular(self.path, self.name) as file:
            before = os.fstat(file.fileno())
            head = file.read(64)
            refuse_other_formats(head, self.name)
            self.has_bom = head.startswith(BOM)
            file.seek(0)
            number = offset = 0
            while piece := file.readline(self.limit + 2):
                number += 1
                skip = len(BOM) if number == 1 and self.has_bom else 0
                size, ended = _skip_rest(file, piece, digest)
                oversize = size - ended > self.limit
                content = b"" if oversize else piece[skip:].removesuffix(b"\n")
                yield Line(number, offset + skip, content, ended, oversize)
                offset += size
            _refuse_change(before, os.fstat(file.fileno()), self.path, self.name)
        self.sha256 = digest.hexdigest()


def _skip_rest(file: BinaryIO, piece: bytes, digest: hashlib._Hash) -> tuple[int, bool]:
    """Read on to the end of the line that `piece` begins: (its size with its newline, whether it had one)."""
    size = len(piece)
    digest.update(piece)
    while piece and not piece.endswith(b"\n"):
        piece = file.readline(_CHUNK)
        digest.update(piece)
        size += len(piece)
    return size, bool(piece)


def open_regular(path: Path, name: str) -> BinaryIO:
    """Open a regular file for reading; E-FILE, with what it is instead, for anything else."""
    try:
        mode = path.stat().st_mode
        for is_kind, kind in _KINDS:
            if is_kind(mode):
                raise _no_file(name, f"is {kind}")
        return path.open("rb")
    except OSError as error:
        raise _no_file(name, _why_not(path, error)) from error
    except ValueError as error:
        raise _no_file(name, "is not a possible file name") from error


class Whole:
    """One file that must be read as a whole. After `read`, `sha256` is its hash.

    Raises as Lines does, and E-FORMAT where the file is larger than MAX_WHOLE.
    """

    def __init__(self, path: Path, name: str, *, limit: int) -> None:
        self.path = path
        self.name = name
        self.limit = limit
        self.sha256 = ""
        self.has_bom = False

    def read(self) -> bytes:
        """All bytes of the file, less a byte order mark."""
        with open_regular(self.path, self.name) as file:
            before = os.fstat(file.fileno())
            if before.st_size > MAX_WHOLE:
                raise HarnessError(
                    f"{self.name!r} has {before.st_size:,} bytes; a file of its kind is read as a whole, "
                    f"up to {MAX_WHOLE:,}",
                    fix="write it as JSON Lines, which has no limit, or in parts",
                    code="E-FORMAT",
                )
            content = file.read()
            _refuse_change(before, os.fstat(file.fileno()), self.path, self.name)
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.has_bom = content.startswith(BOM)
        return content.removeprefix(BOM)


def refuse_other_formats(head: bytes, name: str) -> None:
    """E-FORMAT or E-ENC for a file that begins like something other than UTF-8 text."""
    for magic, (kind, advice) in _MAGIC.items():
        if head.startswith(magic):
            raise HarnessError(
                f"{name!r} is {kind}, not text",
                fix=f"{advice}; JSON Lines, JSON, CSV, TSV and Parquet are read",
                code="E-FORMAT",
            )
    encoding = next((wide for bom, wide in _WIDE_BOMS.items() if head.startswith(bom)), None) or _wide_without_bom(head)
    if encoding is not None:
        raise HarnessError(
            f"{name!r} looks like {encoding} (it begins with {head[:4].hex(' ').upper()}), not UTF-8",
            fix=f"iconv -f {encoding[:6]} -t UTF-8 {shlex.quote(name)} > {shlex.quote(name + '.utf8')}",
            code="E-ENC",
        )


def _wide_without_bom(head: bytes) -> str | None:
    """UTF-16 of Latin text has a zero in every second byte."""
    if len(head) < 4 or b"\n" in head[:4]:
        return None
    if head[1:4:2] == b"\0\0" and 0 not in head[0:4:2]:
        return "UTF-16-LE"
    if head[0:4:2] == b"\0\0" and 0 not in head[1:4:2]:
        return "UTF-16-BE"
    return None


def _why_not(path: Path, error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "is a symbolic link that leads back to itself"
    if error.errno == errno.ENOENT and path.is_symlink():
        return f"is a symbolic link to {escape(str(path.readlink()))!r}, which does not exist"
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return "does not exist"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "may not be read (permission denied)"
    return f"cannot be opened: {error.strerror}"


def _no_file(name: str, why: str) -> HarnessError:
    return HarnessError(
        f"data file {quote(name)} {why}",
        fix="name a regular file in [data] of task.toml; the path is relative to the task's folder",
        code="E-FILE",
    )


def _refuse_change(before: os.stat_result, after: os.stat_result, path: Path, name: str) -> None:
    try:
        now = path.stat()
    except OSError:
        now = after
    same = all(
        (state.st_ino, state.st_size, state.st_mtime_ns) == (before.st_ino, before.st_size, before.st_mtime_ns)
        for state in (after, now)
    )
    if not same:
        raise EnvironmentFault(
            f"data file {name!r} was changed while it was read",
            fix="wait until whatever writes it has finished, then run again",
            code="E-CHANGED",
        )
