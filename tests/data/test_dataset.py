"""Datasets: hashes, names and leaving rows out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.core.errors import HarnessError
from harness.core.specs import TaskSpec
from harness.data import Dataset, read

ROWS = [{"prompt": f"q{n}", "completion": "a"} for n in range(10)]


def test_files_are_recorded_with_their_hash_and_relative_name(tmp_path: Path, make_task: Callable[..., TaskSpec]):
    folder = tmp_path / "task"
    (folder / "data").mkdir(parents=True)
    content = b'{"prompt": "q", "completion": "a"}\n\n'
    (folder / "data" / "rows.jsonl").write_bytes(content)
    outside = tmp_path / "outside.jsonl"
    outside.write_bytes(b'{"prompt": "p", "completion": "a"}\n')
    dataset = read(make_task(train="data/rows.jsonl", test=str(outside)), folder, drop_bad=False)
    assert dataset.record.files["data/rows.jsonl"] == hashlib.sha256(content).hexdigest()
    assert set(dataset.record.files) == {"data/rows.jsonl", "outside.jsonl"}
    assert str(tmp_path) not in repr(dataset)


def test_files_of_one_name_keep_distinct_names_and_ids(tmp_path: Path, make_task: Callable[..., TaskSpec]):
    for number, folder in enumerate(("a", "b")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "rows.jsonl").write_text(f'{{"prompt": "q{number}", "completion": "a"}}\n')
    names = [str(tmp_path / folder / "rows.jsonl") for folder in ("a", "b")]
    dataset = read(make_task(train=names[0], test=names[1]), tmp_path, drop_bad=False)
    assert set(dataset.record.files) == {"rows.jsonl", "test/rows.jsonl"}
    assert [sample.id for sample in dataset.samples] == ["train-1", "test-1"]


def test_split_hashes_know_the_content_and_not_the_place(read_rows: Callable[..., Dataset]):
    rows = [{"id": str(n), **row} for n, row in enumerate(ROWS)]
    before = read_rows(*rows).record.sha256
    assert read_rows(*rows).record.sha256 == before
    changed = read_rows(*rows[:-1], {**rows[-1], "completion": "b"}).record.sha256
    assert sum(changed[split] != before[split] for split in before) == 1


def test_rows_left_out_are_counted(read_rows: Callable[..., Dataset]):
    dataset = read_rows(*ROWS)
    train = dataset.split("train")
    smaller = dataset.without({train[0].id: "E-TOOLONG", train[1].id: "E-MASK"})
    assert smaller.record.n_dropped == {"E-MASK": 1, "E-TOOLONG": 1}
    assert smaller.record.n_samples == {"train": 6, "validation": 1, "test": 1}
    assert smaller.record.sha256["train"] != dataset.record.sha256["train"]
    assert smaller.record.sha256["test"] == dataset.record.sha256["test"]


def test_templates_and_messages_together_are_a_contradiction(read_rows: Callable[..., Dataset]):
    with pytest.raises(HarnessError) as caught:
        read_rows(*ROWS, prompt="{q}", reference="{a}", messages="m")
    assert caught.value.code == "E-CONFLICT"


def test_format_is_recorded(read_rows: Callable[..., Dataset]):
    assert read_rows(*ROWS).record.format == "prompt-completion"
    assert read_rows({"q": "1", "a": "2"}, prompt="{q}", reference="{a}").record.format == "columns"
