"""Requests to outcomes: all candidates of a stage as one batch, journaled as they come, never generated twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean

from pydantic import JsonValue

from harness.core.errors import EnvironmentFault
from harness.core.protocols import AdapterProof, Backend, Progress
from harness.core.types import Candidate, Completion, Failure, Outcome, Request, Sample, Sampling, Split
from harness.pipeline.outcomes import Journaled, decode, encode, hash_requests
from harness.pipeline.stages import Stages
from harness.prompting import Renderers, ShotPool
from harness.store import disk, layout
from harness.store.cache import CachedGeneration, GenerationCache
from harness.store.encoding import canonical, fingerprint, parse

_N_PROBES = 4


@dataclass(frozen=True, slots=True)
class Generated:
    """What one candidate answered on one split. file: the outcomes' name in the run folder."""

    file: str
    outcomes: tuple[Outcome, ...]
    proof: AdapterProof | None
    mean_prompt_tokens: float


@dataclass(frozen=True)
class _Asked:
    """One candidate's requests on a split, and the files that will hold what came of them."""

    candidate: Candidate
    split: Split
    requests: tuple[Request, ...]
    inputs: Mapping[str, JsonValue]

    @property
    def stage(self) -> str:
        return f"evaluate {self.candidate.name} on {self.split}"

    @property
    def folder(self) -> str:
        return layout.evaluation(self.candidate.name, self.split)

    @property
    def key(self) -> str:
        return fingerprint(self.inputs)

    def files(self, made: CachedGeneration) -> dict[str, bytes]:
        return {f"{self.folder}/{layout.OUTCOMES}": made.outcomes, f"{self.folder}/{layout.PROOF}": made.proof}


