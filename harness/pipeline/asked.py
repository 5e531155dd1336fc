"""What candidates are asked, and what of it was answered before: by this run, or by another one of the same folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from harness.core.errors import EnvironmentFault
from harness.core.protocols import AdapterProof
from harness.core.types import Candidate, Completion, Outcome, Request, Split
from harness.pipeline.outcomes import UNASKED, decode_named, encode
from harness.pipeline.stages import Stages
from harness.store import layout
from harness.store.cache import CachedGeneration, GenerationCache
from harness.store.encoding import canonical, fingerprint


@dataclass(frozen=True)
class Asked:
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
        """What the run calls it."""
        return f"evaluate {self.candidate.name} on {self.split}"

    @property
    def folder(self) -> str:
        """Where its files are, in the run's."""
        return layout.evaluation(self.candidate.name, self.split)

    @property
    def inputs(self) -> Mapping[str, JsonValue]:
        """All that its files are made from."""
        return {**self.question, "race": dict(self.race)} if self.race else self.question

    @property
    def key(self) -> str:
        """Where the cache has these outcomes, every sample asked or settled."""
        return fingerprint(self.inputs)

    @property
    def whole_key(self) -> str:
        """Where the cache has the outcomes of all requests, race or none."""
        return fingerprint(self.question)

    @property
    def answers_key(self) -> str:
        """Where the cache has what answers there are to the question, maybe not to all of it."""
        return fingerprint({**self.question, "only": "answers"})

    def files(self, made: CachedGeneration) -> dict[str, bytes]:
        """Name in the run folder -> content."""
        return {f"{self.folder}/{layout.OUTCOMES}": made.outcomes, f"{self.folder}/{layout.PROOF}": made.proof}


@dataclass(frozen=True)
class Memory:
    """Outcomes that are there: in the run's own folder, or in the cache of all runs beside it."""

    stages: Stages
    cache: GenerationCache

    def has(self, asked: Asked) -> bool:
        """Whether this run has the outcomes; what another run of the same folder has is taken over."""
        if self.stages.is_done(asked.stage, asked.inputs):
            return True
        cached = self.cache.get(asked.key)
        if cached is None:
            return False
        self.stages.folder.finish(asked.stage, asked.inputs, asked.files(cached))
        self.stages.reused(asked.stage, len(asked.requests))
        return True

    def answers(self, asked: Asked) -> Mapping[str, Outcome]:
        """What the cache has of the answers, by request id: it is not asked again."""
        entries = [self.cache.get(key) for key in (asked.whole_key, asked.answers_key)]
        cached = next((entry for entry in entries if entry is not None), None)
        if cached is None:
            return {}
        known = decode_named(cached.outcomes)
        self.stages.reused(f"{asked.stage}, in part", len(known))
        return known

    def finish(
        self, asked: Asked, known: Mapping[str, Outcome], wanted: Sequence[str], proof: AdapterProof | None
    ) -> None:
        """Write the outcomes into the run's folder, and into the cache what another run need not ask.

        known: what is there, of which the cache may have had more than a race wants.
        """
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

    def _keep(self, key: str, made: CachedGeneration) -> None:
        """Into the cache, which may fail: nothing is lost but time, next time."""
        try:
            self.cache.put(key, made)
        except EnvironmentFault as fault:
            self.stages.note(f"not cached: {fault.what}")


def _is_settled(outcome: Outcome) -> bool:
    """Whether asking again could bring nothing else: an answer, or a prompt that does not fit."""
    return isinstance(outcome, Completion) or outcome.stage == "prompt"
