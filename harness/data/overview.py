"""What a file of rows looks like: its format, its fields, and one row as it is understood."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from harness.core.records import Finding
from harness.core.specs import DataSpec
from harness.core.types import Sample
from harness.data.dataset import gather
from harness.data.display import escape
from harness.data.rows import Row


@dataclass(frozen=True, slots=True)
class FieldFacts:
    """One field. filled: share of rows in which it is there, not null and not empty. example: from the first such."""

    name: str
    filled: float
    example: str


@dataclass(frozen=True, slots=True)
class Overview:
    """A source as it was read. first: the first row that became a sample, if any did."""

    files: Mapping[str, str]
    format: str
    n_rows: int
    n_samples: int
    n_dropped: Mapping[str, int]
    fields: tuple[FieldFacts, ...]
    first: Sample | None
    findings: tuple[Finding, ...]


def overview(spec: DataSpec, folder: Path) -> Overview:
    """Look at a source. Bad rows are findings; HarnessError where there is no row at all."""
    gathered = gather(spec, folder, drop_bad=False)
    rows = [row for file in gathered.files for row in file.rows]
    return Overview(
        files={file.name: file.sha256 for file in gathered.files},
        format=gathered.row_format,
        n_rows=gathered.n_rows,
        n_samples=len(gathered.samples),
        n_dropped=dict(gathered.n_dropped),
        fields=tuple(_facts(rows)),
        first=next(iter(gathered.samples), None),
        findings=gathered.findings,
    )


def _facts(rows: Sequence[Row]) -> Iterator[FieldFacts]:
    """The fields in the order in which they are met."""
    for name in dict.fromkeys(name for row in rows for name in row.fields):
        values = [row.fields[name] for row in rows if not _is_empty(row.fields.get(name))]
        yield FieldFacts(name, len(values) / len(rows), _spelled(values[0]) if values else "")


def _is_empty(value: JsonValue) -> bool:
    return value is None or value == "" or value == [] or value == {}


def _spelled(value: JsonValue) -> str:
    return escape(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
