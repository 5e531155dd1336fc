"""All that is shown passes through here: hostile characters become visible escapes, a closed pipe is no error."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress

from pydantic_core import to_jsonable_python
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.data.display import escape

_LINE = 4_000


def echo(text: str, *, error: bool = False) -> None:
    """Print lines of text that may hold anything a model, a file or a user wrote."""
    safe = "\n".join(escape(line, _LINE) for line in text.split("\n"))
    _write(safe + "\n", error=error)


def echo_json(value: object) -> None:
    """Print a value as JSON, for programs; non-ASCII is escaped, so nothing in it can act on a terminal."""
    _write(json.dumps(to_jsonable_python(value), indent=2, sort_keys=True, ensure_ascii=True) + "\n", error=False)


def show_table(headings: list[str], rows: list[list[str]], *, numbers: bool = True) -> None:
    """Print a table; cells are plain text, never markup. numbers: all columns but the first to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, heading in enumerate(headings):
        table.add_column(Text(escape(heading)), justify="right" if numbers and index else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(escape(cell, _LINE)) for cell in row))
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160, highlight=False)
    with console.capture() as capture:
        console.print(table)
    lines = (line.rstrip() for line in capture.get().rstrip("\n").split("\n"))
    _write("\n".join(lines) + "\n", error=False)


def _write(text: str, *, error: bool) -> None:
    stream = sys.stderr if error else sys.stdout
    if stream is None:  # closed by the caller: nobody reads
        return
    try:
        stream.write(text.encode(stream.encoding or "utf-8", "backslashreplace").decode(stream.encoding or "utf-8"))
        stream.flush()
    except BrokenPipeError:
        # `harness ... | head` has seen enough; the run itself goes on.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
