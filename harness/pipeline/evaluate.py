"""One arm on one split: what came back, measured.

Validation and test evaluations are two types: only the first can choose anything.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from statistics import fmean
from typing import Protocol, TypeVar

import numpy as np
from pydantic import JsonValue

from harness.core.protocols import AnyMetric
from harness.core.records import EvaluationRecord
from harness.core.types import Arm, BoolArray, Candidate, Completion, Failure, FloatArray, Outcome, Sample, Split
from harness.pipeline.alarms import alarms, mean_output_tokens
from harness.pipeline.draws import Drawn, additive, measured
from harness.pipeline.estimates import Estimating, part_of, value_of
from harness.pipeline.generate import Generated
from harness.pipeline.outcomes import UNASKED
from harness.store import layout
from harness.store.encoding import canonical
from harness.store.run import RunFolder


@dataclass(frozen=True)
class Evaluation:
    """What one arm did on one split, aligned with the split's samples.

    statistics: metric -> (D, N, K), one layer a draw of shots; rows without an answer are zero.
    answered: (N,) whether every draw gave a completion; rows outside it never enter a number.
    outcomes: one tuple of N for each draw.
    """

    arm: Arm
    samples: tuple[Sample, ...]
    statistics: Mapping[str, FloatArray]
    answered: BoolArray
    outcomes: tuple[tuple[Outcome, ...], ...]
    record: EvaluationRecord

    def drawn(self, metric: AnyMetric) -> Drawn:
        """What the draws gave by one metric."""
        return Drawn(self.samples, self.statistics[metric.name], self.outcomes)

    def scored(self, metric: AnyMetric) -> BoolArray:
        """(N,) whether every draw was answered, and the metric could score the answers."""
        found: BoolArray = self.answered & self.drawn(metric).scored
        return found

    def value(self, metric: AnyMetric, used: BoolArray) -> float:
        """The metric over the samples in `used`, mean over draws; nan where undefined."""
        return value_of(metric, self.drawn(metric), used)

    def scores(self, metric: AnyMetric) -> FloatArray:
        """(N,) per-sample scores, mean over draws; nan where a draw gave no answer or there is no score."""
        used = self.scored(metric)
        joined, (statistics,) = additive(metric, [self.drawn(metric)], used)
        scores = np.full(len(self.samples), np.nan)
        scores[used] = joined.per_sample(statistics)
        return scores

    def coverage(self, metric: AnyMetric) -> float:
        """Share of samples with an answer that the metric could score; 1 where nothing was asked."""
        return float(self.scored(metric).mean()) if len(self.answered) else 1.0


class ValidationEvaluation(Evaluation):
    """May choose checkpoints and baselines."""


class TestEvaluation(Evaluation):
    """May be compared, once; chooses nothing."""

    __test__ = False  # not a test case, whatever a test collector makes of its name


E = TypeVar("E", bound=Evaluation)


class Answering(Protocol):
    """Where completions come from: a model that generates, or an earlier run."""

    def generate(
        self, candidates: Sequence[Candidate], split: Split, samples: Sequence[Sample]
    ) -> tuple[Generated, ...]: ...


@dataclass(frozen=True)
class Evaluator:
    """Answers and measurement with everything that all evaluations of a run share."""

    folder: RunFolder
    answering: Answering
    estimating: Estimating

    @property
    def metrics(self) -> Sequence[AnyMetric]:
        """Primary first."""
        return self.estimating.metrics

    def on_validation(
        self, arms: Sequence[Arm], samples: Sequence[Sample], *, base: Evaluation | None = None
    ) -> tuple[ValidationEvaluation, ...]:
        """Evaluate arms on validation, all in one batch.

        base: the untuned arm with the same prompt, for a checkpoint's alarms; the first of the arms if not given.
        """
        return self._evaluate(ValidationEvaluation, arms, "validation", samples, base)

    def on_test(self, arms: Sequence[Arm], samples: Sequence[Sample]) -> tuple[TestEvaluation, ...]:
        """Evaluate arms on test, all in one batch; the first is the untuned one with the task's own prompt."""
        return self._evaluate(TestEvaluation, arms, "test", samples, None)

    def _evaluate(
        self, kind: type[E], arms: Sequence[Arm], split: Split, samples: Sequence[Sample], base: Evaluation | None
    ) -> tuple[E, ...]:
        candidates = [candidate for arm in arms for candidate in arm.candidates]
        generated = iter(self.answering.generate(candidates, split, samples))
        found: list[E] = []
        for arm in arms:
            draws = list(islice(generated, len(arm.candidates)))
            untuned = (base or next(iter(found), None)) if arm.checkpoint is not None else None
            found.append(self._evaluation(kind, arm, split, samples, draws, untuned))
        return tuple(found)

    def _evaluation(
        self,
        kind: type[E],
        arm: Arm,
        split: Split,
        samples: Sequence[Sample],
        draws: Sequence[Generated],
        base: Evaluation | None,
    ) -> E:
        outcomes = tuple(draw.outcomes for draw in draws)
        answered = np.array([all(isinstance(o, Completion) for o in row) for row in zip(*outcomes, strict=True)], bool)
        per_draw = self._statistics(arm, split, samples, draws)
        record = self._record(arm, split, samples, draws, per_draw, answered, base)
        return kind(arm, tuple(samples), per_draw, answered, outcomes, record)

    def _statistics(
        self, arm: Arm, split: Split, samples: Sequence[Sample], draws: Sequence[Generated]
    ) -> Mapping[str, FloatArray]:
        """metric -> (draws, N, K), measured once and kept in statistics.npy, metrics side by side along K."""
        name = f"{layout.evaluation(arm.name, split)}/{layout.STATISTICS}"
        stage, inputs = f"measure {arm.name} on {split}", self._inputs(draws)
        if not self.folder.is_done(stage, inputs):
            stacks = [np.stack([measured(m, samples, draw.outcomes) for draw in draws]) for m in self.metrics]
            widths: list[JsonValue] = [array.shape[2] for array in stacks]
            files = {name: _to_npy(np.concatenate(stacks, axis=2)), f"{name}.json": canonical(widths)}
            self.folder.finish(stage, inputs, files)
        stacked = np.load(io.BytesIO(self.folder.read(name)), allow_pickle=False)
        ends = np.cumsum(self.folder.load(list[int], f"{name}.json"))
        parts = np.split(stacked, ends[:-1], axis=2)
        return {metric.name: part for metric, part in zip(self.metrics, parts, strict=True)}

    def _record(
        self,
        arm: Arm,
        split: Split,
        samples: Sequence[Sample],
        draws: Sequence[Generated],
        per_draw: Mapping[str, FloatArray],
        answered: BoolArray,
        base: Evaluation | None,
    ) -> EvaluationRecord:
        name = f"{layout.evaluation(arm.name, split)}/{layout.ESTIMATES}"
        stage, salt = f"estimate {arm.name} on {split}", f"{arm.name} {split}"
        estimating = self.estimating
        inputs = self._inputs(draws) | {
            "statistics": self.folder.digest(f"{layout.evaluation(arm.name, split)}/{layout.STATISTICS}"),
            "seed": estimating.seed,
            "n": estimating.n_resamples,
            "slices": list[JsonValue](estimating.slices),
        }
        if not self.folder.is_done(stage, inputs):
            inside = _asked(draws)
            outcomes = [[draw.outcomes[i] for i in inside] for draw in draws]
            whole = {m.name: Drawn(samples, per_draw[m.name], [draw.outcomes for draw in draws]) for m in self.metrics}
            drawn, used = {name: part_of(one, inside) for name, one in whole.items()}, answered[inside]
            record = EvaluationRecord(
                arm=arm.name,
                split=split,
                shots=arm.shots,
                step=arm.checkpoint.step if arm.checkpoint else None,
                n=len(inside),
                estimates=estimating.whole(drawn, used, salt),
                draws={m.name: estimating.draw_values(m, drawn[m.name], used) for m in self.metrics},
                slices=estimating.by_slice(drawn, used, salt),
                failures=_failure_counts(outcomes),
                finish_reasons=Counter(o.finish_reason for d in outcomes for o in d if isinstance(o, Completion)),
                mean_prompt_tokens=fmean([draw.mean_prompt_tokens for draw in draws]),
                mean_output_tokens=mean_output_tokens(outcomes),
                adapter_sha256=arm.checkpoint.sha256 if arm.checkpoint else None,
                adapter_max_logit_change=draws[0].proof.max_logit_change if draws[0].proof else None,
                alarms=alarms(outcomes, [base.outcomes[0][i] for i in inside] if base is not None else None),
                instruction=arm.instruction,
                parts=estimating.parts(drawn, used, salt) if split == "test" else {},
            )
            self.folder.finish(stage, inputs, {name: canonical(record)})
        return self.folder.load(EvaluationRecord, name)

    def _inputs(self, draws: Sequence[Generated]) -> dict[str, JsonValue]:
        return {
            "outcomes": [self.folder.digest(draw.file) for draw in draws],
            "metrics": [metric.signature for metric in self.metrics],
        }


def _to_npy(array: FloatArray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def _asked(draws: Sequence[Generated]) -> list[int]:
    """Places of the samples that count: what a checkpoint was not asked, having left the race, is not in its record."""
    rows = zip(*(draw.outcomes for draw in draws), strict=True)
    return [place for place, row in enumerate(rows) if UNASKED not in row]


def _failure_counts(draws: Sequence[Sequence[Outcome]]) -> Mapping[str, int]:
    failures = [outcome for draw in draws for outcome in draw if isinstance(outcome, Failure)]
    return Counter(f"{failure.stage}: {failure.reason}" for failure in failures)
