"""What a finished run prints: the conclusion, the table, where the report is, and the next command."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from harness.cli.terminal import echo, show_table
from harness.core.licences import JudgeCard
from harness.core.protocols import RunView
from harness.core.records import Estimate, EvaluationRecord, RunResult, SliceComparison
from harness.core.specs import JUDGE_PREFIX
from harness.pipeline.words import number, probability, signed
from harness.store import layout

_MOST_SLICES = 20
# Metrics that go up to 100, by the beginning of their signature.
_PERCENT = ("bleu", "chrf", "ter")


def show_result(view: RunView, folder: Path) -> None:
    """Print a finished run; what people said of it first, if they were asked."""
    result, looks = view.result, view.looks
    conclusion = result.conclusion
    if view.validation is not None:
        echo(f"{view.validation.sentence}.")
    echo(conclusion.sentence)
    echo(f"Ship: {conclusion.ship}")
    echo("")
    records = [record for record in result.evaluations if record.split == "test"]
    headings = [_heading(metric, view.judges) for metric in result.metrics]
    show_table(
        ["on test", *headings, "n", "failed"],
        [_row(record, result) for record in records],
    )
    echo("value [95 % interval]; several draws of shots: their mean, ± their standard deviation")
    _show_slices(result)
    if len(looks) > 1:
        echo(f"Note: {len(looks)} runs here compared on this test split; the best of many owes some of it to chance.")
    for caveat in conclusion.caveats:
        echo(f"Note: {caveat}.")
    for card in view.judges:
        simulated = ", SIMULATED annotators" if card.simulated else ""
        echo(f"Judge: {card.judge} ({card.kind}): {card.licence.grade}, by {card.n_labels} labels{simulated}.")
    for step in conclusion.next_steps:
        echo(f"Next: {step}.")
    if view.reused:
        n_answers = sum(n for _, n in view.reused)
        echo(f"From the cache: {n_answers:,} answers of {len(view.reused)} evaluations, which earlier runs here had.")
    echo(f"Report: {folder / layout.REPORT}")
    echo(f"Next command: harness report {shlex.quote(str(folder))}")


def _heading(metric: str, judges: Sequence[JudgeCard]) -> str:
    """A metric's name; a judge whose numbers are not to be believed is never named without saying so."""
    grades = {JUDGE_PREFIX + card.judge: card.licence.grade for card in judges}
    grade = grades.get(metric)
    return f"{metric} ({grade})" if grade in ("uncalibrated", "advisory") else metric


def _show_slices(result: RunResult) -> None:
    """Before and after by slice, for the primary metric; the report has the others."""
    rows = [row for row in result.slices if row.metric == result.primary]
    if not rows:
        return
    echo("")
    shown = rows[:_MOST_SLICES]
    show_table(
        [f"{result.primary} by slice", "before", "after", "difference", "n", ""],
        [
            [row.name, number(row.baseline_value), number(row.candidate_value), _change(row), str(row.n), row.answer]
            for row in shown
        ],
    )
    more = f"{len(rows) - len(shown)} more in the report; " if len(rows) > len(shown) else ""
    echo(f"{more}difference [95 % interval], p adjusted over the slices (Holm)")


def _change(row: SliceComparison) -> str:
    interval = "" if row.low is None else f" [{signed(row.low)}, {signed(row.high)}]"
    p = "" if row.p_adjusted is None else f", p {probability(row.p_adjusted)}"
    return f"{signed(row.delta)}{interval}{p}"


def _row(record: EvaluationRecord, result: RunResult) -> list[str]:
    cells = [_cell(record.estimate(metric), record.draws.get(metric, ())) for metric in result.metrics]
    failed = record.estimate(result.primary).failures
    return [record.arm if record.step is None else f"{record.arm} (tuned)", *cells, str(record.n), str(failed)]


def _cell(estimate: Estimate, draws: tuple[float | None, ...]) -> str:
    if estimate.value is None:
        return "undefined"
    digits = 1 if estimate.signature.lower().startswith(_PERCENT) else 3
    spread = ""
    values = [value for value in draws if value is not None]
    if len(values) > 1:
        mean = sum(values) / len(values)
        deviation = (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5
        spread = f" ±{deviation:.{digits}f}"
    bounds = ""
    if estimate.low is not None and estimate.high is not None:
        bounds = f" [{estimate.low:.{digits}f}, {estimate.high:.{digits}f}]"
    return f"{estimate.value:.{digits}f}{spread}{bounds}"
