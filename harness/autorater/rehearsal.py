"""What a judge will ask of its model, found out without asking it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import JsonValue

from harness.autorater.canaries import canaries
from harness.autorater.configuration import ConfiguredJudge
from harness.autorater.licensing import N_CANARIES, LearningJudge
from harness.autorater.rating import items_of, rate
from harness.autorater.trials import silent
from harness.backends.scoring import Labels
from harness.core.judging import Item, LabelScores
from harness.core.protocols import Generator, Tokenizer
from harness.core.types import Failure, FloatArray, Outcome, Request

_UNASKED = Failure("judge", "this is a rehearsal")


@dataclass(frozen=True)
class Rehearsal:
    """A generator that answers nothing and keeps what it is asked; `harness.core.protocols.Generator`.

    generator: whom it stands in for. requests: for text or hidden states. scored: with the labels to be scored.
    """

    generator: Generator
    requests: list[Request] = field(default_factory=list)
    scored: list[tuple[Request, Labels]] = field(default_factory=list)

    @property
    def tokenizer(self) -> Tokenizer:
        """The generator's."""
        return self.generator.tokenizer

    @property
    def context_length(self) -> int:
        """The generator's."""
        return self.generator.context_length

    @property
    def identity(self) -> Mapping[str, JsonValue]:
        """None: to know the generator's may take asking it."""
        return {}

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[str, Outcome]]:
        """A failure for each."""
        self.requests.extend(requests)
        return ((request.id, _UNASKED) for request in requests)

    def label_scores(self, requests: Sequence[Request], labels: Labels) -> Iterator[tuple[str, LabelScores | Failure]]:
        """A failure for each."""
        self.scored.extend((request, labels) for request in requests)
        return ((request.id, _UNASKED) for request in requests)

    def hidden(self, requests: Sequence[Request]) -> Iterator[tuple[str, FloatArray | Failure]]:
        """A failure for each."""
        self.requests.extend(requests)
        return ((request.id, _UNASKED) for request in requests)


def rehearsed(configured: ConfiguredJudge, generator: Generator, seed: int, further: Sequence[Item] = ()) -> Rehearsal:
    """What a judge asks to be held to its labels, if nothing fails: of each labelled answer and canary; not for probes.

    Nothing of a judge that learns: what it asks is known once it has. further: what else it is asked about.
    """
    rehearsal, judge = Rehearsal(generator), configured.make(seed)
    if not isinstance(judge, LearningJudge):
        items = items_of(configured.labels)
        rate(judge, [*items, *canaries(items, n=N_CANARIES, seed=seed), *further], rehearsal, silent)
    return rehearsal
