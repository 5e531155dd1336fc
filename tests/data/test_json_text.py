"""JSON files: an array of rows, or an object around one; as strict as JSON Lines."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from harness.core.records import Finding
from harness.data import Dataset

ROW = '{"prompt": "q%d", "completion": "a"}'
ROWS = [{"prompt": f"q{n}", "completion": "a"} for n in range(3)]

WHOLE = {
    "array": json.dumps(ROWS),
    "array on lines": json.dumps(ROWS, indent=2),
    "in an object": json.dumps({"version": "1.1", "data": ROWS}),
    "in an object on lines": json.dumps({"version": 1, "tags": ["x"], "rows": ROWS}, indent=1),
    "one row a line": "".join(json.dumps(row) + "\n" for row in ROWS),
    "brackets in texts": "[" + ROW % 1 + ",\n" + ROW % 2 + ', {"prompt": "]}, [{", "completion": "a"}]',
    "byte order mark": "\ufeff" + json.dumps(ROWS),
}  # fmt: skip


@pytest.mark.parametrize("text", WHOLE.values(), ids=list(WHOLE))
def test_rows_are_found_in_every_common_layout(read_train: Callable[..., Dataset], text: str):
    dataset = read_train(text.encode(), name="train.json")
    assert not [finding for finding in dataset.findings if finding.severity == "fatal"]
    assert dataset.record.n_rows == 3 + 1
    assert sorted(sample.id for sample in dataset.samples) == ["test-1", "train-1", "train-2", "train-3"]
    assert {s.origin for s in dataset.samples} == {"test.jsonl:1", "train.json:1", "train.json:2", "train.json:3"}


def test_one_conversation_alone_is_a_row_and_not_a_list_of_turns(read_train: Callable[..., Dataset]):
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    dataset = read_train(json.dumps({"messages": turns}).encode(), name="train.json", drop_bad=True)
    assert dataset.record.n_rows == 2


BAD_ROWS = {
    "duplicate key": ('{"prompt": "q", "prompt": "p", "completion": "a"}', "E-DUPKEY"),
    "nested duplicate key": ('{"prompt": "q", "completion": "a", "x": {"k": 1, "k": 2}}', "E-DUPKEY"),
    "NaN": ('{"prompt": "q", "completion": "a", "x": NaN}', "E-NONFINITE"),
    "infinite": ('{"prompt": "q", "completion": "a", "x": -1e999}', "E-NONFINITE"),
    "long integer": ('{"prompt": "q", "completion": "a", "x": %s}' % ("7" * 5000), "E-INT"),
    "surrogate": (r'{"prompt": "\ud800", "completion": "a"}', "E-SURROGATE"),
    "nul": (r'{"prompt": "\u0000", "completion": "a"}', "E-NUL"),
    "deep": ('{"prompt": "q", "completion": "a", "x": %s}' % ("[" * 64 + "]" * 64), "E-DEPTH"),
    "not an object": ("[1, 2]", "E-TYPE"),
    "large": ('{"prompt": "%s", "completion": "a"}' % ("x" * 9000), "E-RECSIZE"),
}  # fmt: skip


@pytest.mark.parametrize(("row", "code"), BAD_ROWS.values(), ids=list(BAD_ROWS))
def test_a_bad_row_is_lost_alone_and_named_by_its_number(read_train: Callable[..., Dataset], row: str, code: str):
    text = f"[{ROW % 1}, {row}, {ROW % 3}]"
    dataset = read_train(text.encode(), name="train.json", max_record_bytes=8000)
    assert only(dataset, code).examples[0].startswith("train.json:2: ")
    assert dataset.record.n_dropped == {code: 1}
    assert dataset.record.n_rows == sum(dataset.record.n_samples.values()) + 1


TWICE = '{"a": [' + ROW % 1 + '], "a": [' + ROW % 2 + "]}"
BAD_FILES = {
    "cut in a row": ("[" + ROW % 1 + ', {"prompt"', "E-JSON-TRUNC", "the file ends inside its rows"),
    "cut between rows": ("[" + ROW % 1 + ",", "E-JSON-TRUNC", "the file ends"),
    "cut after a row": ("[" + ROW % 1, "E-JSON-TRUNC", "the file ends"),
    "no comma": ("[" + ROW % 1 + "\n " + ROW % 2 + "]", "E-JSON", "line 2, column 2: expecting ',' delimiter"),
    "comma at the end": ("[" + ROW % 1 + ",]", "E-JSON", "line 1, column"),
    "two arrays": ("[" + ROW % 1 + "] []", "E-JSON-EXTRA", "more after the end of the rows: []"),
    "two lists": (json.dumps({"a": ROWS, "b": ROWS}), "E-FORMAT", "2 lists of rows: a, b"),
    "two lists of one name": (TWICE, "E-DUPKEY", "'a' stands 2 times"),
    "no list": ('{"prompts": 3,\n"more": {}}', "E-FORMAT", "one object with no list of rows"),
    "a number": ("17", "E-FORMAT", "is a number, not a list of rows"),
    "empty": ("", "E-EMPTY", "no rows"),
    "empty array": ("[ ]", "E-EMPTY", "no rows"),
    "too deep to parse": ("[" + '{"a": ' + "[" * 100_000 + "]", "E-DEPTH", "64 levels"),
    "a control character": ('[{"prompt": "a\tb"}]', "E-JSON", "invalid control character"),
    "a table": ("prompt,completion\nq,a\n", "E-JSON", "not JSON at line 1, column 1"),
}  # fmt: skip


@pytest.mark.parametrize(("text", "code", "says"), BAD_FILES.values(), ids=list(BAD_FILES))
@pytest.mark.parametrize("drop_bad", [False, True])
def test_a_text_that_is_not_whole_gives_no_rows_at_all(
    read_train: Callable[..., Dataset], text: str, code: str, says: str, drop_bad: bool
):
    dataset = read_train(text.encode(), name="train.json", drop_bad=drop_bad)
    finding = only(dataset, code)
    assert finding.severity == "fatal"
    assert says in finding.what
    assert dataset.record.n_samples == {"train": 0, "validation": 0, "test": 1}


@pytest.mark.parametrize(
    ("content", "code"), [(b"\x1f\x8b\x08", "E-FORMAT"), (b"[\xff]", "E-ENC"), (b"\xff\xfe[\0", "E-ENC")]
)
def test_other_encodings_and_formats_are_told(read_train: Callable[..., Dataset], content: bytes, code: str):
    assert only(read_train(content, name="train.json"), code).severity == "fatal"


def only(dataset: Dataset, code: str) -> Finding:
    found = [finding for finding in dataset.findings if finding.code == code and finding.severity != "note"]
    assert len(found) == 1, dataset.findings
    return found[0]
