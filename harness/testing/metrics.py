"""What every metric promises; the statistics of the whole harness rest on it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

import numpy as np
from pydantic import JsonValue

from harness.core.errors import HarnessError
from harness.core.protocols import AnyMetric, Metric, RecomputedMetric
from harness.core.types import FloatArray, Sample
from harness.metrics.context import MetricContext
from harness.testing.promises import ConformanceError, raised, require, shown
from harness.testing.samples import HOSTILE_TEXTS, SAMPLE_SETS, samples_of

Maker: TypeAlias = Callable[[MetricContext], AnyMetric]

_TOLERANCE = 1e-9


@dataclass(frozen=True)
class _Trial:
    """A metric, how to make it again, and what to try it on."""

    make: Callable[[], AnyMetric]
    context: MetricContext
    samples: Sequence[Sample]
    completions: Sequence[str]

    @property
    def references(self) -> list[str]:
        """The first reference of each sample: what perfect answers are."""
        return [sample.references[0] for sample in self.samples]


def check_metric(
    maker: Maker,
    *,
    name: str = "metric",
    options: Mapping[str, JsonValue] | None = None,
    samples: Sequence[Sample] | None = None,
    completions: Sequence[str] | None = None,
    references_are_best: bool = True,
) -> None:
    """ConformanceError unless the metric keeps every promise on these samples.

    maker: `MetricContext -> Metric`, as the entry point names it. samples: at least four, with references the metric
    can read. completions: answers to try, one a sample; otherwise a mixture of right, misplaced and broken ones.
    references_are_best: False for a metric that asks for something else than the reference, such as a length.
    """
    samples = samples_of(SAMPLE_SETS["sentences"]) if samples is None else samples
    if len(samples) < 4:
        raise ValueError("give at least four samples: with fewer, most promises say nothing")
    context = MetricContext(name, tuple(samples), dict(options or {}))
    answers = tuple(completions if completions is not None else _mixture(samples))
    trial = _Trial(lambda: maker(context), context, tuple(samples), answers)
    metric = trial.make()
    _is_described(metric, trial)
    _refuses_unknown_options(maker, context)
    if hasattr(metric, "measure"):
        _check_additive(cast(Metric, metric), trial, references_are_best=references_are_best)
    else:
        require(hasattr(metric, "score"), "a metric has measure, or score where it is recomputed", shown(metric))
        _check_recomputed(metric, trial, references_are_best=references_are_best)


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


def _check_additive(metric: Metric, trial: _Trial, *, references_are_best: bool) -> None:
    _has_one_finite_row_a_sample(metric, trial)
    _is_deterministic(metric, trial)
    _rows_stand_alone(metric, trial)
    _value_takes_many_totals(metric, trial)
    _scores_each_sample(metric, trial)
    _has_no_score_without_samples(metric, trial)
    _survives_hostile_text(metric, trial)

    def score(completions: Sequence[str]) -> float:
        return float(metric.value(metric.measure(trial.samples, completions).sum(axis=0)))

    _lies_within_its_range(metric, trial, score, references_are_best=references_are_best)


def _check_recomputed(metric: RecomputedMetric, trial: _Trial, *, references_are_best: bool) -> None:
    _recomputes_the_same(metric, trial)
    _recomputes_hostile_text(metric, trial)
    _lies_within_its_range(
        metric, trial, lambda texts: metric.score(trial.samples, texts), references_are_best=references_are_best
    )


def _mixture(samples: Sequence[Sample]) -> list[str]:
    """Of five answers three are right, one belongs to another sample and one is no answer at all."""
    right = [sample.references[0] for sample in samples]
    turned = right[1:] + right[:1]
    return [(right[i], right[i], turned[i], right[i], "")[i % 5] for i in range(len(right))]


def _is_described(metric: AnyMetric, trial: _Trial) -> None:
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


def _has_one_finite_row_a_sample(metric: Metric, trial: _Trial) -> None:
    found = metric.measure(trial.samples, trial.completions)
    promise = "measure gives finite float64 statistics (N, K), a row for each sample"
    form = f"{found.dtype} {found.shape} for {len(trial.samples)} samples" if isinstance(found, np.ndarray) else ""
    right = bool(form) and found.dtype == np.float64 and found.ndim == 2 and len(found) == len(trial.samples)
    require(right, promise, form or f"measure gives {shown(found)}")
    bad = np.flatnonzero(~np.isfinite(found).all(axis=1))
    if len(bad):
        row = int(bad[0])
        raise ConformanceError(promise, f"completion {shown(trial.completions[row])} gives {shown(found[row])}")


def _is_deterministic(metric: Metric, trial: _Trial) -> None:
    first = metric.measure(trial.samples, trial.completions)
    for which, other in (("measured again", metric), ("made and measured again", trial.make())):
        again = cast(Metric, other).measure(trial.samples, trial.completions)
        _same_rows(first, again, trial, f"the same answers give the same statistics, {which}")


def _rows_stand_alone(metric: Metric, trial: _Trial) -> None:
    whole = metric.measure(trial.samples, trial.completions)
    n = len(trial.samples)
    order = np.array([*range(1, n, 2), *range(0, n, 2)])[::-1]
    turned = metric.measure([trial.samples[i] for i in order], [trial.completions[i] for i in order])
    restored = np.empty_like(whole)
    restored[order] = turned
    _same_rows(whole, restored, trial, "a row does not depend on the order of the samples")
    single = [metric.measure([s], [c]) for s, c in zip(trial.samples, trial.completions, strict=True)]
    _same_rows(whole, np.concatenate(single), trial, "a row does not depend on the samples measured with it")


def _same_rows(expected: FloatArray, found: FloatArray, trial: _Trial, promise: str) -> None:
    require(expected.shape == found.shape, promise, f"shape {expected.shape}, then {found.shape}")
    different = np.flatnonzero((expected != found).any(axis=1))
    if len(different):
        row = int(different[0])
        sample = trial.samples[row]
        raise ConformanceError(
            promise,
            f"{sample.id} with completion {shown(trial.completions[row])}: {expected[row]}, then {found[row]}",
        )


def _value_takes_many_totals(metric: Metric, trial: _Trial) -> None:
    statistics = metric.measure(trial.samples, trial.completions)
    n = len(statistics)
    weights = np.random.default_rng(0).integers(0, 3, (2, 5, n)).astype(np.float64)
    totals = weights @ statistics
    many = np.asarray(metric.value(totals))
    promise = "value takes totals (..., K) and gives (...), each its own score"
    require(many.shape == (2, 5), promise, f"totals {totals.shape} give {many.shape}")
    for place in np.ndindex(2, 5):
        alone = float(metric.value(totals[place]))
        same = np.isclose(many[place], alone, rtol=_TOLERANCE, atol=_TOLERANCE, equal_nan=True)
        require(bool(same), promise, f"totals {totals[place]} give {many[place]} among others and {alone} alone")


def _scores_each_sample(metric: Metric, trial: _Trial) -> None:
    statistics = metric.measure(trial.samples, trial.completions)
    scores = np.asarray(metric.per_sample(statistics))
    require(
        scores.shape == (len(statistics),),
        "per_sample gives one score for each row",
        f"statistics {statistics.shape} give scores {scores.shape}",
    )


def _has_no_score_without_samples(metric: Metric, trial: _Trial) -> None:
    promise = "without samples there are no rows, no scores, an undefined value (nan) and no warning"
    width = metric.measure(trial.samples[:1], trial.completions[:1]).shape[1]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            statistics = metric.measure([], [])
            scores = np.asarray(metric.per_sample(np.zeros((0, width))))
            value = float(metric.value(np.zeros(width)))
    except Exception as err:
        raise ConformanceError(promise, raised(err)) from err
    require(statistics.shape == (0, width), promise, f"statistics {statistics.shape}, with samples (N, {width})")
    require(scores.shape == (0,) and math.isnan(value), promise, f"scores {scores.shape}, value {value}")


def _survives_hostile_text(metric: Metric, trial: _Trial) -> None:
    promise = "whatever a model answers is a wrong answer with finite statistics, never an error"
    for text in HOSTILE_TEXTS:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                found = metric.measure(trial.samples[:1], [text])
        except Exception as err:
            raise ConformanceError(promise, f"completion {shown(text)} raises {raised(err)}") from err
        require(bool(np.isfinite(found).all()), promise, f"completion {shown(text)} gives {shown(found)}")


def _lies_within_its_range(
    metric: AnyMetric, trial: _Trial, score: Callable[[Sequence[str]], float], *, references_are_best: bool
) -> None:
    low, high = sorted((metric.best, metric.worst))
    tries = {
        "the given completions": trial.completions,
        "the references": trial.references,
        "empty answers": [""] * len(trial.samples),
    }
    for what, completions in tries.items():
        value = score(completions)
        within = math.isnan(value) or low - _TOLERANCE <= value <= high + _TOLERANCE
        require(within, "values lie between worst and best", f"{what} get {value}, outside {low} to {high}")
    perfect = score(trial.references)
    if references_are_best and not math.isnan(perfect):
        right = math.isclose(perfect, metric.best, rel_tol=_TOLERANCE, abs_tol=_TOLERANCE)
        require(right, "the references themselves get the best value", f"they get {perfect}, best is {metric.best}")


def _recomputes_the_same(metric: RecomputedMetric, trial: _Trial) -> None:
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
        same = value == first or math.isclose(value, first, rel_tol=_TOLERANCE) or (math.isnan(value + first))
        require(same, f"the same answers give the same score, {which}", f"{first}, then {value}")
    metric.score([trial.samples[0]] * 3, [trial.completions[0]] * 3)


def _recomputes_hostile_text(metric: RecomputedMetric, trial: _Trial) -> None:
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
