"""Durable steps: run one unless it is already on disk, and tell the display and the event log about it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from pydantic import JsonValue

from harness.core.protocols import Progress
from harness.store.events import EventLog
from harness.store.run import RunFolder

# A running stage reports often; the log wants a line only now and then.
_LOG_EVERY_S = 10.0


class Display(Protocol):
    """Where progress is shown; one row a stage."""

    def begin(self, stage: str) -> None: ...
    def update(self, stage: str, done: int, total: int, live: str) -> None: ...
    def end(self, stage: str, note: str) -> None: ...


class Stages:
    """The stages of one run: folder, events and display together."""

    def __init__(self, folder: RunFolder, events: EventLog, display: Display) -> None:
        self.folder = folder
        self._events = events
        self._display = display
        # Of the stages that are running, outermost first: seconds that went to stages within them.
        self._within: list[float] = []

    def run(self, stage: str, inputs: Mapping[str, JsonValue], make: Callable[[Progress], Mapping[str, bytes]]) -> None:
        """Make the stage's files from `inputs` and store them, unless they are stored and intact already."""
        if not self.is_done(stage, inputs):
            with self.timed(stage) as progress:
                self.folder.finish(stage, inputs, make(progress))

    def is_done(self, stage: str, inputs: Mapping[str, JsonValue]) -> bool:
        """Whether the stage's files were made from these inputs and are intact; shown if so."""
        done = self.folder.is_done(stage, inputs)
        if done:
            self._display.end(stage, "already done")
        return done

    def reused(self, stage: str, n_answers: int) -> None:
        """Show and log that an earlier run had these answers."""
        self._events.write("reused", f"{stage}: {n_answers} answers from the cache", stage=stage, answers=n_answers)
        self._display.end(stage, f"{n_answers} answers from the cache")

    def timed(self, stage: str) -> _Timed:
        """A context that shows and times a stage; gives its progress callback."""
        return _Timed(stage, self._events, self._display, self._within)

    def note(self, text: str) -> None:
        """A line for the log that belongs to no stage."""
        self._events.write("note", text)


class _Timed:
    def __init__(self, stage: str, events: EventLog, display: Display, within: list[float]) -> None:
        self._stage = stage
        self._events = events
        self._display = display
        self._within = within
        self._live = ""

    def __enter__(self) -> Progress:
        self._started = self._logged = time.monotonic()
        self._within.append(0.0)
        self._events.write("stage-begin", f"{self._stage}: begin", stage=self._stage)
        self._display.begin(self._stage)
        return self._update

    def __exit__(self, kind: type[BaseException] | None, error: object, traceback: object) -> None:
        whole = time.monotonic() - self._started
        # A stage's time is its own: checkpoints are evaluated within training.
        seconds = whole - self._within.pop()
        if self._within:
            self._within[-1] += whole
        outcome = "done" if kind is None else f"stopped by {kind.__name__}"
        text = f"{self._stage}: {outcome} after {seconds:.1f} s {self._live}".rstrip()
        self._events.write("stage-end", text, stage=self._stage, seconds=seconds, outcome=outcome)
        if kind is None:
            self._display.end(self._stage, self._live)

    def _update(self, done: int, total: int, live: str) -> None:
        self._live = live
        self._display.update(self._stage, done, total, live)
        if time.monotonic() - self._logged > _LOG_EVERY_S:
            self._logged = time.monotonic()
            self._events.write("progress", f"{self._stage}: {done}/{total} {live}".rstrip(), stage=self._stage)
