"""What every report shows of a run, before it is HTML or Markdown: arms with their cells, checkpoints, accounts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

from harness.core.records import Comparison, DataRecord, Estimate, EvaluationRecord, RunResult, SliceComparison
from harness.core.types import Split, checkpoint_name
from reports.numbers import finite, places

Role = Literal["baseline", "tuned", "untuned"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One arm under one metric.

    gain: difference to the baseline arm, signed so that positive is better; comparison: the paired test of it.
    draws: values of the single draws of shots, when there was more than one. unscored: answers that this metric had no
    score for and another had; of a judge, those without a verdict.
    """

    metric: str
    decimals: int
    estimate: Estimate | None
    gain: float | None
    comparison: Comparison | None
    draws: tuple[float, ...]
    unscored: int


@dataclass(frozen=True, slots=True)
class ArmRow:
    """One arm on one split, with a cell per metric in the run's order."""

    record: EvaluationRecord
    role: Role
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class CheckpointRow:
    """One checkpoint: its curves, its validation score, and what selection thought of it."""

    step: int
    epoch: float
    sha256: str
    losses: tuple[float | None, float | None]
    accuracies: tuple[float | None, float | None]
    score: Estimate | None
    notes: tuple[str, ...]


def evaluations(result: RunResult, split: Split) -> tuple[EvaluationRecord, ...]:
    """The records of one split, in the run's order."""
    return tuple(record for record in result.evaluations if record.split == split)


def estimate_of(record: EvaluationRecord, metric: str) -> Estimate | None:
    """The estimate of one metric, or None where the arm has none."""
    return next((estimate for estimate in record.estimates if estimate.metric == metric), None)


def baseline_arm(result: RunResult) -> str | None:
    """The untuned arm others are shown against: the one with the tuned arm's prompt."""
    named = [each.baseline for each in result.comparisons if each.question == "same prompt"]
    untuned = [record for record in evaluations(result, "test") if record.step is None]
    bare = [record.arm for record in untuned if record.shots == 0]
    return next(iter([*named, *bare, *(record.arm for record in untuned)]), None)


def tuned_arm(result: RunResult) -> str | None:
    """The arm the conclusion is about."""
    named = [each.candidate for each in result.comparisons]
    tuned = [record.arm for record in evaluations(result, "test") if record.step is not None]
    return next(iter([*named, *tuned]), None)


def decimals_of(result: RunResult) -> dict[str, int]:
    """Metric -> decimals, from all its values, so that a column lines up."""
    found: dict[str, list[float | None]] = {metric: [] for metric in (*result.metrics, result.primary)}
    for record in result.evaluations:
        for estimate in record.estimates:
            found.setdefault(estimate.metric, []).append(estimate.value)
    return {metric: places(values) for metric, values in found.items()}


def arm_rows(result: RunResult, split: Split) -> tuple[ArmRow, ...]:
    """The main table: every arm of a split, every metric."""
    decimals, baseline = decimals_of(result), baseline_arm(result)
    records = evaluations(result, split)
    base = next((record for record in records if record.arm == baseline), None)
    return tuple(
        ArmRow(
            record,
            _role(record, baseline),
            tuple(_cell(result, record, base, metric, decimals[metric]) for metric in result.metrics),
        )
        for record in records
    )


def _role(record: EvaluationRecord, baseline: str | None) -> Role:
    if record.step is not None:
        return "tuned"
    return "baseline" if record.arm == baseline else "untuned"


def _cell(
    result: RunResult, record: EvaluationRecord, base: EvaluationRecord | None, metric: str, decimals: int
) -> Cell:
    estimate = estimate_of(record, metric)
    draws = tuple(value for value in record.draws.get(metric, ()) if finite(value) is not None and value is not None)
    unscored = record.unscored(metric) if estimate is not None else 0
    if base is None or base.arm == record.arm:
        return Cell(metric, decimals, estimate, None, None, draws, unscored)
    comparison = _comparison(result, record, base.arm, metric)
    gain = _gain(estimate, estimate_of(base, metric), higher=result.higher_is_better.get(metric, True))
    gain = comparison.delta if comparison is not None else gain
    return Cell(metric, decimals, estimate, gain, comparison, draws, unscored)


def _comparison(result: RunResult, record: EvaluationRecord, baseline: str, metric: str) -> Comparison | None:
    """The test of this arm against the baseline: comparisons are made on test only."""
    wanted = (record.arm, baseline, metric) if record.split == "test" else None
    return next((c for c in result.comparisons if (c.candidate, c.baseline, c.metric) == wanted), None)


def _gain(estimate: Estimate | None, base: Estimate | None, *, higher: bool) -> float | None:
    if estimate is None or base is None or estimate.value is None or base.value is None:
        return None
    return estimate.value - base.value if higher else base.value - estimate.value


