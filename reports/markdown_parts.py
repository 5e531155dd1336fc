"""What every Markdown file here is made of: text that stays text, tables, sections."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Sequence

from reports.text import one_line

# An underscore inside a word is text in CommonMark: metric names stay readable in the raw file.
_SPECIAL = re.compile(r"([\\`*\[\]|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
_LEADING = re.compile(r"^(\d*)([-+>#=.)])")
_SHOWN = 600


def escape(text: str) -> str:
    r"""Text that Markdown shows as it is: one line, no markup, no HTML.

    >>> escape("a|b <i>`x`")
    'a\\|b &lt;i&gt;\\`x\\`'
    """
    line = html.escape(_SPECIAL.sub(r"\\\1", one_line(text, _SHOWN)), quote=False)
    return _LEADING.sub(r"\1\\\2", line)


def section(title: str, lines: Iterable[str], level: int = 2) -> Iterator[str]:
    """A heading and its lines; nothing where there are none."""
    body = list(lines)
    if body:
        yield from ("", f"{'#' * level} {title}", "", *body)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table; nothing where it has no row. Cells are Markdown already."""
    body = list(rows)
    if body:
        yield _row(head)
        yield _row(["---"] * len(head))
        yield from (_row(cells) for cells in body)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
