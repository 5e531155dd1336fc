"""Whatever bytes a file holds, reading ends in samples or in findings, and the accounts close."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.core.errors import HarnessError
from harness.data import Dataset
from harness.data.tables import encode_parquet

VALID = b"".join(
    json.dumps(row, ensure_ascii=False).encode() + b"\n"
    for row in (
        {"id": 1, "prompt": 'caf\u00e9 \U0001f600 \\ " {x}', "completion": "a", "x": [1.5, None, {"y": True}]},
        {"id": "two", "prompt": "q\n2", "completion": "b"},
        {"prompt": "q3", "completion": "c", "references": ["d"]},
    )
)
PLAIN = VALID.splitlines()[1:]
ARRAY = b"[" + b",\n".join(VALID.splitlines()) + b"]"
FILES = {"jsonl": VALID, "csv": VALID, "json": ARRAY, "parquet": encode_parquet([json.loads(line) for line in PLAIN])}
INSERTS = st.sampled_from(
    [
        b"\0",
        b"\xff\xfe",
        b"\r",
        b"\n",
        b'"',
        b"{",
        b"}",
        b"[" * 99,
        b"\\u0000",
        b"\\ud800",
        b"NaN",
        b",",
        b"1e999",
        b"\xed\xa0\x80",
    ]
)
edits = st.lists(
    st.tuples(
        st.sampled_from(["cut", "insert", "flip", "delete"]), st.integers(0, len(VALID)), INSERTS, st.integers(0, 255)
    ),
    min_size=1,
    max_size=4,
)


def mutate(content: bytes, kind: str, place: int, insert: bytes, byte: int) -> bytes:
    if kind == "cut":
        return content[:place]
    if kind == "insert":
        return content[:place] + insert + content[place:]
    if kind == "flip":
        return content[:place] + bytes([byte]) + content[place + 1 :]
    return content[:place] + content[place + byte % 9 :]


@pytest.mark.parametrize("suffix", FILES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(edits=edits, drop_bad=st.booleans())
def test_mutated_files_are_read_or_explained(
    read_train: Callable[..., Dataset], suffix: str, edits: list[tuple[str, int, bytes, int]], drop_bad: bool
):
    content = FILES[suffix]
    for edit in edits:
        content = mutate(content, *edit)
    dataset = read_train(content, name=f"train.{suffix}", drop_bad=drop_bad)
    record = dataset.record
    assert record.n_rows == sum(record.n_samples.values()) + sum(record.n_dropped.values())
    assert sum(record.n_samples.values()) == len(dataset.samples) == len({sample.id for sample in dataset.samples})
    fatal = [finding for finding in dataset.findings if finding.severity == "fatal"]
    if record.n_dropped and not drop_bad:
        assert fatal or any(finding.code == "E-DUPID" for finding in dataset.findings)
    for finding in dataset.findings:
        assert finding.what
        assert finding.fix
        assert all(example.isprintable() for example in finding.examples)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
@given(size=st.integers(1, len(VALID) - 1))
def test_a1_file_cut_anywhere_is_whole_or_truncated(read_train: Callable[..., Dataset], size: int):
    cut = VALID[:size]
    try:
        dataset = read_train(cut)
    except HarnessError:
        pytest.fail("the test file alone can be read")
    codes = {finding.code for finding in dataset.findings if finding.severity == "fatal"}
    last = cut.split(b"\n")[-1]
    whole = not last or last in VALID.split(b"\n")
    if size == 1:
        assert codes == {"E-NOT-JSONL"}
    elif not whole:
        assert codes <= {"E-JSON-TRUNC", "E-NOT-JSONL"}
        assert codes


def test_more_problems_than_are_kept_are_still_counted(read_train: Callable[..., Dataset]):
    dataset = read_train(b'{"prompt": 1, "completion": "a"}\n' * 12_000)
    finding = next(finding for finding in dataset.findings if finding.code == "E-TYPE")
    assert (finding.count, len(finding.ids), len(finding.examples)) == (12_000, 10_000, 5)
