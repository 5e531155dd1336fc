"""Templates with `{field}` holes, filled in one pass: what a field holds is never read as template again."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from pydantic import JsonValue

from harness.core.errors import HarnessError
from harness.data.display import escape, quote

Path: TypeAlias = tuple[str, ...]
# The paths that may fill it; the first that the row has does.
Hole: TypeAlias = tuple[Path, ...]

_PIECE = re.compile(r"(?P<text>(?:[^{}]|\{\{|\}\})+)|\{(?P<hole>[^{}]+)\}|(?P<stray>[{}])")
_JSON_TYPES = {type(None): "null", bool: "a boolean", int: "a number", float: "a number", str: "a string",
               list: "a list", dict: "an object"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template: literal texts and holes in order. A hole is the paths of the fields that may fill it."""

    text: str
    parts: tuple[str | Hole, ...]

    @property
    def fields(self) -> frozenset[str]:
        """The top-level fields the template may read."""
        paths = [path for part in self.parts if isinstance(part, tuple) for path in part]
        return frozenset({path[0] for path in paths} | {".".join(path) for path in paths})

    def render(self, row: Mapping[str, JsonValue]) -> str:
        """The text for one row. Strings and numbers are filled in; E-FIELD and E-TYPE for anything else."""
        return "".join(part if isinstance(part, str) else _spell(*_choose(part, row)) for part in self.parts)

    def render_all(self, row: Mapping[str, JsonValue]) -> tuple[str, ...]:
        """As `render`, but a template of exactly one hole that holds a list gives a text for each item."""
        if self.lists(row):
            hole = self._only_hole
            assert hole is not None
            path, value = _choose(hole, row)
            assert isinstance(value, list)
            return tuple(_spell((*path, str(index)), item) for index, item in enumerate(value))
        return (self.render(row),)

    def lists(self, row: Mapping[str, JsonValue]) -> bool:
        """Whether the template is one hole and that hole holds a list in this row."""
        hole = self._only_hole
        return hole is not None and any(isinstance(find(path, row), list) for path in _present(hole, row)[:1])

    @property
    def _only_hole(self) -> Hole | None:
        only = self.parts[0] if len(self.parts) == 1 else ""
        return only if isinstance(only, tuple) else None


def compile_template(text: str) -> Template:
    """Parse a template. `{name}` is a field, `{customer.name}` a field of an object, `{{` and `}}` are braces.

    A field whose own name has dots ("a.b") is found before the nested one. `{outputs|output}` takes the first of the
    two that the row has and that is not null. E-TEMPLATE for a stray brace, or for an alternative without a name.

    >>> compile_template("Q: {question} {{}}").render({"question": "{why}?"})
    'Q: {why}? {}'
    """
    parts: list[str | Hole] = []
    for match in _PIECE.finditer(text):
        if match["stray"] is not None:
            raise _stray(text, match.start())
        if match["hole"] is not None:
            parts.append(_hole(text, match["hole"], match.start()))
        else:
            parts.append(match["text"].replace("{{", "{").replace("}}", "}"))
    return Template(text, tuple(parts))


def _hole(template: str, text: str, position: int) -> Hole:
    """The paths of a hole. A field that is really called "a|b" comes before its alternatives."""
    names = [name.strip() for name in text.split("|")]
    if len(names) == 1:
        return (path_of(text),)
    if "" in names:
        raise HarnessError(
            f"template {quote(template)} has an alternative without a name at character {position + 1}",
            fix="write {first|second}, each the name of a field",
            code="E-TEMPLATE",
        )
    return ((text,), *map(path_of, names))


def _present(hole: Hole, row: Mapping[str, JsonValue]) -> list[Path]:
    """The paths of a hole that the row has, those that are null last."""
    found = [(path, find(path, row)) for path in hole]
    there = [(path, value) for path, value in found if value is not MISSING]
    return [path for path, value in sorted(there, key=lambda item: item[1] is None)]


def _choose(hole: Hole, row: Mapping[str, JsonValue]) -> tuple[Path, JsonValue]:
    """The path that fills a hole and its value; E-FIELD, with the nearest name, where the row has none."""
    for path in _present(hole, row):
        return path, find(path, row)
    names = [".".join(path) for path in (hole if len(hole) == 1 else hole[1:])]
    name = names[0]
    raise HarnessError(
        f"no field {' or '.join(map(quote, names))}; the row has: {escape(', '.join(row) or 'no fields')}",
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
MISSING: JsonValue = _Missing()


def path_of(name: str) -> Path:
    """The path that a dotted name spells."""
    return tuple(name.split("."))


def find(path: Path, row: Mapping[str, JsonValue]) -> JsonValue:
    """The value at a path, or MISSING. A field whose own name has dots comes before a nested one."""
    whole = ".".join(path)
    if whole in row:
        return row[whole]
    value = row.get(path[0], MISSING)
    for name in path[1:]:
        value = value.get(name, MISSING) if isinstance(value, dict) else MISSING
    return value


def _spell(path: Path, value: JsonValue) -> str:
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
