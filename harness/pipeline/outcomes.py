"""Outcomes as bytes: a line each in outcomes.jsonl, a record each in the journal of a generation that is under way."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType

from pydantic import JsonValue

from harness.core.types import Completion, Failure, Outcome, Request
from harness.store import disk
from harness.store.encoding import canonical
from harness.store.journal import Journal

# Of a sample that a checkpoint was never asked, because it had left the race for being chosen.
UNASKED = Failure("race", "not asked: the checkpoint had left the race")

# Outcomes are made durable in groups: what a crash can cost is at most one group.
_GROUP = 32
_GROUP_S = 1.0


def hash_requests(requests: Sequence[Request]) -> str:
    """Hash over ids, token ids, sampling and stops of all requests: another prompt is another evaluation."""
    digest = hashlib.sha256()
    decoding = {sampling: asdict(sampling) for sampling in {request.sampling for request in requests}}
    for request in requests:
        digest.update(json.dumps([request.id, request.ids, decoding[request.sampling], request.stop_ids]).encode())
    return digest.hexdigest()


def encode(requests: Sequence[Request], outcomes: Mapping[str, Outcome]) -> bytes:
    """outcomes.jsonl: one line a sample, in the samples' order."""
    lines = [
        canonical({**_to_record(request.id, outcomes[request.id]), "request": request.fingerprint}, indent=None)
        for request in requests
    ]
    return b"".join(lines)


def decode(content: bytes) -> tuple[Outcome, ...]:
    """The outcomes of an outcomes.jsonl, in its order."""
    return tuple(decode_named(content).values())


def decode_named(content: bytes) -> dict[str, Outcome]:
    """The same by sample id."""
    return dict(_from_record(json.loads(line)) for line in content.split(b"\n") if line)


@dataclass
class Journaled:
    """Outcomes by request id, those of a killed attempt among them; durable by groups, all at the end of `with`.

    inputs: what the outcomes answer. A journal of other inputs is dropped: its outcomes answer other questions.
    """

    path: Path
    inputs: str
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    _pending: list[tuple[str, Outcome]] = field(default_factory=list)
    _flushed: float = 0.0

    def __enter__(self) -> Journaled:
        self._journal = _open(self.path, self.inputs)
        self.outcomes = dict(_from_record(record) for record in self._journal.recovered[1:])
        self._flushed = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Whatever went wrong: what is there was paid for.
        try:
            self.flush()
        finally:
            self._journal.close()

    def add(self, request_id: str, outcome: Outcome) -> None:
        """Keep an outcome; it is on disk after the group is full or a second has passed."""
        self.outcomes[request_id] = outcome
        self._pending.append((request_id, outcome))
        if len(self._pending) >= _GROUP or time.monotonic() - self._flushed > _GROUP_S:
            self.flush()

    def flush(self) -> None:
        """Make everything so far durable."""
        if self._pending:
            self._journal.append(_to_record(*item) for item in self._pending)
        self._pending, self._flushed = [], time.monotonic()


def _open(path: Path, inputs: str) -> Journal:
    journal = Journal(path)
    if journal.recovered and journal.recovered[0] == {"inputs": inputs}:
        return journal
    journal.close()
    disk.remove(path)
    journal = Journal(path)
    journal.append([{"inputs": inputs}])
    return journal


def _to_record(request_id: str, outcome: Outcome) -> dict[str, JsonValue]:
    if isinstance(outcome, Failure):
        return {"id": request_id, "failure": {"stage": outcome.stage, "reason": outcome.reason}}
    found: dict[str, JsonValue] = {
        "text": outcome.text,
        "finish_reason": outcome.finish_reason,
        "n_tokens": outcome.n_tokens,
    }
    return {"id": request_id, "completion": found}


def _from_record(record: JsonValue) -> tuple[str, Outcome]:
    assert isinstance(record, dict)
    request_id = str(record["id"])
    if "completion" in record:
        return request_id, Completion(**record["completion"])  # type: ignore[arg-type]
    return request_id, Failure(**record["failure"])  # type: ignore[arg-type]
