"""A label that was acknowledged is on disk, not on its way there."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from harness.autorater.label_journal import LabelJournal
from harness.autorater.label_rows import line_of
from harness.core.errors import EnvironmentFault
from harness.core.judging import Label

LABEL = Label("one", "likert", "tone", 4, "ann", "Why?", ("Because.",), ("base",))


def test_a_label_is_synced_before_it_is_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, sync, synced = tmp_path / "labels.jsonl", os.fsync, list[bytes]()

    def watched(descriptor: int) -> None:
        sync(descriptor)
        if os.fstat(descriptor).st_ino == path.stat().st_ino:
            synced.append(path.read_bytes())

    monkeypatch.setattr(os, "fsync", watched)
    with LabelJournal(path) as journal:
        for number in range(3):
            assert journal.append(replace(LABEL, id=str(number)))
            assert synced[-1].count(b"\n") == number + 1
            assert synced[-1].endswith(line_of(replace(LABEL, id=str(number))))


def test_a_label_that_could_not_be_synced_is_not_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(descriptor: int) -> None:
        raise OSError(errno.EIO, "input/output error")

    with LabelJournal(tmp_path / "labels.jsonl") as journal:
        monkeypatch.setattr(os, "fsync", failing)
        with pytest.raises(EnvironmentFault):
            journal.append(LABEL)
        assert journal.labels == ()
        with pytest.raises(EnvironmentFault) as caught:
            journal.append(replace(LABEL, id="two"))
        assert caught.value.code == "E-JOURNAL"
