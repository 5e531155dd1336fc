"""Checkpoints race: all answer a part of validation, and those that could be chosen go on (harness/stats/racing.py)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydantic import JsonValue

from harness.core.errors import HarnessError
from harness.core.protocols import AnyMetric, Metric
from harness.core.specs import RunSpec
from harness.core.types import Candidate, Completion, FloatArray, Outcome, Sample, Split
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
        for n_rounds in range(1, len(self.race.rounds) + 1):
            yield [self._ids(standing.seen.get(place, n_rounds)) for place in range(len(answers))]
            standing = self._after(standing, n_rounds, answers)

    def _ids(self, n_rounds: int) -> list[str]:
        return [self.samples[place].id for place in self.race.seen(n_rounds)]

    def _after(self, standing: Standing, n_rounds: int, answers: Sequence[Mapping[str, Outcome]]) -> Standing:
        samples = [self.samples[place] for place in self.race.seen(n_rounds)]
        outcomes = {step: [answers[step][sample.id] for sample in samples] for step in standing.kept}
        statistics = {step: measured(self.metric, samples, found) for step, found in outcomes.items()}
        scored = {step: _scored(outcomes[step], statistics[step]) for step in standing.kept}
        # Who answers too little cannot be chosen, and what it left out must not be left out for all.
        eligible = tuple(step for step in standing.kept if scored[step].mean() >= self.min_coverage)
        if not eligible:
            return standing
        used = np.logical_and.reduce([scored[step] for step in eligible])
        clusters = clusters_of([sample for sample, keep in zip(samples, used, strict=True) if keep])
        rows: dict[int, FloatArray] = {step: statistics[step][used] for step in eligible}
        found = self.race.keep(replace(standing, kept=eligible), n_rounds, self.metric, rows, clusters=clusters)
        going = {step: n_rounds for step in standing.kept if step not in eligible}
        return replace(found, seen={**found.seen, **going})


def _scored(outcomes: Sequence[Outcome], statistics: FloatArray) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """(n,) whether there is an answer that the metric could score."""
    answered = np.array([isinstance(outcome, Completion) for outcome in outcomes], bool)
    return np.asarray(answered & np.isfinite(statistics).all(axis=1), bool)
