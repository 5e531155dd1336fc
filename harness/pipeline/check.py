"""What can be known without a model: metrics on the references themselves, one sample's tokens, the run's plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from harness.core.errors import HarnessError
from harness.core.protocols import AnyMetric, Metric, TrainPlan
from harness.core.types import Arm, Candidate, Request, Sample
from harness.pipeline.arms import untuned_arms
from harness.pipeline.judging import JudgeMetric
from harness.pipeline.prepare import Plugins, Prepared
from harness.pipeline.rescore import Recorded
from harness.pipeline.words import number

# A candidate and the samples that it is asked.
Round: TypeAlias = tuple[Candidate, Sequence[Sample]]


@dataclass(frozen=True, slots=True)
class MetricCheck:
    """What a metric gives the references themselves; `ok` when that is its declared best, or undefined for a reason."""

    metric: str
    value: float | None
    best: float
    ok: bool
    verdict: str

    def row(self) -> list[str]:
        """The check as table cells."""
        return [self.metric, number(self.value), number(self.best), self.verdict]


def check_metrics(prepared: Prepared) -> tuple[MetricCheck, ...]:
    """Score the references as if they were answers: a metric that finds fault with them is wrong here.

    Not judges: what they make of good answers is for people's labels to say.
    """
    plain = [metric for metric in prepared.metrics if not isinstance(metric, JudgeMetric)]
    return tuple(_check(metric, prepared.dataset.samples) for metric in plain)


def _check(metric: AnyMetric, samples: Sequence[Sample]) -> MetricCheck:
    answers = [sample.references[0] for sample in samples]
    scores = None
    if isinstance(metric, Metric):
        statistics = metric.measure(samples, answers)
        value, scores = float(metric.value(statistics.sum(axis=0))), metric.per_sample(statistics)
    else:
        value = metric.score(samples, answers)
    if not np.isfinite(value):
        return MetricCheck(metric.name, None, metric.best, True, f"undefined on these references ({metric.signature})")
    ok = bool(np.isclose(value, metric.best, rtol=1e-9))
    if ok:
        return MetricCheck(metric.name, value, metric.best, True, "ok")
    if scores is None or not np.isfinite(scores).any():
        return MetricCheck(metric.name, value, metric.best, False, f"not perfect; {metric.signature}")
    worst = samples[int(np.nanargmin(scores if metric.higher_is_better else -scores))]
    return MetricCheck(
        metric.name, value, metric.best, False, f"not perfect, e.g. {worst.id} ({worst.origin}); {metric.signature}"
    )


@dataclass(frozen=True, slots=True)
class ShownSample:
    """One sample as the model meets it. tokens: (id, text, in the inference prompt, carries loss)."""

    id: str
    prompt: str
    references: tuple[str, ...]
    tokens: tuple[tuple[int, str, bool, bool], ...]
    stop_ids: tuple[int, ...]

    def lines(self) -> list[str]:
        """For a terminal: the prompt, then every token with what it is at inference and in training."""
        head = [f"sample {self.id}", "", *self.prompt.split("\n"), ""]
        head += [f"reference: {reference}" for reference in self.references]
        head += ["", f"{'id':>7}  {'inference':9}  {'training':8}  token"]
        rows = [
            f"{token:7d}  {'prompt' if given else '':9}  {'loss' if loss else 'context':8}  {text!r}"
            for token, text, given, loss in self.tokens
        ]
        return [*head, *rows, f"generation stops at token ids {', '.join(map(str, self.stop_ids))}"]


def show_sample(prepared: Prepared, sample_id: str) -> ShownSample:
    """The rendered prompt and token ids of a sample, in training and at inference."""
    samples = prepared.dataset.samples
    found = [s for s in samples if s.id == sample_id] if sample_id else list(samples[:1])
    if not found:
        raise HarnessError(
            f"there is no sample {sample_id!r}" if sample_id else "the task has no samples",
            fix="name an id that stands in the data, e.g. --sample " + (samples[0].id if samples else "ID"),
            code="E-UNKNOWN",
        )
    sample, renderer = found[0], prepared.renderer
    row, n_prompt = renderer.train_row(sample), len(renderer.prompt_ids(sample))
    spelled = [prepared.backend.tokenizer.decode([token], skip_special=False) for token in row.ids]
    tokens = zip(row.ids, spelled, (i < n_prompt for i in range(len(row.ids))), row.loss, strict=True)
    return ShownSample(
        sample.id, renderer.prompt_text(sample), sample.references, tuple(tokens), tuple(renderer.stop_ids)
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do and what it will cost, before it does anything."""

    run_id: str
    training: TrainPlan
    arms: tuple[str, ...]
    n_generations: int
    prompt_tokens: int
    max_output_tokens: int

    def lines(self) -> list[str]:
        """For a terminal."""
        return [
            f"run {self.run_id}",
            *self._training(),
            f"baselines: {', '.join(self.arms)}",
            f"generations: {self.n_generations}, {self.prompt_tokens} prompt tokens, "
            f"at most {self.max_output_tokens} generated ones",
        ]

    def _training(self) -> list[str]:
        training = self.training
        if not training.checkpoint_steps:
            return ["nothing is trained"]
        return [
            f"train: {training.n_rows} rows, {training.n_steps} steps, {training.n_tokens} tokens, "
            f"{training.n_target_tokens} of them with loss",
            f"checkpoints after steps {', '.join(map(str, training.checkpoint_steps))}",
        ]


