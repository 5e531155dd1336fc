"""Parquet: typed columns become JSON values, never converted. Files are written by pyarrow and pandas themselves."""

from __future__ import annotations

import datetime
import io
from collections.abc import Callable

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness.core.records import Finding
from harness.data import Dataset


def parquet(**columns: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


PAIR = {"prompt": ["q1", "q2"], "completion": ["a", "b"]}


def rows_of(dataset: Dataset) -> dict[str, dict[str, object]]:
    return {sample.id: dict(sample.metadata) for sample in dataset.samples if sample.origin.startswith("train")}


def test_values_keep_their_types(read_train: Callable[..., Dataset]):
    columns = {
        "n": [1, 2],
        "x": [0.5, 2.0],
        "yes": [True, False],
        "tags": [["a", None], []],
        "about": [{"language": "en", "score": 1}, {"language": "de", "score": 2}],
        "kind": pa.array(["a", "b"]).dictionary_encode(),
    }
    dataset = read_train(parquet(**PAIR, **columns), name="train.parquet")
    assert rows_of(dataset)["train-1"] == {
        "n": 1, "x": 0.5, "yes": True, "tags": ["a", None], "about": {"language": "en", "score": 1}, "kind": "a",
    }  # fmt: skip
    second = rows_of(dataset)["train-2"]
    assert (type(second["n"]), type(second["x"]), second["yes"]) == (int, float, False)
    assert {s.origin for s in dataset.samples} == {"train.parquet:1", "train.parquet:2", "test.jsonl:1"}


def test_a_null_is_a_field_that_the_row_does_not_have(read_train: Callable[..., Dataset]):
    turns = [[{"role": "user", "content": "q", "name": None}, {"role": "assistant", "content": "a", "name": None}]] * 2
    references = pa.array([None, ["b"]], pa.list_(pa.string()))
    dataset = read_train(
        parquet(messages=turns, references=references, x=[None, 1]), name="train.parquet", drop_bad=True
    )
    assert {s.references for s in dataset.samples if s.origin[:5] == "train"} == {("a",), ("a", "b")}
    assert rows_of(dataset) == {"train-1": {}, "train-2": {"x": 1}}


def test_what_pandas_writes_is_read(read_train: Callable[..., Dataset]):
    sink = io.BytesIO()
    pd.DataFrame({**PAIR, "n": [1.5, None]}).to_parquet(sink)
    assert rows_of(read_train(sink.getvalue(), name="train.parquet")) == {"train-1": {"n": 1.5}, "train-2": {}}


def test_a_column_without_a_form_in_json_is_left_out_with_a_warning(read_train: Callable[..., Dataset]):
    dataset = read_train(
        parquet(**PAIR, when=[datetime.datetime(2020, 1, 1)] * 2, raw=[b"x", b"y"]), name="train.parquet"
    )
    finding = only(dataset, "E-TYPE")
    assert (finding.severity, finding.count) == ("warning", 2)
    assert "'when' is left out: its type 'timestamp[us]'" in finding.examples[0]
    assert rows_of(dataset) == {"train-1": {}, "train-2": {}}


BAD_ROWS = {
    "nan": ({**PAIR, "x": [1.0, float("nan")]}, "E-NONFINITE"),
    "nested infinity": ({**PAIR, "x": [[1.0], [float("inf")]]}, "E-NONFINITE"),
    "nul": ({"prompt": ["q", "a\0b"], "completion": ["a", "b"]}, "E-NUL"),
    "null prompt": ({"prompt": ["q", None], "completion": ["a", "b"]}, "E-FIELD"),
    "not UTF-8": (
        {
            "prompt": pa.array([b"q", b"caf\xe9"]).view(pa.string()),
            "completion": ["a", "b"],
        },
        "E-ENC",
    ),
    "large": ({"prompt": ["q", "x" * 2000], "completion": ["a", "b"]}, "E-RECSIZE"),
}


@pytest.mark.parametrize(("columns", "code"), BAD_ROWS.values(), ids=list(BAD_ROWS))
def test_a_bad_row_is_lost_alone(read_train: Callable[..., Dataset], columns: dict[str, object], code: str):
    dataset = read_train(parquet(**columns), name="train.parquet", max_record_bytes=1000)
    assert only(dataset, code).examples[0].startswith("train.parquet:2")
    assert dataset.record.n_dropped == {code: 1}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "begins with nothing"),
        (b"PK\x03\x04", "begins with 50 4b 03 04"),
        (parquet(**PAIR)[:-10], "is not a whole Parquet file"),
        (b"PAR1" + b"\xff" * 40 + b"PAR1", "is not a whole Parquet file"),
    ],
    ids=["empty", "zip", "cut", "garbage"],
)
def test_a_damaged_file_is_one_finding(read_train: Callable[..., Dataset], content: bytes, says: str):
    finding = only(read_train(content, name="train.parquet"), "E-FORMAT")
    assert finding.severity == "fatal"
    assert says in finding.what


def test_no_rows(read_train: Callable[..., Dataset]):
    empty = parquet(prompt=pa.array([], pa.string()), completion=pa.array([], pa.string()))
    assert only(read_train(empty, name="train.parquet"), "E-EMPTY").severity == "fatal"


def only(dataset: Dataset, code: str) -> Finding:
    found = [finding for finding in dataset.findings if finding.code == code and finding.severity != "note"]
    assert len(found) == 1, dataset.findings
    return found[0]
