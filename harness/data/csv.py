"""CSV and TSV, strictly: a header, every cell a string, quotes as in RFC 4180."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from harness.core.errors import HarnessError
from harness.data.decoding import decode, nul, refuse_oversize, too_long
from harness.data.display import escape, quote
from harness.data.files import Line, Lines
from harness.data.problems import Problem
from harness.data.rows import Blank, Row


@dataclass(frozen=True, slots=True)
class _Record:
    line: int
    text: str


def read_csv(lines: Lines, *, delimiter: str) -> Iterator[Row | Blank | Problem]:
    """Every record as a row of strings, a blank or a problem. HarnessError where the header cannot be used.

    Quoted cells may hold newlines; a record's line is where it begins.
    """
    header: tuple[str, ...] | None = None
    for item in _records(lines):
        if not isinstance(item, _Record):
            yield item
            continue
        if header is None:
            header = _header(item.text, delimiter, lines.name)
            continue
        try:
            yield Row(item.line, dict(zip(header, _cells(item.text, delimiter, len(header)), strict=True)))
        except HarnessError as error:
            yield Problem.at(f"{lines.name}:{item.line}", error)


def _records(lines: Lines) -> Iterator[_Record | Blank | Problem]:
    """Lines put together while a quote is open: an odd number of quotes in a line opens or closes one.

    After a problem inside an open quote the next line is taken as the beginning of a record.
    """
    texts: list[str] = []
    start = size = 0
    is_open = False
    for line in lines:
        if not is_open:
            texts, start, size = [], line.number, 0
        try:
            texts.append(_text(line, lines.limit, size))
        except HarnessError as error:
            is_open = False
            yield Problem.at(f"{lines.name}:{start}", error)
            continue
        size += len(texts[-1])
        is_open ^= texts[-1].count('"') % 2 == 1
        if not is_open:
            text = "\n".join(texts)
            yield _Record(start, text) if text.strip() else Blank(start)
    if is_open:
        yield Problem.at(f"{lines.name}:{start}", _quotes("the quote opened in this row is never closed"))


def _text(line: Line, limit: int, size: int) -> str:
    refuse_oversize(line, limit)
    text = decode(line)
    if size + len(text) > limit:
        raise too_long(limit)
    if "\0" in text:
        raise nul()
    if "\r" in text:
        raise _quotes(f"a carriage return at column {text.index(chr(13)) + 1}; lines end with \\n or \\r\\n")
    return text


def _header(text: str, delimiter: str, name: str) -> tuple[str, ...]:
    if text.lstrip().startswith("{"):
        raise HarnessError(
            f"{name!r} looks like JSON Lines, not a table", fix="give it the suffix .jsonl", code="E-FORMAT"
        )
    names = _split(text, delimiter)
    if "" in names:
        raise _bad_header(
            f"column {names.index('') + 1} of {name!r} has no name", "name every column in the first line"
        )
    twice = [column for column in names if names.count(column) > 1]
    if twice:
        raise _bad_header(f"{name!r} has {names.count(twice[0])} columns named {quote(twice[0])}", "rename one of them")
    return tuple(names)


def _cells(text: str, delimiter: str, n_columns: int) -> list[str]:
    cells = _split(text, delimiter)
    if len(cells) != n_columns:
        raise HarnessError(
            f"{len(cells)} cells, but the header has {n_columns}: {escape(text)}",
            fix="put cells that hold the separator in quotes",
            code="E-CSV-CELLS",
        )
    return cells


def _split(text: str, delimiter: str) -> list[str]:
    """The cells of one record. A quote inside a quoted cell is written twice."""
    if '"' not in text:
        return text.split(delimiter)
    cell = re.compile(rf'(?:"((?:[^"]|"")*+)"|([^"{delimiter}]*+))({delimiter}|\Z)')
    cells: list[str] = []
    position, more = 0, True
    while more:
        match = cell.match(text, position)
        if match is None:
            raise _quotes(f"a quote where none can be, in cell {len(cells) + 1}: {escape(text[position:])}")
        cells.append(match[2] if match[1] is None else match[1].replace('""', '"'))
        position, more = match.end(), bool(match[3])
    return cells


def _bad_header(what: str, fix: str) -> HarnessError:
    return HarnessError(what, fix=fix, code="E-CSV-HEADER")


def _quotes(what: str) -> HarnessError:
    return HarnessError(what, fix='put the cell in quotes, and write a quote inside it as ""', code="E-CSV-QUOTE")
