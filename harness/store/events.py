"""events.jsonl and run.log: times, hosts and progress live here, and only here."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import JsonValue

from harness.store import disk, layout


class EventLog:
    """Appends one line an event to both files. Losing the last lines in a crash harms nothing, so nothing is synced."""

    def __init__(self, folder: Path) -> None:
        self._events = folder / layout.EVENTS
        self._log = folder / layout.LOG
        self._started = time.monotonic()

    def write(self, kind: str, text: str, **fields: JsonValue) -> None:
        """Record an event for machines (fields) and people (text)."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        event = {"time": stamp, "kind": kind, "pid": os.getpid(), "host": platform.node(), **fields, "text": text}
        self._append(self._events, json.dumps(event, ensure_ascii=True))
        self._append(self._log, f"{stamp} {time.monotonic() - self._started:8.1f}s {text}")

    def _append(self, path: Path, line: str) -> None:
        with disk.guarded(path, "append to"):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
            try:
                disk.write_all(descriptor, (line + "\n").encode("utf-8", "backslashreplace"))
            finally:
                os.close(descriptor)


def stage_seconds(folder: Path) -> Sequence[tuple[str, float]]:
    """(stage, seconds spent in it over all attempts), in order of first appearance; damaged lines are passed over."""
    seconds: dict[str, float] = {}
    for stage, spent in _of_kind(folder, "stage-end", "seconds"):
        seconds[stage] = seconds.get(stage, 0.0) + spent
    return list(seconds.items())


def reused_answers(folder: Path) -> Sequence[tuple[str, int]]:
    """(stage, answers that an earlier run had), in order."""
    return [(stage, int(n)) for stage, n in dict(_of_kind(folder, "reused", "answers")).items()]


def _of_kind(folder: Path, kind: str, figure: str) -> Iterator[tuple[str, float]]:
    """(stage, figure) of each event of a kind."""
    path = folder / layout.EVENTS
    for line in path.read_bytes().split(b"\n") if path.exists() else []:
        try:
            event = json.loads(line)
            if event["kind"] == kind:
                yield event["stage"], float(event[figure])
        except (ValueError, KeyError, TypeError):
            continue
