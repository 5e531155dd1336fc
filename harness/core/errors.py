"""What can go wrong, as one small tree.

    HarnessError             a mistake in what was asked or in the data: exit 2, nothing written
    ├── EnvironmentFault     the machine, the store or the model cannot go on: exit 4, resumable
    └── BackendUnreachable   a server does not answer: exit 5, resumable

Anything else that escapes is a bug: exit 1, with its traceback.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class HarnessError(Exception):
    """A sentence that says what happened and where, one that says how to mend it, and a stable code.

    `details` are further findings of the same kind (one line each), shown below the first sentence.
    """

    exit_code: ClassVar[int] = 2

    def __init__(self, what: str, *, fix: str, code: str = "E-USAGE", details: Sequence[str] = ()) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix
        self.code = code
        self.details = tuple(details)

    def __str__(self) -> str:
        lines = [f"error[{self.code}]: {self.what}", *(f"  {detail}" for detail in self.details), f"  fix: {self.fix}"]
        return "\n".join(lines)


class EnvironmentFault(HarnessError):
    """Disk, memory, lock, permission, a corrupt file or a model that cannot be trusted to be what it says."""

    exit_code = 4

    def __init__(self, what: str, *, fix: str, code: str, details: Sequence[str] = (), resumable: bool = True) -> None:
        """resumable: whether the same command can succeed once the cause is mended."""
        super().__init__(what, fix=fix, code=code, details=details)
        self.resumable = resumable


class BackendUnreachable(HarnessError):
    """A server that should generate or judge does not answer."""

    exit_code = 5
