"""Killed, or out of disk, at every operation that changes the disk: the same command again gives the same bytes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import make_echo_task, write_rows
from tests.pipeline.faults import Fault, result_bytes, run_child

# The whole sweep takes minutes; the suite takes every k-th point, starting at a different one for each fault.
STRIDE = int(os.environ.get("HARNESS_SWEEP_STRIDE", "41"))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes], int]:
    """The task, the files of an uninterrupted run, and the number of disk operations it takes."""
    home = tmp_path_factory.mktemp("reference")
    task = make_echo_task(home / "echo")
    write_rows(task / "train.jsonl", range(8))
    write_rows(task / "validation.jsonl", range(100, 104))
    write_rows(task / "test.jsonl", range(200, 206))
    code, count, errors = run_child(command(task), home)
    assert code == 0, errors
    return task, result_bytes(run_folder(home)), count


def command(task: Path) -> list[str]:
    return [
        "run",
        f"task={task}",
        "backend=fake",
        "model=fake",
        "trainer=fake",
        "trainer.epochs=2",
        "prompting.draws=2",
        "n_resamples=100",
    ]


def run_folder(home: Path) -> Path:
    return next((home / "runs").glob("[!.]*/*"))


def points(count: int, offset: int) -> range:
    return range(1 + offset % STRIDE, count + 1, STRIDE)


@pytest.mark.parametrize(
    ("fault", "expected"), [("kill", -9), ("ENOSPC", 4), ("EIO", 4), ("short", 0), ("SIGINT", 130), ("SIGTERM", 143)]
)
def test_any_fault_at_any_operation_loses_nothing(
    fault: Fault, expected: int, reference: tuple[Path, dict[str, bytes], int], tmp_path: Path
) -> None:
    task, wanted, count = reference
    n_interrupted = 0
    for at in points(count, offset=len(fault) * 7):
        home = tmp_path / str(at)
        home.mkdir()
        code, _, errors = run_child(command(task), home, fault, at)
        assert code in (expected, 0), (at, errors)
        if code > 0:
            assert "resume with: harness r" in errors or not (home / "runs").exists(), (at, errors)
        if code == 4:
            assert "E-DISK-" in errors, (at, errors)
        n_interrupted += code != 0
        code, _, errors = run_child(command(task), home)
        assert code == 0, (at, errors)
        assert result_bytes(run_folder(home)) == wanted, at
        leftovers = list(run_folder(home).rglob("*.tmp"))
        assert leftovers == [], (at, leftovers)
    assert n_interrupted or expected == 0


def test_ten_needless_resumes_change_no_byte(reference: tuple[Path, dict[str, bytes], int], tmp_path: Path) -> None:
    task, wanted, _ = reference
    for _ in range(10):
        assert run_child(command(task), tmp_path)[0] == 0
    assert result_bytes(run_folder(tmp_path)) == wanted


def test_a_corrupted_file_is_made_anew(reference: tuple[Path, dict[str, bytes], int], tmp_path: Path) -> None:
    task, wanted, _ = reference
    assert run_child(command(task), tmp_path)[0] == 0
    for name in sorted(wanted)[::4]:
        path = run_folder(tmp_path) / name
        path.write_bytes(path.read_bytes()[:-3] + b"xyz")
        code, _, errors = run_child(command(task), tmp_path)
        assert code == 0, (name, errors)
        assert result_bytes(run_folder(tmp_path)) == wanted, name
