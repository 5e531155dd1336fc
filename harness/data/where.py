"""Conditions on fields: which rows a task takes."""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from harness.core.errors import HarnessError
from harness.data.display import quote
from harness.data.template import MISSING, find, json_type, path_of

_COMPARISON = re.compile(r"(>=|<=|!=|>|<)\s*(.*)", re.DOTALL)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_ORDER: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


@dataclass(frozen=True, slots=True)
class Condition:
    """What one field must be. setting: the table it stands in; field: a name, dotted where it is nested."""

    setting: str
    field: str
    accepts: Callable[[JsonValue], bool]

    def holds(self, fields: Mapping[str, JsonValue]) -> bool:
        """Whether a row is taken; a field that it does not have counts as null."""
        value = find(path_of(self.field), fields)
        return self.accepts(None if value is MISSING else value)


def compile_where(table: Mapping[str, JsonValue], setting: str) -> tuple[Condition, ...]:
    """The conditions of `data.where` or `data.train_where`; E-WHERE for one that makes no sense.

    A value must be equal; of a list, one must be; a text that begins with >=, <=, > or < compares numbers, and one
    that begins with != must differ. A number and a text that spells it are equal, because cells of CSV are texts.

    >>> [condition.holds({"stars": "4"}) for condition in compile_where({"stars": ">=3", "lang": "!=de"}, "data.where")]
    [True, True]
    """
    return tuple(Condition(setting, field, _test(value, f"{setting}.{field}")) for field, value in _flat(table))


def refuse_unknown(conditions: Sequence[Condition], rows: Iterable[Mapping[str, JsonValue]]) -> None:
    """E-FIELD, with the nearest name, for a condition on a field that no row has."""
    open_ = list(conditions)
    known: dict[str, None] = {}
    for row in rows:
        open_ = [condition for condition in open_ if find(path_of(condition.field), row) is MISSING]
        if not open_:
            return
        known |= dict.fromkeys(_names(row))
    for condition in open_:
        near = difflib.get_close_matches(condition.field, list(known), n=1)
        raise HarnessError(
            f"{condition.setting} names {quote(condition.field)}, which no row has",
            fix=f"did you mean {quote(near[0])}?" if near else f"name a field of the rows in {condition.setting}",
            code="E-FIELD",
        )


def _names(row: Mapping[str, JsonValue], prefix: str = "") -> Iterator[str]:
    for name, value in row.items():
        yield prefix + name
        if isinstance(value, dict):
            yield from _names(value, f"{prefix}{name}.")


def _flat(table: Mapping[str, JsonValue], prefix: str = "") -> Iterator[tuple[str, JsonValue]]:
    """A table in a table is a nested field: [data.where] metadata.language = "en"."""
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _test(wanted: JsonValue, setting: str) -> Callable[[JsonValue], bool]:
    if isinstance(wanted, list):
        if not wanted or any(isinstance(item, dict | list) for item in wanted):
            raise _error(f"{setting} is not a list of values", 'write ["en", "de"]')
        return lambda value: any(_equal(value, item) for item in wanted)
    match = _COMPARISON.fullmatch(wanted) if isinstance(wanted, str) else None
    if match is None:
        return lambda value: _equal(value, wanted)
    if match[1] == "!=":
        return lambda value: not _equal(value, match[2])
    bound, order = _number(match[2]), _ORDER[match[1]]
    if bound is None:
        what = f"{setting} = {quote(str(wanted))} compares with {quote(match[2])}, which is not a number"
        raise _error(what, f'write a number after {match[1]}; for the text itself, a list: ["{match[1]}..."]')
    return lambda value: (number := _number(value)) is not None and order(number, bound)


def _equal(value: JsonValue, wanted: JsonValue) -> bool:
    """Equal as JSON; of a text and something else, equal if the text spells it."""
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted or (
            {json_type(value), json_type(wanted)} == {"a boolean", "a string"}
            and (str(value).casefold() == str(wanted).casefold())
        )
    if isinstance(value, str) and isinstance(wanted, str):
        return value == wanted
    one, two = _number(value), _number(wanted)
    return value == wanted if one is None or two is None else one == two


def _number(value: JsonValue) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    if not isinstance(value, str) or _NUMBER.fullmatch(value.strip()) is None:
        return None
    number = float(value)
    return number if math.isfinite(number) else None


def _error(what: str, fix: str) -> HarnessError:
    return HarnessError(what, fix=fix, code="E-WHERE")
