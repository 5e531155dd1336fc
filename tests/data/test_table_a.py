"""Table A: what can be wrong with files and with JSON. The name of a case is its row in the table."""

from __future__ import annotations

import errno
import gzip
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from harness.core.errors import EnvironmentFault, HarnessError
from harness.core.records import Finding
from harness.data import Dataset, read
from harness.data.files import Lines

ROW = b'{"prompt": "q%d", "completion": "a"}\n'
GOOD = ROW % 1 + ROW % 2


class Case(NamedTuple):
    id: str
    content: bytes
    code: str
    line: int
    sentence: str
    severity: str = "fatal"


BAD_LINES = [
    Case("A1", GOOD + b'{"prompt": "q", "compl', "E-JSON-TRUNC", 3, "the file ends inside a string"),
    Case("A1-row", GOOD + b'{"prompt": "q", "completion": "a"', "E-JSON-TRUNC", 3, "the file ends inside a row"),
    Case("A1-character", GOOD + b'{"prompt": "\xe2\x82', "E-JSON-TRUNC", 3, "the file ends inside a character"),
    Case("A3", b"\xef\xbb\xbf" + GOOD, "E-BOM", 1, "byte order mark", "warning"),
    Case("A5", GOOD + b'{"prompt": "caf\xe9 noir!", "completion": "a"}\n', "E-ENC", 3, "byte 16 of the line"),
    Case("A5-hex", GOOD + b'{"prompt": "caf\xe9 noir!", "completion": "a"}\n', "E-ENC", 3, "e9 20 6e 6f 69 72 21 22"),
    Case("A6", GOOD + rb'{"prompt": "\ud800", "completion": "a"}' + b"\n", "E-SURROGATE", 3, "surrogate pair"),
    Case("A6-key", GOOD + rb'{"prompt": "q", "completion": "a", "\udfff": 1}' + b"\n", "E-SURROGATE", 3, "surrogate"),
    Case("A6-cesu8", GOOD + b'{"prompt": "\xed\xa0\x80"}\n', "E-SURROGATE", 3, "at byte 13 of the line"),
    Case("A6-overlong", GOOD + b'{"prompt": "\xc0\xaf"}\n', "E-SURROGATE", 3, "overlong"),
    Case("A7", GOOD + b'{"prompt": "a\x01b", "completion": "a"}\n', "E-JSON-CTRL", 3, "column 14"),
    Case("A7-raw-nul", GOOD + b'{"prompt": "a\0b", "completion": "a"}\n', "E-JSON-CTRL", 3, "\\x00 at column 14"),
    Case("A7-escaped-nul", GOOD + rb'{"prompt": "a\u0000", "completion": "a"}' + b"\n", "E-NUL", 3, "NUL"),
    *(
        Case(f"A8-{number}", GOOD + b'{"prompt": "q", "x": %s}\n' % number.encode(), "E-NONFINITE", 3, number)
        for number in ("NaN", "Infinity", "-Infinity", "1e400", "-1e400")
    ),
    Case("A9", GOOD + b'{"prompt": "q", "completion": "a", "n": ' + b"7" * 5000 + b"}\n", "E-INT", 3, "5,000 digits"),
    Case("A10", GOOD + b'{"id": 9007199254740993, "prompt": "q", "completion": "a"}\n', "E-ID-BIG", 3, "", "warning"),
    Case("A11", GOOD + b"{" + b'"a":[' + b"[" * 100_000 + b"\n", "E-DEPTH", 3, "64 levels"),
    Case("A11-closed", GOOD + b'{"a":' + b"[" * 64 + b"]" * 64 + b"}\n", "E-DEPTH", 3, "64 levels"),
    Case("A12", GOOD + b'{"id": 1, "id": 2, "prompt": "q", "completion": "a"}\n', "E-DUPKEY", 3, "'id' stands 2 times"),
    Case("A12-nested", GOOD + b'{"prompt": "q", "completion": "a", "x": {"k": 1, "k": 1}}\n', "E-DUPKEY", 3, "'k'"),
    Case("A13", GOOD + b'{"prompt": "q"} {"prompt": "p"}\n', "E-JSON-EXTRA", 3, "column 17"),
    Case("A13-list-row", GOOD + b'["q", "a"]\n', "E-TYPE", 3, "the row is a list, not an object"),
    Case("A16", GOOD + ROW.strip() % 3 + b"\r" + ROW % 4, "E-JSON-CTRL", 3, "character \\r at column 36"),
    Case("A24", GOOD + b'{"prompt": "q", "complettion": "a"}\n', "E-FIELD", 3, "no field 'completion'"),
]  # fmt: skip


