"""What a server can do, found out by asking before anything is spent, and whether it is still the same at the end."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from pydantic import JsonValue

from harness.backends.remote.asking import Asking, refused
from harness.backends.remote.client import Client, Refused
from harness.backends.remote.replies import Reply
from harness.core.errors import BackendUnreachable, EnvironmentFault, HarnessError
from harness.core.types import Completion, Failure, Message, Outcome, Request, Sampling
from harness.data.display import escape

_log = logging.getLogger(__name__)

QUESTIONS = ("Name the days of the week in order.", "Count from one to thirty in words.", "What is the sea?")
_LENGTH = 12
# A word is a token or more; so many words were not made of `_LENGTH` tokens.
_TOO_MANY_WORDS = 2 * _LENGTH
_N_DIALECTS = 8


@dataclass(frozen=True)
class Found:
    """How a server is asked, and what it is like.

    deterministic: whether greedy answers repeat themselves, None where it gives the probes no answer.
    outputs: hash of the greedy answers, where they repeat themselves. served: what the server calls the model.
    """

    asking: Asking
    deterministic: bool | None
    outputs: str | None
    served: str

    @property
    def identity(self) -> dict[str, JsonValue]:
        """What of it can change an answer, downgrades by name."""
        dialect = self.asking.dialect
        lost: list[JsonValue] = [*sorted(dialect.refused)]
        return {
            **({"served": self.served} if self.served else {}),
            **({"outputs": self.outputs} if self.outputs else {}),
            "deterministic": self.deterministic,
            **({"refuses": lost} if lost else {}),
            **({} if dialect.obeys_stop else {"stop": "ignored by the server, cut here"}),
        }


def probe(client: Client, asking: Asking, declared: bool | None) -> Found:
    """Ask a few questions, twice, and once with a stop string.

    declared: whether answers repeat themselves, where the user says so. BackendUnreachable where the server cannot be
    reached, refuses to answer, or ignores max_tokens; E-CONFLICT where it refuses what it must be told.
    """
    asking, first = _introduced(client, asking)
    requests = probe_requests(asking)
    client.control = asking.call(requests[0], "control")
    found = _outcomes(client, asking, requests)
    _require_limited(client, asking, requests[1])
    if any(isinstance(outcome, Completion) for outcome in found):
        asking = replace(asking, dialect=replace(asking.dialect, obeys_stop=_obeys_stop(client, asking, found)))
    known = any(isinstance(outcome, Completion) for outcome in found)
    repeats = declared if declared is not None or not known else _outcomes(client, asking, requests) == found
    if repeats is False and declared is None:
        _log.warning(
            "the server answers the same question in two ways at temperature 0, so nobody can repeat this run; "
            "backend.options.deterministic=false says so beforehand, and keeps a resumed run from starting anew"
        )
    return Found(asking, repeats, _hash(found) if repeats else None, first.served)


def require_unchanged(client: Client, found: Found) -> None:
    """E-MODELCHANGED unless the server answers the probes as it did at the start."""
    asking = replace(found.asking, is_check=True)
    requests = probe_requests(asking)
    if found.outputs is None:
        served = _served(client, asking, requests[0])
        if served != found.served:
            raise _changed(f"it calls itself {served!r}, and {found.served!r} before")
    # A rare flip of one token is no other model: it would have to happen twice.
    elif all(_hash(_outcomes(client, asking, requests)) != found.outputs for _ in range(2)):
        raise _changed("its greedy answers to fixed questions are others than before")


def warn_of_seeds(client: Client, asking: Asking) -> None:
    """Say so where sampled answers do not follow the seed."""
    request = probe_requests(asking)[2]
    sampled = replace(request, sampling=replace(request.sampling, temperature=1.0, seed=1))
    if _outcomes(client, asking, [sampled]) != _outcomes(client, asking, [sampled]):
        _log.warning("the server ignores the seed: sampled answers cannot be repeated")


def probe_requests(asking: Asking) -> tuple[Request, ...]:
    """The fixed questions, greedily and short; as a chat where there is one."""
    end = asking.tokenizer.eos_id
    ends = () if end is None else (end,)
    asked = enumerate(QUESTIONS)
    return tuple(Request(f"probe {n}", _prompt(asking, text), Sampling(_LENGTH), ends) for n, text in asked)


def _prompt(asking: Asking, text: str) -> tuple[int, ...]:
    tokenizer = asking.tokenizer
    if asking.dialect.takes_chat:
        try:
            written = tokenizer.apply_template([Message("user", text)], add_generation_prompt=True)
            return tuple(tokenizer.encode(written, special=True))
        except HarnessError as err:
            if err.code != "E-NOTEMPLATE":
                raise
    return (*tokenizer.prefix_ids(), *tokenizer.encode(text, special=False))


def _introduced(client: Client, asking: Asking) -> tuple[Asking, Reply]:
    """The dialect in which the first question is taken."""
    try:
        asking, answer = _settled(client, asking)
        trouble = _refusal(answer)
    except BackendUnreachable as err:
        if err.code != "E-MODEL" or asking.is_exact:
            raise _with_models(client, err) from err
        trouble = err
    if trouble is None:
        return asking, answer if isinstance(answer, Reply) else Reply("", "stop")
    # Nothing for a chat there: a base model may still complete text.
    if not asking.is_exact:
        try:
            found, answer = _settled(client, replace(asking, dialect=replace(asking.dialect, takes_chat=False)))
        except BackendUnreachable:
            raise _with_models(client, trouble) from None
        if isinstance(answer, Reply):
            return found, answer
    raise _with_models(client, trouble)


def _settled(client: Client, asking: Asking) -> tuple[Asking, Reply | Failure]:
    """The answer to the first question, without the fields that the server refuses."""
    for _ in range(_N_DIALECTS):
        request = probe_requests(asking)[0]
        try:
            return asking, client.one(asking.call(request, request.id))
        except Refused as err:
            asking = asking.without(err.parameter, err.sentence)
            if err.parameter != "max_tokens":
                _log.warning("the server refuses %s and does as it likes: %s", err.parameter, err.sentence)
    raise refused("", "it refuses one field after the other")


def _refusal(answer: Reply | Failure) -> BackendUnreachable | None:
    """What a first answer that is none means; reasoning and filters are the model's own way."""
    if isinstance(answer, Reply) or answer.stage == "generate":
        return None
    return BackendUnreachable(
        f"the server does not answer a plain question: {answer.reason}",
        fix="check model=, backend.base_url and the server's own log",
        code="E-SERVER",
    )


