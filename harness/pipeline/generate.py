"""Requests to outcomes: journaled as they come, one final file in the samples' order, never generated twice."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from statistics import fmean

from pydantic import JsonValue

from harness.core.errors import EnvironmentFault
from harness.core.protocols import AdapterProof, Backend, Progress
from harness.core.types import Candidate, Completion, Failure, Outcome, Request, Sample, Sampling, Split
from harness.pipeline.stages import Stages
from harness.prompting import Renderers, ShotPool
from harness.store import disk, layout
from harness.store.cache import CachedGeneration, GenerationCache
from harness.store.encoding import canonical, fingerprint, parse
from harness.store.journal import Journal

_N_PROBES = 4
# Outcomes are made durable in groups: what a crash can cost is at most one group.
_GROUP = 32
_GROUP_S = 1.0


@dataclass(frozen=True, slots=True)
class Generated:
    """What one candidate answered on one split. file: the outcomes' name in the run folder."""

    file: str
    outcomes: tuple[Outcome, ...]
    proof: AdapterProof | None
    mean_prompt_tokens: float


@dataclass(frozen=True)
class Generation:
    """Everything that all generations of a run share."""

    stages: Stages
    cache: GenerationCache
    backend: Backend
    renderers: Renderers
    shots: ShotPool
    sampling: Sampling
    # What the backend is, with its options: part of every key.
    generator: Mapping[str, JsonValue]
    # Every checkpoint answers the same zero-shot prompts: (split, instruction) -> their token ids.
    _zero_shot: dict[tuple[Split, str | None], tuple[tuple[int, ...], ...]] = field(default_factory=dict)

    def generate(self, candidate: Candidate, split: Split, samples: Sequence[Sample]) -> Generated:
        """Outcomes of every sample, from disk where this was done before."""
        requests = self.requests(candidate, split, samples)
        folder = layout.evaluation(candidate.name, split)
        file, proof_file = f"{folder}/{layout.OUTCOMES}", f"{folder}/{layout.PROOF}"
        inputs: dict[str, JsonValue] = {
            "requests": hash_requests(requests),
            "checkpoint": candidate.checkpoint.sha256 if candidate.checkpoint else None,
            "backend": dict(self.generator),
            "tokenizer": self.backend.tokenizer.sha256,
        }
        journal = self.stages.folder.folder / folder / layout.OUTCOMES_JOURNAL

        def make(progress: Progress) -> Mapping[str, bytes]:
            key = fingerprint(inputs)
            if (cached := self.cache.get(key)) is not None:
                progress(len(requests), len(requests), "from the cache")
                return {file: cached.outcomes, proof_file: cached.proof}
            proof = self._prove(candidate, requests)
            outcomes = self._journaled(requests, journal, key, progress)
            made = CachedGeneration(encode(requests, outcomes), canonical(proof))
            if all(isinstance(outcome, Completion) for outcome in outcomes.values()):
                self._keep(key, made)
            return {file: made.outcomes, proof_file: made.proof}

        self.stages.run(f"evaluate {candidate.name} on {split}", inputs, make)
        disk.remove(journal)
        outcomes = decode(self.stages.folder.read(file))
        proof = parse(AdapterProof | None, self.stages.folder.read(proof_file), name=proof_file)  # type: ignore[arg-type]
        return Generated(file, outcomes, proof, fmean([len(request.ids) for request in requests] or [0]))

    def requests(self, candidate: Candidate, split: Split, samples: Sequence[Sample]) -> tuple[Request, ...]:
        """The exact requests of a candidate: its shots in front of each sample."""
        stop_ids = self.renderers.own.stop_ids
        return tuple(
            Request(sample.id, ids, self.sampling, stop_ids, candidate.checkpoint)
            for sample, ids in zip(samples, self._prompts(candidate, split, samples), strict=True)
        )

    def _prompts(self, candidate: Candidate, split: Split, samples: Sequence[Sample]) -> tuple[tuple[int, ...], ...]:
        k, draw, place = candidate.shots, candidate.draw, (split, candidate.instruction)
        if k == 0 and place in self._zero_shot:
            return self._zero_shot[place]
        renderer = self.renderers.of(candidate.instruction)
        prompts = tuple(renderer.prompt_ids(sample, self.shots.shots(sample, k=k, draw=draw)) for sample in samples)
        if k == 0:
            self._zero_shot[place] = prompts
        return prompts

    def _keep(self, key: str, made: CachedGeneration) -> None:
        """Into the cache, which may fail: nothing is lost but time, next time."""
        try:
            self.cache.put(key, made)
        except EnvironmentFault as fault:
            self.stages.note(f"not cached: {fault.what}")

    def _prove(self, candidate: Candidate, requests: Sequence[Request]) -> AdapterProof | None:
        if candidate.checkpoint is None:
            return None
        return self.backend.prove(candidate.checkpoint, [request.ids for request in requests[:_N_PROBES]])

    def _journaled(
        self, requests: Sequence[Request], path: Path, inputs: str, progress: Progress
    ) -> Mapping[str, Outcome]:
        """Every request's outcome; those a killed attempt left in the journal are taken from there."""
        with _open_journal(path, inputs) as journal:
            outcomes = dict(_from_record(record) for record in journal.recovered[1:])
            pending: list[tuple[str, Outcome]] = []
            flushed = time.monotonic()
            todo = [request for request in requests if request.id not in outcomes]
            for request_id, outcome in self.backend.generate(todo):
                pending.append((request_id, outcome))
                if len(pending) >= _GROUP or time.monotonic() - flushed > _GROUP_S:
                    journal.append(_to_record(*item) for item in pending)
                    outcomes.update(pending)
                    progress(len(outcomes), len(requests), "")
                    pending, flushed = [], time.monotonic()
            journal.append(_to_record(*item) for item in pending)
            outcomes.update(pending)
        missing = [request.id for request in requests if request.id not in outcomes]
        if missing:
            raise EnvironmentFault(
                f"the backend gave no outcome for {len(missing)} of {len(requests)} requests, first {missing[0]!r}",
                fix="this is a defect of the backend: every request must come back as a completion or a failure",
                code="E-BACKEND",
            )
        progress(len(requests), len(requests), "")
        return {request.id: self._cleaned(outcomes[request.id]) for request in requests}

    def _cleaned(self, outcome: Outcome) -> Outcome:
        if isinstance(outcome, Failure):
            return outcome
        return replace(outcome, text=self.renderers.own.clean(outcome.text))