@pytest.mark.parametrize("case", BAD_LINES, ids=lambda case: case.id)
def test_bad_line_is_a_finding_with_code_line_and_sentence(read_train: Callable[..., Dataset], case: Case):
    dataset = read_train(case.content)
    finding = only(dataset, case.code)
    assert finding.severity == case.severity
    assert finding.examples[0].startswith((f"train.jsonl:{case.line}:", f"train.jsonl:{case.line} ("))
    assert case.sentence in finding.what
    assert finding.fix
    assert len(dataset.split("train")) + len(dataset.split("validation")) >= 2


@pytest.mark.parametrize("case", [case for case in BAD_LINES if case.severity == "fatal"], ids=lambda case: case.id)
def test_drop_bad_leaves_the_row_out_and_counts_it(read_train: Callable[..., Dataset], case: Case):
    dataset = read_train(case.content, drop_bad=True)
    assert only(dataset, case.code).severity == "warning"
    assert dataset.record.n_dropped == {case.code: 1}
    assert dataset.record.n_rows == sum(dataset.record.n_samples.values()) + 1


ACCEPTED = {
    "A2-no-last-newline": (GOOD.rstrip(b"\n"), 2, 0),
    "A9-long-but-allowed": (GOOD + b'{"prompt": "q", "completion": "a", "n": ' + b"7" * 4300 + b"}\n", 3, 0),
    "A11-brackets-in-text": (GOOD + b'{"prompt": "' + b"[" * 1000 + rb'\"[[" , "completion": "a"}' + b"\n", 3, 0),
    "A11-64-levels": (GOOD + b'{"prompt": "q", "completion": "a", "x":' + b"[" * 63 + b"]" * 63 + b"}\n", 3, 0),
    "A14-blank-lines": (b"\n" + ROW % 1 + b"  \n\n" + ROW % 2 + b"\n", 2, 4),
    "A14-crlf": (GOOD.replace(b"\n", b"\r\n"), 2, 0),
    "A15-line-separators": (GOOD + '{"prompt": "a\u2028b\u2029c\u0085d", "completion": "a"}\n'.encode(), 3, 0),
    "A17-10-MB": (GOOD + b'{"prompt": "' + b"word " * 2_000_000 + b'", "completion": "a"}\n', 3, 0),
}


@pytest.mark.parametrize(("content", "n", "n_blank"), ACCEPTED.values(), ids=list(ACCEPTED))
def test_unusual_but_right_files_are_accepted(read_train: Callable[..., Dataset], content: bytes, n: int, n_blank: int):
    dataset = read_train(content)
    assert [finding for finding in dataset.findings if finding.severity == "fatal"] == []
    assert dataset.record.n_rows == n + 1
    assert dataset.record.n_blank_lines == n_blank
    assert not dataset.record.n_dropped


def test_a15_form_feed_in_a_string_is_one_record_with_a_control_character(read_train: Callable[..., Dataset]):
    dataset = read_train(GOOD + b'{"prompt": "a\x0cb", "completion": "a"}\n')
    assert dataset.record.n_rows == 4
    assert "\\x0c at column 14" in only(dataset, "E-JSON-CTRL").what


