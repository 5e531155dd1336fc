"""What a reader yields besides problems."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import JsonValue


@dataclass(frozen=True, slots=True)
class Row:
    """One parsed row.

    line: where it begins; of formats without lines (JSON arrays, Parquet, the Hub) the number of the row.
    number: of the row among all rows of its file, the lost ones counted; what rows without an id are called after.
    """

    line: int
    fields: dict[str, JsonValue]
    number: int = 0


@dataclass(frozen=True, slots=True)
class Blank:
    """A line with nothing on it: counted, not a row."""

    line: int
