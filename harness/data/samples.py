"""One row becomes one sample, or the list of everything that is wrong with it."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable
from pathlib import PurePath
from typing import TypeVar

from pydantic import JsonValue

from harness.core.errors import HarnessError
from harness.core.types import Sample, Split
from harness.data.display import quote
from harness.data.problems import Problem
from harness.data.rows import Row
from harness.data.shapes import BOTH, UNKNOWN, Fields, Reading, answers, conversation, missing
from harness.data.template import json_type

T = TypeVar("T")


def to_sample(
    row: Row, shape: str, reading: Reading, *, name: str, split: Split, stem: str, keep: frozenset[str]
) -> Sample | tuple[Problem, ...]:
    """The sample of one row. keep: fields that stay in the metadata although templates use them (slices)."""
    fields, spec, where = row.fields, reading.spec, f"{name}:{row.line}"
    errors: list[HarnessError] = []
    id_ = _attempt(errors, lambda: _identifier(fields, spec.id)) or f"{stem}-{row.line}"
    group = _attempt(errors, lambda: _group(fields, spec.group))
    turns = references = None
    if shape in (UNKNOWN, BOTH):
        errors.append(missing(fields, "prompt") if shape == UNKNOWN else _two_shapes())
    else:
        turns = _attempt(errors, lambda: conversation(fields, shape, reading))
        references = _attempt(errors, lambda: _allowed(answers(fields, shape, reading), spec.labels))
    if errors or turns is None or references is None:
        return tuple(Problem.at(where, error, id=id_) for error in _distinct(errors))
    hidden = (reading.used_fields(shape) - keep) | {spec.id}
    metadata = {key: value for key, value in fields.items() if key not in hidden}
    return Sample(id_, split, turns, references, metadata, group, where)


def stem(name: str) -> str:
    """A file's name without folder and suffix, for the ids of rows that have none."""
    return PurePath(name).stem


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
    if name not in fields:
        raise missing(fields, name)
    value = fields[name]
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


def _two_shapes() -> HarnessError:
    return HarnessError(
        "the row has both 'messages' and 'prompt' or 'completion'",
        fix='keep one, or say which in task.toml: [data] messages = "messages"',
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
