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
from harness.core.types import Candidate, Completion, Failure, Outcome, Request, Sample, Sampling, Split
from harness.pipeline.outcomes import UNASKED, Journaled, decode, decode_named, encode, hash_requests
from harness.pipeline.stages import Stages
from harness.prompting import Renderers, ShotPool
from harness.store import disk, layout
from harness.store.cache import CachedGeneration, GenerationCache
from harness.store.encoding import canonical, fingerprint, parse

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
class _Asked:
    """One candidate's requests on a split, and the files that will hold what came of them.

    question: all that decides the outcomes. race: what decides which of them are asked for; empty for all.
    """

    candidate: Candidate
    split: Split
    requests: tuple[Request, ...]
    question: Mapping[str, JsonValue]
    race: Mapping[str, JsonValue]

    @property
    def stage(self) -> str:
        return f"evaluate {self.candidate.name} on {self.split}"

    @property
    def folder(self) -> str:
        return layout.evaluation(self.candidate.name, self.split)

    @property
    def inputs(self) -> Mapping[str, JsonValue]:
        return {**self.question, "race": dict(self.race)} if self.race else self.question

    @property
    def key(self) -> str:
        """Where the cache has these outcomes, every sample asked or settled."""
        return fingerprint(self.inputs)

    @property
    def answers_key(self) -> str:
        """Where the cache has what answers there are to the question, maybe not to all of it."""
        return fingerprint({**self.question, "only": "answers"})

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
        asked = [self._asked(candidate, split, samples, {}) for candidate in candidates]
        if new := [each for each in asked if not self._known(each)]:
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
        if [each for each in asked if not self._known(each)]:
            self._answer(asked, rounds)
        return tuple(map(self._generated, asked))

    def requests(self, candidate: Candidate, split: Split, samples: Sequence[Sample]) -> tuple[Request, ...]:
        """The exact requests of a candidate: its shots in front of each sample."""
        stop_ids = self.renderers.own.stop_ids
        return tuple(
            Request(sample.id, ids, self.sampling, stop_ids, candidate.checkpoint)
            for sample, ids in zip(samples, self._prompts(candidate, split, samples), strict=True)
        )

    def _asked(
        self, candidate: Candidate, split: Split, samples: Sequence[Sample], race: Mapping[str, JsonValue]
    ) -> _Asked:
        requests = self.requests(candidate, split, samples)
        question: dict[str, JsonValue] = {
            "requests": hash_requests(requests),
            "checkpoint": candidate.checkpoint.sha256 if candidate.checkpoint else None,
            "backend": dict(self.generator),
            "tokenizer": self.backend.tokenizer.sha256,
        }
        return _Asked(candidate, split, requests, question, race)

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

    def _answer(self, asked: Sequence[_Asked], rounds: Rounds) -> None:
        """Outcomes of several candidates, durable as they come; and each candidate's as a file once all are there."""
        title = asked[0].stage if len(asked) == 1 else f"evaluate {len(asked)} candidates on {asked[0].split}"
        with self.stages.timed(title) as progress, self._opened(asked) as journals:
            proofs = [self._prove(each) for each in asked]
            for each, journal in zip(asked, journals, strict=True):
                self._take_over(each, journal)
            wanted: Sequence[Sequence[str]] = [()] * len(asked)
            for wanted in rounds([journal.outcomes for journal in journals]):
                self._ask(asked, journals, wanted, progress)
            for each, journal, ids, proof in zip(asked, journals, wanted, proofs, strict=True):
                journal.flush()
                self._finish(each, journal.outcomes, ids, proof)

    def _take_over(self, asked: _Asked, journal: Journaled) -> None:
        """What the cache has of the answers is not asked again."""
        entries = [self.cache.get(key) for key in (fingerprint(asked.question), asked.answers_key)]
        cached = next((entry for entry in entries if entry is not None), None)
        if cached is not None:
            known = decode_named(cached.outcomes)
            self.stages.reused(f"{asked.stage}, in part", len(known))
            journal.outcomes.update({name: known[name] for name in known.keys() - journal.outcomes.keys()})

    @contextmanager
    def _opened(self, asked: Sequence[_Asked]) -> Iterator[list[Journaled]]:
        """The journals of the candidates, and what killed attempts left in them."""
        with ExitStack() as stack:
            yield [stack.enter_context(Journaled(self._journal(each), each.key)) for each in asked]

    def _ask(
        self,
        asked: Sequence[_Asked],
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

    def _finish(
        self, asked: _Asked, known: Mapping[str, Outcome], wanted: Sequence[str], proof: AdapterProof | None
    ) -> None:
        """known: what is there, of which the cache may have had more than a race wants."""
        outcomes: dict[str, Outcome] = {request.id: UNASKED for request in asked.requests}
        outcomes |= {name: known[name] for name in wanted}
        made = CachedGeneration(encode(asked.requests, outcomes), canonical(proof))
        settled = {name: outcome for name, outcome in known.items() if _is_settled(outcome)}
        if settled.keys() >= set(wanted):
            self._keep(asked.key, made)
        if asked.race or len(settled) < len(asked.requests):
            # After a race, or with failures that may pass: the next run asks only for the rest.
            requests = [request for request in asked.requests if request.id in settled]
            self._keep(asked.answers_key, CachedGeneration(encode(requests, settled), canonical(proof)))
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


def _is_settled(outcome: Outcome) -> bool:
    """Whether asking again could bring nothing else: an answer, or a prompt that does not fit."""
    return isinstance(outcome, Completion) or outcome.stage == "prompt"


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
