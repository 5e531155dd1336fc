"""JSON as RFC 8259 has it and nothing else, and one spelling per value."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from pydantic import JsonValue


def parse(text: str) -> JsonValue:
    """The value of a JSON text; ValueError for anything Python's parser forgives.

    Not allowed: NaN and Infinity, a key twice, text before or after, nesting too deep or numbers too long to read.
    Whole floats become ints: 1.0 and 1 are the same number.
    """
    try:
        value: JsonValue = json.loads(
            text, parse_constant=_no_constant, parse_float=_number, object_pairs_hook=_no_duplicates
        )
    except RecursionError as err:
        raise ValueError("nested too deep") from err
    return value


def canonical(value: JsonValue) -> str:
    """One spelling per value: keys sorted, no white space. ValueError if nested too deep.

    >>> canonical(parse('{"b": 1.0, "a": [ ]}'))
    '{"a":[],"b":1}'
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    except RecursionError as err:
        raise ValueError("nested too deep") from err


def fields(text: str) -> frozenset[tuple[str, str]] | None:
    """The (key, canonical value) pairs of a JSON object; None if the text is no valid JSON object."""
    try:
        value = parse(text)
        return frozenset((key, canonical(item)) for key, item in value.items()) if isinstance(value, dict) else None
    except ValueError:
        return None


def _no_constant(name: str) -> JsonValue:
    raise ValueError(f"{name} is not JSON")


def _number(text: str) -> float | int:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("number out of range")
    return int(number) if number.is_integer() else number


def _no_duplicates(pairs: Sequence[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)
