"""results.parquet: every sample and arm of a run, whole, for whoever wants to compute further."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from harness.core.protocols import RunView
from harness.core.records import SampleRow

Value: TypeAlias = str | float | list[str] | None
_FIXED = ("id", "arm", "output", "failure", "prompt", "references")


class ParquetReporter:
    """Writes results.parquet: one row per sample and arm, one column per metric."""

    def render(self, view: RunView) -> Mapping[str, bytes]:
        """{"results.parquet": a table of id, arm, output, failure, prompt, references and the scores}."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        names = columns(view.result.metrics)
        texts = [pa.field(name, pa.string()) for name in _FIXED[:-1]]
        scores = [pa.field(name, pa.float64()) for name in names.values()]
        schema = pa.schema([*texts, pa.field("references", pa.list_(pa.string())), *scores])
        rows = [line for row in view.samples() for line in _lines(row, names)]
        buffer = io.BytesIO()
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), buffer)
        return {"results.parquet": buffer.getvalue()}


reporter = ParquetReporter()


def columns(metrics: tuple[str, ...]) -> dict[str, str]:
    """Metric -> column; a metric that is called like one of the fixed columns gets a prefix.

    >>> columns(("rouge_l", "id"))
    {'rouge_l': 'rouge_l', 'id': 'score.id'}
    """
    return {metric: _encodable(f"score.{metric}" if metric in _FIXED else metric) for metric in metrics}


def _lines(row: SampleRow, names: Mapping[str, str]) -> Iterator[dict[str, Value]]:
    for arm in dict.fromkeys((*row.outputs, *row.failures, *row.scores)):
        scores = row.scores.get(arm, {})
        yield {
            "id": _encodable(row.id),
            "arm": _encodable(arm),
            "output": _optional(row.outputs.get(arm)),
            "failure": _optional(row.failures.get(arm)),
            "prompt": _encodable(row.prompt),
            "references": [_encodable(text) for text in row.references],
            **{column: scores.get(metric) for metric, column in names.items()},
        }


def _optional(text: str | None) -> str | None:
    return None if text is None else _encodable(text)


def _encodable(text: str) -> str:
    """The text, with lone surrogates (which UTF-8 has no bytes for) as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
