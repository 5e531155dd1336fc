"""Durable writes. Nothing else in the project opens a file of a run folder for writing.

A final file appears whole or not at all: unique temporary beside it, write, fsync, rename, fsync of the folder.
A failed fsync is fatal for that file: the kernel may have dropped the pages, so a second try proves nothing.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from harness.core.errors import EnvironmentFault

_FIXES = {
    errno.ENOSPC: "free some disk space, then type the same command again",
    errno.EDQUOT: "free some of your quota, then type the same command again",
    errno.EROFS: "mount the file system for writing, or choose another folder with out=FOLDER",
    errno.EACCES: "give yourself write permission, or choose another folder with out=FOLDER",
    errno.EPERM: "give yourself write permission, or choose another folder with out=FOLDER",
    errno.EMFILE: "raise the limit of open files (ulimit -n), then type the same command again",
    errno.ENAMETOOLONG: "choose a shorter out=FOLDER",
}


@contextmanager
def guarded(path: Path, doing: str) -> Iterator[None]:
    """Turn an operating system's error into a sentence with path, reason and free bytes (exit 4)."""
    try:
        yield
    except OSError as err:
        reason = os.strerror(err.errno) if err.errno else str(err)
        raise EnvironmentFault(
            f"could not {doing} {path}: {reason} ({_free(path)})",
            fix=_FIXES.get(err.errno or 0, "mend the cause, then type the same command again"),
            code=f"E-DISK-{errno.errorcode.get(err.errno or 0, 'IO')}",
        ) from err


def write_atomic(path: Path, content: bytes) -> None:
    """Put `content` at `path`, durable when this returns; the old file stays until the new one is safe."""
    write_each({path: content})


def write_each(files: Mapping[Path, bytes]) -> None:
    """The same for several files; each appears whole or not at all, and all are durable when this returns."""
    for path, content in files.items():
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        with guarded(path, "write"):
            try:
                make_folder(path.parent)
                _write_new(temporary, content)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)
    for folder in dict.fromkeys(path.parent for path in files):
        with guarded(folder, "write"):
            sync_folder(folder)


def make_folder(path: Path) -> None:
    """Create a folder and its parents, durable."""
    if path.is_dir():
        return
    make_folder(path.parent)
    with guarded(path, "create folder"):
        path.mkdir(mode=0o700, exist_ok=True)
        sync_folder(path.parent)


def publish_folder(temporary: Path, final: Path) -> None:
    """Make a folder filled under a temporary name appear under its final one, every file synced first."""
    with guarded(final, "write"):
        for file in sorted(temporary.rglob("*")):
            if file.is_file():
                _sync_file(file)
        sync_folder(temporary)
        temporary.replace(final)
        sync_folder(final.parent)


def remove(path: Path) -> None:
    """Remove a file or folder if it is there."""
    with guarded(path, "remove"):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def quarantine(path: Path) -> Path:
    """Move something damaged out of the way under a free name ending in .bad; nothing is ever overwritten."""
    target = free_name(path)
    with guarded(path, "move away"):
        path.replace(target)
    return target


def free_name(path: Path) -> Path:
    """A name for something set aside that nothing has yet."""
    number = 0
    while os.path.lexists(target := path.with_name(f"{path.name}.{number}.bad")):
        number += 1
    return target


def write_all(descriptor: int, content: bytes) -> None:
    """os.write until everything is out: a full disk first shows as a short write."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def sync_folder(path: Path) -> None:
    """fsync a folder, so that the names in it survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_new(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        write_all(descriptor, content)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _free(path: Path) -> str:
    folder = path
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    try:
        usage = os.statvfs(folder)
    except OSError:
        return "free space unknown"
    return f"{usage.f_bavail * usage.f_frsize} bytes and {usage.f_favail} inodes free"
