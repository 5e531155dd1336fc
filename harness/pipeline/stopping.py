"""When training stops early: the last few checkpoints brought nothing better on validation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.core.protocols import AnyMetric
from harness.core.specs import SelectSpec
from harness.core.types import Checkpoint
from harness.pipeline.evaluate import ValidationEvaluation


def by_loss(checkpoints: Sequence[Checkpoint], spec: SelectSpec) -> bool:
    """Whether to stop after these, by their validation losses."""
    losses = [checkpoint.validation_loss for checkpoint in checkpoints]
    return _stalled([-np.inf if loss is None else -loss for loss in losses], spec)


def by_metric(evaluations: Sequence[ValidationEvaluation], metric: AnyMetric, spec: SelectSpec) -> bool:
    """Whether to stop after these, by their scores; an undefined score is never the best."""
    values = [evaluation.record.estimate(metric.name).value for evaluation in evaluations]
    sign = 1 if metric.higher_is_better else -1
    return _stalled([-np.inf if value is None else sign * value for value in values], spec)


def _stalled(scores: Sequence[float], spec: SelectSpec) -> bool:
    """Whether the last `spec.patience` bring nothing better than what was there before them.

    scores: higher is better. Never stalled where nothing was measured on one of the two sides.
    """
    if spec.patience is None or len(scores) <= spec.patience:
        return False
    earlier, latest = max(scores[: -spec.patience]), max(scores[-spec.patience :])
    return bool(np.isfinite(earlier) and np.isfinite(latest) and latest <= earlier)
