"""The order of a run's work on validation: baselines and checkpoints in as few batches as the backend allows.

Where training can stop for a moment, each checkpoint is evaluated as it comes, and people see its score. An engine that
must give its memory away first trains to the end, and then answers for all candidates in one batch. So do checkpoints
that race each other.
"""

from __future__ import annotations

from harness.core.types import Checkpoint
from harness.pipeline import stopping
from harness.pipeline.arms import tuned_arm, untuned_arms
from harness.pipeline.evaluate import Evaluator, ValidationEvaluation
from harness.pipeline.prepare import Plugins, Prepared
from harness.pipeline.racing import racing
from harness.pipeline.stages import Stages
from harness.pipeline.tune import tune

Evaluations = tuple[ValidationEvaluation, ...]


def on_validation(
    prepared: Prepared, plugins: Plugins, stages: Stages, evaluator: Evaluator
) -> tuple[Evaluations, Evaluations]:
    """The evaluations of the untuned arms, and those of every checkpoint in order of steps."""
    if prepared.backend.trains_in_place and not prepared.spec.select.race:
        return _as_they_come(prepared, plugins, stages, evaluator)
    return _train_first(prepared, plugins, stages, evaluator)


def _as_they_come(
    prepared: Prepared, plugins: Plugins, stages: Stages, evaluator: Evaluator
) -> tuple[Evaluations, Evaluations]:
    samples, spec = prepared.dataset.split("validation"), prepared.spec
    untuned = evaluator.on_validation(untuned_arms(spec), samples)
    found: dict[str, ValidationEvaluation] = {}

    def evaluate(checkpoint: Checkpoint) -> ValidationEvaluation:
        (found[checkpoint.sha256],) = evaluator.on_validation([tuned_arm(checkpoint)], samples, base=untuned[0])
        return found[checkpoint.sha256]

    seen: list[ValidationEvaluation] = []

    def enough(checkpoint: Checkpoint) -> bool:
        seen.append(evaluate(checkpoint))
        if spec.select.stop_on == "loss":
            return stopping.by_loss([e.arm.checkpoint for e in seen if e.arm.checkpoint], spec.select)
        return stopping.by_metric(seen, evaluator.metrics[0], spec.select)

    checkpoints = tune(prepared, plugins, stages, enough)
    return untuned, tuple(found.get(each.sha256) or evaluate(each) for each in checkpoints)


def _train_first(
    prepared: Prepared, plugins: Plugins, stages: Stages, evaluator: Evaluator
) -> tuple[Evaluations, Evaluations]:
    spec, seen = prepared.spec, list[Checkpoint]()

    def enough(checkpoint: Checkpoint) -> bool:
        seen.append(checkpoint)
        return stopping.by_loss(seen, spec.select)

    checkpoints = tune(prepared, plugins, stages, enough)
    untuned, tuned = untuned_arms(spec), tuple(map(tuned_arm, checkpoints))
    samples = prepared.dataset.split("validation")
    if spec.select.race:
        base = evaluator.on_validation(untuned, samples)
        return base, racing(evaluator, spec).on_validation(tuned, samples, base=base[0])
    found = evaluator.on_validation((*untuned, *tuned), samples)
    return found[: len(untuned)], found[len(untuned) :]
