"""Samples as rows of a format, and rows as the bytes of a file: whole, or not at all."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence

from pydantic import JsonValue

from harness.core.errors import HarnessError
from harness.core.types import Sample
from harness.data.display import escape, quote
from harness.data.formats import Format
from harness.data.formats.reading import Object
from harness.data.sources import DELIMITERS
from harness.data.tables import encode_parquet
from harness.data.template import json_type

N_EXAMPLES = 5


def to_rows(samples: Sequence[Sample], row_format: Format, *, id_field: str) -> list[Object]:
    """The samples in a format, with id and metadata beside it. E-CONVERT, naming rows, where it cannot hold them."""
    reserved = row_format.fields | {id_field}
    problems = [(sample, why) for sample in samples if (why := _unfit(sample, row_format, reserved)) is not None]
    if problems:
        raise _refusal(
            f"{len(problems):,} of {len(samples):,} rows cannot be written as {row_format.name}",
            [f"{sample.origin} ({escape(sample.id)}): {why}" for sample, why in problems],
            "choose another format, or change these rows",
        )
    bodies = row_format.write(samples)
    return [{id_field: sample.id, **body, **sample.metadata} for sample, body in zip(samples, bodies, strict=True)]


def _unfit(sample: Sample, row_format: Format, reserved: frozenset[str]) -> str | None:
    clash = next((name for name in sample.metadata if name in reserved), None)
    if clash is not None:
        return f"its field {quote(clash)} has the name of a field that {row_format.name} gives a meaning"
    return row_format.cannot_hold(sample)


def encode(rows: Sequence[Object], suffix: str) -> bytes:
    """The rows as a file of the kind that its suffix says; E-FORMAT for an unknown one, E-CONVERT for what it loses."""
    if suffix not in _ENCODERS:
        raise HarnessError(
            f"{quote(suffix or 'no suffix')} is not a kind of file that is written",
            fix=f"end the name with one of {', '.join(_ENCODERS)}",
            code="E-FORMAT",
        )
    return _ENCODERS[suffix](rows)


def _jsonl(rows: Sequence[Object]) -> bytes:
    return "".join(_dump(row) + "\n" for row in rows).encode()


def _json(rows: Sequence[Object]) -> bytes:
    return ("[\n" + ",\n".join(_dump(row) for row in rows) + "\n]\n").encode()


def _dump(row: Object) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False)


def _table(rows: Sequence[Object], delimiter: str) -> bytes:
    names = list(rows[0])
    problems = [f"row {number}: {why}" for number, row in enumerate(rows, 1) for why in _no_cells(row, names)]
    if problems:
        raise _refusal(
            f"a table of texts cannot hold {len(problems):,} of these fields", problems, "write .jsonl or .parquet"
        )
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_MINIMAL)
    writer.writerow(names)
    writer.writerows([row[name] for name in names] for row in rows)
    return buffer.getvalue().encode()


def _no_cells(row: Mapping[str, JsonValue], names: Sequence[str]) -> Iterator[str]:
    """Why a row does not fit: a cell is a text, and every row has every cell."""
    for name in names:
        if name not in row:
            yield f"field {quote(name)} is missing, and a cell cannot say whether it is missing or empty"
    for name, value in row.items():
        if name not in names:
            yield f"field {quote(name)} does not stand in the first row"
        elif not isinstance(value, str):
            yield f"field {quote(name)} is {json_type(value)}, and cells are texts"
        elif "\r" in value:
            yield f"field {quote(name)} has a carriage return, which a table does not keep"


def _refusal(what: str, problems: Sequence[str], fix: str) -> HarnessError:
    more = [f"... and {len(problems) - N_EXAMPLES:,} more"] if len(problems) > N_EXAMPLES else []
    return HarnessError(what, fix=fix, code="E-CONVERT", details=[*problems[:N_EXAMPLES], *more])


_ENCODERS: dict[str, Callable[[Sequence[Object]], bytes]] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": lambda rows: _table(rows, DELIMITERS[".csv"]),
    ".tsv": lambda rows: _table(rows, DELIMITERS[".tsv"]),
    ".parquet": encode_parquet,
}