def test_a10_integer_ids_become_strings(read_train: Callable[..., Dataset]):
    dataset = read_train(b'{"id": 9007199254740993, "prompt": "q", "completion": "a"}\n')
    assert "9007199254740993" in {sample.id for sample in dataset.samples}


def test_a17_record_over_the_limit_is_skipped_without_being_kept(read_train: Callable[..., Dataset]):
    content = ROW % 1 + b'{"prompt": "' + b"x" * 5000 + b'"}\n' + ROW % 2
    dataset = read_train(content, max_record_bytes=1000)
    finding = only(dataset, "E-RECSIZE")
    assert finding.examples[0].startswith("train.jsonl:2: the record is longer than 1,000 bytes")
    assert dataset.record.n_samples["train"] + dataset.record.n_samples["validation"] == 2


def test_a17_line_of_exactly_the_limit_is_accepted(tmp_path: Path):
    (tmp_path / "rows").write_bytes(b"x" * 10 + b"\n" + b"y" * 11 + b"\n" + b"z" * 10)
    lines = list(Lines(tmp_path / "rows", "rows", limit=10))
    assert [line.oversize for line in lines] == [False, True, False]
    assert [line.offset for line in lines] == [0, 11, 23]


WHOLE_FILES = {
    "A4-utf16-bom": ("\ufeff" + GOOD.decode()).encode("utf-16-le"),
    "A4-utf16-be": ("\ufeff" + GOOD.decode()).encode("utf-16-be"),
    "A4-utf16-no-bom": GOOD.decode().encode("utf-16-le"),
    "A4-utf32": GOOD.decode().encode("utf-32"),
    "A13-array": json.dumps([{"prompt": "q", "completion": "a"}]).encode(),
    "A13-array-lines": json.dumps([{"prompt": "q", "completion": "a"}], indent=1).encode(),
    "A13-pretty": json.dumps({"prompt": "q", "completion": "a"}, indent=1).encode(),
    "A18-empty": b"",
    "A18-blank-lines": b"\n\n  \n",
    "A19-gzip": gzip.compress(GOOD, mtime=0),
    "A19-zstd": b"\x28\xb5\x2f\xfd\x04\x00",
    "A19-parquet": b"PAR1\x15\x04",
    "A19-xlsx": b"PK\x03\x04\x14\x00",
    "A19-csv": b"prompt,completion\nq,a\n",
}
EXPECTED = {"A4": "E-ENC", "A13": "E-NOT-JSONL", "A18": "E-EMPTY", "A19": "E-FORMAT"}


@pytest.mark.parametrize(("row", "content"), WHOLE_FILES.items(), ids=list(WHOLE_FILES))
def test_file_that_is_not_json_lines_is_one_finding(read_train: Callable[..., Dataset], row: str, content: bytes):
    dataset = read_train(content)
    finding = only(dataset, EXPECTED[row.split("-")[0]])
    assert finding.severity == "fatal"
    assert finding.count == 1
    assert "train" in finding.what
    assert finding.examples[0].startswith("train.jsonl: ")
    assert dataset.record.n_samples == {"train": 0, "validation": 0, "test": 1}


def test_a4_says_which_encoding_and_how_to_convert(read_train: Callable[..., Dataset]):
    finding = only(read_train(WHOLE_FILES["A4-utf16-bom"]), "E-ENC")
    assert "UTF-16-LE (it begins with FF FE 7B 00)" in finding.what
    assert finding.fix.startswith("iconv -f UTF-16 -t UTF-8")


def test_a18_names_the_split(read_train: Callable[..., Dataset]):
    assert "the file for train has no rows" in only(read_train(b""), "E-EMPTY").what


def test_a18_table_with_only_its_header_is_empty(read_train: Callable[..., Dataset]):
    assert only(read_train(b"prompt,completion\n", name="train.csv"), "E-EMPTY").severity == "fatal"


