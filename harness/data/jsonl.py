"""JSON Lines, strictly: one object a line, split at newline bytes only, every problem with its line and column."""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Iterator

from pydantic import JsonValue

from harness.core.errors import HarnessError
from harness.data.decoding import decode, nul, refuse_oversize, surrogate, truncated
from harness.data.display import escape, quote
from harness.data.files import Line, Lines
from harness.data.problems import Problem
from harness.data.rows import Blank, Row
from harness.data.template import json_type

MAX_DEPTH = 64
# Python's own default; the interpreter's may have been changed by its user.
MAX_DIGITS = 4300
_STRUCTURE = re.compile(r'"(?:[^"\\]|\\.)*+(?:"|$)|[\[{]|[\]}]', re.DOTALL)
_UNFINISHED = re.compile(r"-?\d*\.?\d*([eE][+-]?)?|t|tr|tru|f|fa|fal|fals|n|nu|nul")
_ESCAPED_NUL = "\\u0000"
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def read_jsonl(lines: Lines) -> Iterator[Row | Blank | Problem]:
    """Every line as a row, a blank or a problem. HarnessError E-NOT-JSONL or E-FORMAT where no line could be one."""
    first = True
    for line in lines:
        if not line.oversize and not line.content.strip():
            yield Blank(line.number)
            continue
        if first:
            refuse_other_text(line.content, lines.name)
            first = False
        try:
            yield Row(line.number, parse_line(line, lines))
        except HarnessError as error:
            yield Problem.at(f"{lines.name}:{line.number}", error)


def refuse_other_text(content: bytes, name: str) -> None:
    """Judge a JSONL file by its first line: an array, pretty-printed JSON, or a table?"""
    start, quoted = content.strip(), shlex.quote(name)
    if start.startswith(b"["):
        raise HarnessError(
            f"{name!r} is one JSON array, not JSON Lines",
            fix=f"give it the suffix .json, or: jq -c '.[]' {quoted} > {quoted}.jsonl",
            code="E-NOT-JSONL",
        )
    if start == b"{" or (start.startswith(b"{") and start.endswith((b",", b"{", b"["))):
        raise HarnessError(
            f"{name!r} is pretty-printed JSON: its first line does not end its object",
            fix=f"jq -c . {quoted} > {quoted}.jsonl",
            code="E-NOT-JSONL",
        )
    if not start.startswith(b"{") and (b"," in start or b"\t" in start) and start[:1].isalpha():
        raise HarnessError(
            f"{name!r} looks like a table; its first line is {quote(start.decode('utf-8', 'backslashreplace'))}",
            fix="give it the suffix .csv (commas) or .tsv (tabs)",
            code="E-FORMAT",
        )


def parse_line(line: Line, lines: Lines) -> dict[str, JsonValue]:
    """The object on one line; HarnessError with the column where it is not one."""
    refuse_oversize(line, lines.limit)
    text = decode(line)
    refuse_depth(text)
    if "\r" in text:
        raise _control(text, text.index("\r"))
    value = _load(text, ended=line.ended)
    if not isinstance(value, dict):
        raise HarnessError(
            f"the row is {json_type(value)}, not an object: {escape(text)}",
            fix='write each row as {"field": ...}',
            code="E-TYPE",
        )
    refuse_characters(text, value)
    return value


def _load(text: str, *, ended: bool) -> JsonValue:
    try:
        value: JsonValue = json.loads(
            text,
            object_pairs_hook=unique,
            parse_int=integer,
            parse_float=finite,
            parse_constant=no_constant,
        )
    except json.JSONDecodeError as error:
        raise _syntax(error, text, ended=ended) from error
    except RecursionError as error:
        raise too_deep() from error
    return value


def _syntax(error: json.JSONDecodeError, text: str, *, ended: bool) -> HarnessError:
    column = error.pos + 1
    if error.msg.startswith("Invalid control character"):
        return _control(text, error.pos)
    if not ended and is_cut(error, text):
        return truncated("a string" if error.msg.startswith(("Unterminated", "Invalid \\")) else "a row")
    if error.msg == "Extra data":
        return HarnessError(
            f"more after the end of the row, at column {column}: {escape(text[error.pos :])}",
            fix="put each row on a line of its own",
            code="E-JSON-EXTRA",
        )
    found = escape(text[max(0, error.pos - 20) : error.pos + 20])
    return HarnessError(
        f"not JSON at column {column}: {error.msg[:1].lower()}{error.msg[1:]}, near {found}",
        fix="mend the line; a JSON serialiser writes it right",
        code="E-JSON",
    )


def is_cut(error: json.JSONDecodeError, text: str) -> bool:
    """Whether the text stops where more was to come, rather than being wrong."""
    rest = text[error.pos :].rstrip()
    if error.msg.startswith("Unterminated"):
        return True
    if error.msg.startswith("Invalid \\"):
        return len(rest) < len("\\u0000")
    return _UNFINISHED.fullmatch(rest) is not None


def _control(text: str, position: int) -> HarnessError:
    return HarnessError(
        f"control character {escape(text[position])} at column {position + 1}",
        fix="write it as a JSON escape (\\n, \\t, \\u001b), or remove it; lines end with \\n or \\r\\n",
        code="E-JSON-CTRL",
    )


def refuse_depth(text: str) -> None:
    """E-DEPTH. Before parsing, because a parser that recurses can be made to run out of stack."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for match in _STRUCTURE.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(match[0], 0)
        if depth > MAX_DEPTH:
            raise too_deep()


def too_deep() -> HarnessError:
    """E-DEPTH."""
    return HarnessError(f"nested more than {MAX_DEPTH} levels deep", fix="flatten the row", code="E-DEPTH")


def unique(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    """The object of these members; E-DUPKEY where a name stands twice."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in fields if names.count(name) > 1)
        raise HarnessError(
            f"field {quote(twice)} stands {names.count(twice)} times in one object",
            fix="keep one of them: parsers disagree on which counts",
            code="E-DUPKEY",
        )
    return fields


def integer(digits: str) -> int:
    """A whole number of any size that can be read back; E-INT."""
    if len(digits) > MAX_DIGITS:
        raise HarnessError(
            f"an integer of {len(digits):,} digits", fix="write long digit strings as strings", code="E-INT"
        )
    return int(digits)


def finite(number: str) -> float:
    """A number; E-NONFINITE where it is too large to be one."""
    value = float(number)
    if math.isinf(value):
        raise not_finite(number)
    return value


def no_constant(name: str) -> float:
    """E-NONFINITE for NaN and the infinities, which JSON does not have."""
    raise not_finite(name)


def not_finite(number: str) -> HarnessError:
    """E-NONFINITE."""
    return HarnessError(
        f"{escape(number)} is not a finite number", fix="write null, or leave the field out", code="E-NONFINITE"
    )


def refuse_characters(text: str, value: JsonValue) -> None:
    """E-NUL or E-SURROGATE for escapes that spell what no text should hold. The fast search nearly never hits."""
    if _ESCAPED_NUL in text and any("\0" in string for string in strings_in(value)):
        raise nul()
    if _ESCAPED_SURROGATE.search(text) and any(_has_surrogate(string) for string in strings_in(value)):
        raise surrogate("half of a surrogate pair, written as an escape")


def _has_surrogate(text: str) -> bool:
    return any("\ud800" <= character <= "\udfff" for character in text)


def strings_in(value: JsonValue) -> Iterator[str]:
    """Every string in a value, names of members included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from strings_in(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from strings_in(item)
