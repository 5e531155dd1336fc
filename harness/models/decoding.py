"""The decode loop: rows run side by side, and where one ends, the next request takes its place.

The loop is the harness's own because every parameter must be explicit, rows must not influence each other, and finish
reasons must be known. What rows have computed is kept by `Rows`.
Axes: B rows running, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from harness.core.protocols import Tokenizer
from harness.core.types import Failure, Outcome, Request
from harness.models.endings import Endings
from harness.models.sampling import choose, generator, is_plain_greedy

# With this share of the rows gone, others join: prompts are computed faster several at a time.
_GONE = 0.25


class Rows(Protocol):
    """What rows have computed so far, on some model. takes_more: whether rows may join others."""

    @property
    def takes_more(self) -> bool: ...

    def join(self, prompts: Sequence[tuple[int, ...]]) -> Tensor:
        """Logits (B, V) behind new prompts; their rows come behind those running."""
        ...

    def step(self, tokens: Sequence[int]) -> Tensor:
        """Logits (B, V) behind the next token of every row."""
        ...

    def leave(self, gone: Sequence[int]) -> list[int]:
        """Let rows go. Returns which row each place has now."""
        ...


@dataclass(slots=True)
class _Row:
    """One request on its way. place: where it stood among all."""

    place: int
    request: Request
    rng: np.random.Generator
    ids: list[int] = field(default_factory=list)
    outcome: Outcome | None = None


class Decoding:
    """Requests on their way to completions, at most `n_rows` at once, in their order.

    A row whose logits are not finite, as where float16 overflows, ends as a failure.
    """

    def __init__(self, rows: Rows, tokenizer: Tokenizer, requests: Sequence[Request], n_rows: int) -> None:
        self._rows = rows
        self._endings = Endings(tokenizer)
        self._waiting = [_Row(place, request, generator(request)) for place, request in enumerate(requests)][::-1]
        self._running: list[_Row] = []
        self._n_rows = n_rows

    @property
    def unfinished(self) -> bool:
        """Whether any request is without its outcome."""
        return bool(self._waiting or self._running)

    def advance(self) -> list[tuple[int, Outcome]]:
        """Let waiting requests join, and go on until others can or all are done; (place, outcome) of those done."""
        finished = self._join() if self._has_room() else []
        while self._running and not self._has_room():
            logits_BV = self._rows.step([row.ids[-1] for row in self._running])
            finished += self._take(logits_BV, self._running)
        return finished

    def _has_room(self) -> bool:
        most = int(self._n_rows * (1 - _GONE)) if self._rows.takes_more else 0
        return bool(self._waiting) and len(self._running) <= most

    def _join(self) -> list[tuple[int, Outcome]]:
        n = min(self._n_rows - len(self._running), len(self._waiting))
        joining = [self._waiting.pop() for _ in range(n)]
        logits_BV = self._rows.join([row.request.ids for row in joining])
        self._running += joining
        return self._take(logits_BV, joining)

    def _take(self, logits_BV: Tensor, rows: Sequence[_Row]) -> list[tuple[int, Outcome]]:
        """Give rows their next token; those that end with it leave."""
        for row, token in zip(rows, _choose(logits_BV, rows), strict=True):
            if token is None:
                row.outcome = Failure("generate", "logits are not finite")
                continue
            row.ids.append(token)
            row.outcome = self._endings.completion(row.request, row.ids)
        gone = [i for i, row in enumerate(self._running) if row.outcome is not None]
        if not gone:
            return []
        finished = [self._running[i] for i in gone]
        self._running = [self._running[i] for i in self._rows.leave(gone)]
        return [(row.place, row.outcome) for row in finished if row.outcome is not None]


def _choose(logits_BV: Tensor, rows: Sequence[_Row]) -> list[int | None]:
    """The next token of each row; None where its logits are not numbers, or the largest is not finite."""
    best_B = logits_BV.argmax(-1)
    # A logit that is none counts as the largest. Minus infinity beside numbers is how models forbid a word.
    finite_B = torch.isfinite(logits_BV.gather(-1, best_B[:, None])[:, 0]).tolist()
    return [
        _next(logits_V, best, row) if finite else None
        for logits_V, best, finite, row in zip(logits_BV, best_B.tolist(), finite_B, rows, strict=True)
    ]


def _next(logits_V: Tensor, best: int, row: _Row) -> int:
    if is_plain_greedy(row.request.sampling):
        return best
    return choose(logits_V, [*row.request.ids, *row.ids], row.request.sampling, row.rng)
