"""Answers that are numbers: read strictly from the text or from one key of a JSON answer."""

from __future__ import annotations

import math
import re

from harness.core.errors import HarnessError
from harness.core.types import Sample
from harness.metrics.context import located, toml_key
from harness.metrics.strict_json import parse

# Digits of ASCII only: "1,000", "5 kg", "1_000", "nan" and "1e5 or so" can each be meant in two ways.
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def number_of(text: str, key: str | None) -> float | None:
    """The finite number that the whole text is, white space at the ends aside; None for everything else.

    With a key, the value of that top-level key of a JSON object: a JSON number, or a string that is one.

    >>> number_of(" 3.5 ", None), number_of("3,5", None), number_of('{"stars": "4"}', "stars")
    (3.5, None, 4.0)
    """
    if key is None:
        return _plain(text)
    try:
        answer = parse(text)
        value = answer.get(key) if isinstance(answer, dict) else None
        if isinstance(value, str):
            return _plain(value)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    except (ValueError, OverflowError):
        return None


def reference_numbers(sample: Sample, key: str | None, *, metric: str) -> tuple[float, ...]:
    """Numbers of all references; HarnessError where one is none."""
    numbers = [number_of(reference, key) for reference in sample.references]
    if None in numbers:
        what = "a plain number" if key is None else f"a JSON object with a number under {key!r}"
        raise HarnessError(
            f"metric {metric!r} needs every reference to be {what}, but {located(sample)} has one that is not",
            fix=f"correct the row, or set field in [metrics.options.{toml_key(metric)}]",
            code="E-OPTION",
        )
    return tuple(number for number in numbers if number is not None)


def _plain(text: str) -> float | None:
    stripped = text.strip()
    if not _NUMBER.fullmatch(stripped):
        return None
    number = float(stripped)
    return number if math.isfinite(number) else None
