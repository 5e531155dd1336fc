from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from harness.core.errors import EnvironmentFault
from harness.store import disk


def test_a_file_appears_whole_with_private_permissions(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.json"
    disk.write_atomic(path, b"content")
    assert path.read_bytes() == b"content"
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [p.name for p in path.parent.iterdir()] == ["file.json"]


@pytest.mark.parametrize("name", ["write", "fsync", "replace"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
def test_a_failing_disk_leaves_the_old_file_and_names_path_and_space(
    name: str, number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "result.json"
    disk.write_atomic(path, b"old")

    def fail(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, name, fail)
    with pytest.raises(EnvironmentFault) as caught:
        disk.write_atomic(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert str(path) in caught.value.what
    assert "bytes and" in caught.value.what
    assert caught.value.code == f"E-DISK-{errno.errorcode[number]}"
    assert caught.value.exit_code == 4


def test_short_writes_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, bytes(data)[:3]))
    disk.write_atomic(tmp_path / "f", b"0123456789")
    assert (tmp_path / "f").read_bytes() == b"0123456789"


def test_a_file_is_synced_before_it_gets_its_name_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for name in ("write", "fsync", "replace"):
        real = getattr(os, name)

        def record(*args: object, _real=real, _name=name) -> object:  # type: ignore[no-untyped-def]
            calls.append(_name)
            return _real(*args)

        monkeypatch.setattr(os, name, record)
    disk.write_atomic(tmp_path / "f", b"x")
    assert calls == ["write", "fsync", "replace", "fsync"]


def test_quarantine_overwrites_nothing(tmp_path: Path) -> None:
    path = tmp_path / "f"
    for content in (b"1", b"2"):
        path.write_bytes(content)
        disk.quarantine(path)
    assert sorted(p.read_bytes() for p in tmp_path.iterdir()) == [b"1", b"2"]


def test_a_symlink_in_place_of_the_temporary_is_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / f".f.{os.getpid()}.tmp").symlink_to(outside)
    with pytest.raises(EnvironmentFault):
        disk.write_atomic(folder / "f", b"x")
    assert outside.read_bytes() == b"precious"
