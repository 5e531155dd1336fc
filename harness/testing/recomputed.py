"""What a recomputed metric promises besides: one score, the same in any order, whatever the answers are."""

from __future__ import annotations

import math
from typing import cast

from harness.core.protocols import RecomputedMetric
from harness.testing.metric_trial import TOLERANCE, MetricTrial
from harness.testing.promises import ConformanceError, raised, require, shown
from harness.testing.samples import HOSTILE_TEXTS


def check_recomputed(metric: RecomputedMetric, trial: MetricTrial) -> None:
    """ConformanceError unless the score depends on the rows alone."""
    _recomputes_the_same(metric, trial)
    _recomputes_hostile_text(metric, trial)


def _recomputes_the_same(metric: RecomputedMetric, trial: MetricTrial) -> None:
    first = metric.score(trial.samples, trial.completions)
    require(isinstance(first, float), "score gives one float", shown(first))
    made_again = cast(RecomputedMetric, trial.make())
    tries = {
        "scored again": metric.score(trial.samples, trial.completions),
        "made and scored again": made_again.score(trial.samples, trial.completions),
    }
    for n in range(1, 6):
        samples = [*trial.samples[n:], *trial.samples[:n]]
        turned = metric.score(samples, [*trial.completions[n:], *trial.completions[:n]])
        tries[f"in another order (the first {n} put last)"] = turned
    for which, value in tries.items():
        same = value == first or math.isclose(value, first, rel_tol=TOLERANCE) or (math.isnan(value + first))
        require(same, f"the same answers give the same score, {which}", f"{first}, then {value}")
    metric.score([trial.samples[0]] * 3, [trial.completions[0]] * 3)


def _recomputes_hostile_text(metric: RecomputedMetric, trial: MetricTrial) -> None:
    promise = "whatever a model answers is a wrong answer, never an error; without samples the score is nan"
    for text in HOSTILE_TEXTS:
        try:
            metric.score(trial.samples, [text] * len(trial.samples))
        except Exception as err:
            raise ConformanceError(promise, f"completions {shown(text)} raise {raised(err)}") from err
    try:
        nothing = metric.score([], [])
    except Exception as err:
        raise ConformanceError(promise, f"no samples raise {raised(err)}") from err
    require(math.isnan(nothing), promise, f"no samples give {nothing}")
