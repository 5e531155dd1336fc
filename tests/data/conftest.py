"""A task of one or more files, read in a temporary folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.core.specs import DataSpec, MetricsSpec, TaskSpec
from harness.data import Dataset, read

TEST_ROW = b'{"prompt": "the question of the test", "completion": "yes"}\n'


@pytest.fixture
def read_train(tmp_path: Path) -> Callable[..., Dataset]:
    """Read `content` as the train file, beside a good test file."""

    def run(content: bytes, *, name: str = "train.jsonl", drop_bad: bool = False, **data: object) -> Dataset:
        (tmp_path / name).write_bytes(content)
        (tmp_path / "test.jsonl").write_bytes(TEST_ROW)
        return read(task(train=name, test="test.jsonl", **data), tmp_path, drop_bad=drop_bad)

    return run


@pytest.fixture
def read_rows(tmp_path: Path) -> Callable[..., Dataset]:
    """Read rows as the one source of a task."""

    def run(*rows: object, drop_bad: bool = False, slices: tuple[str, ...] = (), **data: object) -> Dataset:
        (tmp_path / "rows.jsonl").write_bytes(jsonl(*rows))
        return read(task(source="rows.jsonl", slices=slices, **data), tmp_path, drop_bad=drop_bad)

    return run


@pytest.fixture
def make_task() -> Callable[..., TaskSpec]:
    return task


def task(*, slices: tuple[str, ...] = (), **data: object) -> TaskSpec:
    metrics = MetricsSpec(primary="exact_match", slices=slices)
    return TaskSpec(name="toy", data=DataSpec.model_validate(data), metrics=metrics)


def jsonl(*rows: object) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)
