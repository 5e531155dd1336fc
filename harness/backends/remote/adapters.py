"""Whether an adapter that a server has under a name of its own is really on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.backends.remote.asking import Asking
from harness.backends.remote.client import Client
from harness.backends.remote.replies import Reply
from harness.core.types import Checkpoint, Request


def largest_change(client: Client, asking: Asking, checkpoint: Checkpoint, requests: Sequence[Request]) -> float | None:
    """By how much a checkpoint moves the log-probability of a likely next token, at most; None where none is told."""
    answers = []
    for on in (None, checkpoint):
        asked = [replace(request, checkpoint=on) for request in requests]
        answers.append(dict(client.answers(asking.call(each, each.id, asking.likeliest(each, ())) for each in asked)))
    changes = []
    for request in requests:
        before, after = (found[request.id] for found in answers)
        if isinstance(before, Reply) and isinstance(after, Reply) and before.top and after.top:
            shared = before.top.keys() & after.top.keys()
            # Where they share no likely token they agree on nothing.
            lost = [abs(value) for value in (*before.top.values(), *after.top.values())] if not shared else []
            changes += [abs(before.top[token] - after.top[token]) for token in shared] + lost
    return max(changes, default=None)
