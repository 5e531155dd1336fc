"""CSV and TSV: every cell a string, quotes as in RFC 4180."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.core.records import Finding
from harness.data import Dataset

HEAD = b"prompt,completion\n"


def train_pairs(dataset: Dataset) -> set[tuple[str, str]]:
    return {(sample.question, sample.references[0]) for sample in dataset.samples if sample.origin[:5] == "train"}


def test_cells_are_strings(read_train: Callable[..., Dataset]):
    dataset = read_train(HEAD + b"01,1e5\nno,null\n", name="train.csv")
    assert train_pairs(dataset) == {("01", "1e5"), ("no", "null")}


def test_tsv(read_train: Callable[..., Dataset]):
    dataset = read_train(b"prompt\tcompletion\na, b\tc\n", name="train.tsv")
    assert train_pairs(dataset) == {("a, b", "c")}


def test_quoted_cells_hold_separators_quotes_and_newlines(read_train: Callable[..., Dataset]):
    dataset = read_train(HEAD + b'"a, ""b""\nc",d\r\ne,f', name="train.csv")
    assert train_pairs(dataset) == {('a, "b"\nc', "d"), ("e", "f")}
    assert {sample.origin for sample in dataset.samples} == {"train.csv:2", "train.csv:4", "test.jsonl:1"}


def test_bom_crlf_and_blank_lines(read_train: Callable[..., Dataset]):
    dataset = read_train(b"\xef\xbb\xbfprompt,completion\r\n\r\na,b\r\n", name="train.csv")
    assert train_pairs(dataset) == {("a", "b")}
    assert dataset.record.n_blank_lines == 1
    assert [finding.code for finding in dataset.findings] == ["E-BOM"]


@pytest.mark.parametrize(
    ("content", "code", "line", "sentence"),
    [
        (b"a,b,c\n", "E-CSV-CELLS", 2, "3 cells, but the header has 2"),
        (b"a\n", "E-CSV-CELLS", 2, "1 cells, but the header has 2"),
        (b'a,b\n"c,d\ne,f\n', "E-CSV-QUOTE", 3, "the quote opened in this row is never closed"),
        (b'a,5" pipe and 6" pipe\n', "E-CSV-QUOTE", 2, "a quote where none can be, in cell 2"),
        (b'"a"x,b\n', "E-CSV-QUOTE", 2, "a quote where none can be, in cell 1"),
        (b"a\rb,c\n", "E-CSV-QUOTE", 2, "a carriage return at column 2"),
        (b"a\0,b\n", "E-NUL", 2, "NUL"),
        (b"caf\xe9,b\n", "E-ENC", 2, "byte 4 of the line"),
        (b'"a\ncaf\xe9",b\nc,d\n', "E-ENC", 2, "byte 4 of the line"),
        (b"a," + b"x" * 3000 + b"\n", "E-RECSIZE", 2, "longer than 2,000 bytes"),
        (b'a,"' + b"x\n" * 3000, "E-RECSIZE", 2, "longer than 2,000 bytes"),
    ],
)
def test_bad_records_have_code_line_and_sentence(
    read_train: Callable[..., Dataset], content: bytes, code: str, line: int, sentence: str
):
    finding = only(read_train(HEAD + content, name="train.csv", max_record_bytes=2000), code)
    assert finding.examples[0].startswith(f"train.csv:{line}:")
    assert sentence in finding.what


@pytest.mark.parametrize(
    ("content", "code", "sentence"),
    [
        (b"prompt,prompt\na,b\n", "E-CSV-HEADER", "2 columns named 'prompt'"),
        (b",prompt,completion\n0,a,b\n", "E-CSV-HEADER", "column 1 of 'train.csv' has no name"),
        (b'{"prompt": "q"}\n', "E-FORMAT", "looks like JSON Lines"),
    ],
)
def test_unusable_header_is_one_finding_for_the_file(
    read_train: Callable[..., Dataset], content: bytes, code: str, sentence: str
):
    assert sentence in only(read_train(content, name="train.csv"), code).what


cell = st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), min_size=1).filter(str.strip)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
@given(rows=st.lists(st.tuples(cell, cell), min_size=1, max_size=5))
def test_what_pythons_writer_writes_is_read_back(read_train: Callable[..., Dataset], rows: list[tuple[str, str]]):
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([("prompt", "completion"), *rows])
    dataset = read_train(buffer.getvalue().encode(), name="train.csv")
    assert train_pairs(dataset) == set(rows)


def only(dataset: Dataset, code: str) -> Finding:
    found = [finding for finding in dataset.findings if finding.code == code]
    assert len(found) == 1, dataset.findings
    return found[0]
