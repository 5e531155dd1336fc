"""Progress: one live row a stage on a terminal, plain timed lines everywhere else. Never on stdout."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from harness.cli.terminal import echo

_EVERY_S = 10.0
# Part of a stage after which its pace says when it will end.
_TELLING = 0.02


class PlainDisplay:
    """A line when a stage begins and ends, and one every ten seconds between."""

    def __init__(self) -> None:
        self._started: dict[str, float] = {}
        self._shown = time.monotonic()

    def __enter__(self) -> PlainDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Nothing is held."""

    def begin(self, stage: str) -> None:
        """Say that a stage begins."""
        self._started[stage] = time.monotonic()
        self._say(f"{stage} ...")

    def update(self, stage: str, done: int, total: int, live: str) -> None:
        """Say how far a stage is, now and then."""
        now = time.monotonic()
        if now - self._shown < _EVERY_S:
            return
        elapsed = now - self._started.get(stage, now)
        # The first answers stand for the time that an engine took to start.
        left = f", about {elapsed / done * (total - done):.0f} s left" if done > total * _TELLING else ""
        self._say(f"{stage} {done}/{total} {live}".rstrip() + left)

    def end(self, stage: str, note: str) -> None:
        """Say that a stage is done."""
        started = self._started.pop(stage, None)
        taken = "" if started is None else f" ({time.monotonic() - started:.1f} s)"
        self._say(f"{stage}: done{taken} {note}".rstrip())

    def _say(self, text: str) -> None:
        self._shown = time.monotonic()
        echo(f"{time.strftime('%H:%M:%S')} {text}", error=True)


class LiveDisplay:
    """One row a stage with a bar, for terminals."""

    def __init__(self) -> None:
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[live]}", markup=False),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )
        self._rows: dict[str, TaskID] = {}

    def __enter__(self) -> LiveDisplay:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def begin(self, stage: str) -> None:
        """Add a row."""
        self._rows[stage] = self._progress.add_task(stage, total=None, live="")

    def update(self, stage: str, done: int, total: int, live: str) -> None:
        """Move a row's bar."""
        self._progress.update(self._rows[stage], completed=done, total=total, live=live)

    def end(self, stage: str, note: str) -> None:
        """Finish a row; stages that were done before get one that is full at once."""
        if stage not in self._rows:
            self._rows[stage] = self._progress.add_task(stage, total=1, live="")
        row = self._rows[stage]
        task = self._progress.tasks[self._progress.task_ids.index(row)]
        self._progress.update(row, total=task.total or 1, completed=task.total or 1, live=note)


def choose_display() -> PlainDisplay | LiveDisplay:
    """Live rows where stderr is a terminal that can move its cursor, plain lines otherwise."""
    return LiveDisplay() if sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb" else PlainDisplay()