@dataclass(frozen=True)
class Generation:
    """Everything that all generations of a run share."""

    stages: Stages
    cache: GenerationCache
    backend: Backend
    renderers: Renderers
    shots: ShotPool
    sampling: Sampling
    # What the backend is: part of every key.
    generator: Mapping[str, JsonValue]
    # Every checkpoint answers the same zero-shot prompts: (split, instruction) -> their token ids.
    _zero_shot: dict[tuple[Split, str | None], tuple[tuple[int, ...], ...]] = field(default_factory=dict)

    def generate(
        self, candidates: Sequence[Candidate], split: Split, samples: Sequence[Sample]
    ) -> tuple[Generated, ...]:
        """Each candidate's outcomes of every sample; from disk or cache where this was done before.

        What is left goes to the backend as one batch, so that it can order all of it.
        """
        asked = [self._asked(candidate, split, samples) for candidate in candidates]
        if new := [each for each in asked if not self._known(each)]:
            self._answer(new)
        return tuple(map(self._generated, asked))

    def requests(self, candidate: Candidate, split: Split, samples: Sequence[Sample]) -> tuple[Request, ...]:
        """The exact requests of a candidate: its shots in front of each sample."""
        stop_ids = self.renderers.own.stop_ids
        return tuple(
            Request(sample.id, ids, self.sampling, stop_ids, candidate.checkpoint)
            for sample, ids in zip(samples, self._prompts(candidate, split, samples), strict=True)
        )

    def _asked(self, candidate: Candidate, split: Split, samples: Sequence[Sample]) -> _Asked:
        requests = self.requests(candidate, split, samples)
        inputs: dict[str, JsonValue] = {
            "requests": hash_requests(requests),
            "checkpoint": candidate.checkpoint.sha256 if candidate.checkpoint else None,
            "backend": dict(self.generator),
            "tokenizer": self.backend.tokenizer.sha256,
        }
        return _Asked(candidate, split, requests, inputs)

    def _prompts(self, candidate: Candidate, split: Split, samples: Sequence[Sample]) -> tuple[tuple[int, ...], ...]:
        k, draw, place = candidate.shots, candidate.draw, (split, candidate.instruction)
        if k == 0 and place in self._zero_shot:
            return self._zero_shot[place]
        renderer = self.renderers.of(candidate.instruction)
        prompts = tuple(renderer.prompt_ids(sample, self.shots.shots(sample, k=k, draw=draw)) for sample in samples)
        if k == 0:
            self._zero_shot[place] = prompts
        return prompts

    def _known(self, asked: _Asked) -> bool:
        """Whether this run has the outcomes; what another run of the same folder has is taken over."""
        if self.stages.is_done(asked.stage, asked.inputs):
            return True
        cached = self.cache.get(asked.key)
        if cached is None:
            return False
        self.stages.folder.finish(asked.stage, asked.inputs, asked.files(cached))
        self.stages.reused(asked.stage, len(asked.requests))
        return True

    def _answer(self, asked: Sequence[_Asked]) -> None:
        """Outcomes of several candidates, each candidate's durable as a whole once its last one is there."""
        title = asked[0].stage if len(asked) == 1 else f"evaluate {len(asked)} candidates on {asked[0].split}"
        with self.stages.timed(title) as progress, self._opened(asked) as answers:
            proofs = [self._prove(each) for each in asked]
            for place in self._arriving(asked, answers, progress):
                self._finish(asked[place], answers[place], proofs[place])

    @contextmanager
    def _opened(self, asked: Sequence[_Asked]) -> Iterator[list[Journaled]]:
        """The journals of the candidates, and what killed attempts left in them."""
        with ExitStack() as stack:
            yield [stack.enter_context(Journaled(self._journal(each), each.key)) for each in asked]

    def _arriving(self, asked: Sequence[_Asked], answers: Sequence[Journaled], progress: Progress) -> Iterator[int]:
        """Ask for what is missing; the place of each candidate as soon as it has all of its outcomes."""
        owners: dict[str, tuple[int, str]] = {}
        todo: list[Request] = []
        for place, (each, have) in enumerate(zip(asked, answers, strict=True)):
            missing = [request for request in each.requests if request.id not in have.outcomes]
            if not missing:
                yield place
            for request in missing:
                tagged = f"{place} {request.id}"
                owners[tagged] = place, request.id
                todo.append(replace(request, id=tagged))
        total = sum(len(each.requests) for each in asked)
        left = [len(each.requests) - len(have.outcomes) for each, have in zip(asked, answers, strict=True)]
        for tagged, outcome in self.backend.generate(todo) if todo else ():
            place, request_id = owners[tagged]
            left[place] -= request_id not in answers[place].outcomes
            answers[place].add(request_id, outcome)
            progress(total - sum(left), total, "")
            if not left[place]:
                yield place
        for each, n in zip(asked, left, strict=True):
            _require_all(each, n)
        progress(total, total, "")

    def _finish(self, asked: _Asked, answers: Journaled, proof: AdapterProof | None) -> None:
        answers.flush()
        outcomes = {request.id: self._cleaned(answers.outcomes[request.id]) for request in asked.requests}
        made = CachedGeneration(encode(asked.requests, outcomes), canonical(proof))
        if all(isinstance(outcome, Completion) for outcome in outcomes.values()):
            self._keep(asked.key, made)
        self.stages.folder.finish(asked.stage, asked.inputs, asked.files(made))

    def _generated(self, asked: _Asked) -> Generated:
        disk.remove(self._journal(asked))
        file, proof_file = (f"{asked.folder}/{name}" for name in (layout.OUTCOMES, layout.PROOF))
        outcomes = decode(self.stages.folder.read(file))
        proof = parse(AdapterProof | None, self.stages.folder.read(proof_file), name=proof_file)  # type: ignore[arg-type]
        return Generated(file, outcomes, proof, fmean([len(request.ids) for request in asked.requests] or [0]))

    def _journal(self, asked: _Asked) -> Path:
        return self.stages.folder.folder / asked.folder / layout.OUTCOMES_JOURNAL

    def _keep(self, key: str, made: CachedGeneration) -> None:
        """Into the cache, which may fail: nothing is lost but time, next time."""
        try:
            self.cache.put(key, made)
        except EnvironmentFault as fault:
            self.stages.note(f"not cached: {fault.what}")

    def _prove(self, asked: _Asked) -> AdapterProof | None:
        checkpoint = asked.candidate.checkpoint
        if checkpoint is None:
            return None
        return self.backend.prove(checkpoint, [request.ids for request in asked.requests[:_N_PROBES]])

    def _cleaned(self, outcome: Outcome) -> Outcome:
        if isinstance(outcome, Failure):
            return outcome
        return replace(outcome, text=self.renderers.own.clean(outcome.text))


def _require_all(asked: _Asked, n_missing: int) -> None:
    if n_missing:
        raise EnvironmentFault(
            f"the backend gave no outcome for {n_missing} of {len(asked.requests)} requests of {asked.candidate.name}",
            fix="this is a defect of the backend: every request must come back as a completion or a failure",
            code="E-BACKEND",
        )
