"""JSON files: one array of rows, or an object in which one field is that array; as strict as JSON Lines."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Iterator
from typing import TypeVar

from pydantic import JsonValue

from harness.core.errors import HarnessError
from harness.data.decoding import decode, too_long
from harness.data.display import escape
from harness.data.files import Line, Lines, Whole, refuse_other_formats
from harness.data.formats import FORMATS
from harness.data.jsonl import (
    finite,
    integer,
    is_cut,
    no_constant,
    read_jsonl,
    refuse_characters,
    refuse_depth,
    too_deep,
    unique,
)
from harness.data.problems import Problem
from harness.data.rows import Blank, Row
from harness.data.template import json_type

A = TypeVar("A")
B = TypeVar("B")
_BLANK = re.compile(r"[ \t\n\r]*")
_MARKS = frozenset[str]().union(*(row_format.marks for row_format in FORMATS.values()))
_KIND = "rows are written as [{...}, {...}], or one to a line with the suffix .jsonl"


def read_json(whole: Whole) -> Iterator[Row | Blank | Problem]:
    """Every row of the array or a problem, with the row's number as its line.

    A file of objects on lines of their own is read as JSON Lines: many are called .json. HarnessError where the text
    as a whole is not JSON or has no rows, because then nobody knows how many rows are lost.
    """
    content = whole.read()
    refuse_other_formats(content[:64], whole.name)
    text = decode(Line(1, 0, content, ended=True, oversize=False))
    start = _skip(text, 0)
    if text.startswith("[", start):
        end = yield from _rows(text, start, whole)
        _refuse_rest(text, end)
    elif _is_lines(text[start:]):
        lines = Lines(whole.path, whole.name, limit=whole.limit)
        yield from read_jsonl(lines)
        whole.sha256 = lines.sha256
    elif start < len(text):
        yield from _wrapped(text, start, whole)


class _Decoder:
    """A decoder that parses on after what a row must not hold, so that the next row is found: `faults` keeps it."""

    def __init__(self) -> None:
        self.faults: list[HarnessError] = []
        self._json = json.JSONDecoder(
            object_pairs_hook=self._noting(unique, dict),
            parse_int=self._noting(integer, len),
            parse_float=self._noting(finite, len),
            parse_constant=self._noting(no_constant, len),
        )

    def value(self, text: str, position: int) -> tuple[JsonValue, int]:
        """The value that begins at a position and where it ends; HarnessError where there is none."""
        self.faults.clear()
        try:
            return self._json.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise _syntax(error, text) from error
        except RecursionError as error:
            raise too_deep() from error

    def _noting(self, parse: Callable[[A], B], instead: Callable[[A], B]) -> Callable[[A], B]:
        def attempt(value: A) -> B:
            try:
                return parse(value)
            except HarnessError as fault:
                self.faults.append(fault)
                return instead(value)

        return attempt


def _rows(text: str, start: int, whole: Whole) -> Generator[Row | Problem, None, int]:
    """The rows of the array that begins at `start`; returns where it ends."""
    decoder = _Decoder()
    position, number = _skip(text, start + 1), 0
    if text.startswith("]", position):
        return position + 1
    while True:
        number += 1
        value, end = decoder.value(text, position)
        try:
            yield Row(number, _row(value, text[position:end], decoder.faults, whole.limit))
        except HarnessError as error:
            yield Problem.at(f"{whole.name}:{number}", error)
        position, is_last = _after(text, end, "]")
        if is_last:
            return position


def _row(value: JsonValue, text: str, faults: list[HarnessError], limit: int) -> dict[str, JsonValue]:
    if faults:
        raise faults[0]
    if len(text) > limit or len(text.encode()) > limit:
        raise too_long(limit)
    refuse_depth(text)
    if not isinstance(value, dict):
        raise HarnessError(
            f"the row is {json_type(value)}, not an object: {escape(text)}",
            fix='write each row as {"field": ...}',
            code="E-TYPE",
        )
    refuse_characters(text, value)
    return value


def _after(text: str, end: int, closing: str) -> tuple[int, bool]:
    """Where the next item begins, or the end of the list or object and True."""
    position = _skip(text, end)
    if text.startswith(closing, position):
        return position + 1, True
    if not text.startswith(",", position):
        raise _syntax(json.JSONDecodeError("Expecting ',' delimiter", text, position), text)
    return _skip(text, position + 1), False


def _is_lines(text: str) -> bool:
    """Whether the first line is an object of its own and either others follow or it looks like a row."""
    first, _, rest = text.partition("\n")
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and (bool(rest.strip()) or not _row_lists(value))


def _row_lists(value: dict[str, JsonValue]) -> list[str]:
    """The fields that could hold a file's rows; none in an object that is a row itself."""
    if not _MARKS.isdisjoint(value):
        return []
    lists = {name: items for name, items in value.items() if isinstance(items, list) and items}
    return [name for name, items in lists.items() if all(isinstance(item, dict) for item in items)]


def _wrapped(text: str, start: int, whole: Whole) -> Iterator[Row | Problem]:
    """The rows in the one list of an object."""
    value, end = _Decoder().value(text, start)
    _refuse_rest(text, end)
    if not isinstance(value, dict):
        raise _no_rows(f"{whole.name!r} is {json_type(value)}, not a list of rows", _KIND)
    names = _row_lists(value)
    if len(names) != 1:
        found = f"{len(names)} lists of rows: {escape(', '.join(names))}" if names else "no list of rows"
        raise _no_rows(f"{whole.name!r} is one object with {found}", _KIND)
    position = _member(text, start, names[0])
    yield from _rows(text, position, whole)


def _member(text: str, start: int, wanted: str) -> int:
    """Where the value of a member begins. E-DUPKEY where its object has a name twice."""
    decoder = _Decoder()
    places: dict[str, int] = {}
    position, is_last = _skip(text, start + 1), False
    while not is_last:
        name, end = decoder.value(text, position)
        position = _skip(text, _skip(text, end) + 1)
        unique([*((known, None) for known in places), (str(name), None)])
        places[str(name)] = position
        position, is_last = _after(text, decoder.value(text, position)[1], "}")
    return places[wanted]


def _refuse_rest(text: str, end: int) -> None:
    position = _skip(text, end)
    if position < len(text):
        raise HarnessError(
            f"more after the end of the rows: {escape(text[position:])}",
            fix="one file holds one JSON text; several objects go one to a line, with the suffix .jsonl",
            code="E-JSON-EXTRA",
        )


def _syntax(error: json.JSONDecodeError, text: str) -> HarnessError:
    if is_cut(error, text):
        return HarnessError(
            "the file ends inside its rows", fix="get the file again, or write it again", code="E-JSON-TRUNC"
        )
    found = escape(text[max(0, error.pos - 20) : error.pos + 20])
    reason = error.msg[:1].lower() + error.msg[1:]
    return HarnessError(
        f"not JSON at line {error.lineno}, column {error.colno}: {reason}, near {found}",
        fix="mend the file; a JSON serialiser writes it right",
        code="E-JSON",
    )


def _no_rows(what: str, fix: str) -> HarnessError:
    return HarnessError(what, fix=fix, code="E-FORMAT")


def _skip(text: str, position: int) -> int:
    match = _BLANK.match(text, position)
    return position if match is None else match.end()
