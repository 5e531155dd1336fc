"""Answers held back until the server has shown that it is still the one it was: another model's go to nobody."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Generic, TypeVar

from harness.backends.remote.client import Refused
from harness.core.errors import BackendUnreachable, EnvironmentFault, HarnessError

T = TypeVar("T")

# What is held back at most, and for how long; it is lost, and asked for again, where a run is killed.
PORTION = 256
PORTION_S = 60.0


@dataclass(frozen=True, slots=True)
class Part(Generic[T]):
    """Requests that are on their way together. is_base: whether the check may be on its way beside them."""

    answers: Generator[T, None, None]
    size: int
    is_base: bool


class _Held(Generic[T]):
    """What waits for the next check."""

    def __init__(self, check: Callable[[], None]) -> None:
        self._check = check
        self._items: list[T] = []
        self._began = time.monotonic()

    def add(self, item: T) -> None:
        self._items.append(item)

    def is_due(self, further: int = 0) -> bool:
        """Whether it is time to give out, before so many further answers come."""
        is_full = len(self._items) + further > PORTION if further else len(self._items) >= PORTION
        return is_full or time.monotonic() - self._began >= PORTION_S

    def released(self) -> Iterator[T]:
        """All of it, once the check has passed."""
        if self._items:
            self._check()
        items, self._items, self._began = self._items, [], time.monotonic()
        yield from items


def checked(parts: Iterable[Part[T]], check: Callable[[], None]) -> Iterator[T]:
    """The answers of every part, one part after the other, each given out only after a check that came behind it.

    check: raises where the server is another one. Where a part ends in an error that leaves the server answering, what
    was held back is checked and given out first.
    """
    held: _Held[T] = _Held(check)
    try:
        for part in parts:
            if held.is_due(part.size):
                yield from held.released()
            with closing(part.answers) as answers:
                for answer in answers:
                    held.add(answer)
                    if part.is_base and held.is_due():
                        yield from held.released()
    except (HarnessError, Refused) as err:
        if _still_answers(err):
            yield from held.released()
        raise
    yield from held.released()


def _still_answers(err: HarnessError | Refused) -> bool:
    """Whether the server can be checked after this error: it is not gone, nor found to be another one."""
    if isinstance(err, Refused) or err.code == "E-BUDGET":
        return True
    return not isinstance(err, BackendUnreachable | EnvironmentFault)
