"""Recorded answers of an earlier run, looked up by prompt, decoding and checkpoint: no model, no torch.

`backend=replay backend.recording=runs/task/id` answers every request that the recorded run answered and fails the
others by name, so a recording that was interrupted can be used as far as it went. What judges asked is found in
label-scores.jsonl, in that folder or up to two below it. With `trainer=replay` the recorded checkpoints are used again,
so the whole pipeline can be run again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import numpy as np
from pydantic import JsonValue, TypeAdapter, ValidationError

from harness.backends.fake import FakeTokenizer
from harness.backends.scoring import RECORDING, Answer, Asked, Labels, check_labels, encoded, parsed
from harness.core.errors import EnvironmentFault, HarnessError
from harness.core.judging import LabelScores
from harness.core.protocols import AdapterProof, Tokenizer
from harness.core.specs import BackendSpec, ModelSpec
from harness.core.types import Checkpoint, Completion, Failure, FloatArray, Outcome, Request
from harness.data.display import escape

_OUTCOMES = "evaluations/*/outcomes.jsonl"
_SPEC = "spec.json"
_PROOFS = "evaluations/*/adapter.json"
_SCORES = (RECORDING, f"*/{RECORDING}", f"*/*/{RECORDING}")
_UNKNOWN = Failure("replay", "not in the recording")
_AMBIGUOUS = Failure("replay", "answered in two ways in the recording: name one judge's folder")


class ReplayBackend:
    """A backend whose completions were all made before. `model` is the recording's folder."""

    trains_in_place = True

    def __init__(self, model: ModelSpec, folder: Path, *, thinking: bool) -> None:
        self.tokenizer = _tokenizer(model, folder, thinking=thinking)
        self.context_length = 2**31
        self.model: object = folder
        self.identity: Mapping[str, JsonValue] = {"backend": "replay", "recording": _hash(folder)}
        self._outcomes = _recorded(folder)
        self._scores, self._states = _recorded_scores(folder)
        self._proofs = [proof for proof in map(_proof, sorted(folder.glob(_PROOFS))) if proof is not None]

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[str, Outcome]]:
        """What was recorded for each request, or a failure that says that nothing was."""
        for request in requests:
            yield request.id, self._outcomes.get(request.fingerprint, _UNKNOWN)

    def label_scores(self, requests: Sequence[Request], labels: Labels) -> Iterator[tuple[str, LabelScores | Failure]]:
        """What was recorded for each request and these labels, whatever order the labels had."""
        check_labels(labels)
        for request in requests:
            recorded, scores = self._scores.get((request.fingerprint, frozenset(labels)), ((), _UNKNOWN))
            yield request.id, _in_order(recorded, scores, labels)

    def hidden(self, requests: Sequence[Request]) -> Iterator[tuple[str, FloatArray | Failure]]:
        """What was recorded for each request."""
        for request in requests:
            yield request.id, self._states.get(request.fingerprint, _UNKNOWN)

    def prove(self, checkpoint: Checkpoint, probes: Sequence[tuple[int, ...]]) -> AdapterProof:
        """The proof that was recorded for these weights."""
        for proof in self._proofs:
            if proof.sha256 == checkpoint.sha256:
                return proof
        raise EnvironmentFault(
            f"the recording has no proof that {checkpoint.name} was on",
            fix="record the run again, or use the hf backend",
            code="E-ADAPTER",
        )

    def close(self) -> None:
        """Nothing to close."""


class ReplayKind:
    """How the replay backend enters."""

    def identify(self, model: ModelSpec, options: BackendSpec) -> Mapping[str, JsonValue]:
        """The recording's bytes are the model."""
        return {"recording": _hash(_folder(options))}

    def create(self, model: ModelSpec, options: BackendSpec, *, thinking: bool) -> ReplayBackend:
        """The recording, with the tokenizer of the model that was recorded."""
        return ReplayBackend(model, _folder(options), thinking=thinking)


backend = ReplayKind()


def _folder(options: BackendSpec) -> Path:
    if options.recording is None:
        raise HarnessError(
            "backend=replay needs a recording", fix="add backend.recording=runs/TASK/ID", code="E-OPTION"
        )
    folder = Path(options.recording).expanduser()
    if not _files(folder):
        raise HarnessError(
            f"{folder} holds no recorded outcomes",
            fix="name a run's folder: backend.recording=runs/TASK/ID",
            code="E-OPTION",
        )
    return folder


