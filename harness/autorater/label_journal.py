"""The file that labels are added to while people work: plain JSON Lines, and what was acknowledged is on disk."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from harness.autorater.label_rows import label_of, line_of, strict_json
from harness.core.errors import EnvironmentFault, HarnessError
from harness.core.judging import Label
from harness.data.display import escape, quote
from harness.store import disk


class LabelJournal:
    """An open file of labels, locked for this process. `append` returns when the label is on disk.

    A label's id makes adding it again harmless: the one who asks twice, because an answer was lost, is told the same.
    """

    def __init__(self, path: Path) -> None:
        """E-LOCKED where another process has it; E-LABELS with file:line where it holds something else than labels.

        What a killed process left of a last line is moved aside: nobody was told that it was saved.
        """
        self.path = path
        disk.make_folder(path.parent)
        with disk.guarded(path, "open"):
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            self._lock()
            self._labels = self._recover()
        except BaseException:
            os.close(self._descriptor)
            raise
        self._broken = False

    @property
    def labels(self) -> tuple[Label, ...]:
        """All labels in the order in which they were given."""
        return tuple(self._labels.values())

    def append(self, label: Label) -> bool:
        """Add a label, durable when this returns; False where it was there already. E-LABELS for another of that id."""
        known = self._labels.get(label.id)
        if known is not None:
            if replace(known, time=label.time) != label:
                raise HarnessError(
                    f"another label has the id {quote(label.id)}", fix="give each label its own id", code="E-LABELS"
                )
            return False
        self._write(line_of(label))
        self._labels[label.id] = label
        return True

    def close(self) -> None:
        """Close the file and give the lock back."""
        os.close(self._descriptor)

    def __enter__(self) -> LabelJournal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _lock(self) -> None:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise EnvironmentFault(
                f"another process adds labels to {self.path}",
                fix="close the other labelling page (Ctrl-C where it was started), or name another file",
                code="E-LOCKED",
            ) from error

    def _recover(self) -> dict[str, Label]:
        content = self.path.read_bytes()
        whole, _, tail = content.rpartition(b"\n")
        lines = [line for line in whole.split(b"\n") if line.strip()]
        if tail.strip():
            lines += self._mend(tail, len(content) - len(tail))
        labels = [_parse(line, f"{self.path.name}:{number}") for number, line in enumerate(lines, 1)]
        with disk.guarded(self.path, "write"):
            os.fsync(self._descriptor)
            disk.sync_folder(self.path.parent)
        return self._by_id(labels)

    def _by_id(self, labels: Sequence[Label]) -> dict[str, Label]:
        known: dict[str, Label] = {}
        for number, label in enumerate(labels, 1):
            if known.setdefault(label.id, label) != label:
                raise HarnessError(
                    f"{escape(self.path.name)}:{number} is another label with the id {quote(label.id)}",
                    fix="give each label its own id",
                    code="E-LABELS",
                )
        return known

    def _mend(self, tail: bytes, start: int) -> list[bytes]:
        """A last line without its end: kept where it is a whole label, else set aside and cut off."""
        with disk.guarded(self.path, "write"):
            try:
                _parse(tail, self.path.name)
            except HarnessError:
                disk.write_atomic(disk.free_name(self.path), tail)
                os.ftruncate(self._descriptor, start)
                return []
            disk.write_all(self._descriptor, b"\n")
            return [tail]

    def _write(self, line: bytes) -> None:
        """Append and sync. What a full disk let through of a line is taken back, so that the next one stands alone."""
        if self._broken:
            raise EnvironmentFault(
                f"{self.path} could not be written safely before", fix="start the labelling again", code="E-JOURNAL"
            )
        size = os.fstat(self._descriptor).st_size
        self._broken = True
        with disk.guarded(self.path, "append to"):
            try:
                disk.write_all(self._descriptor, line)
            except OSError:
                os.ftruncate(self._descriptor, size)
                self._broken = False
                raise
            # After a failed fsync nobody knows what is on disk, and a second one would not say: it stays broken.
            os.fsync(self._descriptor)
        self._broken = False


def _parse(line: bytes, where: str) -> Label:
    try:
        value = strict_json(line.decode("utf-8"))
        return label_of(value if isinstance(value, dict) else {})
    except (UnicodeDecodeError, HarnessError) as error:
        raise HarnessError(
            f"{escape(where)} is not a label: {escape(str(getattr(error, 'what', error)), 200)}",
            fix="mend or remove the line, or name another file",
            code="E-LABELS",
        ) from error
