"""Typed tables (Parquet, and what the Hub's library loads): columns of JSON's types become rows, never converted.

pyarrow is imported where a table is at hand, because starting the command line must not wait for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from pydantic import JsonValue

from harness.core.errors import HarnessError
from harness.data.decoding import nul, too_long
from harness.data.display import escape, quote
from harness.data.files import Whole
from harness.data.jsonl import MAX_DEPTH, not_finite, strings_in, too_deep
from harness.data.problems import Problem
from harness.data.rows import Row

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH = 1024


def read_parquet(whole: Whole) -> Iterator[Row | Problem]:
    """Every row of a Parquet file, with its number as its line. HarnessError where the file is not one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = whole.read()
    if not content.startswith(b"PAR1"):
        raise _not_parquet(whole.name, f"it begins with {content[:4].hex(' ') or 'nothing'}")
    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        yield from table_rows(file.iter_batches(_BATCH), file.schema_arrow, whole.name, limit=whole.limit)
    except (pa.ArrowException, OSError) as error:
        raise _not_parquet(whole.name, escape(str(error).split("\n")[0])) from error


def table_rows(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, name: str, *, limit: int
) -> Iterator[Row | Problem]:
    """The rows of a table. A null is a field that the row does not have, at any depth of structs.

    A column of a type that JSON has no form for (a time, bytes) is left out with a warning. limit: characters a row.
    """
    names = list(schema.names)
    twice = next((column for column in names if names.count(column) > 1), None)
    if twice is not None:
        raise HarnessError(
            f"{name!r} has {names.count(twice)} columns named {quote(twice)}", fix="rename one", code="E-DUPKEY"
        )
    odd = [field for field in schema if not _has_json_form(field.type)]
    for field in odd:
        yield _left_out(field, name)
    kept = [column for column in names if column not in {field.name for field in odd}]
    number = 0
    for batch in batches:
        for fields in _lists(batch.select(kept)):
            number += 1
            try:
                yield Row(number, _checked(fields, limit))
            except HarnessError as error:
                yield Problem.at(f"{name}:{number}", error)


def encode_parquet(rows: Sequence[dict[str, JsonValue]]) -> bytes:
    """The rows as a Parquet file; E-CONVERT where a column would need two types."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = [_column(name, [row.get(name) for row in rows]) for name in names]
    sink = pa.BufferOutputStream()
    try:
        pq.write_table(pa.Table.from_arrays(columns, names=names), sink, compression="zstd")
    except pa.ArrowException as error:
        raise _no_column("a field", str(error)) from error
    content: bytes = sink.getvalue().to_pybytes()
    return content


def _column(name: str, values: list[JsonValue]) -> pa.Array:
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError) as error:
        raise _no_column(f"field {quote(name)}", str(error)) from error


def _no_column(what: str, why: str) -> HarnessError:
    return HarnessError(
        f"{what} does not fit in a column of a Parquet file, which has one type: {escape(why)}",
        fix="write .jsonl instead, or give the field one type in all rows",
        code="E-CONVERT",
    )


def _has_json_form(kind: pa.DataType, depth: int = 2) -> bool:
    from pyarrow import types

    if depth > MAX_DEPTH:
        raise too_deep()
    if types.is_dictionary(kind):
        return _has_json_form(kind.value_type, depth + 1)
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        return _has_json_form(kind.value_type, depth + 1)
    if types.is_struct(kind):
        fields = [kind.field(index) for index in range(kind.num_fields)]
        distinct = len({field.name for field in fields}) == len(fields)
        return distinct and all(_has_json_form(field.type, depth + 1) for field in fields)
    plain = (types.is_null, types.is_boolean, types.is_integer, types.is_floating)
    texts = (types.is_string, types.is_large_string, types.is_string_view)
    return any(is_kind(kind) for is_kind in (*plain, *texts))


def _left_out(field: pa.Field, name: str) -> Problem:
    return Problem(
        name,
        "E-TYPE",
        f"column {quote(field.name)} is left out: its type {quote(str(field.type))} has no form in JSON",
        "nothing to do if the task does not need it; otherwise write the column as text",
        severity="warning",
    )


def _lists(batch: pa.RecordBatch) -> Iterator[dict[str, JsonValue] | HarnessError]:
    """The rows as Python values, one by one where a text of the batch is not UTF-8."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for index in range(batch.num_rows):
            yield _only(batch.slice(index, 1))


def _only(batch: pa.RecordBatch) -> dict[str, JsonValue] | HarnessError:
    try:
        row: dict[str, JsonValue] = batch.to_pylist()[0]
    except UnicodeDecodeError:
        return HarnessError("a text that is not UTF-8", fix="write the column again as UTF-8", code="E-ENC")
    return row


def _checked(fields: dict[str, JsonValue] | HarnessError, limit: int) -> dict[str, JsonValue]:
    if isinstance(fields, HarnessError):
        raise fields
    present = {name: _plain(value) for name, value in fields.items() if value is not None}
    size = 0
    for text in strings_in(present):
        size += len(text)
        if "\0" in text:
            raise nul()
    if size > limit:
        raise too_long(limit)
    return present


def _plain(value: JsonValue) -> JsonValue:
    """The value without null members of structs; E-NONFINITE."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise not_finite(str(value))
    return value


def _not_parquet(name: str, why: str) -> HarnessError:
    return HarnessError(f"{name!r} is not a whole Parquet file: {why}", fix="get the file again", code="E-FORMAT")