def _tokenizer(model: ModelSpec, folder: Path, *, thinking: bool) -> Tokenizer:
    if model.name == "fake":
        return FakeTokenizer()
    recorded = _recorded_backend(folder)
    if recorded is not None and recorded.name == "openai":
        from harness.backends.openai import tokenizer_of

        return tokenizer_of(model, recorded, thinking=thinking)
    from harness.models.location import locate
    from harness.models.tokenizer import load_tokenizer

    template = Path(model.template).expanduser() if model.template is not None else None
    return load_tokenizer(locate(model), template, thinking=thinking)


def _recorded_backend(folder: Path) -> BackendSpec | None:
    """What answered, where the recording is a run's folder that says so."""
    try:
        spec = json.loads((folder / _SPEC).read_bytes())
        return BackendSpec.model_validate(spec["backend"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


@dataclass(frozen=True, slots=True)
class _Record:
    """One line of a recording; of the two outcomes there is one."""

    request: str
    completion: Completion | None = None
    failure: Failure | None = None


_RECORD = TypeAdapter(_Record)
_PROOF = TypeAdapter(AdapterProof | None)


def _recorded(folder: Path) -> dict[str, Outcome]:
    """Request fingerprint -> outcome, over every evaluation of the run; E-CORRUPT with the line that is none."""
    outcomes: dict[str, Outcome] = {}
    for file in sorted(folder.glob(_OUTCOMES)):
        for number, line in enumerate(_read(file).split(b"\n"), start=1):
            if line:
                fingerprint, outcome = _outcome(line, f"{file}:{number}")
                outcomes[fingerprint] = outcome
    return outcomes


def _outcome(line: bytes, where: str) -> tuple[str, Outcome]:
    try:
        record = _RECORD.validate_json(line)
    except ValidationError as err:
        raise damaged(where, err.errors()[0]["msg"]) from err
    outcome = record.completion or record.failure
    if outcome is None:
        raise damaged(where, "there is neither a completion nor a failure")
    return record.request, outcome


_Scores: TypeAlias = dict[tuple[str, frozenset[tuple[int, ...]]], tuple[Labels, LabelScores | Failure]]
_States: TypeAlias = dict[str, FloatArray | Failure]


def _recorded_scores(folder: Path) -> tuple[_Scores, _States]:
    """What judges asked, by request; E-CORRUPT with the line that is none."""
    scores: _Scores = {}
    states: _States = {}
    known: dict[Asked, JsonValue] = {}
    for file in _score_files(folder):
        for number, line in enumerate(_read(file).split(b"\n"), start=1):
            if line:
                asked, answer = _score(line, f"{file}:{number}")
                if known.setdefault(asked, encoded(answer)) != encoded(answer):
                    # Two judges' models, of which nobody can say here which one is asked now.
                    known[asked], answer = None, _AMBIGUOUS
                if asked.labels is None and not isinstance(answer, LabelScores):
                    states[asked.request] = answer
                elif asked.labels is not None and not isinstance(answer, np.ndarray):
                    scores[asked.request, frozenset(asked.labels)] = (asked.labels, answer)
    return scores, states


def _score(line: bytes, where: str) -> tuple[Asked, Answer]:
    try:
        asked, answer = parsed(line)
    except ValidationError as err:
        raise damaged(where, err.errors()[0]["msg"]) from err
    except ValueError as err:
        raise damaged(where, str(err)) from err
    return replace(asked, model=""), answer


def _in_order(recorded: Labels, scores: LabelScores | Failure, labels: Labels) -> LabelScores | Failure:
    """The scores of labels that were recorded in an order of their own."""
    if isinstance(scores, Failure):
        return scores
    of_label = dict(zip(recorded, scores.log_probs, strict=True))
    return LabelScores(tuple(of_label[label] for label in labels), scores.n_samples)


def _proof(file: Path) -> AdapterProof | None:
    try:
        return _PROOF.validate_json(_read(file))
    except ValidationError as err:
        raise damaged(str(file), err.errors()[0]["msg"]) from err


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as err:
        raise damaged(str(file), err.strerror or "it cannot be read") from err


def damaged(where: str, why: str) -> EnvironmentFault:
    """The error for a recording that is not what a run writes."""
    return EnvironmentFault(
        f"the recording is damaged at {escape(where, 300)}: {escape(why, 200)}",
        fix="name an intact recording, or record the run again",
        code="E-CORRUPT",
        resumable=False,
    )


def _hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in _files(folder):
        digest.update(_read(file))
    return digest.hexdigest()


def _files(folder: Path) -> list[Path]:
    """Everything that is answered from."""
    return [*sorted(folder.glob(_OUTCOMES)), *_score_files(folder)]


def _score_files(folder: Path) -> list[Path]:
    return sorted(file for pattern in _SCORES for file in folder.glob(pattern))
