"""Whether something stands at a place that somebody named; a name that no file can have is a plain no."""

from __future__ import annotations

from pathlib import Path


def is_there(path: Path) -> bool:
    """Whether there is anything; no where the name is too long, holds NUL or leads where nobody may look."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def is_file(path: Path) -> bool:
    """Whether there is a file; no where the name is too long, holds NUL or leads where nobody may look."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether there is a folder; no where the name is too long, holds NUL or leads where nobody may look."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def at_home(name: str) -> Path:
    """A typed path with its ~ replaced; as it was typed where ~ names nobody."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)
