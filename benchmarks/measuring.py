"""Clocks, ratios and what is written down: the same for every benchmark.

A contestant's time is compared with that of another in the same round, so that what else the machine does hits both;
what is reported of several rounds is the median.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, TypeVar

from benchmarks.machine import machine

T = TypeVar("T")
Clock = Literal["wall_s", "cpu_s"]
RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Measured:
    """One piece of work: seconds that passed, seconds of processor time, and most memory a process of it had (MiB)."""

    wall_s: float
    cpu_s: float
    peak_mib: float | None = None


def in_process(work: Callable[[], T]) -> tuple[T, Measured]:
    """What the work gives and what it took, child processes that it waited for included; no memory."""
    wall, cpu = time.perf_counter(), _cpu_s()
    made = work()
    return made, Measured(time.perf_counter() - wall, _cpu_s() - cpu)


def in_child(command: Sequence[str], *, environment: Mapping[str, str] | None = None, folder: Path) -> Measured:
    """What a command took, all of its processes together; CalledProcessError with the end of what it said."""
    log = folder / "command.log"
    with log.open("wb") as stream:
        wall = time.perf_counter()
        child = subprocess.Popen(  # noqa: S603  (our own commands)
            command, cwd=folder, env={**os.environ, **(environment or {})}, stdout=stream, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(child.pid, 0)
        wall = time.perf_counter() - wall
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, list(command), log.read_text(errors="replace")[-2000:])
    return Measured(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def total(parts: Sequence[Measured]) -> Measured:
    """Work done one part after the other."""
    peaks = [part.peak_mib for part in parts if part.peak_mib is not None]
    return Measured(
        sum(part.wall_s for part in parts), sum(part.cpu_s for part in parts), max(peaks) if peaks else None
    )


def faster_by(ours: Sequence[Measured], theirs: Sequence[Measured], clock: Clock = "wall_s") -> float:
    """How many times the time of `ours` the others took: median of the ratios within a round."""
    pairs = zip(ours, theirs, strict=True)
    return statistics.median(float(getattr(b, clock)) / float(getattr(a, clock)) for a, b in pairs)


def median_of(measured: Sequence[Measured]) -> Measured:
    """The median by each clock by itself."""
    peaks = [each.peak_mib for each in measured if each.peak_mib is not None]
    return Measured(
        statistics.median(each.wall_s for each in measured),
        statistics.median(each.cpu_s for each in measured),
        statistics.median(peaks) if peaks else None,
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown; the first column to the left."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write(file: Path, settings: Mapping[str, object], libraries: Sequence[str], found: Mapping[str, object]) -> None:
    """What was measured, with the machine, the versions and what was asked; no host, no path, no time of day."""
    versions = {name: version(name) for name in libraries if find_spec(name.replace("-", "_")) is not None}
    document = {"machine": machine(), "libraries": versions, "settings": dict(settings), **found}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document, indent=2, default=_plain) + "\n", encoding="utf-8")


def _plain(value: object) -> object:
    if isinstance(value, Measured):
        return {name: number for name, number in asdict(value).items() if number is not None}
    raise TypeError(f"{type(value).__name__} cannot be written down")


def _cpu_s() -> float:
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
