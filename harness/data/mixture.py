"""All rows of a task have one format; those that do not are named, with the counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

from harness.data.formats import UNKNOWN, Reading, name_format
from harness.data.problems import Problem
from harness.data.rows import Row
from harness.data.sources import DataFile

# A row, the file it stands in and the name of its format.
Named: TypeAlias = tuple[DataFile, Row, str]


def one_format(
    files: Sequence[DataFile], reading: Reading, *, drop: Callable[[Sequence[Problem]], None]
) -> tuple[list[Named], str]:
    """The rows of the most frequent format, and its name; the others are dropped as E-SCHEMA-MIX.

    Rows of no known format stay in: they have a clearer problem of their own. Within one file, a column that is a list
    in some rows and a string in others is a mixture too.
    """
    rows = [(file, row, name_format(row.fields, reading)) for file in files for row in file.rows]
    for file in files:
        odd = _minority([(item, _kind(item, reading)) for item in rows if item[0] is file], drop)
        rows = [item for item in rows if id(item[1]) not in odd]
    odd = _minority([(item, item[2]) for item in rows if item[2] != UNKNOWN], drop)
    rows = [item for item in rows if id(item[1]) not in odd]
    return rows, next((name for _, _, name in rows if name != UNKNOWN), UNKNOWN)


def _kind(item: Named, reading: Reading) -> str:
    _, row, _ = item
    if reading.reference is None:
        return ""
    return "a list as reference" if reading.reference.lists(row.fields) else "a text as reference"


def _minority(labelled: Iterable[tuple[Named, str]], drop: Callable[[Sequence[Problem]], None]) -> set[int]:
    """Drop all rows but those with the most frequent label (the first met, if two are); returns which."""
    pairs = list(labelled)
    counts = Counter(label for _, label in pairs)
    if len(counts) < 2:
        return set()
    firsts = {label: _where(item) for item, label in reversed(pairs)}
    told = ", ".join(f"{label} {count:,} (first at {firsts[label]})" for label, count in counts.most_common())
    usual = counts.most_common(1)[0][0]
    odd = [(item, label) for item, label in pairs if label != usual]
    for item, label in odd:
        what = f"this row is {label}, but rows must have one format; found: {told}"
        drop([Problem(_where(item), "E-SCHEMA-MIX", what, "write all rows the same way")])
    return {id(item[1]) for item, _ in odd}


def _where(item: Named) -> str:
    return f"{item[0].name}:{item[1].line}"
