"""What every backend promises judges: how likely labels are, and what a prompt is inside, for each request alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from harness.core.errors import HarnessError
from harness.core.judging import LabelScores
from harness.core.protocols import Backend
from harness.core.types import Checkpoint, Failure, FloatArray, Request
from harness.testing.promises import ConformanceError, raised, require, shown

T = TypeVar("T")
Labels = Sequence[tuple[int, ...]]

# Longer prompts than this are not built.
_LONGEST_PROMPT = 2**20
_LABELS = ("1", "2", "3", "yes", "no", "not at all")
# How far two answers in float32 may lie apart, in nats or as a share of the largest number of a state.
_CLOSE = 1e-4
# Of counted labels, in standard errors of a difference.
_COUNTED = 5.0


@dataclass(frozen=True)
class _Trial:
    """An open backend, what it is asked, and what it answered to all together."""

    backend: Backend
    requests: tuple[Request, ...]
    labels: tuple[tuple[int, ...], ...]
    answers: Mapping[str, LabelScores]


def check_label_scores(
    backend: Backend, requests: Sequence[Request], labels: Labels | None, checkpoint: Checkpoint | None
) -> None:
    """ConformanceError unless label scores keep every promise. labels: None for some that any tokenizer has."""
    asked = tuple(labels) if labels is not None else _plain_labels(backend)
    require(list(backend.label_scores([], asked)) == [], "no requests, no label scores", "some came for an empty list")
    _refuses_bad_labels(backend, requests[0], asked)
    trial = _Trial(backend, tuple(requests), asked, _scored(backend, requests, asked))
    for identifier, scores in trial.answers.items():
        _is_a_distribution(identifier, scores, len(asked))
    _is_deaf_to_company(trial)
    _keeps_to_labels(trial)
    _fails_alone(trial)
    if checkpoint is not None:
        _switches_the_checkpoint(trial, checkpoint)


def check_hidden(backend: Backend, requests: Sequence[Request], checkpoint: Checkpoint | None) -> None:
    """ConformanceError unless hidden states keep every promise, or there are none: E-BACKEND."""
    try:
        together = _states(backend, requests)
    except HarnessError as err:
        require(err.code == "E-BACKEND", "hidden states that cannot be had are refused with E-BACKEND", raised(err))
        return
    sizes = {state.shape for state in together.values()}
    require(len(sizes) <= 1, "hidden states are rows of one length", f"found {sorted(sizes)}")
    for request in requests:
        again = _states(backend, [request])[request.id]
        _require_close(together[request.id], again, "a hidden state does not depend on the requests asked with it")
    if checkpoint is not None:
        tuned = _states(backend, [replace(request, checkpoint=checkpoint) for request in requests])
        moved = any(not np.array_equal(together[name], state) for name, state in tuned.items())
        require(moved, "a checkpoint changes hidden states", f"{len(tuned)} states are the same with it")
        for name, state in _states(backend, requests).items():
            _require_close(together[name], state, "without a checkpoint the hidden states are the base's")


def _plain_labels(backend: Backend) -> tuple[tuple[int, ...], ...]:
    """Of a few words' tokens, those that are not the beginning of others."""
    spelled = {tuple(backend.tokenizer.encode(text, special=False)) for text in _LABELS}
    free = [one for one in spelled if one and not any(one != other and other[: len(one)] == one for other in spelled)]
    if len(free) < 2:
        raise ValueError("this tokenizer has no two labels that begin differently; give labels=")
    return tuple(sorted(free))


def _scored(backend: Backend, requests: Sequence[Request], labels: Labels) -> dict[str, LabelScores]:
    """Scores by id; none may fail."""
    found = _asked("label_scores", requests, lambda: backend.label_scores(requests, labels))
    for identifier, answer in found.items():
        require(isinstance(answer, LabelScores), "plain requests get label scores", f"{identifier}: {shown(answer)}")
    return {identifier: answer for identifier, answer in found.items() if isinstance(answer, LabelScores)}


def _states(backend: Backend, requests: Sequence[Request]) -> dict[str, FloatArray]:
    """Hidden states by id; none may fail."""
    found = _asked("hidden", requests, lambda: backend.hidden(requests))
    for identifier, answer in found.items():
        row = isinstance(answer, np.ndarray) and answer.ndim == 1 and len(answer) > 0 and np.isfinite(answer).all()
        require(bool(row), "plain requests get a row of finite numbers", f"{identifier}: {shown(answer)}")
    return {identifier: answer for identifier, answer in found.items() if isinstance(answer, np.ndarray)}


def _asked(name: str, requests: Sequence[Request], ask: Callable[[], Iterable[tuple[str, T]]]) -> dict[str, T]:
    """Answers by id, each once."""
    try:
        found = list(ask())
    except HarnessError:
        raise
    except Exception as err:
        raise ConformanceError(f"{name} gives failures, it does not raise", raised(err)) from err
    ids, wanted = sorted(identifier for identifier, _ in found), sorted(request.id for request in requests)
    require(ids == wanted, f"{name} answers every request once under its own id", f"asked {wanted}, got {ids}")
    return dict(found)