@pytest.mark.parametrize("kind", ["folder", "pipe", "missing", "broken link", "link loop", "device", "nul in name"])
def test_a20_what_is_not_a_regular_file_is_named(tmp_path: Path, make_task: Callable[..., object], kind: str):
    path, sentence = tmp_path / "train.jsonl", ""
    name = "train.jsonl"
    if kind == "folder":
        path.mkdir()
        sentence = "is a folder"
    elif kind == "pipe":
        os.mkfifo(path)
        sentence = "is a pipe"
    elif kind == "missing":
        sentence = "does not exist"
    elif kind == "broken link":
        path.symlink_to("elsewhere.jsonl")
        sentence = "is a symbolic link to 'elsewhere.jsonl', which does not exist"
    elif kind == "link loop":
        path.symlink_to("train.jsonl")
        sentence = "leads back to itself"
    elif kind == "device":
        name, sentence = "/dev/zero", "'zero' is a device"
    else:
        name, sentence = "a\0b", "is not a possible file name"
    (tmp_path / "test.jsonl").write_bytes(GOOD)
    dataset = read(make_task(train=name, test="test.jsonl"), tmp_path, drop_bad=False)
    finding = only(dataset, "E-FILE")
    assert sentence in finding.what
    assert finding.severity == "fatal"


