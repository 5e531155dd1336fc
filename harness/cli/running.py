"""Commands that work on a task: run, resume, check, show. Model libraries are imported when work begins, not before."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import execution
from harness.cli.execution import detectable, execute, prepared_of, show_counts, started_with
from harness.cli.terminal import echo, echo_json, show_table
from harness.core.errors import HarnessError

_SECTIONS = "data prompting generation metrics trainer model backend select, and seed, n_resamples, out"
Words = Annotated[
    list[str],
    typer.Argument(
        help=f"task=NAME|FOLDER, or data=FILE metric=NAME; and settings: model=... trainer.lr=1e-4 ... ({_SECTIONS})"
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="for programs")]
AllowFailures = Annotated[bool, typer.Option("--allow-failures", help="exit 0 even if samples failed")]


def run(
    words: Words,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show the plan, do nothing")] = False,
    drop_bad: Annotated[bool, typer.Option("--drop-bad", help="leave bad rows out, counted")] = False,
    allow_failures: AllowFailures = False,
    as_json: AsJson = False,
) -> None:
    """Audit, baseline, tune, evaluate, select, compare, report. Typed again, it continues or says it is done."""
    from harness.config import resolve

    settings = resolve(words, drop_bad=drop_bad)
    execute(settings, dry_run=dry_run, as_json=as_json, allow_failures=allow_failures)


def resume(
    name: Annotated[str, typer.Argument(metavar="RUN", help="task/id, id, or folder")],
    allow_failures: AllowFailures = False,
    as_json: AsJson = False,
) -> None:
    """Continue a run from where it stopped, with the settings it was started with."""
    from harness.config import resolve
    from harness.store.layout import RESCORED, SELECTED
    from harness.store.view import find_run

    folder = find_run(name, Path("runs")).resolve()
    for mark, command in ((RESCORED, "rescore"), (SELECTED, "select")):
        if mark in folder.name:
            raise HarnessError(
                f"{folder.name} was made by harness {command}, and there is nothing to resume",
                fix=f"harness {command} {folder.name.partition(mark)[0]} with the same words",
                code="E-USAGE",
            )
    words, drop_bad, home = started_with(folder)
    if home is not None:
        # The words may hold paths, and these began where the run did.
        os.chdir(home)
    settings = resolve(words, drop_bad=drop_bad)
    execute(settings, dry_run=False, as_json=as_json, allow_failures=allow_failures, expected=folder)


def check(
    words: Words,
    drop_bad: Annotated[bool, typer.Option("--drop-bad", help="as run would")] = False,
    as_json: AsJson = False,
) -> None:
    """Audit a task's data, and give every metric the references themselves: it must find them perfect."""
    from harness.config import resolve
    from harness.pipeline.check import check_metrics
    from harness.pipeline.prepare import describe

    settings = resolve(words, drop_bad=drop_bad)
    prepared = prepared_of(settings)[1]
    results = check_metrics(prepared)
    if as_json:
        echo_json({"audit": prepared.audit, "data": prepared.dataset.record, "metrics": results})
    else:
        for note in settings.notes:
            echo(f"note: {note}", error=True)
        for finding in prepared.audit.findings:
            echo("\n".join(describe(finding)))
        show_table(["metric", "of the references", "best", "verdict"], [result.row() for result in results])
        show_counts(prepared)
        echo(detectable(prepared))
    failed = bool(prepared.audit.fatal) or any(not result.ok for result in results)
    execution.exit_code = 2 if failed else 0


def show(
    words: Words,
    sample: Annotated[str, typer.Option("--sample", help="id of a sample; the first of train otherwise")] = "",
    as_json: AsJson = False,
) -> None:
    """The exact prompt and token ids of a sample, as trained and as asked, side by side."""
    from harness.config import resolve
    from harness.pipeline.check import show_sample

    shown = show_sample(prepared_of(resolve(words))[1], sample)
    if as_json:
        echo_json(shown)
        return
    for line in shown.lines():
        echo(line)
