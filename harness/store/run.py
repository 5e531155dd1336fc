"""One run's folder: stages that are durable once they are done, and files that are verified whenever they are read.

`stages.json` says which stages are done, from which inputs (a fingerprint), and the hash of every file they made.
A stage whose fingerprint is there and whose files verify is never done again; a damaged file is set aside and its
stage done again. Nothing here knows what the stages mean.
"""

from __future__ import annotations

import fcntl
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from pydantic import JsonValue

from harness.core.errors import EnvironmentFault
from harness.store import disk, layout
from harness.store.encoding import canonical, fingerprint, parse, sha256, sha256_file

T = TypeVar("T")
_STAGES = "stages.json"


@dataclass(frozen=True, slots=True)
class _Stage:
    """A finished stage: the fingerprint of its inputs, and file name -> sha256."""

    inputs: str
    files: Mapping[str, str]


class RunFolder:
    """A run's folder, locked for this process from `with` to its end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: int | None = None
        self._stages: dict[str, _Stage] = {}

    def __enter__(self) -> RunFolder:
        disk.make_folder(self.folder)
        self._lock = _take_lock(self.folder / layout.LOCK)
        # What a killed attempt left half-written; nobody else can be writing it, the lock is ours.
        for leftover in self.folder.rglob(".*.tmp"):
            disk.remove(leftover)
        self._stages = _read_stages(self.folder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def is_done(self, stage: str, inputs: Mapping[str, JsonValue]) -> bool:
        """Whether this stage was finished from the same inputs and all its files are intact."""
        entry = self._stages.get(stage)
        if entry is None or entry.inputs != fingerprint(inputs):
            return False
        return all(self._intact(name, digest) for name, digest in entry.files.items())

    def finish(self, stage: str, inputs: Mapping[str, JsonValue], files: Mapping[str, bytes]) -> None:
        """Write the stage's files, then record it as done. The files come first: a record is a promise."""
        disk.write_each({self.folder / name: content for name, content in files.items()})
        digests = {name: sha256(content) for name, content in files.items()}
        self._stages = {**self._stages, stage: _Stage(fingerprint(inputs), digests)}
        disk.write_atomic(self.folder / _STAGES, canonical(self._stages))

    def read(self, name: str) -> bytes:
        """A finished stage's file, verified; EnvironmentFault where it is damaged or no stage made it."""
        return read_verified(self.folder, self._stages, name)

    def load(self, kind: type[T], name: str) -> T:
        """A finished stage's file as the record it holds, verified."""
        return parse(kind, self.read(name), name=name)

    def digest(self, name: str) -> str:
        """Hash of a finished stage's file: what later stages name as their input."""
        return _digest_of(self._stages, name)

    def _intact(self, name: str, digest: str) -> bool:
        path = self.folder / name
        if not os.path.lexists(path):
            return False
        if path.is_file() and not path.is_symlink() and sha256_file(path) == digest:
            return True
        disk.quarantine(path)
        return False


class FinishedRun:
    """A run's folder opened for reading: no lock, nothing written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stages = _read_stages(folder, keep=True)

    def has(self, name: str) -> bool:
        """Whether a finished stage made this file."""
        return any(name in entry.files for entry in self._stages.values())

    def read(self, name: str) -> bytes:
        """A file, verified against the hash its stage recorded."""
        return read_verified(self.folder, self._stages, name)

    def load(self, kind: type[T], name: str) -> T:
        """A file as the record it holds, verified."""
        return parse(kind, self.read(name), name=name)

    def intact(self) -> bool:
        """Whether every file of every stage is there and unchanged."""
        return all(
            (self.folder / name).is_file() and sha256_file(self.folder / name) == digest
            for entry in self._stages.values()
            for name, digest in entry.files.items()
        )


def read_verified(folder: Path, stages: Mapping[str, _Stage], name: str) -> bytes:
    """Bytes of a stage's file; EnvironmentFault naming expected and actual hash where they differ."""
    expected = _digest_of(stages, name)
    try:
        content = (folder / name).read_bytes()
    except OSError as err:
        raise EnvironmentFault(
            f"{folder / name} cannot be read: {err.strerror}",
            fix="type the run's command again: what can be made anew will be",
            code="E-MISSING",
        ) from err
    if (actual := sha256(content)) != expected:
        raise EnvironmentFault(
            f"{folder / name} was changed after it was written: expected sha256 {expected[:12]}, found {actual[:12]}",
            fix="type the run's command again: the file will be set aside and made anew",
            code="E-CORRUPT",
        )
    return content


def _digest_of(stages: Mapping[str, _Stage], name: str) -> str:
    for entry in stages.values():
        if digest := entry.files.get(name):
            return digest
    raise EnvironmentFault(
        f"no finished stage of this run made {name}",
        fix="type the run's command again to finish it",
        code="E-MISSING",
    )


def _read_stages(folder: Path, *, keep: bool = False) -> dict[str, _Stage]:
    path = folder / _STAGES
    if not os.path.lexists(path):
        return {}
    try:
        return parse(dict[str, _Stage], path.read_bytes(), name=_STAGES)
    except (EnvironmentFault, OSError):
        if keep:
            raise
        disk.quarantine(path)
        return {}


def _take_lock(path: Path) -> int:
    """Hold the run for this process's life. A dead owner never blocks: the kernel drops its lock."""
    with disk.guarded(path, "open"):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as err:
        owner = os.read(descriptor, 200).decode(errors="backslashreplace")
        os.close(descriptor)
        raise EnvironmentFault(
            f"another process works in {path.parent}: {owner or 'it has not said which'}",
            fix="wait for it, stop it, or give this run another folder with out=FOLDER",
            code="E-LOCKED",
        ) from err
    except OSError as err:
        os.close(descriptor)
        raise EnvironmentFault(
            f"{path} cannot be locked ({os.strerror(err.errno or 0)}), so two runs could write over each other",
            fix="choose a folder on a file system with locks: out=FOLDER",
            code="E-NOLOCK",
        ) from err
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"pid {os.getpid()} on {platform.node()}".encode())
    return descriptor