def _with_models(client: Client, err: BackendUnreachable) -> BackendUnreachable:
    """The error, with the names that the server has."""
    names = client.models() if err.code == "E-MODEL" else ()
    details = [f"the server has: {', '.join(escape(name, 60) for name in names[:20])}"] if names else []
    return BackendUnreachable(err.what, fix=err.fix, code=err.code, details=[*err.details, *details])


def _outcomes(client: Client, asking: Asking, requests: Sequence[Request]) -> list[Outcome]:
    """Answers in the order of the requests."""
    answers = dict(client.answers([asking.call(request, request.id) for request in requests]))
    found = [answers[request.id] for request in requests]
    return [
        answer if isinstance(answer, Failure) else asking.outcome(answer, request)
        for answer, request in zip(found, requests, strict=True)
    ]


def _require_limited(client: Client, asking: Asking, request: Request) -> None:
    """Exit 5 where max_tokens is ignored: answers would have no bound."""
    (outcome,) = _outcomes(client, asking, [request])
    over = isinstance(outcome, Failure) and outcome.reason == "max_tokens was ignored"
    if over or (isinstance(outcome, Completion) and len(outcome.text.split()) > _TOO_MANY_WORDS):
        raise BackendUnreachable(
            f"the server ignores {asking.dialect.max_tokens_name}: it was asked for {_LENGTH} tokens and gave more",
            fix="backend.options.max_tokens_name=max_completion_tokens (or max_tokens), or another server",
            code="E-CAPABILITY",
        )


def _obeys_stop(client: Client, asking: Asking, found: Sequence[Outcome]) -> bool:
    """Whether a stop string from the middle of an answer ends it there."""
    number, text = next((n, o.text) for n, o in enumerate(found) if isinstance(o, Completion))
    stop = text[len(text) // 2 :][:2]
    request = probe_requests(asking)[number]
    if not stop.strip() or "stop" in asking.dialect.refused:
        return "stop" not in asking.dialect.refused
    sampling = replace(request.sampling, stop=(stop,))
    try:
        answer = client.one(asking.call(replace(request, sampling=sampling), request.id))
    except Refused:
        return False
    return not (isinstance(answer, Reply) and stop in answer.text)


def _served(client: Client, asking: Asking, request: Request) -> str:
    answer = client.one(asking.call(request, request.id))
    return answer.served if isinstance(answer, Reply) else ""


def _hash(outcomes: Sequence[Outcome]) -> str:
    return hashlib.sha256(json.dumps([asdict(each) for each in outcomes]).encode()).hexdigest()


def _changed(why: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"the server is no longer the model that this run began with: {why}",
        fix="serve the first model again and resume, or start the run anew",
        code="E-MODELCHANGED",
    )
