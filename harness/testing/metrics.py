"""What every metric promises; the statistics of the whole harness rest on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from pydantic import JsonValue

from harness.core.errors import HarnessError
from harness.core.protocols import AnyMetric, Metric
from harness.core.types import Sample
from harness.metrics.context import MetricContext
from harness.testing.additive import check_additive
from harness.testing.metric_trial import TOLERANCE, MetricTrial
from harness.testing.promises import ConformanceError, raised, require, shown
from harness.testing.recomputed import check_recomputed
from harness.testing.samples import SAMPLE_SETS, samples_of

Maker: TypeAlias = Callable[[MetricContext], AnyMetric]


def check_metric(
    maker: Maker,
    *,
    name: str = "metric",
    options: Mapping[str, JsonValue] | None = None,
    samples: Sequence[Sample] | None = None,
    completions: Sequence[str] | None = None,
    references_are_best: bool = True,
    silence_is_worst: bool = True,
) -> None:
    """ConformanceError unless the metric keeps every promise on these samples.

    maker: `MetricContext -> Metric`, as the entry point names it. samples: at least four, with references the metric
    can read. completions: answers to try, one a sample; otherwise a mixture of right, misplaced and broken ones.
    references_are_best: False for a metric that asks for something else than the reference, such as a length.
    silence_is_worst: False for one whose answers can be worse than none, as its documentation says; asked only of
    metrics whose references are best, and nothing empty among them.
    """
    samples = samples_of(SAMPLE_SETS["sentences"]) if samples is None else samples
    if len(samples) < 4:
        raise ValueError("give at least four samples: with fewer, most promises say nothing")
    context = MetricContext(name, tuple(samples), dict(options or {}))
    answers = tuple(completions if completions is not None else _mixture(samples))
    trial = MetricTrial(lambda: maker(context), context, tuple(samples), answers)
    metric = trial.make()
    _is_described(metric, trial)
    _refuses_unknown_options(maker, context)
    if isinstance(metric, Metric):
        check_additive(metric, trial)
    else:
        promise = "a metric has measure, value and per_sample, or score where it is recomputed"
        require(hasattr(metric, "score"), promise, shown(type(metric)))
        check_recomputed(metric, trial)
    score = _score_of(metric, trial)
    _lies_within_its_range(metric, trial, score, references_are_best=references_are_best)
    if references_are_best and silence_is_worst and all(reference.strip() for reference in trial.references):
        _does_not_reward_silence(metric, score([""] * len(trial.samples)))


def check_on_any_samples(maker: Maker, *, name: str) -> str:
    """Hold a metric to its promises on the first of `SAMPLE_SETS` whose references it can read; the set's name.

    "" where it refuses them all, because it needs settings or other data. That perfect answers get the best value is
    left out: whether these references are perfect for a metric nobody can say without its task.
    """
    for kind, references in SAMPLE_SETS.items():
        samples = tuple(samples_of(references))
        try:
            metric = maker(MetricContext(name, samples, {}))
            measure = metric.measure if isinstance(metric, Metric) else metric.score
            measure(samples, references)
        except HarnessError:
            continue
        check_metric(maker, name=name, samples=samples, references_are_best=False)
        return kind
    return ""


def _score_of(metric: AnyMetric, trial: MetricTrial) -> Callable[[Sequence[str]], float]:
    """Completions to the value they get."""
    if not isinstance(metric, Metric):
        return lambda completions: metric.score(trial.samples, completions)
    return lambda completions: float(metric.value(metric.measure(trial.samples, completions).sum(axis=0)))


def _mixture(samples: Sequence[Sample]) -> list[str]:
    """Of five answers three are right, one belongs to another sample and one is no answer at all."""
    right = [sample.references[0] for sample in samples]
    turned = right[1:] + right[:1]
    return [(right[i], right[i], turned[i], right[i], "")[i % 5] for i in range(len(right))]


def _is_described(metric: AnyMetric, trial: MetricTrial) -> None:
    require(
        metric.name == trial.context.name,
        "a metric's name is the one it was made with",
        f"made as {trial.context.name!r}, calls itself {shown(metric.name)}",
    )
    signature, again = metric.signature, trial.make().signature
    require(
        isinstance(signature, str) and bool(signature.strip()), "a metric has a signature", f"it is {shown(signature)}"
    )
    require(
        signature == again,
        "the same settings give the same signature",
        f"{shown(signature)}, and made again {shown(again)}",
    )
    ends = f"best {metric.best!r}, worst {metric.worst!r}, higher_is_better {metric.higher_is_better!r}"
    require(
        math.isfinite(metric.best) and not math.isnan(metric.worst) and metric.best != metric.worst,
        "best and worst are two different numbers, and best is finite",
        ends,
    )
    require((metric.best > metric.worst) == metric.higher_is_better, "the direction agrees with best and worst", ends)


def _refuses_unknown_options(maker: Maker, context: MetricContext) -> None:
    promise = "an option that the metric does not know is a HarnessError, or a misspelt one would do nothing"
    unknown = "no_such_option"
    try:
        maker(MetricContext(context.name, context.samples, {**context.options, unknown: 1}))
    except HarnessError:
        return
    except Exception as err:
        raise ConformanceError(promise, f"{unknown} = 1 raises {raised(err)}") from err
    raise ConformanceError(promise, f"{unknown} = 1 is accepted")


def _lies_within_its_range(
    metric: AnyMetric, trial: MetricTrial, score: Callable[[Sequence[str]], float], *, references_are_best: bool
) -> None:
    low, high = sorted((metric.best, metric.worst))
    tries = {
        "the given completions": trial.completions,
        "the references": trial.references,
        "empty answers": [""] * len(trial.samples),
    }
    for what, completions in tries.items():
        value = score(completions)
        within = math.isnan(value) or low - TOLERANCE <= value <= high + TOLERANCE
        require(within, "values lie between worst and best", f"{what} get {value}, outside {low} to {high}")
    perfect = score(trial.references)
    if references_are_best and not math.isnan(perfect):
        right = math.isclose(perfect, metric.best, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        require(right, "the references themselves get the best value", f"they get {perfect}, best is {metric.best}")


def _does_not_reward_silence(metric: AnyMetric, silence: float) -> None:
    """Undefined is no reward either."""
    reward = (silence - metric.worst) * (1 if metric.higher_is_better else -1)
    promise = "no answer at all is no better than the worst"
    require(not reward > TOLERANCE, promise, f"empty answers get {silence}, worst is {metric.worst}")
