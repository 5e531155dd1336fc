"""Settings of metrics that the references themselves show: a JSON Schema, a pattern, the limits of length."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence

from pydantic import JsonValue

from harness.core.types import Sample

_RUN = re.compile(r"(?P<d>[0-9]+)|(?P<u>[A-Z]+)|(?P<l>[a-z]+)|(?P<other>[^0-9A-Za-z]+)")
_CLASSES = {"d": "[0-9]", "u": "[A-Z]", "l": "[a-z]"}
_JSON_TYPES: dict[type, str] = {str: "string", bool: "boolean", int: "number", float: "number", list: "array",
                                dict: "object", type(None): "null"}  # fmt: skip


def options_for(metric: str, samples: Sequence[Sample]) -> Mapping[str, JsonValue] | None:
    """Options under which every reference is perfect, for the metrics that need some; None where there are none."""
    derive = _DERIVED.get(metric)
    return None if derive is None else derive([reference for sample in samples for reference in sample.references])


def pattern_of(texts: Sequence[str]) -> str | None:
    """One pattern for all texts, of runs of digits, capitals and small letters between the same signs; else None.

    >>> pattern_of(["AB-12", "C-7"])
    '[A-Z]{1,2}\\\\-[0-9]{1,2}'
    """
    shapes = {tuple((m.lastgroup, m[0] if m.lastgroup == "other" else "") for m in _RUN.finditer(t)) for t in texts}
    if len(shapes) != 1 or len(shape := shapes.pop()) < 2:
        return None
    lengths = [[len(m[0]) for m in _RUN.finditer(text)] for text in texts]
    bounds = [(min(column), max(column)) for column in zip(*lengths, strict=True)]
    pieces = [
        re.escape(literal) if kind == "other" else f"{_CLASSES[str(kind)]}{{{low},{high}}}"
        for (kind, literal), (low, high) in zip(shape, bounds, strict=True)
    ]
    return "".join(pieces)


def schema_of(objects: Sequence[Mapping[str, JsonValue]]) -> dict[str, JsonValue]:
    """A JSON Schema that allows just the keys and types that these objects have."""
    keys = dict.fromkeys(key for item in objects for key in item)
    properties: dict[str, JsonValue] = {key: {"type": _types(key, objects)} for key in keys}
    required: list[JsonValue] = [key for key in keys if all(key in item for item in objects)]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _types(key: str, objects: Sequence[Mapping[str, JsonValue]]) -> JsonValue:
    types: list[JsonValue] = [*sorted({_JSON_TYPES[type(item[key])] for item in objects if key in item})]
    return types[0] if len(types) == 1 else types


def _pattern(texts: Sequence[str]) -> Mapping[str, JsonValue] | None:
    pattern = pattern_of([text.strip() for text in texts])
    return None if pattern is None else {"pattern": pattern}


def _schema(texts: Sequence[str]) -> Mapping[str, JsonValue] | None:
    try:
        objects = [json.loads(text) for text in texts]
    except (ValueError, RecursionError):
        return None
    return {"schema": schema_of(objects)} if all(isinstance(item, dict) for item in objects) else None


def _limits(texts: Sequence[str]) -> Mapping[str, JsonValue]:
    lengths = [len(text.strip()) for text in texts]
    return {"unit": "characters", "min": min(lengths), "max": max(lengths)}


_DERIVED: dict[str, Callable[[Sequence[str]], Mapping[str, JsonValue] | None]] = {
    "regex_match": _pattern,
    "json_schema": _schema,
    "length_within": _limits,
}
