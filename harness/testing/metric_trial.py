"""What a metric is tried on, and how to make it again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness.core.protocols import AnyMetric
from harness.core.types import Sample
from harness.metrics.context import MetricContext

# How far two sums of the same numbers may be apart.
TOLERANCE = 1e-9


@dataclass(frozen=True)
class MetricTrial:
    """A metric, how to make it again, and what to try it on."""

    make: Callable[[], AnyMetric]
    context: MetricContext
    samples: Sequence[Sample]
    completions: Sequence[str]

    @property
    def references(self) -> list[str]:
        """The first reference of each sample: what perfect answers are."""
        return [sample.references[0] for sample in self.samples]
