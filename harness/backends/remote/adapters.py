"""Whether an adapter that a server has under a name of its own is really on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.backends.remote.asking import Asking, are_logprobs
from harness.backends.remote.client import Client, Refused
from harness.backends.remote.replies import Reply
from harness.core.types import Checkpoint, Failure, Request


def largest_change(client: Client, asking: Asking, checkpoint: Checkpoint, requests: Sequence[Request]) -> float | None:
    """By how much a checkpoint moves the log-probability of a likely next token, at most; None where none is told."""
    try:
        answers = [_likeliest(client, asking, requests, on) for on in (None, checkpoint)]
    except Refused as err:
        if are_logprobs(err.parameter):
            return None
        raise
    changes = []
    for request in requests:
        before, after = (found[request.id] for found in answers)
        if isinstance(before, Reply) and isinstance(after, Reply) and before.top and after.top:
            shared = before.top.keys() & after.top.keys()
            # Where they share no likely token they agree on nothing.
            lost = [abs(value) for value in (*before.top.values(), *after.top.values())] if not shared else []
            changes += [abs(before.top[token] - after.top[token]) for token in shared] + lost
    return max(changes, default=None)


def _likeliest(
    client: Client, asking: Asking, requests: Sequence[Request], on: Checkpoint | None
) -> dict[str, Reply | Failure]:
    asked = [replace(request, checkpoint=on) for request in requests]
    return dict(client.answers(asking.call(each, each.id, asking.likeliest(each, ())) for each in asked))
