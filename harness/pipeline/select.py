"""Choose a checkpoint and the best untuned candidate, on validation evaluations only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.core.errors import EnvironmentFault
from harness.core.protocols import AnyMetric
from harness.core.records import Selection
from harness.core.specs import SelectSpec
from harness.pipeline.draws import additive_steps, resamples_for
from harness.pipeline.estimates import clusters_of, rng_for
from harness.pipeline.evaluate import ValidationEvaluation
from harness.stats.selection import Choice, choose


def select(
    checkpoints: Sequence[ValidationEvaluation],
    untuned: Sequence[ValidationEvaluation],
    *,
    metric: AnyMetric,
    spec: SelectSpec,
    seed: int,
    n_resamples: int,
) -> Selection:
    """The checkpoint to test and the untuned arm to beat, both chosen by the primary metric on validation.

    A candidate that answered fewer than `spec.min_coverage` of the samples cannot be chosen. Scores are compared on
    the samples that all eligible checkpoints answered. Without checkpoints only the untuned arm is chosen.
    """
    arms = (*untuned, *checkpoints)
    excluded = {e.arm.name: f"answered {e.coverage:.1%} of the samples" for e in arms if _too_few(e, spec)}
    eligible = [e for e in checkpoints if not _too_few(e, spec)]
    if checkpoints and not eligible:
        raise EnvironmentFault(
            f"no checkpoint answered {spec.min_coverage:.0%} of the validation samples, so none can be chosen",
            fix="see evaluations/*/outcomes.jsonl for the reasons; lower select.min_coverage to choose all the same",
            code="E-COVERAGE",
            resumable=False,
        )
    if not untuned[0].samples:
        return _without_validation(checkpoints, metric, spec)
    choice = _choose(eligible, metric, spec, seed, n_resamples) if eligible else None
    return Selection(
        metric=metric.name,
        rule=spec.rule,
        chosen_step=choice.chosen_step if choice else None,
        best_step=choice.best_step if choice else None,
        tied_steps=tuple(choice.tied_steps) if choice else (),
        scores={e.arm.name: e.record.estimate(metric.name) for e in arms},
        optimism=choice.optimism if choice else None,
        best_untuned=_best_untuned(untuned, metric, spec),
        no_signal=choice.no_signal if choice else False,
        excluded=excluded,
    )


def _choose(
    eligible: Sequence[ValidationEvaluation], metric: AnyMetric, spec: SelectSpec, seed: int, n_resamples: int
) -> Choice:
    common = np.logical_and.reduce([e.answered for e in eligible])
    samples = [sample for sample, keep in zip(eligible[0].samples, common, strict=True) if keep]
    joined, statistics = additive_steps(metric, [e.drawn(metric) for e in eligible], common)
    return choose(
        joined,
        {_step(e): one for e, one in zip(eligible, statistics, strict=True)},
        clusters=clusters_of(samples),
        rule=spec.rule,
        n_resamples=resamples_for(metric, n_resamples),
        rng=rng_for(seed, "selection"),
    )


def _without_validation(checkpoints: Sequence[ValidationEvaluation], metric: AnyMetric, spec: SelectSpec) -> Selection:
    """The last checkpoint: there is nothing to choose by, and the audit let this pass only for `select.rule=last`."""
    step = _step(checkpoints[-1]) if checkpoints else None
    return Selection(
        metric=metric.name,
        rule=spec.rule,
        chosen_step=step,
        best_step=step,
        tied_steps=() if step is None else (step,),
        scores={},
        optimism=None,
        best_untuned=None,
        no_signal=False,
        excluded={},
    )


def should_stop(evaluations: Sequence[ValidationEvaluation], metric: AnyMetric, spec: SelectSpec) -> bool:
    """Whether the last `spec.patience` checkpoints brought nothing better than what was there before them.

    Never where nothing was measured on one of the two sides.
    """
    if spec.patience is None or len(evaluations) <= spec.patience:
        return False
    scores = [_watched(evaluation, metric, spec) for evaluation in evaluations]
    earlier, latest = max(scores[: -spec.patience]), max(scores[-spec.patience :])
    return bool(np.isfinite(earlier) and np.isfinite(latest) and latest <= earlier)


def _watched(evaluation: ValidationEvaluation, metric: AnyMetric, spec: SelectSpec) -> float:
    """What early stopping watches, higher is better; an undefined score is never the best."""
    checkpoint = evaluation.arm.checkpoint
    if spec.stop_on == "loss" and checkpoint is not None:
        return -np.inf if checkpoint.validation_loss is None else -checkpoint.validation_loss
    value = evaluation.record.estimate(metric.name).value
    if value is None:
        return -np.inf
    return value if metric.higher_is_better else -value


def _best_untuned(untuned: Sequence[ValidationEvaluation], metric: AnyMetric, spec: SelectSpec) -> str:
    """Best on the samples that all eligible arms answered; a tie goes to the shorter prompt.

    With none eligible or none defined, the plain zero-shot arm.
    """
    eligible = [e for e in untuned if not _too_few(e, spec)]
    if not eligible:
        return untuned[0].arm.name
    common = np.logical_and.reduce([e.answered for e in eligible])
    sign = 1 if metric.higher_is_better else -1
    values = [sign * e.value(metric, common) for e in eligible]
    ranked = [
        (-value, e.arm.shots, e.arm.name) for value, e in zip(values, eligible, strict=True) if np.isfinite(value)
    ]
    return min(ranked)[2] if ranked else untuned[0].arm.name


def _too_few(evaluation: ValidationEvaluation, spec: SelectSpec) -> bool:
    return evaluation.coverage < spec.min_coverage


def _step(evaluation: ValidationEvaluation) -> int:
    assert evaluation.arm.checkpoint is not None
    return evaluation.arm.checkpoint.step
