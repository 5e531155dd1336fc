"""Numbers of one arm on one split: estimates of every metric, of its parts, and by slice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from harness.core.protocols import AnyMetric, Metric, MetricWithParts
from harness.core.records import Estimate
from harness.core.types import BoolArray, Sample
from harness.pipeline.draws import Drawn, additive, over_draws, resamples_for
from harness.pipeline.slices import slices_of
from harness.stats.resampling import estimate, estimate_parts


@dataclass(frozen=True)
class Estimating:
    """What all estimates of a run share. slices: metadata fields to report by."""

    metrics: Sequence[AnyMetric]
    slices: Sequence[str]
    seed: int
    n_resamples: int

    def whole(self, drawn: Mapping[str, Drawn], used: BoolArray, salt: str) -> tuple[Estimate, ...]:
        """Every metric over the samples in `used`. drawn: by metric's name; salt: what the resamples are named by."""
        return tuple(self._estimate(metric, drawn[metric.name], used, salt) for metric in self.metrics)

    def by_slice(self, drawn: Mapping[str, Drawn], used: BoolArray, salt: str) -> Mapping[str, tuple[Estimate, ...]]:
        """Every metric on every slice: "field=value" -> estimates."""
        samples = next(iter(drawn.values())).samples
        return {
            found.name: self.whole(
                {name: part_of(one, found.inside) for name, one in drawn.items()},
                used[list(found.inside)],
                f"{salt} {found.name}",
            )
            for found in slices_of(samples, self.slices)
        }

    def parts(self, drawn: Mapping[str, Drawn], used: BoolArray, salt: str) -> Mapping[str, tuple[Estimate, ...]]:
        """The components of every metric that has any, all of a metric's on the same resamples."""
        return {
            metric.name: self._parts(metric, drawn[metric.name], used, f"{salt} {metric.name} parts")
            for metric in self.metrics
            if isinstance(metric, MetricWithParts)
        }

    def draw_values(self, metric: AnyMetric, drawn: Drawn, used: BoolArray) -> tuple[float | None, ...]:
        """The metric of each draw alone; None where it is undefined."""
        return tuple(
            _value(metric, Drawn(drawn.samples, drawn.statistics[[place]], [outcomes]), used)
            for place, outcomes in enumerate(drawn.outcomes)
        )

    def _estimate(self, metric: AnyMetric, drawn: Drawn, used: BoolArray, salt: str) -> Estimate:
        used = used & drawn.scored
        joined, (statistics,) = additive(metric, [drawn], used)
        return estimate(
            joined,
            statistics,
            clusters=clusters_of(_kept(drawn.samples, used)),
            failures=int((~used).sum()),
            n_resamples=resamples_for(metric, self.n_resamples),
            rng=rng_for(self.seed, f"{salt} {metric.name}"),
        )

    def _parts(self, metric: MetricWithParts, drawn: Drawn, used: BoolArray, salt: str) -> tuple[Estimate, ...]:
        n_draws, width = len(drawn.outcomes), drawn.statistics.shape[2]
        parts: list[tuple[Metric, Sequence[int]]] = [
            (over_draws(part.metric, n_draws), [d * width + column for d in range(n_draws) for column in part.columns])
            for part in metric.parts()
        ]
        _, (statistics,) = additive(metric, [drawn], used)
        return estimate_parts(
            parts,
            statistics,
            clusters=clusters_of(_kept(drawn.samples, used)),
            failures=int((~used).sum()),
            n_resamples=self.n_resamples,
            rng=rng_for(self.seed, salt),
        )


def rng_for(seed: int, purpose: str) -> np.random.Generator:
    """A generator for one purpose: the same for the same run and name, independent of what was drawn before."""
    return np.random.default_rng([seed, crc32(purpose.encode())])


def clusters_of(samples: Sequence[Sample]) -> list[str] | None:
    """The group of each sample, or None where the task names no group; a sample without one stands alone."""
    if all(sample.group is None for sample in samples):
        return None
    return [sample.group if sample.group is not None else f"\0{sample.id}" for sample in samples]


def value_of(metric: AnyMetric, drawn: Drawn, used: BoolArray) -> float:
    """The metric over the samples in `used`, mean over draws; nan where undefined."""
    joined, (statistics,) = additive(metric, [drawn], used & drawn.scored)
    return float(joined.value(statistics.sum(axis=0)))


def _value(metric: AnyMetric, drawn: Drawn, used: BoolArray) -> float | None:
    value = value_of(metric, drawn, used)
    return value if np.isfinite(value) else None


def _kept(samples: Sequence[Sample], used: BoolArray) -> list[Sample]:
    return [sample for sample, keep in zip(samples, used, strict=True) if keep]


def part_of(drawn: Drawn, inside: Sequence[int]) -> Drawn:
    """The same for the samples at these places."""
    return Drawn(
        [drawn.samples[i] for i in inside],
        drawn.statistics[:, list(inside)],
        [[outcomes[i] for i in inside] for outcomes in drawn.outcomes],
    )
