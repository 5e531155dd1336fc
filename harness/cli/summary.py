"""What a finished run prints: the conclusion, the table, where the report is, and the next command."""

from __future__ import annotations

import shlex
from pathlib import Path

from harness.cli.terminal import echo, show_table
from harness.core.records import Estimate, EvaluationRecord, RunResult
from harness.core.types import checkpoint_name
from harness.store import layout


def show_result(result: RunResult, folder: Path) -> None:
    """Print a finished run."""
    conclusion = result.conclusion
    echo(conclusion.sentence)
    echo(f"Ship: {conclusion.ship}")
    echo("")
    records = [record for record in result.evaluations if record.split == "test"]
    chosen = checkpoint_name(result.selection.chosen_step)
    show_table(
        ["on test", *result.metrics, "n", "failed"],
        [_row(record, result, record.arm == chosen) for record in records],
    )
    echo("value [95 % interval]; several draws of shots: their mean, ± their standard deviation")
    for caveat in conclusion.caveats:
        echo(f"Note: {caveat}.")
    for step in conclusion.next_steps:
        echo(f"Next: {step}.")
    echo(f"Report: {folder / layout.REPORT}")
    echo(f"Next command: harness report {shlex.quote(str(folder))}")


def _row(record: EvaluationRecord, result: RunResult, is_chosen: bool) -> list[str]:
    cells = [_cell(record.estimate(metric), record.draws.get(metric, ())) for metric in result.metrics]
    failed = record.estimate(result.primary).failures
    return [f"{record.arm} (tuned)" if is_chosen else record.arm, *cells, str(record.n), str(failed)]


def _cell(estimate: Estimate, draws: tuple[float | None, ...]) -> str:
    if estimate.value is None:
        return "undefined"
    digits = 1 if estimate.signature.startswith(("bleu", "chrf")) else 3
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
