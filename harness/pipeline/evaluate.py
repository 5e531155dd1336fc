"""One arm on one split: what came back, measured.

Validation and test evaluations are two types: only the first can choose anything.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeAlias, TypeVar
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from harness.core.protocols import Metric
from harness.core.records import Estimate, EvaluationRecord
from harness.core.types import Arm, Completion, Failure, FloatArray, Outcome, Sample, Split
from harness.pipeline.draws import beside, over_draws
from harness.pipeline.generate import Generated, Generation
from harness.stats.resampling import estimate
from harness.store import layout
from harness.store.encoding import canonical

BoolArray: TypeAlias = NDArray[np.bool_]

# Above these, outputs look wrong enough to say so (silent failures S12, S18, S29).
_LENGTH_ALARM = 0.02
_SAME_OUTPUT_ALARM = 0.99
# A field with more values than this is no slice; the largest are shown.
_MOST_SLICES = 50
_LENGTH_RATIO_ALARM = (0.2, 5.0)


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

    @property
    def n_draws(self) -> int:
        """Number of draws of shots."""
        return len(self.arm.candidates)

    def value(self, metric: Metric, used: BoolArray) -> float:
        """The metric over the samples in `used`, mean over draws; nan where undefined."""
        joined = beside(self.statistics[metric.name][:, used], self.n_draws)
        return float(over_draws(metric, self.n_draws).value(joined.sum(axis=0)))

    @property
    def coverage(self) -> float:
        """Share of samples with an answer; 1 where nothing was asked."""
        return float(self.answered.mean()) if len(self.answered) else 1.0


class ValidationEvaluation(Evaluation):
    """May choose checkpoints and baselines."""


class TestEvaluation(Evaluation):
    """May be compared, once; chooses nothing."""

    __test__ = False  # not a test case, whatever a test collector makes of its name


E = TypeVar("E", bound=Evaluation)


@dataclass(frozen=True)
class Evaluator:
    """Generation and measurement with everything that all evaluations of a run share."""

    generation: Generation
    metrics: Sequence[Metric]
    slices: tuple[str, ...]
    seed: int
    n_resamples: int

    def on_validation(
        self, arm: Arm, samples: Sequence[Sample], *, base: Evaluation | None = None
    ) -> ValidationEvaluation:
        """Evaluate an arm on validation. base: the untuned arm with the same prompt, for alarms."""
        return self._evaluate(ValidationEvaluation, arm, "validation", samples, base)

    def on_test(self, arm: Arm, samples: Sequence[Sample], *, base: Evaluation | None = None) -> TestEvaluation:
        """Evaluate an arm on test."""
        return self._evaluate(TestEvaluation, arm, "test", samples, base)

    def _evaluate(self, kind: type[E], arm: Arm, split: Split, samples: Sequence[Sample], base: Evaluation | None) -> E:
        draws = [self.generation.generate(candidate, split, samples) for candidate in arm.candidates]
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
        folder = self.generation.stages.folder
        stage, inputs = f"measure {arm.name} on {split}", self._inputs(draws)
        if not folder.is_done(stage, inputs):
            measured = [np.stack([_measure(m, samples, draw.outcomes) for draw in draws]) for m in self.metrics]
            widths: list[JsonValue] = [array.shape[2] for array in measured]
            files = {name: _to_npy(np.concatenate(measured, axis=2)), f"{name}.json": canonical(widths)}
            folder.finish(stage, inputs, files)
        stacked = np.load(io.BytesIO(folder.read(name)), allow_pickle=False)
        ends = np.cumsum(folder.load(list[int], f"{name}.json"))
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
        folder = self.generation.stages.folder
        stage = f"estimate {arm.name} on {split}"
        inputs = self._inputs(draws) | {
            "seed": self.seed,
            "n": self.n_resamples,
            "slices": list[JsonValue](self.slices),
        }
        if not folder.is_done(stage, inputs):
            estimates = self._estimates(per_draw, samples, answered, f"{arm.name} {split}")
            record = EvaluationRecord(
                arm=arm.name,
                split=split,
                shots=arm.shots,
                step=arm.checkpoint.step if arm.checkpoint else None,
                n=len(samples),
                estimates=estimates,
                draws={m.name: _draw_values(m, per_draw[m.name], answered) for m in self.metrics},
                slices=self._slice_estimates(per_draw, samples, answered, f"{arm.name} {split}"),
                failures=_failure_counts(draws),
                finish_reasons=Counter(o.finish_reason for d in draws for o in d.outcomes if isinstance(o, Completion)),
                mean_prompt_tokens=fmean([len(r.ids) for d in draws for r in d.requests] or [0]),
                mean_output_tokens=_mean_output_tokens([d.outcomes for d in draws]),
                adapter_sha256=arm.checkpoint.sha256 if arm.checkpoint else None,
                adapter_max_logit_change=draws[0].proof.max_logit_change if draws[0].proof else None,
                alarms=_alarms([d.outcomes for d in draws], base),
            )
            folder.finish(stage, inputs, {name: canonical(record)})
        return folder.load(EvaluationRecord, name)

    def _inputs(self, draws: Sequence[Generated]) -> dict[str, JsonValue]:
        folder = self.generation.stages.folder
        return {
            "outcomes": [folder.digest(draw.file) for draw in draws],
            "metrics": [metric.signature for metric in self.metrics],
        }

    def _estimates(
        self, per_draw: Mapping[str, FloatArray], samples: Sequence[Sample], used: BoolArray, salt: str
    ) -> tuple[Estimate, ...]:
        clusters = clusters_of([sample for sample, keep in zip(samples, used, strict=True) if keep])
        return tuple(
            estimate(
                over_draws(metric, len(per_draw[metric.name])),
                beside(per_draw[metric.name][:, used], len(per_draw[metric.name])),
                clusters=clusters,
                failures=int((~used).sum()),
                n_resamples=self.n_resamples,
                rng=rng_for(self.seed, f"{salt} {metric.name}"),
            )
            for metric in self.metrics
        )

    def _slice_estimates(
        self, per_draw: Mapping[str, FloatArray], samples: Sequence[Sample], answered: BoolArray, salt: str
    ) -> Mapping[str, tuple[Estimate, ...]]:
        found: dict[str, tuple[Estimate, ...]] = {}
        for field in self.slices:
            members: dict[str, list[int]] = {}
            for index, sample in enumerate(samples):
                members.setdefault(str(sample.metadata.get(field, "(none)")), []).append(index)
            largest = sorted(members, key=lambda value: (-len(members[value]), value))[:_MOST_SLICES]
            for value in sorted(largest):
                inside, key = members[value], f"{field}={value}"
                arrays = {name: stack[:, inside] for name, stack in per_draw.items()}
                chosen = [samples[index] for index in inside]
                found[key] = self._estimates(arrays, chosen, answered[inside], f"{salt} {key}")
        return found


def rng_for(seed: int, purpose: str) -> np.random.Generator:
    """A generator for one purpose: the same for the same run and name, independent of what was drawn before."""
    return np.random.default_rng([seed, crc32(purpose.encode())])


def clusters_of(samples: Sequence[Sample]) -> list[str] | None:
    """The group of each sample, or None where the task names no group; a sample without one stands alone."""
    if all(sample.group is None for sample in samples):
        return None
    return [sample.group if sample.group is not None else f"\0{sample.id}" for sample in samples]


def _measure(metric: Metric, samples: Sequence[Sample], outcomes: Sequence[Outcome]) -> FloatArray:
    """Statistics (N, K); a failed sample's row is zero and never used."""
    pairs = [(s, o.text) for s, o in zip(samples, outcomes, strict=True) if isinstance(o, Completion)]
    measured = metric.measure([sample for sample, _ in pairs], [text for _, text in pairs])
    whole = np.zeros((len(samples), measured.shape[1]))
    whole[[isinstance(outcome, Completion) for outcome in outcomes]] = measured
    return whole


