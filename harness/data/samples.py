"""One row becomes one sample, or the list of everything that is wrong with it."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable
from typing import TypeVar

from pydantic import JsonValue

from harness.core.errors import HarnessError
from harness.core.types import Sample, Split
from harness.data.display import quote
from harness.data.formats import FORMATS, UNKNOWN, Reading, answers, conversation, used_fields
from harness.data.formats.reading import Fields, missing
from harness.data.problems import Problem
from harness.data.rows import Row
from harness.data.template import MISSING, did_you_mean, find, json_type, path_of

T = TypeVar("T")


def to_sample(
    row: Row, row_format: str, reading: Reading, *, name: str, split: Split, prefix: str, keep: frozenset[str]
) -> Sample | tuple[Problem, ...]:
    """The sample of one row.

    prefix: what the ids of rows without one begin with. keep: fields that stay in the metadata although templates use
    them, and nested ones that it gets under their dotted names (slices).
    """
    fields, spec, where = row.fields, reading.spec, f"{name}:{row.line}"
    errors: list[HarnessError] = []
    id_ = _attempt(errors, lambda: _identifier(fields, spec.id)) or f"{prefix}-{row.number}"
    group = _attempt(errors, lambda: _group(fields, spec.group))
    turns = references = None
    if row_format not in FORMATS:
        errors.append(missing(fields, "prompt") if row_format == UNKNOWN else _ambiguous(row_format))
    else:
        turns = _attempt(errors, lambda: conversation(fields, row_format, reading))
        references = _attempt(errors, lambda: _allowed(answers(fields, row_format, reading), spec.labels))
    if errors or turns is None or references is None:
        return tuple(Problem.at(where, error, id=id_) for error in _distinct(errors))
    hidden = (used_fields(row_format, reading) - keep) | {spec.id}
    metadata = {key: without_nulls(value) for key, value in fields.items() if key not in hidden and value is not None}
    nested = {key: find(path_of(key), fields) for key in keep if key not in fields}
    metadata |= {key: without_nulls(value) for key, value in nested.items() if value is not MISSING}
    return Sample(id_, split, turns, references, metadata, group, where)


def without_nulls(value: JsonValue) -> JsonValue:
    """The value without members that are null: a table cannot tell them from absent ones, so nothing may hang on it."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def _attempt(errors: list[HarnessError], make: Callable[[], T]) -> T | None:
    try:
        return make()
    except HarnessError as error:
        errors.append(error)
        return None


def _distinct(errors: list[HarnessError]) -> list[HarnessError]:
    """A conversation that is wrong is wrong for both prompt and answer: said once."""
    return list({(error.code, error.what): error for error in errors}.values())


def _identifier(fields: Fields, name: str) -> str | None:
    if name not in fields:
        return None
    value = fields[name]
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise _no_key(name, value)
    if not value.strip():
        raise HarnessError(f"the id (field {name!r}) is empty", fix="give every row an id, or none", code="E-FIELD")
    return value


def _group(fields: Fields, name: str | None) -> str | None:
    if name is None:
        return None
    value = find(path_of(name), fields)
    if value is MISSING:
        fix = did_you_mean(name, fields) or "name a field of the rows as data.group, or leave it out"
        raise HarnessError(missing(fields, name).what, fix=fix, code="E-FIELD")
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise _no_key(name, value)


def _no_key(name: str, value: JsonValue) -> HarnessError:
    return HarnessError(
        f"field {name!r} is {json_type(value)}; ids and groups are strings or whole numbers",
        fix="write it as a string",
        code="E-TYPE",
    )


def _ambiguous(names: str) -> HarnessError:
    return HarnessError(
        f"the row could be {names}: it has the fields of each",
        fix=f'say which in task.toml: [data] format = "{names.split()[0]}"',
        code="E-SCHEMA-MIX",
    )


def _allowed(references: tuple[str, ...], labels: tuple[str, ...] | None) -> tuple[str, ...]:
    for reference in references if labels is not None else ():
        if labels is not None and reference not in labels:
            raise HarnessError(
                f"{quote(reference)} is not one of the {len(labels)} labels{_nearest(reference, labels)}",
                fix="correct the row, or add the label to data.labels; labels are never mapped silently",
                code="E-LABEL",
            )
    return references


@functools.lru_cache(maxsize=1024)
def _nearest(reference: str, labels: tuple[str, ...]) -> str:
    plain = {label.strip().casefold(): label for label in reversed(labels)}
    near = difflib.get_close_matches(reference.strip().casefold(), list(plain), n=3, cutoff=0.5)
    return f"; near: {', '.join(quote(plain[key]) for key in near)}" if near else ""
