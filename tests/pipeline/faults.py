"""Runs the command line in a forked child whose disk fails, or which is killed, at the k-th operation."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from harness.store import layout

# Every call by which the store changes the disk.
OPERATIONS = ("write", "fsync", "replace", "mkdir", "unlink", "ftruncate", "rmdir")
Fault = Literal["kill", "ENOSPC", "EIO", "short", "SIGINT", "SIGTERM"]


class Faulty:
    """Counts disk operations and lets the k-th one fail. A full disk stays full from then on."""

    def __init__(self, fault: Fault, at: int) -> None:
        self.fault = fault
        self.at = at
        self.count = 0
        self.real: dict[str, Callable[..., object]] = {name: getattr(os, name) for name in OPERATIONS}

    def install(self) -> None:
        for name in OPERATIONS:
            setattr(os, name, self._wrapped(name))

    def _wrapped(self, name: str) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            self.count += 1
            if self.count == self.at or (self.fault == "ENOSPC" and self.count > self.at > 0):
                return self._fail(name, args, kwargs)
            return self.real[name](*args, **kwargs)

        return call

    def _fail(self, name: str, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        if self.fault == "kill":
            if name == "write":  # half of the bytes get out
                self.real[name](args[0], bytes(args[1])[: len(bytes(args[1])) // 2])  # type: ignore[arg-type]
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fault in ("SIGINT", "SIGTERM"):
            os.kill(os.getpid(), signal.Signals[self.fault])
        if self.fault == "short" and name == "write":
            return self.real[name](args[0], bytes(args[1])[:1])  # type: ignore[arg-type]
        if self.fault == "ENOSPC" and name in ("write", "mkdir"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self.fault == "EIO" and name in ("write", "fsync"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return self.real[name](*args, **kwargs)


def run_child(words: Sequence[str], folder: Path, fault: Fault = "kill", at: int = 0) -> tuple[int, int, str]:
    """(exit code or minus signal, disk operations done, stderr) of `harness words` run in `folder`."""
    report, errors = os.pipe(), folder / "stderr.txt"
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        faulty = Faulty(fault, at)
        code = _in_child(words, errors, faulty)
        faulty.real["write"](report[1], str(faulty.count).encode())
        os._exit(code)
    os.close(report[1])
    _, status = os.waitpid(child, 0)
    count = os.read(report[0], 20)
    os.close(report[0])
    return os.waitstatus_to_exitcode(status), int(count or 0), errors.read_text()


def _in_child(words: Sequence[str], errors: Path, faulty: Faulty) -> int:
    from harness.cli import app as cli

    sys.argv = ["harness", *words]
    sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - for the child's whole life
    sys.stderr = errors.open("w")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, cli.stop_once)
    faulty.install()
    try:
        return cli.run_command_line()
    finally:
        sys.stderr.flush()


def result_bytes(folder: Path) -> dict[str, bytes]:
    """Every file of a run that must not depend on how often it was interrupted."""
    skipped = {*layout.IMPURE, "report.html", "summary.md", "results.parquet"}
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in skipped and ".bad" not in str(path.relative_to(folder))
    }
