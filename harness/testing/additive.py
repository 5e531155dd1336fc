"""What a metric of additive statistics promises besides: rows that stand alone, and a formula on their sum."""

from __future__ import annotations

import math
import warnings
from typing import cast

import numpy as np

from harness.core.protocols import Metric, MetricWithParts
from harness.core.types import FloatArray
from harness.testing.metric_trial import TOLERANCE, MetricTrial
from harness.testing.promises import ConformanceError, raised, require, shown
from harness.testing.samples import HOSTILE_TEXTS


def check_additive(metric: Metric, trial: MetricTrial) -> None:
    """ConformanceError unless the statistics and the formula on their sum are sound."""
    _has_one_finite_row_a_sample(metric, trial)
    _is_deterministic(metric, trial)
    _rows_stand_alone(metric, trial)
    _value_takes_many_totals(metric, trial)
    _scores_each_sample(metric, trial)
    _has_no_score_without_samples(metric, trial)
    _has_parts_of_itself(metric, trial)
    _survives_hostile_text(metric, trial)


def _has_one_finite_row_a_sample(metric: Metric, trial: MetricTrial) -> None:
    found = metric.measure(trial.samples, trial.completions)
    promise = "measure gives finite float64 statistics (N, K), a row for each sample"
    form = f"{found.dtype} {found.shape} for {len(trial.samples)} samples" if isinstance(found, np.ndarray) else ""
    right = bool(form) and found.dtype == np.float64 and found.ndim == 2 and len(found) == len(trial.samples)
    require(right, promise, form or f"measure gives {shown(found)}")
    bad = np.flatnonzero(~np.isfinite(found).all(axis=1))
    if len(bad):
        row = int(bad[0])
        raise ConformanceError(promise, f"completion {shown(trial.completions[row])} gives {shown(found[row])}")


def _is_deterministic(metric: Metric, trial: MetricTrial) -> None:
    first = metric.measure(trial.samples, trial.completions)
    for which, other in (("measured again", metric), ("made and measured again", trial.make())):
        again = cast(Metric, other).measure(trial.samples, trial.completions)
        _same_rows(first, again, trial, f"the same answers give the same statistics, {which}")


def _rows_stand_alone(metric: Metric, trial: MetricTrial) -> None:
    whole = metric.measure(trial.samples, trial.completions)
    n = len(trial.samples)
    order = np.array([*range(1, n, 2), *range(0, n, 2)])[::-1]
    turned = metric.measure([trial.samples[i] for i in order], [trial.completions[i] for i in order])
    restored = np.empty_like(whole)
    restored[order] = turned
    _same_rows(whole, restored, trial, "a row does not depend on the order of the samples")
    single = [metric.measure([s], [c]) for s, c in zip(trial.samples, trial.completions, strict=True)]
    _same_rows(whole, np.concatenate(single), trial, "a row does not depend on the samples measured with it")


def _same_rows(expected: FloatArray, found: FloatArray, trial: MetricTrial, promise: str) -> None:
    require(expected.shape == found.shape, promise, f"shape {expected.shape}, then {found.shape}")
    different = np.flatnonzero((expected != found).any(axis=1))
    if len(different):
        row = int(different[0])
        sample = trial.samples[row]
        raise ConformanceError(
            promise,
            f"{sample.id} with completion {shown(trial.completions[row])}: {expected[row]}, then {found[row]}",
        )


def _value_takes_many_totals(metric: Metric, trial: MetricTrial) -> None:
    statistics = metric.measure(trial.samples, trial.completions)
    n = len(statistics)
    weights = np.random.default_rng(0).integers(0, 3, (2, 5, n)).astype(np.float64)
    totals = weights @ statistics
    many = np.asarray(metric.value(totals))
    promise = "value takes totals (..., K) and gives (...), each its own score"
    require(many.shape == (2, 5), promise, f"totals {totals.shape} give {many.shape}")
    for place in np.ndindex(2, 5):
        alone = float(metric.value(totals[place]))
        same = np.isclose(many[place], alone, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
        require(bool(same), promise, f"totals {totals[place]} give {many[place]} among others and {alone} alone")


def _scores_each_sample(metric: Metric, trial: MetricTrial) -> None:
    statistics = metric.measure(trial.samples, trial.completions)
    scores = np.asarray(metric.per_sample(statistics))
    require(
        scores.shape == (len(statistics),),
        "per_sample gives one score for each row",
        f"statistics {statistics.shape} give scores {scores.shape}",
    )


def _has_no_score_without_samples(metric: Metric, trial: MetricTrial) -> None:
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


def _has_parts_of_itself(metric: Metric, trial: MetricTrial) -> None:
    """For a metric whose statistics also tell its components apart."""
    if not isinstance(metric, MetricWithParts):
        return
    statistics = metric.measure(trial.samples, trial.completions)
    width, parts = statistics.shape[1], list(metric.parts())
    names = [part.metric.name for part in parts]
    require(len(set(names)) == len(names), "each part has a name of its own", shown(names))
    for part in parts:
        columns = list(part.columns)
        inside = bool(columns) and all(0 <= column < width for column in columns)
        require(inside, "a part stands on columns of the statistics", f"{part.metric.name}: {columns} of {width}")
        value = float(part.metric.value(statistics[:, columns].sum(axis=0)))
        low, high = sorted((part.metric.best, part.metric.worst))
        within = math.isnan(value) or low - TOLERANCE <= value <= high + TOLERANCE
        require(within, "a part's value lies between its worst and best", f"{part.metric.name}: {value}")


def _survives_hostile_text(metric: Metric, trial: MetricTrial) -> None:
    promise = "whatever a model answers is a wrong answer with finite statistics, never an error"
    for text in HOSTILE_TEXTS:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                found = metric.measure(trial.samples[:1], [text])
        except Exception as err:
            raise ConformanceError(promise, f"completion {shown(text)} raises {raised(err)}") from err
        require(bool(np.isfinite(found).all()), promise, f"completion {shown(text)} gives {shown(found)}")
