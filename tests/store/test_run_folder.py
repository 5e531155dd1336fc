from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.core.errors import EnvironmentFault
from harness.store.run import FinishedRun, RunFolder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with RunFolder(tmp_path / "run") as run:
        run.finish("first", {"seed": 1}, {"a.json": b"A", "sub/b.json": b"B"})
    return tmp_path / "run"


def test_a_finished_stage_is_known_by_its_inputs(folder: Path) -> None:
    with RunFolder(folder) as run:
        assert run.is_done("first", {"seed": 1})
        assert not run.is_done("first", {"seed": 2})
        assert not run.is_done("second", {"seed": 1})
        assert run.read("sub/b.json") == b"B"


@pytest.mark.parametrize("damage", ["flip", "truncate", "append", "delete", "folder", "symlink", "empty"])
def test_a_damaged_file_is_set_aside_and_its_stage_done_again(folder: Path, damage: str) -> None:
    path = folder / "a.json"
    match damage:
        case "flip":
            path.write_bytes(b"C")
        case "truncate" | "empty":
            path.write_bytes(b"")
        case "append":
            path.write_bytes(b"AA")
        case "delete":
            path.unlink()
        case "folder":
            path.unlink()
            path.mkdir()
        case "symlink":
            path.unlink()
            path.symlink_to(folder / "sub" / "b.json")
    with RunFolder(folder) as run:
        assert not run.is_done("first", {"seed": 1})
        run.finish("first", {"seed": 1}, {"a.json": b"A", "sub/b.json": b"B"})
        assert run.read("a.json") == b"A"


def test_reading_a_changed_file_is_refused_with_both_hashes(folder: Path) -> None:
    (folder / "a.json").write_bytes(b"forged")
    with pytest.raises(EnvironmentFault, match="expected sha256 559aead08264, found"):
        FinishedRun(folder).read("a.json")
    assert not FinishedRun(folder).intact()


def test_a_damaged_index_means_that_nothing_is_done_and_nothing_is_lost(folder: Path) -> None:
    (folder / "stages.json").write_bytes(b'{"first": ')
    with RunFolder(folder) as run:
        assert not run.is_done("first", {"seed": 1})
    assert (folder / "a.json").read_bytes() == b"A"


HOLD = """
import sys
from pathlib import Path
from harness.store.run import RunFolder
with RunFolder(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_and_a_dead_one_never_blocks(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    before = sorted(os.listdir(folder))
    with pytest.raises(EnvironmentFault, match=f"pid {holder.pid}"), RunFolder(folder):
        pass
    assert sorted(os.listdir(folder)) == before
    holder.kill()
    holder.wait()
    with RunFolder(folder) as run:
        run.finish("s", {}, {"f": b"x"})
