"""The nouns: small frozen values that every stage speaks in.

A failure is never a value: what a candidate answered is an `Outcome`, either a `Completion` or a `Failure`,
and only completions reach a metric.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]
Role: TypeAlias = Literal["system", "user", "assistant"]
Split: TypeAlias = Literal["train", "validation", "test"]
FinishReason: TypeAlias = Literal["stop", "length"]

CHECKPOINT_PREFIX = "step-"
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One row of a task: what is asked, what would be a right answer, and where it came from.

    messages: the turns up to and including the last user turn; earlier assistant turns may stand between.
    references: one or more right answers; the first is the one that is trained on.
    metadata: every further field of the row, kept for slices and reports.
    origin: "file:line", for messages to people only.
    """

    id: str
    split: Split
    messages: tuple[Message, ...]
    references: tuple[str, ...]
    metadata: Mapping[str, JsonValue] = field(default_factory=dict)
    group: str | None = None
    origin: str = ""

    @property
    def question(self) -> str:
        """The text of all turns but the system's: what makes two samples the same question."""
        return "\n".join(message.content for message in self.messages if message.role != "system")


@dataclass(frozen=True, slots=True)
class TokenRow:
    """One training row as the model sees it: token ids and, for each, whether it is to be predicted.

    ids, loss: (T,) of equal length; loss[0] is never true, nothing precedes the first token.
    """

    id: str
    ids: tuple[int, ...]
    loss: tuple[bool, ...]

    @property
    def n_targets(self) -> int:
        """Number of tokens that carry loss."""
        return sum(self.loss)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to decode. Every parameter is explicit: a model folder's own defaults are never used."""

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A point of training that can be evaluated: step, where its weights are, and their hash.

    Losses are means per completion token; accuracies are the fraction of completion tokens predicted correctly
    with the true prefix given (the "fraction of correct next-step predictions"). None without validation rows, and
    where a checkpoint was trained elsewhere and does not say.
    """

    step: int
    epoch: float
    folder: Path
    kind: Literal["adapter", "full"]
    sha256: str
    train_loss: float | None
    train_accuracy: float | None
    validation_loss: float | None
    validation_accuracy: float | None

    @property
    def name(self) -> str:
        """Name of the checkpoint's folder and of its candidate."""
        return checkpoint_name(self.step)


def checkpoint_name(step: int) -> str:
    """The one spelling of a checkpoint's name: zero-padded, so that names sort like steps."""
    return f"{CHECKPOINT_PREFIX}{step:06d}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One thing we evaluate: the model with or without a checkpoint, and one draw of k shots.

    instruction: another wording in place of the task's own; None for the task's.
    """

    name: str
    checkpoint: Checkpoint | None = None
    shots: int = 0
    draw: int = 0
    instruction: str | None = None


@dataclass(frozen=True, slots=True)
class Arm:
    """The draws of one candidate, averaged: `base-4shot` over three sets and orders of shots."""

    name: str
    candidates: tuple[Candidate, ...]

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The checkpoint all draws share; None for an untuned arm."""
        return self.candidates[0].checkpoint

    @property
    def shots(self) -> int:
        """Number of shots in each prompt."""
        return self.candidates[0].shots

    @property
    def instruction(self) -> str | None:
        """The wording all draws share in place of the task's own."""
        return self.candidates[0].instruction


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt to complete, as token ids: backends never see template text."""

    id: str
    ids: tuple[int, ...]
    sampling: Sampling
    stop_ids: tuple[int, ...]
    checkpoint: Checkpoint | None = None

    @property
    def fingerprint(self) -> str:
        """Hash of what decides the completion, the sample's id aside: recordings are looked up by it."""
        checkpoint = self.checkpoint.sha256 if self.checkpoint else None
        content = [self.ids, asdict(self.sampling), self.stop_ids, checkpoint]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Completion:
    """What was generated. `text` has no end token and no stop string; n_tokens counts what was generated."""

    text: str
    finish_reason: FinishReason
    n_tokens: int


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no completion: counted and listed, never scored."""

    stage: str
    reason: str


Outcome: TypeAlias = Completion | Failure