def checkpoint_rows(result: RunResult) -> tuple[CheckpointRow, ...]:
    """Every checkpoint in order of training."""
    return tuple(
        CheckpointRow(
            checkpoint.step,
            checkpoint.epoch,
            checkpoint.sha256,
            (finite(checkpoint.train_loss), finite(checkpoint.validation_loss)),
            (finite(checkpoint.train_accuracy), finite(checkpoint.validation_accuracy)),
            score_at(result, checkpoint.step),
            _notes(result, checkpoint.step),
        )
        for checkpoint in result.checkpoints
    )


def score_at(result: RunResult, step: int) -> Estimate | None:
    """Validation score of a checkpoint in the metric that selection read."""
    selection = result.selection
    if checkpoint_name(step) in selection.scores:
        return selection.scores[checkpoint_name(step)]
    records = (record for record in evaluations(result, "validation") if record.step == step)
    return next((estimate_of(record, selection.metric) for record in records), None)


def _notes(result: RunResult, step: int) -> tuple[str, ...]:
    selection = result.selection
    excluded = selection.excluded.get(checkpoint_name(step))
    notes = (
        ("chosen", step == selection.chosen_step),
        ("highest score", step == selection.best_step),
        ("within one standard error", step in selection.tied_steps and step != selection.best_step),
        (f"left out: {excluded}", excluded is not None),
    )
    return tuple(note for note, holds in notes if holds)


def slice_names(result: RunResult) -> tuple[str, ...]:
    """Every "field=value" that some arm has on test, in the order met."""
    return tuple(dict.fromkeys(name for record in evaluations(result, "test") for name in record.slices))


def slice_rows(result: RunResult) -> tuple[SliceComparison, ...]:
    """Slices before and after, those that fell the most first; undefined differences last."""
    return tuple(sorted(result.slices, key=lambda row: (row.delta is None, row.delta or 0.0, row.name)))


@dataclass(frozen=True, slots=True)
class PartRow:
    """One component of a metric: an estimate for each arm on test, in the arms' order."""

    name: str
    decimals: int
    estimates: tuple[Estimate | None, ...]


def part_tables(result: RunResult) -> list[tuple[str, list[PartRow]]]:
    """(metric, its parts) for every metric that has parts, by name of the part as first met."""
    records = evaluations(result, "test")
    tables = [(metric, _part_rows(records, metric)) for metric in result.metrics]
    return [(metric, rows) for metric, rows in tables if rows]


def _part_rows(records: Sequence[EvaluationRecord], metric: str) -> list[PartRow]:
    found = [{part.metric: part for part in record.parts.get(metric, ())} for record in records]
    names = dict.fromkeys(name for parts in found for name in parts)
    return [_part_row(name, [parts.get(name) for parts in found]) for name in names]


def _part_row(name: str, estimates: Sequence[Estimate | None]) -> PartRow:
    return PartRow(name, places([one.value if one else None for one in estimates]), tuple(estimates))


def signatures(result: RunResult) -> dict[str, tuple[str, ...]]:
    """Metric -> the signatures its numbers carry: one, unless something is wrong."""
    found: dict[str, dict[str, None]] = {}
    for record in result.evaluations:
        for estimate in record.estimates:
            found.setdefault(estimate.metric, {})[estimate.signature] = None
    return {metric: tuple(signs) for metric, signs in found.items()}


def left_over(data: DataRecord) -> int:
    """Rows that are neither a sample nor dropped with a reason; 0 when the accounts close."""
    return data.n_rows - sum(data.n_samples.values()) - sum(data.n_dropped.values())


def flatten(value: JsonValue | Mapping[str, JsonValue], prefix: str = "") -> Iterator[tuple[str, str]]:
    """(dotted key, value as compact JSON or bare text) of every leaf, in order.

    >>> list(flatten({"a": {"b": 1, "c": "x"}, "d": []}))
    [('a.b', '1'), ('a.c', 'x'), ('d', '[]')]
    """
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from flatten(inner, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value if isinstance(value, str) else _compact(value)


def _compact(value: JsonValue | Mapping[str, JsonValue]) -> str:
    plain: JsonValue = dict(value) if isinstance(value, Mapping) else value
    return json.dumps(plain, ensure_ascii=False)


def settings(spec: Mapping[str, JsonValue], origins: Mapping[str, str]) -> Sequence[tuple[str, str, str]]:
    """(dotted key, value, origin) of every setting; an origin counts for everything below its key."""
    return [(key, value, _origin(key, origins)) for key, value in flatten(spec)]


def _origin(key: str, origins: Mapping[str, str]) -> str:
    while key not in origins and "." in key:
        key = key.rpartition(".")[0]
    return origins.get(key, "")
