"""Checkpoints race: all answer a part of validation, and those that could be chosen go on (harness/stats/racing.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydantic import JsonValue

from harness.core.errors import HarnessError
from harness.core.protocols import AnyMetric, Metric
from harness.core.specs import RunSpec
from harness.core.types import BoolArray, Candidate, Completion, FloatArray, Outcome, Sample, Split
from harness.pipeline.draws import measured
from harness.pipeline.estimates import clusters_of
from harness.pipeline.evaluate import Evaluator
from harness.pipeline.generate import Generated, Generation
from harness.stats.racing import Race, Standing


@dataclass(frozen=True)
class Racing:
    """`Answering` for the checkpoints of a run: those that leave the race are asked no more. metric: what decides."""

    generation: Generation
    metric: Metric
    seed: int
    min_coverage: float

    def generate(
        self, candidates: Sequence[Candidate], split: Split, samples: Sequence[Sample]
    ) -> tuple[Generated, ...]:
        """Each candidate's outcomes; UNASKED where it had left."""
        rules: dict[str, JsonValue] = {
            "metric": self.metric.signature,
            "seed": self.seed,
            "min_coverage": self.min_coverage,
        }
        race = Race.plan(len(samples), clusters_of(samples), seed=self.seed)
        course = _Course(self.metric, self.min_coverage, tuple(samples), race)
        return self.generation.race(candidates, split, samples, course.run, rules)


def racing(evaluator: Evaluator, spec: RunSpec) -> Evaluator:
    """The evaluator for checkpoints that race by what decides."""
    metric, generation = evaluator.metrics[0], evaluator.answering
    assert isinstance(metric, Metric)
    assert isinstance(generation, Generation)
    return replace(evaluator, answering=Racing(generation, metric, spec.seed, spec.select.min_coverage))


def require_additive(metrics: Sequence[AnyMetric]) -> None:
    """E-CONFLICT unless checkpoints can race by all of these: what decides, and what stands in for it."""
    for metric in metrics:
        if not isinstance(metric, Metric):
            raise HarnessError(
                f"checkpoints cannot race by {metric.name}, which is computed anew from all samples",
                fix="leave select.race out, or choose by a metric that adds up over samples",
                code="E-CONFLICT",
            )


@dataclass(frozen=True)
class _Course:
    """One race. Candidates are named by their place, which is also their order of steps."""

    metric: Metric
    min_coverage: float
    samples: tuple[Sample, ...]
    race: Race

    def run(self, answers: Sequence[Mapping[str, Outcome]]) -> Iterator[list[list[str]]]:
        """The ids that each candidate should have after each round."""
        standing = self.race.start(range(len(answers)))
        seen: list[_Seen] = []
        for n_rounds, places in enumerate(self.race.rounds, start=1):
            wanted = [self._ids(standing.seen.get(place, n_rounds)) for place in range(len(answers))]
            yield wanted
            if n_rounds < len(self.race.rounds):
                seen.append(self._measured(places, standing, answers))
                standing = self._after(standing, n_rounds, seen)
        if standing.seen and not any(self._is_eligible(answers[step]) for step in standing.kept):
            # Nobody who went the whole way can be chosen: the others get their chance.
            yield [[sample.id for sample in self.samples]] * len(answers)

    def _ids(self, n_rounds: int) -> list[str]:
        return [self.samples[place].id for place in self.race.seen(n_rounds)]

    def _measured(self, places: Sequence[int], standing: Standing, answers: Sequence[Mapping[str, Outcome]]) -> _Seen:
        """A round's own samples, by everybody who is still in the race."""
        samples = [self.samples[place] for place in places]
        outcomes = {step: [answers[step][sample.id] for sample in samples] for step in standing.kept}
        rows = {step: measured(self.metric, samples, found) for step, found in outcomes.items()}
        return _Seen(samples, rows, {step: _scored(outcomes[step], rows[step]) for step in rows})

    def _after(self, standing: Standing, n_rounds: int, seen: Sequence[_Seen]) -> Standing:
        scored = {step: np.concatenate([part.scored[step] for part in seen]) for step in standing.kept}
        # Who has left out too much already cannot be chosen, and what it left out must not be left out for all.
        eligible = tuple(step for step in standing.kept if int((~scored[step]).sum()) <= self._most_lost)
        going = {step: n_rounds for step in standing.kept if step not in eligible}
        if not eligible:
            return standing
        used = np.logical_and.reduce([scored[step] for step in eligible])
        samples = [sample for part in seen for sample in part.samples]
        clusters = clusters_of([sample for sample, keep in zip(samples, used, strict=True) if keep])
        rows = {step: np.concatenate([part.rows[step] for part in seen])[used] for step in eligible}
        found = self.race.keep(replace(standing, kept=eligible), n_rounds, self.metric, rows, clusters=clusters)
        return replace(found, seen={**found.seen, **going})

    @property
    def _most_lost(self) -> int:
        """Samples that a checkpoint may leave without a score and still be chosen."""
        return int((1 - self.min_coverage) * len(self.samples) + 1e-9)

    def _is_eligible(self, answers: Mapping[str, Outcome]) -> bool:
        """Whether enough is answered; who has no score for another reason is found out in choosing."""
        n_lost = sum(not isinstance(answers[sample.id], Completion) for sample in self.samples)
        return n_lost <= self._most_lost


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the candidates of one round did on its samples: statistics (n, K) and whether there is a score (n,)."""

    samples: Sequence[Sample]
    rows: Mapping[int, FloatArray]
    scored: Mapping[int, BoolArray]


def _scored(outcomes: Sequence[Outcome], statistics: FloatArray) -> BoolArray:
    """(n,) whether there is an answer that the metric could score."""
    answered = np.array([isinstance(outcome, Completion) for outcome in outcomes], bool)
    return np.asarray(answered & np.isfinite(statistics).all(axis=1), bool)
