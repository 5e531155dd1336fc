"""Recorded completions of an earlier run, looked up by prompt, decoding and checkpoint: no model, no torch.

`backend=replay backend.recording=runs/task/id` answers every request that the recorded run answered and fails the
others by name, so a recording that was interrupted can be used as far as it went. With `trainer=replay` the recorded
checkpoints are used again, so the whole pipeline can be run again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue, TypeAdapter, ValidationError

from harness.backends.fake import FakeTokenizer
from harness.core.errors import EnvironmentFault, HarnessError
from harness.core.protocols import AdapterProof, Tokenizer
from harness.core.specs import BackendSpec, ModelSpec
from harness.core.types import Checkpoint, Completion, Failure, Outcome, Request
from harness.data.display import escape

_OUTCOMES = "evaluations/*/outcomes.jsonl"
_PROOFS = "evaluations/*/adapter.json"


class ReplayBackend:
    """A backend whose completions were all made before. `model` is the recording's folder."""

    def __init__(self, model: ModelSpec, folder: Path, *, thinking: bool) -> None:
        self.tokenizer = _tokenizer(model, thinking=thinking)
        self.context_length = 2**31
        self.model: object = folder
        self.identity: Mapping[str, JsonValue] = {"backend": "replay", "recording": _hash(folder)}
        self._outcomes = _recorded(folder)
        self._proofs = [proof for proof in map(_proof, sorted(folder.glob(_PROOFS))) if proof is not None]

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[str, Outcome]]:
        """What was recorded for each request, or a failure that says that nothing was."""
        for request in requests:
            yield request.id, self._outcomes.get(request.fingerprint, Failure("replay", "not in the recording"))

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
    if not any(folder.glob(_OUTCOMES)):
        raise HarnessError(
            f"{folder} holds no recorded outcomes",
            fix="name a run's folder: backend.recording=runs/TASK/ID",
            code="E-OPTION",
        )
    return folder


def _tokenizer(model: ModelSpec, *, thinking: bool) -> Tokenizer:
    if model.name == "fake":
        return FakeTokenizer()
    from harness.models.location import locate
    from harness.models.tokenizer import load_tokenizer

    template = Path(model.template).expanduser() if model.template is not None else None
    return load_tokenizer(locate(model), template, thinking=thinking)


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
    for file in sorted(folder.glob(_OUTCOMES)):
        digest.update(_read(file))
    return digest.hexdigest()
