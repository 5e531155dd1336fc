"""What every backend promises: one outcome a request, and what a request gets depends on the request alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from harness.core.errors import HarnessError
from harness.core.protocols import AdapterProof, Backend, BackendKind
from harness.core.specs import BackendSpec, ModelSpec
from harness.core.types import Checkpoint, Completion, Failure, Message, Outcome, Request, Sampling
from harness.testing.promises import ConformanceError, raised, require, require_plain_json, shown
from harness.testing.scoring import check_hidden, check_label_scores

# Longer prompts than this are not built: a context without end cannot be overrun.
_LONGEST_PROMPT = 2**20
_QUESTIONS = ("Say something short.", "What is the sea?", "Name three colours, please.", "hello", "one two three")


@dataclass(frozen=True)
class _Trial:
    """An open backend, the requests it is asked, and what it answered to them together."""

    backend: Backend
    requests: tuple[Request, ...]
    outcomes: Mapping[str, Outcome]


def check_backend(
    kind: BackendKind,
    *,
    model: ModelSpec | None = None,
    options: BackendSpec | None = None,
    requests: Sequence[Request] | None = None,
    labels: Sequence[tuple[int, ...]] | None = None,
    checkpoint: Checkpoint | None = None,
) -> None:
    """ConformanceError unless the backend keeps every promise with this model.

    requests: what to ask, for a backend that can answer nothing else, such as a recording; decoding is then not
    varied. labels: whose probability to ask for; a few plain words if none are given. checkpoint: one that changes the
    model, to see that it is on when asked for and off otherwise.
    """
    model, options = model or ModelSpec(), options or BackendSpec()
    _identifies(kind, model, options)
    backend = kind.create(model, options, thinking=False)
    try:
        asked = _check_open(backend, requests, checkpoint)
        check_label_scores(backend, asked, labels, checkpoint)
        check_hidden(backend, asked, checkpoint)
    finally:
        backend.close()


def _check_open(
    backend: Backend, given: Sequence[Request] | None, checkpoint: Checkpoint | None
) -> tuple[Request, ...]:
    """Everything about generation; the requests that were asked."""
    _has_an_identity(backend)
    require(list(backend.generate([])) == [], "no requests, no outcomes", "an outcome came for an empty list")
    requests = tuple(given) if given is not None else _requests(backend)
    trial = _Trial(backend, requests, _ask(backend, requests))
    _answers(trial)
    _is_greedy_twice(trial)
    _is_deaf_to_neighbours(trial)
    if given is None:
        _obeys_max_tokens(trial)
        _cuts_at_stop_strings(trial)
        _fails_long_prompts_alone(trial)
    if checkpoint is not None:
        _switches_the_checkpoint(trial, checkpoint)
    return requests


def _requests(backend: Backend) -> tuple[Request, ...]:
    """A few plain questions, greedily."""
    found = []
    for number, question in enumerate(_QUESTIONS):
        ids = _prompt(backend, question)
        ends = () if backend.tokenizer.eos_id is None else (backend.tokenizer.eos_id,)
        found.append(Request(f"request-{number}", ids, Sampling(12), ends))
    return tuple(found)


def _prompt(backend: Backend, question: str) -> tuple[int, ...]:
    """As a chat, or as plain text where the model has no template."""
    tokenizer = backend.tokenizer
    try:
        text = tokenizer.apply_template([Message("user", question)], add_generation_prompt=True)
    except HarnessError:
        return (*tokenizer.prefix_ids(), *tokenizer.encode(question, special=False))
    return tuple(tokenizer.encode(text, special=True))


def _ask(backend: Backend, requests: Sequence[Request]) -> dict[str, Outcome]:
    """Outcomes by id, each once."""
    promise = "every request gets exactly one outcome under its own id"
    try:
        found = list(backend.generate(requests))
    except Exception as err:
        raise ConformanceError("generate gives failures, it does not raise", raised(err)) from err
    ids = [identifier for identifier, _ in found]
    asked = [request.id for request in requests]
    require(sorted(ids) == sorted(asked), promise, f"asked {asked}, got {ids}")
    for identifier, outcome in found:
        known = isinstance(outcome, Completion | Failure)
        require(known, "an outcome is a Completion or a Failure", f"{identifier}: {shown(outcome)}")
    return dict(found)


def _identifies(kind: BackendKind, model: ModelSpec, options: BackendSpec) -> None:
    first, again = dict(kind.identify(model, options)), dict(kind.identify(model, options))
    require_plain_json(first, "identify gives plain JSON values")
    require(first == again, "the same model has the same identity", f"{shown(first)}, then {shown(again)}")


def _has_an_identity(backend: Backend) -> None:
    first, again = dict(backend.identity), dict(backend.identity)
    require_plain_json(first, "identity holds plain JSON values")
    require(first == again, "the same backend has the same identity", f"{shown(first)}, then {shown(again)}")
    require(bool(first), "identity says what produces the completions", "it is empty")


def _answers(trial: _Trial) -> None:
    for identifier, outcome in trial.outcomes.items():
        require(isinstance(outcome, Completion), "plain requests are answered", f"{identifier}: {shown(outcome)}")


def _is_greedy_twice(trial: _Trial) -> None:
    again = _ask(trial.backend, trial.requests)
    _same(trial.outcomes, again, "the same requests get the same answers, asked again")


def _is_deaf_to_neighbours(trial: _Trial) -> None:
    turned = _ask(trial.backend, trial.requests[::-1])
    _same(trial.outcomes, turned, "an answer does not depend on the order of the requests")
    alone = {request.id: _ask(trial.backend, [request])[request.id] for request in trial.requests}
    _same(trial.outcomes, alone, "an answer does not depend on the requests asked with it")


def _same(expected: Mapping[str, Outcome], found: Mapping[str, Outcome], promise: str) -> None:
    for identifier, outcome in expected.items():
        other = found[identifier]
        require(outcome == other, promise, f"{identifier}: {shown(outcome)}, then {shown(other)}")


def _obeys_max_tokens(trial: _Trial) -> None:
    for limit in (1, 2, 5):
        asked = [replace(r, sampling=replace(r.sampling, max_tokens=limit)) for r in trial.requests]
        for identifier, outcome in _ask(trial.backend, asked).items():
            completed = isinstance(outcome, Completion) and outcome.n_tokens <= limit
            require(
                completed,
                "at most max_tokens tokens are generated",
                f"max_tokens={limit}, {identifier}: {shown(outcome)}",
            )


def _cuts_at_stop_strings(trial: _Trial) -> None:
    """A stop string from the middle of each free answer must cut it there."""
    expected: dict[str, str] = {}
    asked = []
    for request in trial.requests:
        free = trial.outcomes[request.id]
        assert isinstance(free, Completion)
        if len(free.text) < 2:
            continue
        stop = free.text[len(free.text) // 2 :][:2]
        expected[request.id] = free.text.partition(stop)[0]
        asked.append(replace(request, sampling=replace(request.sampling, stop=(stop,))))
    if not asked:
        raise ValueError("this model answers every question with nothing, so stop strings cannot be tried")
    found = _ask(trial.backend, asked)
    for request in asked:
        outcome = found[request.id]
        ended = (expected[request.id], "stop")
        cut = isinstance(outcome, Completion) and (outcome.text, outcome.finish_reason) == ended
        example = f"stop={request.sampling.stop}: expected {shown(expected[request.id])}, got {shown(outcome)}"
        require(cut, "a stop string ends the answer and is not part of it", example)


def _fails_long_prompts_alone(trial: _Trial) -> None:
    limit = trial.backend.context_length
    require(limit > 0, "the context has room", f"context_length is {limit}")
    if limit > _LONGEST_PROMPT:
        return
    short = trial.requests[0]
    ids = (short.ids * (limit // len(short.ids) + 1))[:limit]
    found = _ask(trial.backend, [replace(short, id="too-long", ids=ids), short])
    promise = "a prompt without room for its answer is a Failure and leaves the others alone"
    example = f"{limit} tokens in a context of {limit}: {shown(found['too-long'])}"
    require(isinstance(found["too-long"], Failure), promise, example)
    require(found[short.id] == trial.outcomes[short.id], promise, f"its neighbour got {shown(found[short.id])}")


def _switches_the_checkpoint(trial: _Trial, checkpoint: Checkpoint) -> None:
    tuned = [replace(r, id=f"{r.id}-tuned", checkpoint=checkpoint) for r in trial.requests]
    alone = _ask(trial.backend, tuned)
    after = _ask(trial.backend, trial.requests)
    _same(trial.outcomes, after, "without a checkpoint the base answers, whatever was on before")
    mixed = [request for pair in zip(trial.requests, tuned, strict=True) for request in pair]
    together = _ask(trial.backend, mixed)
    _same({**trial.outcomes, **alone}, together, "requests with and without the checkpoint may stand side by side")
    proof = trial.backend.prove(checkpoint, [request.ids for request in trial.requests])
    moved = isinstance(proof, AdapterProof) and proof.max_logit_change > 0 and proof.sha256 == checkpoint.sha256
    require(moved, "prove shows that this checkpoint changes the logits", shown(proof))
    _same(
        trial.outcomes,
        _ask(trial.backend, trial.requests),
        "without a checkpoint the base answers, after a proof too",
    )
