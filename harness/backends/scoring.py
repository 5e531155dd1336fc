"""What backends share in scoring labels: which labels can be asked for, and how an answer is written down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from pydantic import JsonValue, TypeAdapter

from harness.core.errors import HarnessError
from harness.core.judging import LabelScores
from harness.core.types import Failure, FloatArray, Request

Labels: TypeAlias = Sequence[tuple[int, ...]]
Answer: TypeAlias = LabelScores | FloatArray | Failure


@dataclass(frozen=True, slots=True)
class Asked:
    """What an answer is to: the request's fingerprint, and the labels; None where the hidden state was asked for.

    model: hash of the identity of what answered, empty if unknown.
    """

    request: str
    labels: tuple[tuple[int, ...], ...] | None = None
    model: str = ""


# In a run's folder or in a judge's folder below it; read by `backend=replay`.
RECORDING = "label-scores.jsonl"


def check_labels(labels: Labels) -> None:
    """E-LABEL-TOKENS for an empty label, and for one that is another or its beginning: their chances would overlap."""
    for place, label in enumerate(labels):
        others = [*labels[:place], *labels[place + 1 :]]
        if not label or any(other[: len(label)] == label for other in others):
            raise HarnessError(
                f"label {place + 1} of {len(labels)} is {_trouble(label, others)} in this model's tokens",
                fix="give labels that begin differently, such as 1 to 5 or A and B",
                code="E-LABEL-TOKENS",
            )
    if not labels:
        raise HarnessError("there is no label to score", fix="give two labels or more", code="E-LABEL-TOKENS")


def prompt_failure(request: Request, n_new: int, context_length: int) -> Failure | None:
    """Why a prompt cannot be looked at with `n_new` tokens behind it; None where it can."""
    if not request.ids:
        return Failure("prompt", "an empty prompt cannot be completed")
    if len(request.ids) + n_new > context_length:
        return Failure("prompt", "too long for the context")
    return None


def encoded(answer: Answer) -> dict[str, JsonValue]:
    """An answer as JSON; hidden states lose nothing that float32 holds."""
    if isinstance(answer, Failure):
        return {"failure": {"stage": answer.stage, "reason": answer.reason}}
    if isinstance(answer, LabelScores):
        samples = {} if answer.n_samples is None else {"n_samples": answer.n_samples}
        return {"log_probs": list(answer.log_probs), **samples}
    return {"hidden": [float(f"{value:.9g}") for value in answer.astype(np.float32).tolist()]}


def decoded(content: bytes) -> Answer:
    """An answer as `encoded` wrote it, fields beside it ignored; ValueError where there is not exactly one."""
    return _ANSWER.validate_json(content).answer


def parsed(line: bytes) -> tuple[Asked, Answer]:
    """A line of a recording: what was asked, and the answer. ValueError where they are not there or do not fit."""
    asked, answer = _ASKED.validate_json(line), decoded(line)
    if isinstance(answer, LabelScores) and len(answer.log_probs) != len(asked.labels or ()):
        raise ValueError("there is not one log-probability a label")
    if isinstance(answer, np.ndarray) and asked.labels is not None:
        raise ValueError("a hidden state has no labels")
    return asked, answer


def line_of(asked: Asked, answer: Answer) -> dict[str, JsonValue]:
    """A line of a recording."""
    labels: dict[str, JsonValue] = {} if asked.labels is None else {"labels": [list(label) for label in asked.labels]}
    return {"request": asked.request, **labels, **encoded(answer), "model": asked.model}


@dataclass(frozen=True, slots=True)
class _Written:
    """One of the three."""

    log_probs: tuple[float, ...] | None = None
    n_samples: int | None = None
    hidden: tuple[float, ...] | None = None
    failure: Failure | None = None

    @property
    def answer(self) -> Answer:
        scores = None if self.log_probs is None else LabelScores(self.log_probs, self.n_samples)
        hidden = None if self.hidden is None else np.array(self.hidden, np.float32).astype(np.float64)
        found = [each for each in (scores, hidden, self.failure) if each is not None]
        if len(found) != 1:
            raise ValueError("there must be one of log_probs, hidden and failure")
        if not np.isfinite(self.log_probs or self.hidden or ()).all():
            raise ValueError("there is a number that is not finite")
        return found[0]


_ASKED = TypeAdapter(Asked)
_ANSWER = TypeAdapter(_Written)


def _trouble(label: tuple[int, ...], others: Labels) -> str:
    if not label:
        return "empty"
    return "the same as another one" if label in others else "the beginning of another one"
