"""A real file system that really fills up, runs out of inodes, or is read-only."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import make_echo_task, write_rows
from tests.pipeline.faults import result_bytes

ROOT = Path(__file__).resolve().parents[2]


def mount(*words: str) -> bool:
    return subprocess.run(["mount", *words], capture_output=True, check=False).returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs, where this process may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.geteuid() != 0 or not mount("-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)):
        pytest.skip("mounting a file system needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def remount(folder: Path, options: str) -> None:
    assert mount("-o", f"remount,{options}", str(folder))


def call(task: Path, out: Path) -> subprocess.CompletedProcess[str]:
    words = ["run", f"task={task}", f"out={out}", "backend=fake", "model=fake", "trainer=fake", "n_resamples=100"]
    code = "import sys; from harness.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *words, "prompting.draws=1", "trainer.epochs=1"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("options", ["size=16k", "size=64k", "size=160k", "nr_inodes=4", "nr_inodes=20", "ro"])
def test_a_full_disk_is_reported_and_nothing_is_lost(options: str, small_disk: Path, tmp_path: Path) -> None:
    task = make_echo_task(tmp_path / "echo")
    write_rows(task / "test.jsonl", range(200, 206))
    reference = tmp_path / "reference"
    assert call(task, reference).returncode == 0
    remount(small_disk, options)
    failed = call(task, small_disk / "runs")
    assert failed.returncode == 4, failed.stderr
    assert "error[E-DISK-" in failed.stderr
    assert str(small_disk) in failed.stderr
    assert "bytes and" in failed.stderr
    remount(small_disk, "rw,size=64m,nr_inodes=10000")
    resumed = call(task, small_disk / "runs")
    assert resumed.returncode == 0, resumed.stderr
    found, wanted = (result_bytes(next(root.glob("[!.]*/*"))) for root in (small_disk / "runs", reference))
    assert found == wanted
