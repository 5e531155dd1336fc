"""Commands that only read: report and list."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, cast

import typer

from harness import registry
from harness.cli import execution
from harness.cli.listing import BROKEN, THINGS, Row, Things, checked, rows_of
from harness.cli.terminal import echo, echo_json, show_table
from harness.core.protocols import Reporter

AsJson = Annotated[bool, typer.Option("--json", help="for programs")]

_NAMES = f"{', '.join(THINGS[:-1])} or {THINGS[-1]}"


def list_things(
    things: Annotated[Things, typer.Argument(help=_NAMES)],
    out: Annotated[Path, typer.Option("--out", help="folder of the runs")] = Path("runs"),
    check: Annotated[bool, typer.Option("--check", help="try each: exit 4 if one is broken")] = False,
    as_json: AsJson = False,
) -> None:
    """What there is of a kind, with where each comes from; plug-ins are imported only with --check."""
    rows = rows_of(things, out)
    if check:
        rows = checked(things, rows)
        execution.exit_code = 4 if any(row.check.startswith(BROKEN) for row in rows) else 0
    if as_json:
        echo_json([asdict(row) for row in rows])
    elif rows:
        _show(rows, check=check)
    else:
        echo(f"no {things} yet")


def _show(rows: list[Row], *, check: bool) -> None:
    headings, cells = ["name", "what", "from"], [[row.name, row.summary, row.origin] for row in rows]
    if check:
        headings, cells = ["name", "from", "check"], [[row.name, row.origin, row.check] for row in rows]
    show_table(headings, cells, numbers=False)


def report(
    name: Annotated[str, typer.Argument(metavar="RUN", help="task/id, id, or folder")], as_json: AsJson = False
) -> None:
    """Show a finished run's conclusion and write its report again."""
    from harness.cli.summary import show_result
    from harness.pipeline.validation import write_validation
    from harness.store.reports import write_reports
    from harness.store.view import StoredView, find_run

    folder = find_run(name, Path("runs"))
    said = write_validation(folder)
    view = StoredView(folder)
    reporters = {name: cast(Reporter, registry.load("reporters", name)) for name in registry.names("reporters")}
    write_reports(folder, reporters)
    if as_json:
        echo_json(view.result)
    else:
        show_result(view, folder)
    for note in said.notes:
        echo(f"Note: {note}.", error=as_json)
