"""Which requests travel together: those with one checkpoint, a long common beginning and similar length.

A pool's requests share one set of places in memory: when one ends, the next takes its place. Requests whose rows would
change each other's (`rotary`) are kept apart before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from harness.core.types import Request
from harness.models.tree import n_shared

# Below this, a beginning in common is cheaper computed again than kept apart.
SHORTEST_PREFIX = 32
# What a decoding step costs besides its rows, in tokens of a prompt.
_STEP_COST = 16
# Beginnings within beginnings: system text, shots of one draw, one conversation.
_DEPTH = 4
# More rows at once gain little on any device, and their logits take much memory.
_MOST_ROWS = 256


@dataclass(frozen=True, slots=True)
class Pool:
    """Requests of one checkpoint, longest first. n_prefix: tokens that all prompts begin with and that are kept once.

    n_rows: how many run at once. width: tokens of the largest behind the shared ones, its answer included.
    """

    requests: tuple[Request, ...]
    n_prefix: int
    n_rows: int
    width: int


def pools(requests: Sequence[Request], tokens_per_batch: int, *, shares: bool) -> Iterator[Pool]:
    """All requests in pools whose rows, and the shared beginning once, are under the budget.

    shares: whether beginnings in common may be kept once. A request that is larger than the budget travels alone.
    Longest first: memory runs out early or not at all.
    """
    for _, found in groupby(sorted(requests, key=_checkpoint_key), key=_checkpoint_key):
        same = sorted(found, key=lambda request: request.ids)
        for family in _families(same, 0, _DEPTH) if shares else [same]:
            yield from _by_width(family, _kept_once(family) if shares else 0, tokens_per_batch)


def sides(requests: Sequence[Request], switch: int | None) -> list[list[Request]]:
    """Requests that may share a call: of a model that computes rows of more than `switch` tokens otherwise.

    A row that may grow past it changes then, at a step of its own: it travels alone.
    """
    if switch is None:
        return [list(requests)]
    long = [request for request in requests if len(request.ids) > switch]
    short = [request for request in requests if len(request.ids) + request.sampling.max_tokens <= switch]
    known = {request.id for request in (*long, *short)}
    return [long, short, *([request] for request in requests if request.id not in known)]


def _families(requests: list[Request], known: int, depth: int) -> Iterator[list[Request]]:
    """Requests, sorted by their tokens: groups with so much more in common than `known` tokens, and the others."""
    near = [n_shared(a.ids, b.ids) >= known + SHORTEST_PREFIX for a, b in pairwise(requests)]
    cuts = [0, *(i for i, together in enumerate(near, 1) if not together), len(requests)]
    others: list[Request] = []
    for group in (requests[start:end] for start, end in pairwise(cuts)):
        common = n_shared(group[0].ids, group[-1].ids)
        if depth and len(group) > 1 and _is_worth(group, common - known):
            yield from _families(group, common, depth - 1)
        else:
            others += group
    if others:
        yield others


def _is_worth(group: Sequence[Request], n_more: int) -> bool:
    """Whether computing so many tokens once is worth decoding these requests by themselves."""
    n_steps = max(request.sampling.max_tokens for request in group)
    return (len(group) - 1) * n_more >= _STEP_COST * n_steps


def _kept_once(requests: Sequence[Request]) -> int:
    """How much the prompts have in common, at least one token left to each; 0 if it is not worth keeping apart."""
    first, last = min(request.ids for request in requests), max(request.ids for request in requests)
    found = min(n_shared(first, last), min(len(request.ids) for request in requests) - 1)
    return found if found >= SHORTEST_PREFIX and len(requests) > 1 else 0


def _by_width(family: Sequence[Request], n_prefix: int, tokens_per_batch: int) -> Iterator[Pool]:
    """Pools of a family; a new one where those left are so much narrower that twice as many fit, and are that many.

    The last rows of a pool run with few others: where not many are left, they take the places of those which end.
    """
    pool: list[Request] = []
    n_rows = width = 0
    for place, request in enumerate(sorted(family, key=_size, reverse=True)):
        own = len(request.ids) - n_prefix + request.sampling.max_tokens
        fitting = _n_rows(tokens_per_batch - n_prefix, own)
        if pool and len(pool) >= n_rows and min(fitting, len(family) - place) >= 2 * n_rows:
            yield Pool(tuple(pool), n_prefix, n_rows, width)
            pool = []
        width = max(width, own) if pool else own
        n_rows = _n_rows(tokens_per_batch - n_prefix, width)
        pool.append(request)
    if pool:
        yield Pool(tuple(pool), n_prefix, n_rows, width)


def _n_rows(budget: int, width: int) -> int:
    return max(1, min(_MOST_ROWS, budget // width))


def _size(request: Request) -> tuple[int, int]:
    return len(request.ids), request.sampling.max_tokens


def _checkpoint_key(request: Request) -> tuple[str, str]:
    checkpoint = request.checkpoint
    return ("", "") if checkpoint is None else (checkpoint.name, checkpoint.sha256)
