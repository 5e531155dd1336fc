"""What a reader yields besides problems."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import JsonValue


@dataclass(frozen=True, slots=True)
class Row:
    """One parsed row and its line."""

    line: int
    fields: dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Blank:
    """A line with nothing on it: counted, not a row."""

    line: int
