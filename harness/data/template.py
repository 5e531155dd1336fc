"""Templates with `{field}` holes, filled in one pass: what a field holds is never read as template again."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from harness.core.errors import HarnessError
from harness.data.display import escape, quote

_PIECE = re.compile(r"(?P<text>(?:[^{}]|\{\{|\}\})+)|\{(?P<hole>[^{}]+)\}|(?P<stray>[{}])")
_JSON_TYPES = {type(None): "null", bool: "a boolean", int: "a number", float: "a number", str: "a string",
               list: "a list", dict: "an object"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template: literal texts and holes in order. A hole is the path of a field."""

    text: str
    parts: tuple[str | tuple[str, ...], ...]

    @property
    def fields(self) -> frozenset[str]:
        """The top-level fields the template may read."""
        holes = [part for part in self.parts if isinstance(part, tuple)]
        return frozenset({hole[0] for hole in holes} | {".".join(hole) for hole in holes})

    def render(self, row: Mapping[str, JsonValue]) -> str:
        """The text for one row. Strings and numbers are filled in; E-FIELD and E-TYPE for anything else."""
        return "".join(part if isinstance(part, str) else _spell(part, look_up(part, row)) for part in self.parts)

    def render_all(self, row: Mapping[str, JsonValue]) -> tuple[str, ...]:
        """As `render`, but a template of exactly one hole that holds a list gives a text for each item."""
        if self.lists(row):
            hole = self._only_hole
            assert hole is not None
            value = look_up(hole, row)
            assert isinstance(value, list)
            return tuple(_spell((*hole, str(index)), item) for index, item in enumerate(value))
        return (self.render(row),)

    def lists(self, row: Mapping[str, JsonValue]) -> bool:
        """Whether the template is one hole and that hole holds a list in this row."""
        hole = self._only_hole
        return hole is not None and isinstance(_find(hole, row), list)

    @property
    def _only_hole(self) -> tuple[str, ...] | None:
        only = self.parts[0] if len(self.parts) == 1 else ""
        return only if isinstance(only, tuple) else None


def compile_template(text: str) -> Template:
    """Parse a template. `{name}` is a field, `{customer.name}` a field of an object, `{{` and `}}` are braces.

    A field whose own name has dots ("a.b") is found before the nested one. E-TEMPLATE for a stray brace.

    >>> compile_template("Q: {question} {{}}").render({"question": "{why}?"})
    'Q: {why}? {}'
    """
    parts: list[str | tuple[str, ...]] = []
    for match in _PIECE.finditer(text):
        if match["stray"] is not None:
            raise _stray(text, match.start())
        if match["hole"] is not None:
            parts.append(tuple(match["hole"].split(".")))
        else:
            parts.append(match["text"].replace("{{", "{").replace("}}", "}"))
    return Template(text, tuple(parts))


def look_up(path: tuple[str, ...], row: Mapping[str, JsonValue]) -> JsonValue:
    """The value at a path; E-FIELD, with the nearest name, where the row has none."""
    value = _find(path, row)
    if value is not _MISSING:
        return value
    name = ".".join(path)
    raise HarnessError(
        f"no field {quote(name)}; the row has: {escape(', '.join(row) or 'no fields')}",
        fix=did_you_mean(name, row) or f"add {quote(name)} to the row, or name another field in task.toml",
        code="E-FIELD",
    )


def did_you_mean(name: str, known: Mapping[str, object] | tuple[str, ...]) -> str | None:
    """A sentence that proposes the nearest known name, if one is near."""
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.75)
    return f"did you mean {quote(near[0])}? Rename the field, or name it in task.toml" if near else None


def json_type(value: JsonValue) -> str:
    """What JSON calls a value's type, with its article."""
    return _JSON_TYPES[type(value)]


class _Missing(str):
    __slots__ = ()


# A value of its own, because None is JSON's null.
_MISSING: JsonValue = _Missing()


def _find(path: tuple[str, ...], row: Mapping[str, JsonValue]) -> JsonValue:
    whole = ".".join(path)
    if whole in row:
        return row[whole]
    value = row.get(path[0], _MISSING)
    for name in path[1:]:
        value = value.get(name, _MISSING) if isinstance(value, dict) else _MISSING
    return value


def _spell(path: tuple[str, ...], value: JsonValue) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return json.dumps(value)
    raise HarnessError(
        f"field {quote('.'.join(path))} is {json_type(value)}, and a hole takes a string or a number",
        fix="write the value as a string in the data, or name another field in task.toml",
        code="E-TYPE",
    )


def _stray(text: str, position: int) -> HarnessError:
    return HarnessError(
        f"template {quote(text)} has a stray {text[position]!r} at character {position + 1}",
        fix="holes are {field}; write {{ and }} for braces that are meant as text",
        code="E-TEMPLATE",
    )