def _draw_values(metric: Metric, stack: FloatArray, answered: BoolArray) -> tuple[float | None, ...]:
    values = metric.value(stack[:, answered].sum(axis=1))
    return tuple(float(value) if np.isfinite(value) else None for value in np.atleast_1d(values))


def _to_npy(array: FloatArray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=False)
    return stream.getvalue()


def _failure_counts(draws: Sequence[Generated]) -> Mapping[str, int]:
    failures = [outcome for draw in draws for outcome in draw.outcomes if isinstance(outcome, Failure)]
    return Counter(f"{failure.stage}: {failure.reason}" for failure in failures)


def _mean_output_tokens(outcomes: Sequence[Sequence[Outcome]]) -> float:
    return fmean([o.n_tokens for draw in outcomes for o in draw if isinstance(o, Completion)] or [0])


def _alarms(outcomes: Sequence[Sequence[Outcome]], base: Evaluation | None) -> tuple[str, ...]:
    completions = [o for draw in outcomes for o in draw if isinstance(o, Completion)]
    if not completions:
        return ("no sample was answered",)
    alarms = []
    n_cut = sum(o.finish_reason == "length" for o in completions)
    if n_cut > _LENGTH_ALARM * len(completions):
        alarms.append(f"{n_cut} of {len(completions)} completions ran into generation.max_tokens and were cut off")
    if all(not o.text.strip() for o in completions):
        alarms.append("every completion is empty")
    if base is not None:
        alarms.extend(_alarms_against(outcomes[0], base))
    return tuple(alarms)


def _alarms_against(outcomes: Sequence[Outcome], base: Evaluation) -> list[str]:
    """What is strange about a tuned arm's outputs beside those of the untuned model with the same prompt."""
    alarms = []
    same = sum(
        isinstance(a, Completion) and isinstance(b, Completion) and a.text == b.text
        for a, b in zip(outcomes, base.outcomes[0], strict=True)
    )
    if same > _SAME_OUTPUT_ALARM * len(outcomes):
        alarms.append(f"{same} of {len(outcomes)} outputs equal the untuned model's: did tuning do anything?")
    before, after = _mean_output_tokens(base.outcomes[:1]), _mean_output_tokens([outcomes])
    low, high = _LENGTH_RATIO_ALARM
    if before and not low <= after / before <= high:
        alarms.append(f"outputs have {after:.0f} tokens on average, the untuned model's {before:.0f}")
    return alarms