def test_a20_unreadable_file(tmp_path: Path, make_task: Callable[..., object], monkeypatch: pytest.MonkeyPatch):
    def refuse(path: Path, mode: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    (tmp_path / "train.jsonl").write_bytes(GOOD)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(HarnessError, match="permission denied"):
        read(make_task(source="train.jsonl"), tmp_path, drop_bad=False)


def test_nothing_readable_at_all_raises_with_every_reason(tmp_path: Path, make_task: Callable[..., object]):
    with pytest.raises(HarnessError) as caught:
        read(make_task(train="a.jsonl", test="b.jsonl"), tmp_path, drop_bad=False)
    assert caught.value.code == "E-FILE"
    assert "a.jsonl" in caught.value.what
    assert "b.jsonl" in caught.value.details[0]


@pytest.mark.parametrize("change", ["append", "replace"])
def test_a21_file_that_changes_while_it_is_read(tmp_path: Path, change: str):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(GOOD)
    lines = iter(Lines(path, "rows.jsonl", limit=1000))
    next(lines)
    if change == "append":
        with path.open("ab") as file:
            file.write(ROW % 3)
    else:
        (tmp_path / "new").write_bytes(GOOD)
        (tmp_path / "new").replace(path)
    with pytest.raises(EnvironmentFault) as caught:
        list(lines)
    assert caught.value.code == "E-CHANGED"
    assert caught.value.exit_code == 4


def test_disk_that_fails_while_reading_is_no_mistake_of_the_user(
    tmp_path: Path, make_task: Callable[..., object], monkeypatch: pytest.MonkeyPatch
):
    class Failing(io.BytesIO):
        def readline(self, size: int | None = -1) -> bytes:
            raise OSError(errno.EIO, "Input/output error")

        def fileno(self) -> int:
            return descriptor

    (tmp_path / "rows.jsonl").write_bytes(GOOD)
    descriptor = os.open(tmp_path / "rows.jsonl", os.O_RDONLY)
    monkeypatch.setattr(Path, "open", lambda path, mode: Failing(GOOD))
    with pytest.raises(EnvironmentFault, match="Input/output error"):
        read(make_task(source="rows.jsonl"), tmp_path, drop_bad=False)
    os.close(descriptor)


@pytest.mark.parametrize("how", ["path", "symlink", "hardlink", "content"])
def test_a22_same_file_as_train_and_test(tmp_path: Path, make_task: Callable[..., object], how: str):
    train = tmp_path / "train.jsonl"
    train.write_bytes(GOOD)
    other = "train.jsonl" if how == "path" else "other.jsonl"
    if how == "symlink":
        (tmp_path / other).symlink_to(train)
    elif how == "hardlink":
        os.link(train, tmp_path / other)
    elif how == "content":
        (tmp_path / other).write_bytes(GOOD)
    dataset = read(make_task(train="train.jsonl", test=other), tmp_path, drop_bad=False)
    finding = only(dataset, "E-SAMEFILE")
    assert finding.severity == "fatal"
    assert "test and train are the same data (train.jsonl)" in finding.what
    assert [finding.code for finding in dataset.findings] == ["E-SAMEFILE"]


def test_a23_mixed_formats_are_counted_with_the_first_line_of_each(read_train: Callable[..., Dataset]):
    turns = b'{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}\n'
    finding = only(read_train(GOOD + turns), "E-SCHEMA-MIX")
    assert "train.jsonl:3" in finding.examples[0]
    assert "prompt-completion 3 (first at train.jsonl:1), messages 1 (first at train.jsonl:3)" in finding.what


def test_a23_string_then_list_in_one_column(read_rows: Callable[..., Dataset]):
    rows = [{"q": "1", "a": "x"}, {"q": "2", "a": "x"}, {"q": "3", "a": ["x", "y"]}]
    dataset = read_rows(*rows, prompt="{q}", reference="{a}")
    finding = only(dataset, "E-SCHEMA-MIX")
    assert "a list as reference 1 (first at rows.jsonl:3)" in finding.what
    assert dataset.record.n_dropped == {"E-SCHEMA-MIX": 1}


def test_a23_row_that_fits_two_formats(read_rows: Callable[..., Dataset]):
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    finding = only(read_rows({"prompt": "q", "completion": "a", "messages": turns}), "E-SCHEMA-MIX")
    assert "the row could be messages or prompt-completion" in finding.what
    assert 'format = "messages"' in finding.fix


def test_a23_text_that_looks_like_a_schema_stays_text(read_rows: Callable[..., Dataset]):
    dataset = read_rows({"prompt": "action: string, datetime: timestamp", "completion": "a"})
    assert dataset.samples[0].question == "action: string, datetime: timestamp"


def test_a24_unknown_fields_are_kept_and_listed_once(read_rows: Callable[..., Dataset]):
    dataset = read_rows(*({"prompt": str(n), "completion": "a", "topic": "t", "n": n} for n in range(9)))
    finding = only(dataset, "E-EXTRA")
    assert (finding.severity, finding.count) == ("note", 1)
    assert "topic, n" in finding.what
    assert {tuple(sample.metadata) for sample in dataset.samples} == {("topic", "n")}


def test_a24_misspelt_required_field_is_proposed(read_rows: Callable[..., Dataset]):
    assert "did you mean 'complettion'?" in only(read_rows({"prompt": "q", "complettion": "a"}), "E-FIELD").fix


def test_a24_misspelt_optional_field_is_a_warning(read_rows: Callable[..., Dataset]):
    dataset = read_rows({"prompt": "q", "completion": "a", "refrences": ["b"]})
    warning = next(finding for finding in dataset.findings if finding.severity == "warning")
    assert (warning.code, "did you mean 'references'?" in warning.fix) == ("E-EXTRA", True)


def test_a24_system_field_that_nobody_reads_is_a_warning(read_rows: Callable[..., Dataset]):
    dataset = read_rows({"prompt": "q", "completion": "a", "system": "s"})
    assert any('data.system = "{system}"' in finding.fix for finding in dataset.findings)


def test_examples_are_escaped_short_and_at_most_five(read_train: Callable[..., Dataset]):
    line = '{"prompt": "q"} \u202e\x1b[31m' + "x" * 500 + "\n"
    finding = only(read_train(GOOD + line.encode() * 9), "E-JSON-EXTRA")
    assert (finding.count, len(finding.examples)) == (9, 5)
    assert "(the first of 9 places)" in finding.what
    assert all(example.isprintable() and len(example) < 160 for example in finding.examples)
    assert "\\u202e\\x1b[31m" in finding.examples[0]


def only(dataset: Dataset, code: str) -> Finding:
    found = [finding for finding in dataset.findings if finding.code == code]
    assert len(found) == 1, dataset.findings
    return found[0]
