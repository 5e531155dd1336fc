"""Before and after by slice: the same paired test on every slice, Holm over a metric's slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.core.protocols import AnyMetric
from harness.core.records import SliceComparison
from harness.core.types import BoolArray
from harness.pipeline.draws import additive, resamples_for
from harness.pipeline.estimates import clusters_of, rng_for
from harness.pipeline.evaluate import TestEvaluation
from harness.pipeline.prepare import default_effect
from harness.pipeline.slices import Slice, slices_of
from harness.stats.decision import decide
from harness.stats.multiplicity import holm
from harness.stats.paired import Paired
from harness.stats.paired import compare as paired


@dataclass(frozen=True)
class SliceComparing:
    """What all slice comparisons of a run share. metrics: primary first, whose smallest effect the task gives."""

    metrics: Sequence[AnyMetric]
    fields: Sequence[str]
    smallest_effect: float
    seed: int
    n_resamples: int

    def compare(self, candidate: TestEvaluation, baseline: TestEvaluation) -> tuple[SliceComparison, ...]:
        """Every slice by every metric, over the samples that both sides answered."""
        slices = slices_of(candidate.samples, self.fields)
        return tuple(row for metric in self.metrics for row in self._by_metric(metric, slices, candidate, baseline))

    def _by_metric(
        self, metric: AnyMetric, slices: Sequence[Slice], candidate: TestEvaluation, baseline: TestEvaluation
    ) -> list[SliceComparison]:
        masks = [self._used(metric, found, candidate, baseline) for found in slices]
        tests = [
            self._paired(metric, found, used, candidate, baseline) for found, used in zip(slices, masks, strict=True)
        ]
        # One sample or group is no test, and does not count among them.
        adjusted = holm([test.p if test.n_clusters > 1 else None for test in tests])
        rows = zip(slices, masks, tests, adjusted, strict=True)
        return [self._row(metric, found, used, test, p, candidate, baseline) for found, used, test, p in rows]

    def _used(self, metric: AnyMetric, found: Slice, candidate: TestEvaluation, baseline: TestEvaluation) -> BoolArray:
        inside = np.zeros(len(candidate.samples), dtype=np.bool_)
        inside[list(found.inside)] = True
        used: BoolArray = inside & candidate.scored(metric) & baseline.scored(metric)
        return used

    def _paired(
        self, metric: AnyMetric, found: Slice, used: BoolArray, candidate: TestEvaluation, baseline: TestEvaluation
    ) -> Paired:
        joined, (after, before) = additive(metric, [candidate.drawn(metric), baseline.drawn(metric)], used)
        return paired(
            joined,
            after,
            before,
            clusters=clusters_of([sample for sample, keep in zip(candidate.samples, used, strict=True) if keep]),
            n_resamples=resamples_for(metric, self.n_resamples),
            rng=rng_for(self.seed, f"slice {found.name} {metric.name}"),
        )

    def _row(
        self,
        metric: AnyMetric,
        found: Slice,
        used: BoolArray,
        test: Paired,
        p_adjusted: float | None,
        candidate: TestEvaluation,
        baseline: TestEvaluation,
    ) -> SliceComparison:
        effect = self.smallest_effect if metric is self.metrics[0] else default_effect(metric)
        return SliceComparison(
            field=found.field,
            value=found.value,
            metric=metric.name,
            candidate_value=_defined(candidate.value(metric, used)),
            baseline_value=_defined(baseline.value(metric, used)),
            delta=test.delta,
            low=test.low,
            high=test.high,
            p=test.p,
            p_adjusted=p_adjusted,
            n=test.n,
            n_clusters=test.n_clusters,
            smallest_effect=effect,
            answer=decide(
                delta=test.delta, low=test.low, high=test.high, p_adjusted=p_adjusted, smallest_effect=effect
            ),
        )


def _defined(value: float) -> float | None:
    return value if np.isfinite(value) else None
