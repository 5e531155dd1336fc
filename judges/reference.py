"""A metric of this project as a judge: how near an answer comes to the right ones. Mostly the control to beat."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from pydantic import Field, JsonValue

from harness import registry
from harness.core.judging import Item, Pair, Single, Verdict
from harness.core.protocols import AnyMetric, Generator, JudgeContext, JudgeKind, Metric
from harness.core.specs import Spec
from harness.core.types import Failure, FloatArray, Message, Sample
from harness.data.display import quote
from harness.metrics.context import MetricContext
from judges.options import named_in_options, option_error, parse_options

NO_REFERENCE = Failure("judge", "there is no right answer to compare with")
NO_SCORE = Failure("judge", "the metric is undefined for this answer")


class Options(Spec):
    """Which metric, by the name that `harness list metrics` shows, and its own options."""

    metric: str = Field(min_length=1, description="name of a metric that scores single answers")
    options: dict[str, JsonValue] = Field(default_factory=dict, description="the metric's options")


@dataclass(frozen=True)
class ReferenceJudge:
    """An answer's own score by a metric, from 0 (the metric's worst) to 1 (its best); of pairs half their difference.

    The metric is made for the items at hand, as a task makes it for its samples.
    """

    context: JudgeContext
    options: Options
    make: Callable[[MetricContext], AnyMetric]

    kind = "reference"
    uses_references = True

    @property
    def name(self) -> str:
        """The judge's own name."""
        return self.context.name

    @property
    def takes(self) -> Literal["single", "pair"]:
        """What the labels are of."""
        return "pair" if self.context.label_kind == "pair" else "single"

    @property
    def identity(self) -> Mapping[str, JsonValue]:
        """The metric, its options and the bytes of its file, if it is the user's own."""
        digest = registry.source_digest(self.options.metric, self.context.folder)
        return {"kind": self.kind, "metric": self.options.metric, "options": self.options.options, "source": digest}

    def rate(self, items: Sequence[Item], generator: Generator) -> Iterator[tuple[str, Verdict | Failure]]:
        """(item id, verdict), in the items' order; E-OPTION for a metric that has no score for a single answer."""
        known = [item for item in items if item.references]
        answers = [answer for item in known for answer in _answers(item)]
        samples = [_sample(item) for item in known for _ in _answers(item)]
        scores = iter(self._scores(samples, answers).tolist() if samples else ())
        for item in items:
            own = [next(scores) for _ in _answers(item)] if item.references else []
            yield item.id, _verdict(own)

    def _scores(self, samples: Sequence[Sample], answers: Sequence[str]) -> FloatArray:
        context = MetricContext(self.options.metric, samples, self.options.options, self.context.folder)
        metric = self.make(context)
        if not isinstance(metric, Metric):
            raise option_error(
                self.context,
                f"metric {quote(self.options.metric)} scores sets of answers, not single ones",
                fix="name a metric that is a mean or a sum over answers",
            )
        return scaled(metric.per_sample(metric.measure(samples, answers)), worst=metric.worst, best=metric.best)


def scaled(scores_N: FloatArray, *, worst: float, best: float) -> FloatArray:
    """Scores as shares of the way from worst to best, never beyond either.

    >>> scaled(np.array([0.0, 50.0, 120.0]), worst=100.0, best=0.0).tolist()
    [1.0, 0.5, 0.0]
    """
    return np.asarray(np.clip((scores_N - worst) / (best - worst), 0.0, 1.0), dtype=np.float64)


def _answers(item: Item) -> tuple[str, ...]:
    return item.answers if isinstance(item, Pair) else (item.answer,)


def _sample(item: Single | Pair) -> Sample:
    return Sample(item.id, "validation", (Message("user", item.question),), item.references)


def _verdict(scores: Sequence[float]) -> Verdict | Failure:
    if not scores:
        return NO_REFERENCE
    if not all(math.isfinite(score) for score in scores):
        return NO_SCORE
    if len(scores) == 1:
        return Verdict(scores[0], (scores[0],))
    preferred = 0.5 + (scores[0] - scores[1]) / 2
    return Verdict(preferred, (preferred,), orders=(preferred, preferred))


class ReferenceKind:
    """How it enters."""

    def create(self, context: JudgeContext) -> ReferenceJudge:
        """The judge; E-OPTION for wrong options, E-UNKNOWN for a metric that is not there."""
        options = parse_options(context, Options)
        found = named_in_options(context, "metrics", options.metric)
        return ReferenceJudge(context, options, cast(Callable[[MetricContext], AnyMetric], found))


kind: JudgeKind = ReferenceKind()
