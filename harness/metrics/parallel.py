"""Measuring in several processes where it takes long: the same rows in the same order, sooner.

This process measures too, and could do everything by itself: what another one fails to deliver, killed or broken, it
measures again. The others are fresh interpreters, never forks: a process that has loaded torch has threads, and its
fork may hang. They are started only once it is clear by measurement that starting them pays.
"""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import BinaryIO, cast

import numpy as np

from harness.core.protocols import Metric
from harness.core.types import FloatArray, Sample
from harness.metrics.worker import receive, send

# One process starts in half a second of processor time to a second and a half; see benchmarks/statistics.py.
PAYS_FROM_S = 3.0
# Long enough to tell, short enough not to matter.
_TRIAL_S = 0.3
_FIRST_ROWS = 4
# A part is what one process gets at a time.
_PART_S = 0.25
_MOST_ROWS = 5000
_MOST_PROCESSES = 8
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def measured(
    metric: Metric,
    samples: Sequence[Sample],
    completions: Sequence[str],
    *,
    n_processes: int | None = None,
    pays_from_s: float = PAYS_FROM_S,
) -> FloatArray:
    """`metric.measure`, in several processes if it is going to take longer than `pays_from_s` in this one.

    Only metrics that say `portable` are measured elsewhere: they pickle small, and their rows take processor time and
    nothing else. n_processes: this one included; as many as there are processors by default.
    """
    n_processes = min(_processors(), _MOST_PROCESSES) if n_processes is None else n_processes
    pickled = _pickled(metric) if len(samples) == len(completions) and len(samples) > _FIRST_ROWS else b""
    if not pickled or n_processes < 2:
        return metric.measure(samples, completions)
    parts, seconds = _trial(metric, samples, completions)
    n_done = sum(map(len, parts))
    left_s = seconds / n_done * (len(samples) - n_done)
    if left_s > pays_from_s:
        n_rows = max(1, min(_MOST_ROWS, round(n_done / seconds * _PART_S)))
        work = _Work(metric, pickled, samples, completions, n_done, n_rows)
        parts += work.shared_with(min(n_processes - 1, len(work.bounds) - 1))
    elif n_done < len(samples):
        parts.append(metric.measure(samples[n_done:], completions[n_done:]))
    return np.concatenate(parts)


def _pickled(metric: Metric) -> bytes:
    """The metric for another process; empty where none can have it."""
    if not getattr(metric, "portable", False) or not sys.executable:
        return b""
    try:
        return pickle.dumps(metric)
    except (pickle.PicklingError, AttributeError, TypeError):
        return b""


def _processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _trial(metric: Metric, samples: Sequence[Sample], completions: Sequence[str]) -> tuple[list[FloatArray], float]:
    """The first rows, in parts that double until they took long enough to judge by, and what all would have taken.

    The very first row pays for imports and says little of the rest, so it takes as long as the mean of the others.
    """
    parts = [metric.measure(samples[:1], completions[:1])]
    start, n_rows, seconds = 1, _FIRST_ROWS, 0.0
    while seconds < _TRIAL_S and start < len(samples):
        began = time.perf_counter()
        parts.append(metric.measure(samples[start : start + n_rows], completions[start : start + n_rows]))
        seconds += time.perf_counter() - began
        start, n_rows = min(start + n_rows, len(samples)), n_rows * 2
    return parts, max(seconds, 1e-9) * start / (start - 1)


@dataclass
class _Work:
    """Rows from `start` on, cut into parts that several processes take in turn."""

    metric: Metric
    pickled: bytes
    samples: Sequence[Sample]
    completions: Sequence[str]
    start: int
    n_rows: int
    found: dict[int, FloatArray] = field(default_factory=dict)
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    todo: deque[int] = field(default_factory=deque)

    @property
    def bounds(self) -> range:
        """First row of each part."""
        return range(self.start, len(self.samples), self.n_rows)

    def shared_with(self, n_workers: int) -> list[FloatArray]:
        """Statistics of all parts in order; no worker is left when this returns or raises."""
        self.todo.extend(self.bounds)
        drivers: list[Thread] = []
        try:
            with suppress(OSError):
                for _ in range(n_workers):
                    self.workers.append(_started())
            drivers = [Thread(target=self._drive, args=(worker,), daemon=True) for worker in self.workers]
            for driver in drivers:
                driver.start()
            self._do_own_share()
        finally:
            _end(self.workers, drivers)
        return [self.found[first] for first in self.bounds]

    def _do_own_share(self) -> None:
        """Parts that nobody has taken, and then those that somebody has taken and not delivered yet."""
        while True:
            with suppress(IndexError):
                first = self.todo.popleft()
                self.found[first] = self.metric.measure(*self._part(first))
                continue
            late = [first for first in self.bounds if first not in self.found]
            if not late:
                return
            self.found[late[-1]] = self.metric.measure(*self._part(late[-1]))

    def _drive(self, worker: subprocess.Popen[bytes]) -> None:
        """Give a worker one part after the other until there is none, or no answer comes."""
        requests, replies = cast(BinaryIO, worker.stdin), cast(BinaryIO, worker.stdout)
        with suppress(OSError, EOFError, IndexError, ValueError):
            send(requests, self.pickled)
            while True:
                first = self.todo.popleft()
                send(requests, pickle.dumps(self._part(first)))
                reply = receive(replies)
                if reply:
                    self.found[first] = np.load(io.BytesIO(reply), allow_pickle=False)

    def _part(self, first: int) -> tuple[Sequence[Sample], Sequence[str]]:
        return self.samples[first : first + self.n_rows], self.completions[first : first + self.n_rows]


def _started() -> subprocess.Popen[bytes]:
    """A process that waits for a metric. Ctrl-C is this process's to handle: it does not reach the other."""
    paths = os.pathsep.join(str(Path(path or ".").absolute()) for path in sys.path)
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "harness.metrics.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **_ONE_THREAD, "PYTHONPATH": paths},
        start_new_session=True,
    )


def _end(workers: Sequence[subprocess.Popen[bytes]], drivers: Sequence[Thread]) -> None:
    for worker in workers:
        worker.kill()
    # Its pipes have ended, so a driver ends at once.
    for driver in drivers:
        if driver.ident is not None:
            driver.join()
    for worker in workers:
        with suppress(OSError):
            worker.__exit__(None, None, None)
