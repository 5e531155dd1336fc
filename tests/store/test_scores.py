"""The cache of judges' answers is help that may be missing; their record is not."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.core.errors import EnvironmentFault
from harness.store.scores import ScoreCache, ScoreRecord

ENTRIES = {f"key-{n}": f"content {n}".encode() for n in range(1200)}


def test_what_was_put_is_found_by_another_cache_of_the_same_folder(tmp_path: Path):
    ScoreCache(tmp_path).put(ENTRIES)
    found = ScoreCache(tmp_path).get([*ENTRIES, "unknown"])
    assert found == ENTRIES
    assert (tmp_path / ".cache" / "scores.sqlite").is_file()


def test_looking_something_up_makes_no_file(tmp_path: Path):
    cache = ScoreCache(tmp_path)
    assert cache.get(["key"]) == {}
    assert cache.note is None
    assert not list(tmp_path.iterdir())


def test_the_file_may_be_deleted_at_any_time(tmp_path: Path):
    cache = ScoreCache(tmp_path)
    cache.put({"a": b"1"})
    for file in (tmp_path / ".cache").iterdir():
        file.unlink()
    assert cache.get(["a"]) == {}
    cache.put({"a": b"2"})
    assert (cache.get(["a"]), cache.note) == ({"a": b"2"}, None)


def damaged(file: Path) -> None:
    file.write_bytes(b"no database at all, whatever its name says" * 100)


def torn(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def overwritten(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    file.write_bytes(content)


def other_table(file: Path) -> None:
    file.unlink()
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE scores (name TEXT)")
    connection.close()


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


@pytest.mark.parametrize("spoil", [damaged, torn, overwritten, other_table, a_folder])
def test_a_damaged_file_is_no_cache_and_a_note(tmp_path: Path, spoil: Callable[[Path], None]):
    ScoreCache(tmp_path).put(ENTRIES)
    for beside in (tmp_path / ".cache").glob("scores.sqlite-*"):
        beside.unlink()
    spoil(tmp_path / ".cache" / "scores.sqlite")
    cache = ScoreCache(tmp_path)
    found = cache.get(list(ENTRIES))
    assert all(ENTRIES[key] == content for key, content in found.items())
    cache.put({"new": b"content"})
    assert cache.note is not None
    assert "may be deleted" in cache.note
    assert cache.get(["new"]) == {}


def test_an_entry_that_was_changed_is_none(tmp_path: Path):
    cache = ScoreCache(tmp_path)
    cache.put({"a": b"0.25", "b": b"0.5"})
    connection = sqlite3.connect(cache.file)
    with connection:
        connection.execute("UPDATE scores SET value = replace(value, '0.25', '0.75') WHERE key = 'a'")
    connection.close()
    assert cache.get(["a", "b"]) == {"b": b"0.5"}
    cache.put({"a": b"0.25"})
    assert cache.get(["a"]) == {"a": b"0.25"}


def test_a_file_that_another_process_holds_is_gone_without(tmp_path: Path):
    ScoreCache(tmp_path).put({"a": b"1"})
    holder = sqlite3.connect(tmp_path / ".cache" / "scores.sqlite", isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    cache = ScoreCache(tmp_path, wait_s=0.01)
    cache.put({"b": b"2"})
    assert cache.note is not None
    assert "locked" in cache.note
    holder.execute("COMMIT")
    holder.close()
    assert ScoreCache(tmp_path).get(["a", "b"]) == {"a": b"1"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_no_cache(tmp_path: Path):
    tmp_path.chmod(0o500)
    cache = ScoreCache(tmp_path)
    cache.put({"a": b"1"})
    tmp_path.chmod(0o700)
    assert cache.note is not None


def test_a_file_where_the_folder_should_be_is_no_cache(tmp_path: Path):
    (tmp_path / ".cache").write_text("in the way")
    cache = ScoreCache(tmp_path)
    cache.put({"a": b"1"})
    assert cache.note is not None
    assert cache.get(["a"]) == {}


def test_a_name_cannot_act_in_the_note(tmp_path: Path):
    runs = tmp_path / "red\x1b[31m"
    runs.mkdir()
    (runs / ".cache").write_text("in the way")
    cache = ScoreCache(runs)
    cache.put({"a": b"1"})
    assert "\x1b" not in str(cache.note)


FILL = """
import sys
from pathlib import Path
from harness.store.scores import ScoreCache
folder, worker = Path(sys.argv[1]), sys.argv[2]
cache = ScoreCache(folder, wait_s=60)
for n in range(20):
    cache.put({f"{worker}-{n}": f"{worker} {n}".encode(), f"shared-{n}": b"same"})
    cache.get([f"{other}-{n}" for other in range(3)])
sys.exit(cache.note)
"""


def test_processes_may_write_at_the_same_time(tmp_path: Path):
    writers = [subprocess.Popen([sys.executable, "-c", FILL, str(tmp_path), str(n)]) for n in range(3)]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0]
    expected = {f"{worker}-{n}": f"{worker} {n}".encode() for worker in range(3) for n in range(20)}
    expected |= {f"shared-{n}": b"same" for n in range(20)}
    assert ScoreCache(tmp_path).get(list(expected)) == expected


def test_a_record_goes_on_where_it_ended(tmp_path: Path):
    path = tmp_path / "judge" / "label-scores.jsonl"
    ScoreRecord(path).append([b'{"a": 1}', b'{"b": 2}'])
    again = ScoreRecord(path)
    assert again.lines == (b'{"a": 1}', b'{"b": 2}')
    again.append([b'{"c": 3}'])
    again.append([b'{"d": 4}'])
    assert path.read_bytes() == b'{"a": 1}\n{"b": 2}\n{"c": 3}\n{"d": 4}\n'


@pytest.mark.parametrize("kept", range(1, 9))
def test_a_torn_last_line_is_cut_off(tmp_path: Path, kept: int):
    path = tmp_path / "label-scores.jsonl"
    path.write_bytes(b'{"a": 1}\n' + b'{"b": 2}\n'[:kept])
    record = ScoreRecord(path)
    assert record.lines == (b'{"a": 1}',)
    record.append([b'{"c": 3}'])
    assert path.read_bytes() == b'{"a": 1}\n{"c": 3}\n'


def test_a_record_without_a_whole_line_begins_anew(tmp_path: Path):
    path = tmp_path / "label-scores.jsonl"
    path.write_bytes(b'{"a"')
    record = ScoreRecord(path)
    record.append([b'{"c": 3}'])
    assert (record.lines, path.read_bytes()) == ((), b'{"c": 3}\n')


def test_a_record_that_cannot_be_written_is_a_fault(tmp_path: Path):
    (tmp_path / "target").write_text("somebody else's")
    (tmp_path / "label-scores.jsonl").symlink_to(tmp_path / "target")
    with pytest.raises(EnvironmentFault):
        ScoreRecord(tmp_path / "label-scores.jsonl").append([b"{}"])
    assert (tmp_path / "target").read_text() == "somebody else's"
