"""A broken promise, said with an example."""

from __future__ import annotations

import json
from collections.abc import Mapping

from harness.data.display import escape

_SHOWN = 300


class ConformanceError(AssertionError):
    """promise: the sentence that does not hold. example: one case in which it does not, safe to show."""

    def __init__(self, promise: str, example: str) -> None:
        super().__init__(f"broken promise: {promise}\n  example: {example}")
        self.promise = promise
        self.example = example


def require(holds: bool, promise: str, example: str) -> None:
    """ConformanceError unless the promise holds."""
    if not holds:
        raise ConformanceError(promise, example)


def shown(value: object) -> str:
    """Any value on one short line."""
    return escape(repr(value), _SHOWN)


def raised(err: BaseException) -> str:
    """An exception on one short line."""
    return escape(f"{type(err).__name__}: {err}".partition("\n")[0], _SHOWN)


def require_plain_json(value: Mapping[str, object], promise: str) -> None:
    """ConformanceError unless the value can be written as strict JSON."""
    try:
        json.dumps(dict(value), allow_nan=False)
    except (TypeError, ValueError) as err:
        raise ConformanceError(promise, f"{shown(value)}: {raised(err)}") from err
