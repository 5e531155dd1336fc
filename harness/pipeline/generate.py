"""Requests to outcomes: all candidates of a stage as one batch, journaled as they come, never generated twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import TypeAlias

from pydantic import JsonValue

from harness.core.errors import EnvironmentFault
from harness.core.protocols import AdapterProof, Backend, Progress
from harness.core.types import Candidate, Failure, Outcome, Request, Sample, Sampling, Split
from harness.pipeline.asked import Asked, Memory
from harness.pipeline.outcomes import Journaled, decode, hash_requests
from harness.pipeline.stages import Stages
from harness.prompting import Renderers, ShotPool
from harness.store import disk, layout
from harness.store.cache import GenerationCache
from harness.store.encoding import parse

_N_PROBES = 4

# Given each candidate's outcomes so far by sample id, which grow as it goes on: the ids that each should have next.
Rounds: TypeAlias = Callable[[Sequence[Mapping[str, Outcome]]], Iterator[Sequence[Sequence[str]]]]


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
        asked = [self._asked(candidate, split, samples, {}) for candidate in candidates]
        if new := [each for each in asked if not self._memory.has(each)]:
            ids = [[request.id for request in each.requests] for each in new]
            self._answer(new, lambda _: iter([ids]))
        return tuple(map(self._generated, asked))

    def race(
        self,
        candidates: Sequence[Candidate],
        split: Split,
        samples: Sequence[Sample],
        rounds: Rounds,
        rules: Mapping[str, JsonValue],
    ) -> tuple[Generated, ...]:
        """The same, but each candidate is asked what `rounds` wants of it; the other samples' outcomes are UNASKED.

        rules: what decides the rounds besides the outcomes.
        """
        together: list[JsonValue] = [each.checkpoint.sha256 if each.checkpoint else None for each in candidates]
        race = {**rules, "candidates": together}
        asked = [self._asked(candidate, split, samples, race) for candidate in candidates]
        # Each leaves or stays by what the others answer: all are known, or the whole race is run.
        if [each for each in asked if not self._memory.has(each)]:
            self._answer(asked, rounds)
        return tuple(map(self._generated, asked))

    def requests(self, candidate: Candidate, split: Split, samples: Sequence[Sample]) -> tuple[Request, ...]:
        """The exact requests of a candidate: its shots in front of each sample."""
        stop_ids = self.renderers.own.stop_ids
        return tuple(
            Request(sample.id, ids, self.sampling, stop_ids, candidate.checkpoint)
            for sample, ids in zip(samples, self._prompts(candidate, split, samples), strict=True)
        )

    @property
    def _memory(self) -> Memory:
        return Memory(self.stages, self.cache)

    def _asked(
        self, candidate: Candidate, split: Split, samples: Sequence[Sample], race: Mapping[str, JsonValue]
    ) -> Asked:
        requests = self.requests(candidate, split, samples)
        question: dict[str, JsonValue] = {
            "requests": hash_requests(requests),
            "checkpoint": candidate.checkpoint.sha256 if candidate.checkpoint else None,
            "backend": dict(self.generator),
            "tokenizer": self.backend.tokenizer.sha256,
        }
        return Asked(candidate, split, requests, question, race)

    def _prompts(self, candidate: Candidate, split: Split, samples: Sequence[Sample]) -> tuple[tuple[int, ...], ...]:
        k, draw, place = candidate.shots, candidate.draw, (split, candidate.instruction)
        if k == 0 and place in self._zero_shot:
            return self._zero_shot[place]
        renderer = self.renderers.of(candidate.instruction)
        prompts = tuple(renderer.prompt_ids(sample, self.shots.shots(sample, k=k, draw=draw)) for sample in samples)
        if k == 0:
            self._zero_shot[place] = prompts
        return prompts

    def _answer(self, asked: Sequence[Asked], rounds: Rounds) -> None:
        """Outcomes of several candidates, durable as they come; and each candidate's as a file once all are there."""
        title = asked[0].stage if len(asked) == 1 else f"evaluate {len(asked)} candidates on {asked[0].split}"
        with self.stages.timed(title) as progress, self._opened(asked) as journals:
            proofs = [self._prove(each) for each in asked]
            for each, journal in zip(asked, journals, strict=True):
                journal.outcomes = {**self._memory.answers(each), **journal.outcomes}
            wanted: Sequence[Sequence[str]] = [()] * len(asked)
            for wanted in rounds([journal.outcomes for journal in journals]):
                self._ask(asked, journals, wanted, progress)
            for each, journal, ids, proof in zip(asked, journals, wanted, proofs, strict=True):
                journal.flush()
                self._memory.finish(each, journal.outcomes, ids, proof)

    @contextmanager
    def _opened(self, asked: Sequence[Asked]) -> Iterator[list[Journaled]]:
        """The journals of the candidates, and what killed attempts left in them."""
        with ExitStack() as stack:
            yield [stack.enter_context(Journaled(self._journal(each), each.key)) for each in asked]

    def _ask(
        self,
        asked: Sequence[Asked],
        journals: Sequence[Journaled],
        wanted: Sequence[Sequence[str]],
        progress: Progress,
    ) -> None:
        """Ask for those of the wanted outcomes that are not there yet, all candidates' as one batch."""
        owners: dict[str, tuple[int, str]] = {}
        todo: list[Request] = []
        for place, (each, ids) in enumerate(zip(asked, map(set, wanted), strict=True)):
            missing = ids - journals[place].outcomes.keys()
            for request in each.requests:
                if request.id in missing:
                    tagged = f"{each.candidate.name} {request.id}"
                    owners[tagged] = place, request.id
                    todo.append(replace(request, id=tagged))
        total = sum(map(len, wanted))
        done = total - len(todo)
        for tagged, outcome in self.backend.generate(todo) if todo else ():
            if tagged not in owners:
                raise _unasked(tagged)
            place, request_id = owners.pop(tagged)
            journals[place].add(request_id, self._cleaned(outcome))
            done += 1
            progress(done, total, "")
        if owners:
            raise _unanswered(owners, n_asked=len(todo))
        progress(total, total, "")

    def _generated(self, asked: Asked) -> Generated:
        disk.remove(self._journal(asked))
        file, proof_file = (f"{asked.folder}/{name}" for name in (layout.OUTCOMES, layout.PROOF))
        outcomes = decode(self.stages.folder.read(file))
        proof = parse(AdapterProof | None, self.stages.folder.read(proof_file), name=proof_file)  # type: ignore[arg-type]
        return Generated(file, outcomes, proof, fmean([len(request.ids) for request in asked.requests] or [0]))

    def _journal(self, asked: Asked) -> Path:
        return self.stages.folder.folder / asked.folder / layout.OUTCOMES_JOURNAL

    def _prove(self, asked: Asked) -> AdapterProof | None:
        checkpoint = asked.candidate.checkpoint
        if checkpoint is None:
            return None
        return self.backend.prove(checkpoint, [request.ids for request in asked.requests[:_N_PROBES]])

    def _cleaned(self, outcome: Outcome) -> Outcome:
        if isinstance(outcome, Failure):
            return outcome
        return replace(outcome, text=self.renderers.own.clean(outcome.text))


def _unasked(name: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"the backend gave an outcome twice, or one that nobody asked for: {name!r}",
        fix="this is a defect of the backend: every request must come back once",
        code="E-BACKEND",
    )


def _unanswered(owners: Mapping[str, tuple[int, str]], n_asked: int) -> EnvironmentFault:
    first = next(iter(owners.values()))[1]
    return EnvironmentFault(
        f"the backend gave no outcome for {len(owners)} of {n_asked} requests, first {first!r}",
        fix="this is a defect of the backend: every request must come back as a completion or a failure",
        code="E-BACKEND",
    )
