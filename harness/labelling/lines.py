"""Connections to the labelling page: who holds one for long without asking is hung up on, and the oldest of too many.

Imports uvicorn, which is an extra: to be imported where it is known to be there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_WAITING = 256
WAITING_S = 30.0


class Line(H11Protocol):
    """A connection that knows when it came."""

    came = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As any connection's; the loop's clock is read in the order in which connections come."""
        super().connection_made(transport)
        self.came = self.loop.time()

    @property
    def waits(self) -> bool:
        """Whether there is nothing to be answered on it."""
        return self.cycle is None or self.cycle.response_complete


def hang_up(
    connections: Iterable[object], waiting: Mapping[Line, tuple[object, float]], now: float
) -> dict[Line, tuple[object, float]]:
    """Close connections that have not made a request for long, and the oldest of too many: never one that just came.

    waiting: connection -> (its last request, since when it has made no other), as it was and, returned, as it is.
    """
    still = {line: _since(line, waiting, now) for line in connections if isinstance(line, Line) and line.waits}
    oldest = sorted(still, key=lambda line: still[line][1])
    surplus = set(oldest[: max(0, len(oldest) - MAX_WAITING)])
    for line, (_, since) in still.items():
        if line in surplus or now - since > WAITING_S:
            line.transport.close()
    return still


def _since(line: Line, waiting: Mapping[Line, tuple[object, float]], now: float) -> tuple[object, float]:
    """(its last request, since when it has made no other)."""
    if line.cycle is None:
        return None, line.came
    known = waiting.get(line)
    return known if known is not None and known[0] is line.cycle else (line.cycle, now)
