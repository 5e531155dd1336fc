"""How fast a server is asked: as many requests at a time as it bears, waits that it names, and an end to patience.

Nothing here looks at a clock but the event loop's own, and nothing of it decides what is answered.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

# A wait in [0, 1) that keeps requests apart which were put off together.
Jitter = Callable[[], float]

LONGEST_RETRY_AFTER_S = 120.0
# A server that fails so often with no answer in between has gone.
STREAK = 20
_FIRST_LIMIT = 4.0
# From this share of the limit that was too much, it grows so many times slower.
_NEAR = 0.8
_CAREFUL_ROUNDS = 32
_UNITS_S = {"ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|[smhd])")
_DURATION = re.compile(rf"(?:{_PART.pattern}){{1,6}}")
# A wait grows to so many times the first; 20 failures in a row then take less than two minutes.
_LONGEST_WAIT = 10.0
# Of a named wait, what may be added so that not all come back at once.
_SPREAD = 0.1


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait, at most LONGEST_RETRY_AFTER_S; None where it says nothing that makes sense.

    A date is read by the server's own clock, its Date header: ours may be wrong. Without a Retry-After, the limits that
    are used up say when they are filled again.

    >>> retry_after_s({"retry-after": "7"}), retry_after_s({"retry-after": "-1"}), retry_after_s({"retry-after": "1e9"})
    (7.0, None, 120.0)
    >>> retry_after_s({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1m0.5s"})
    60.5
    """
    asked = headers.get("retry-after", "")
    millis = _number(headers.get("retry-after-ms", ""))
    candidates = (
        None if millis is None else millis / 1000,
        _number(asked),
        _until(asked, headers.get("date", "")),
        _refilled_s(headers),
    )
    found = next((each for each in candidates if each is not None), None)
    return None if found is None or found < 0 else min(found, LONGEST_RETRY_AFTER_S)


def _refilled_s(headers: Mapping[str, str]) -> float | None:
    """When the last of the limits that are used up is filled again; OpenAI writes 6m0s, 1.5s or 20ms."""
    empty = [what for what in ("requests", "tokens") if headers.get(f"x-ratelimit-remaining-{what}") == "0"]
    waits = [_duration(headers.get(f"x-ratelimit-reset-{what}", "")) for what in empty]
    return max((wait for wait in waits if wait is not None), default=None)


def _duration(text: str) -> float | None:
    if not _DURATION.fullmatch(text):
        return _number(text)
    parts = ((float(part[1]), part[2]) for part in _PART.finditer(text))
    return sum(number * _UNITS_S[unit] for number, unit in parts)


def _number(text: str) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _until(then: str, now: str) -> float | None:
    try:
        moments = [parsedate_to_datetime(text) for text in (then, now)]
        aware = [each if each.tzinfo else each.replace(tzinfo=UTC) for each in moments]
        return (aware[0] - aware[1]).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long one request waits before it is tried again."""

    first_s: float
    jitter: Jitter

    def wait_s(self, n_failures: int) -> float:
        """Doubled with every failure up to ten times the first, and up to half of it less by chance."""
        longest = self.first_s * min(2.0 ** (n_failures - 1), _LONGEST_WAIT)
        return longest * (1 - self.jitter() / 2)


class Pace:
    """How many requests may be on their way: one more with each answer, half as many when the server has too much.

    Requests that were under way when the limit was cut may fail of the same cause, and do not cut it again.
    """

    def __init__(self, most: int, jitter: Jitter) -> None:
        self.limit = min(_FIRST_LIMIT, float(most))
        self._most = float(most)
        self._too_much = math.inf
        self._jitter = jitter
        self._active = 0
        self._cuts = 0
        self._open_at = 0.0
        self._left = asyncio.Condition()

    async def enter(self) -> int:
        """Wait for a place, and for the server's own pause to be over. Returns what `cut` wants to be told."""
        loop = asyncio.get_running_loop()
        # Those who were woken take their places first: who just left one would keep a check waiting for good.
        await asyncio.sleep(0)
        async with self._left:
            while True:
                await self._left.wait_for(lambda: self._active < int(self.limit))
                pause = self._open_at - loop.time()
                if pause <= 0:
                    self._active += 1
                    return self._cuts
                await _released(self._left, pause * (1 + _SPREAD * self._jitter()))

    async def leave(self) -> None:
        """Give the place back."""
        async with self._left:
            self._active -= 1
            self._left.notify_all()

    def grow(self) -> None:
        """An answer came: one more at a time until the first cut; later one more for a round of answers, or for many.

        Rounds are many where the limit comes near what was too much the last time.
        """
        if self._cuts == 0:
            step = 1.0
        else:
            step = 1 / self.limit / (1 if self.limit < _NEAR * self._too_much else _CAREFUL_ROUNDS)
        self.limit = min(self._most, self.limit + step)

    def cut(self, entered: int, pause_s: float | None) -> None:
        """The server has too much. entered: what `enter` returned to the request that was told so."""
        if entered == self._cuts:
            self._cuts += 1
            self._too_much = self.limit
            self.limit = max(1.0, self.limit / 2)
        if pause_s is not None:
            self._open_at = max(self._open_at, asyncio.get_running_loop().time() + pause_s)


async def _released(condition: asyncio.Condition, pause_s: float) -> None:
    """Wait without the lock."""
    condition.release()
    try:
        await asyncio.sleep(pause_s)
    finally:
        await condition.acquire()


class Streak:
    """Failures in a row with no answer in between; those that were under way together count as one."""

    def __init__(self) -> None:
        self.length = 0
        self._counted = 0

    @property
    def began(self) -> int:
        """What a request that sets out now tells `failed`."""
        return self._counted

    def failed(self, began: int) -> None:
        """A request failed that set out when `began` was so much."""
        if began == self._counted:
            self._counted += 1
            self.length += 1

    def answered(self) -> None:
        """The server is there."""
        self.length = 0

    @property
    def is_over(self) -> bool:
        """Whether patience has ended."""
        return self.length >= STREAK