def _refuses_bad_labels(backend: Backend, request: Request, labels: Labels) -> None:
    first = labels[0]
    for what, bad in (("an empty", ()), ("a repeated", first), ("another one's beginning as", (*first, *first))):
        try:
            found = list(backend.label_scores([request], [*labels, bad]))
        except HarnessError:
            continue
        raise ConformanceError(f"{what} label is refused with a HarnessError", f"{shown([*labels, bad])}: {found}")


def _is_a_distribution(identifier: str, scores: LabelScores, n_labels: int) -> None:
    example = f"{identifier}: {shown(scores)}"
    require(len(scores.log_probs) == n_labels, "there is one log-probability a label", example)
    require(all(map(math.isfinite, scores.log_probs)), "log-probabilities are finite", example)
    require(scores.mass <= 1 + _CLOSE, "all labels together have a probability of at most one", example)


def _keeps_to_labels(trial: _Trial) -> None:
    """Each score belongs to its label, wherever that stands."""
    turned = _scored(trial.backend, trial.requests, trial.labels[::-1])
    back = {identifier: replace(s, log_probs=s.log_probs[::-1]) for identifier, s in turned.items()}
    _same(trial.answers, back, "scores follow the order of the labels")


def _is_deaf_to_company(trial: _Trial) -> None:
    again = _scored(trial.backend, trial.requests, trial.labels)
    _same(trial.answers, again, "the same requests get the same label scores, asked again")
    turned = _scored(trial.backend, trial.requests[::-1], trial.labels)
    _same(trial.answers, turned, "label scores do not depend on the order of the requests")
    for request in trial.requests:
        alone = _scored(trial.backend, [request], trial.labels)
        _same(
            {request.id: trial.answers[request.id]}, alone, "label scores do not depend on the requests asked with it"
        )


def _fails_alone(trial: _Trial) -> None:
    """Prompts that cannot be looked at: too long ones, and nothing."""
    limit, plain = trial.backend.context_length, trial.requests[0]
    bad = [replace(plain, id="nothing", ids=())]
    if limit <= _LONGEST_PROMPT:
        bad.append(replace(plain, id="too long", ids=(plain.ids * (limit // len(plain.ids) + 1))[:limit]))
    asked = [*bad, plain]
    found = _asked("label_scores", asked, lambda: trial.backend.label_scores(asked, trial.labels))
    promise = "a prompt without room for a label, or without a token, is a Failure and leaves the others alone"
    for request in bad:
        answer = found[request.id]
        require(isinstance(answer, Failure), promise, f"{request.id}: {shown(answer)}")
    neighbour = found[plain.id]
    require(isinstance(neighbour, LabelScores), promise, f"its neighbour got {shown(neighbour)}")
    _same({plain.id: trial.answers[plain.id]}, {plain.id: neighbour}, promise)


def _switches_the_checkpoint(trial: _Trial, checkpoint: Checkpoint) -> None:
    tuned = [replace(request, id=f"{request.id}-tuned", checkpoint=checkpoint) for request in trial.requests]
    alone = _scored(trial.backend, tuned, trial.labels)
    moved = any(alone[f"{name}-tuned"].log_probs != scores.log_probs for name, scores in trial.answers.items())
    require(moved, "a checkpoint changes label scores", f"{len(tuned)} requests score the same with it")
    after = _scored(trial.backend, trial.requests, trial.labels)
    _same(trial.answers, after, "without a checkpoint label scores are the base's, whatever was on before")
    mixed = [request for pair in zip(trial.requests, tuned, strict=True) for request in pair]
    together = _scored(trial.backend, mixed, trial.labels)
    promise = "requests with and without the checkpoint may be scored side by side"
    _same({**trial.answers, **alone}, together, promise)


def _same(expected: Mapping[str, LabelScores], found: Mapping[str, object], promise: str) -> None:
    for identifier, scores in expected.items():
        other = found[identifier]
        close = isinstance(other, LabelScores) and _is_close(scores, other)
        require(close, promise, f"{identifier}: {shown(scores)}, then {shown(other)}")


def _is_close(one: LabelScores, other: LabelScores) -> bool:
    """Log-probabilities but for rounding; of counted labels, probabilities but for chance."""
    if one.n_samples != other.n_samples or len(one.log_probs) != len(other.log_probs):
        return False
    if one.n_samples is None:
        return bool(np.allclose(one.log_probs, other.log_probs, rtol=0, atol=_CLOSE))
    # A share's standard error is at most half a root of n; here are two.
    widest = _COUNTED * math.sqrt(0.5 / one.n_samples)
    return bool(np.allclose(np.exp(one.log_probs), np.exp(other.log_probs), rtol=0, atol=widest))


def _require_close(one: FloatArray, other: FloatArray, promise: str) -> None:
    close = one.shape == other.shape and float(np.abs(one - other).max()) <= _CLOSE * float(np.abs(one).max())
    require(close, promise, f"{shown(one[:4].tolist())}, then {shown(other[:4].tolist())}")