def hash_requests(requests: Sequence[Request]) -> str:
    """Hash over ids, token ids, sampling and stops of all requests: another prompt is another evaluation."""
    digest = hashlib.sha256()
    for request in requests:
        digest.update(json.dumps([request.id, request.ids, asdict(request.sampling), request.stop_ids]).encode())
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
    return tuple(_from_record(json.loads(line))[1] for line in content.split(b"\n") if line)


def _open_journal(path: Path, inputs: str) -> Journal:
    """The journal of exactly these inputs; one of others is dropped, its outcomes answer other questions."""
    journal = Journal(path)
    if journal.recovered and journal.recovered[0] == {"inputs": inputs}:
        return journal
    journal.close()
    disk.remove(path)
    journal = Journal(path)
    journal.append([{"inputs": inputs}])
    return journal


def _to_record(request_id: str, outcome: Outcome) -> dict[str, JsonValue]:
    kind = "completion" if isinstance(outcome, Completion) else "failure"
    return {"id": request_id, kind: dict(asdict(outcome))}


def _from_record(record: JsonValue) -> tuple[str, Outcome]:
    assert isinstance(record, dict)
    request_id = str(record["id"])
    if "completion" in record:
        return request_id, Completion(**record["completion"])  # type: ignore[arg-type]
    return request_id, Failure(**record["failure"])  # type: ignore[arg-type]