def make_plan(prepared: Prepared, plugins: Plugins) -> Plan:
    """Count what the run will train and generate."""
    training = plugins.trainer.plan(prepared.train_rows, prepared.trainer_spec)
    n_tokens = [len(request.ids) for request in planned_requests(prepared, len(training.checkpoint_steps))]
    candidates = [candidate for arm in untuned_arms(prepared.spec) for candidate in arm.candidates]
    return Plan(
        run_id=prepared.run_id,
        training=training,
        arms=tuple(candidate.name for candidate in candidates),
        n_generations=len(n_tokens),
        prompt_tokens=sum(n_tokens),
        max_output_tokens=len(n_tokens) * prepared.spec.task.generation.max_tokens,
    )


def planned_requests(prepared: Prepared, n_checkpoints: int) -> Iterator[Request]:
    """All that a run can ask for, whatever the cache has; those of checkpoints without their weights."""
    return requests_of(prepared, planned_rounds(prepared, n_checkpoints))


def planned_rounds(prepared: Prepared, n_checkpoints: int) -> list[Round]:
    """Who can be asked what in a run: candidates, and a checkpoint each that there is not yet.

    Of other wordings, tried on validation, one may be asked the test samples too: the one with most shots and words.
    """
    validation, test = prepared.dataset.split("validation"), prepared.dataset.split("test")
    arms = untuned_arms(prepared.spec)
    other = max((arm for arm in arms if arm.instruction is not None), key=_size, default=None)
    rounds: list[Round] = [
        (candidate, [*validation, *test] if arm.instruction is None or arm is other else list(validation))
        for arm in arms
        for candidate in arm.candidates
    ]
    rounds += [(Candidate("checkpoint"), list(validation))] * n_checkpoints
    rounds += [(Candidate("chosen checkpoint"), list(test))] if n_checkpoints else []
    return rounds


def planned_anew(prepared: Prepared, recorded: Recorded) -> list[Round]:
    """Who can be asked what by a new choice: one other wording and one checkpoint that were not asked the test samples.

    Of the wordings the one with most shots and words; whatever the cache has.
    """
    arms = [arm for arm in untuned_arms(prepared.spec) if not recorded.answered(arm.candidates[0].name, "test")]
    other = max(arms, key=_size, default=None)
    candidates = [] if other is None else [*other.candidates]
    if any(not recorded.answered(checkpoint.name, "test") for checkpoint in recorded.checkpoints()):
        candidates.append(Candidate("chosen checkpoint"))
    test = prepared.dataset.split("test")
    return [(candidate, test) for candidate in candidates]


def requests_of(prepared: Prepared, rounds: Sequence[Round]) -> Iterator[Request]:
    """What the candidates are asked of their samples."""
    for candidate, samples in rounds:
        renderer = prepared.renderers.of(candidate.instruction)
        for sample in samples:
            shots = prepared.shots.shots(sample, k=candidate.shots, draw=candidate.draw)
            yield Request(sample.id, renderer.prompt_ids(sample, shots), prepared.sampling, renderer.stop_ids)


def _size(arm: Arm) -> tuple[int, int, int]:
    return len(arm.candidates), arm.shots, len(arm.instruction or "")
