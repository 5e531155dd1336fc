"""`harness label`: draw answers for people to judge, and open the page or write the sheet for it."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import execution
from harness.cli.label_imports import labels_in, refuse_clashes, require_fitting
from harness.cli.label_sheets import keep, sheet_for
from harness.cli.label_telling import again, describe, say_what_next
from harness.cli.label_words import Asked, asked_for, help_of_words
from harness.cli.terminal import echo
from harness.core.errors import HarnessError
from harness.data.display import quote

if TYPE_CHECKING:
    from harness.autorater.label_journal import LabelJournal
    from harness.labelling.sheet import Sheet


def label(
    words: Annotated[
        list[str],
        typer.Argument(help="task=NAME n=200, or RUN round=final; as=html or csv; import=FILE; export=FILE"),
    ],
    open_browser: Annotated[bool, typer.Option("--open", help="open the page in the browser")] = False,
) -> None:
    execution.resume_command = shlex.join(["harness", *sys.argv[1:]])
    here = Path.cwd()
    try:
        asked = asked_for(words)
        if asked.words.source is not None:
            _import(asked, here / Path(asked.words.source).expanduser())
        elif asked.words.target is not None:
            _export(asked, here / Path(asked.words.target).expanduser())
        elif asked.words.form == "page":
            _ask(asked, open_browser=open_browser)
        else:
            _write_sheet(asked)
    finally:
        os.chdir(here)
    execution.resume_command = ""


# The words are described once, where they are read. \b keeps the lines apart.
label.__doc__ = f"""Have people judge answers: a local page, an offline sheet, or labels from elsewhere.

\b
Words of its own, besides task=NAME or RUN:
{help_of_words()}
"""


def _ask(asked: Asked, *, open_browser: bool) -> None:
    from harness.labelling.server import require_libraries, serve

    require_libraries()
    sheet = sheet_for(asked)
    with _journal(asked) as journal:
        n_before = len(journal.labels)
        serve(
            sheet,
            journal,
            rubric=asked.rubric,
            annotator=asked.words.annotator,
            port=asked.words.port,
            open_browser=open_browser,
            on_ready=lambda link: _announce(link, sheet, asked),
        )
        echo(f"{len(journal.labels) - n_before} new labels in {asked.shown(asked.labels)}")
    say_what_next(asked)


def _announce(link: str, sheet: Sheet, asked: Asked) -> None:
    keep(sheet, asked)
    describe(sheet, asked)
    echo(f"every label is kept in {asked.shown(asked.labels)} at once")
    echo(f"open {link}")
    echo("Ctrl-C ends it; the same command goes on where you stopped", error=True)


def _write_sheet(asked: Asked) -> None:
    from harness.labelling.offline import csv_sheet, html_sheet, write_csv_sheet, write_html_sheet

    sheet = sheet_for(asked)
    form = asked.words.form
    file = asked.here / f"labels-{asked.task}-{sheet.id}.{form}"
    content = html_sheet(sheet, rubric=asked.rubric) if form == "html" else csv_sheet(sheet)
    if file.exists() and file.read_bytes() != content:
        raise HarnessError(
            f"{file.name} is already there, and somebody may have filled it in",
            fix=f"import it ({again(asked, file.name)}), or move it away first",
            code="E-EXISTS",
        )
    keep(sheet, asked)
    (write_html_sheet if form == "html" else write_csv_sheet)(sheet, file, rubric=asked.rubric)
    describe(sheet, asked)
    echo(f"written: {asked.shown(file)}")
    # The page of an offline sheet names its download like this.
    back = f"labels-{sheet.id}.jsonl" if form == "html" else file.name
    where = " (the file that its button downloads)" if form == "html" else ""
    echo(f"when done: {again(asked, back)}{where}")


def _import(asked: Asked, file: Path) -> None:
    """Labels made on a sheet of this task get back what the sheet knows; labels from elsewhere come as they are.

    What is refused is refused before anything is written.
    """
    found = labels_in(file, asked)
    notes = [*found.notes, *require_fitting(found.labels, file, asked)]
    with _journal(asked) as journal:
        refuse_clashes(found.labels, journal.labels)
        added = [journal.append(each) for each in found.labels]
    n_known = len(added) - sum(added)
    known = f", {n_known} were there already" if n_known else ""
    echo(f"{sum(added)} labels added to {asked.shown(asked.labels)}{known}")
    for note in notes:
        echo(f"Note: {note}")
    say_what_next(asked)


def _export(asked: Asked, file: Path) -> None:
    from harness.autorater.labels import export_labels, read_labels

    for target in (file, file.with_suffix(".xml")) if file.suffix.lower() == ".json" else (file,):
        if target.exists():
            raise HarnessError(
                f"{quote(asked.shown(target), 200)} is already there", fix="choose another name", code="E-EXISTS"
            )
    for written in export_labels(read_labels(asked.labels).labels, file):
        echo(f"wrote {asked.shown(written)}")


@contextmanager
def _journal(asked: Asked) -> Iterator[LabelJournal]:
    """The file of labels; where nobody gave the first one, there is none afterwards."""
    from harness.autorater.label_journal import LabelJournal
    from harness.store import disk

    was_there = asked.labels.exists()
    with LabelJournal(asked.labels) as journal:
        try:
            yield journal
        finally:
            if not was_there and not journal.labels:
                disk.remove(asked.labels)
