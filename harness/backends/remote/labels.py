"""How likely a few labels are to come next: as a server tells, or counted from its replies where it does not."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import repeat

from harness.backends.byte_tokens import END
from harness.backends.remote.asking import Asking
from harness.backends.remote.client import Call, Client
from harness.backends.remote.replies import Reply
from harness.backends.scoring import Labels
from harness.core.judging import LabelScores
from harness.core.types import Failure, Request, Sampling

Prefix = tuple[int, ...]
# (request, what of a label stands already behind the prompt)
Place = tuple[str, Prefix]
_DIGITS = 6
# Room for a blank and an end beside a label's own tokens.
_ROOM = 2


def label_scores(
    client: Client, asking: Asking, requests: Sequence[Request], labels: Labels, n_samples: int
) -> Iterator[tuple[str, LabelScores | Failure]]:
    """(request id, scores) of every request: the server's own log-probabilities where it has all, else counted.

    Refused where it takes no request for them: `counted` goes without.
    """
    told = _told(client, asking, requests, labels)
    untold = []
    for request in requests:
        answer = told[request.id]
        if answer is None:
            untold.append(request)
        else:
            yield request.id, answer
    if untold:
        yield from counted(client, asking, untold, labels, n_samples)


def calls_at_most(
    asking: Asking, request: Request, labels: Labels, n_samples: int
) -> Iterator[Call[Place] | Call[tuple[str, int]]]:
    """What the scores of one request can take: calls for log-probabilities, and for replies if not all are told.

    The latter as one call so many times: they differ by their seeds alone.
    """
    yield from _asking_for(asking, request, labels)
    for call in _counting(asking, request, labels, 1):
        yield from repeat(call, n_samples)


def _told(
    client: Client, asking: Asking, requests: Sequence[Request], labels: Labels
) -> dict[str, LabelScores | Failure | None]:
    """By request: scores, why there are none, or None where the server does not tell them."""
    if not asking.is_exact and any(END in label for label in labels):
        # How likely an answer is to end there is told by no chat.
        return dict.fromkeys((request.id for request in requests), None)
    calls = [call for request in requests for call in _asking_for(asking, request, labels)]
    answers: dict[Place, Reply | Failure] = dict(client.answers(calls))
    found: dict[str, LabelScores | Failure | None] = {}
    for request in requests:
        own = {prefix: answer for (name, prefix), answer in answers.items() if name == request.id}
        failures = [answer for answer in own.values() if isinstance(answer, Failure)]
        tops = {prefix: answer.top or {} for prefix, answer in own.items() if isinstance(answer, Reply)}
        lost = [failure for failure in failures if failure.stage != "generate"]
        found[request.id] = lost[0] if lost else _scores(asking, tops, labels)
    return found


def _asking_for(asking: Asking, request: Request, labels: Labels) -> Iterator[Call[Place]]:
    """One call for each place at which labels part; without token ids there is one place."""
    places = {label[:n] for label in labels for n in range(len(label))} if asking.is_exact else {()}
    for prefix in sorted(places):
        next_tokens = sorted({label[len(prefix)] for label in labels if label[: len(prefix)] == prefix != label})
        # At temperature 1 the model's own probabilities are told, whatever a server makes of temperatures.
        sampling = Sampling(1, temperature=1.0, seed=request.sampling.seed)
        placed = replace(request, ids=(*request.ids, *prefix), sampling=sampling)
        yield asking.call(placed, (request.id, prefix), asking.likeliest(placed, next_tokens))


def _scores(asking: Asking, tops: Mapping[Prefix, Mapping[str, float]], labels: Labels) -> LabelScores | None:
    found = [_exact(tops, label) if asking.is_exact else _spelled(asking, tops, label) for label in labels]
    told = [round(value, _DIGITS) for value in found if value is not None]
    return LabelScores(tuple(told)) if len(told) == len(labels) else None


def _exact(tops: Mapping[Prefix, Mapping[str, float]], label: Prefix) -> float | None:
    """The sum of a label's tokens, each behind those before; None where one of them is not told."""
    parts = [tops.get(label[:n], {}).get(f"token_id:{token}") for n, token in enumerate(label)]
    return None if None in parts else sum(part for part in parts if part is not None)


def _spelled(asking: Asking, tops: Mapping[Prefix, Mapping[str, float]], label: Prefix) -> float | None:
    """The server's token that is this label to the letter."""
    return tops.get((), {}).get(asking.tokenizer.decode(label, skip_special=True))


def counted(
    client: Client, asking: Asking, requests: Sequence[Request], labels: Labels, n_samples: int
) -> Iterator[tuple[str, LabelScores | Failure]]:
    """Scores by how often each label came in repeated replies."""
    calls = [call for request in requests for call in _counting(asking, request, labels, n_samples)]
    answers: dict[tuple[str, int], Reply | Failure] = dict(client.answers(calls))
    for request in requests:
        yield request.id, _shares(asking, [answers[request.id, n] for n in range(n_samples)], labels)


def _counting(asking: Asking, request: Request, labels: Labels, n_samples: int) -> Iterator[Call[tuple[str, int]]]:
    longest = max(map(len, labels)) + _ROOM
    for number in range(n_samples):
        sampling = Sampling(longest, temperature=1.0, seed=request.sampling.seed + number)
        yield asking.call(replace(request, sampling=sampling), (request.id, number))


def _shares(asking: Asking, answers: Sequence[Reply | Failure], labels: Labels) -> LabelScores | Failure:
    lost = [answer for answer in answers if isinstance(answer, Failure) and answer.stage != "generate"]
    if lost:
        return lost[0]
    replies = [answer for answer in answers if isinstance(answer, Reply)]
    counts = [sum(_is(asking, reply, label) for reply in replies) for label in labels]
    if not any(counts):
        return Failure("judge", f"no label in {len(answers)} samples")
    whole = len(answers) + (len(labels) + 1) / 2
    return LabelScores(tuple(round(math.log((c + 0.5) / whole), _DIGITS) for c in counts), len(answers))


def _is(asking: Asking, reply: Reply, label: Prefix) -> bool:
    """Whether a reply begins with a label, and with no longer word."""
    if asking.is_exact and reply.ids is not None:
        return reply.ids[: len(label)] == label
    text = asking.tokenizer.decode(label, skip_special=True)
    behind = reply.text[len(text) :]
    if not reply.text.startswith(text) or behind[:1].isalnum():
        return False
    return not behind or label[-1] != END
