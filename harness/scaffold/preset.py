"""Presets: settings that belong to a kind of task, as small commented TOML files beside this module."""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from harness.core.errors import HarnessError
from harness.scaffold.proposal import Nested

_FOLDER = Path(__file__).with_name("presets")


@dataclass(frozen=True, slots=True)
class Preset:
    """A layer of settings below the task's own.

    settings: nested as in task.toml. notes: what to keep in mind, for people. offers: names of fields that its scores
    are best told apart by, where rows have them; needs: what is missed where rows have none of these.
    prefers, adds: metrics whose options the references can show: the first that they do becomes the primary one,
    every one of `adds` is reported.
    """

    name: str
    summary: str
    notes: tuple[str, ...]
    offers: tuple[str, ...]
    needs: str
    prefers: tuple[str, ...]
    adds: tuple[str, ...]
    settings: Nested


def names() -> tuple[str, ...]:
    """All presets, sorted."""
    return tuple(sorted(file.stem for file in _FOLDER.glob("*.toml")))


def listed() -> tuple[Preset, ...]:
    """All presets, sorted by name."""
    return tuple(find(name) for name in names())


def find(name: str) -> Preset:
    """The preset of a name; E-UNKNOWN with the nearest names where there is none."""
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names())}"
        raise HarnessError(f"there is no preset named {name!r}; {hint}", fix="choose one of these", code="E-UNKNOWN")
    settings = cast(Nested, tomllib.loads((_FOLDER / f"{name}.toml").read_text(encoding="utf-8")))
    return Preset(
        name,
        summary=str(settings.pop("summary")),
        notes=_texts(settings.pop("notes", [])),
        offers=_texts(settings.pop("offers", [])),
        needs=str(settings.pop("needs", "")),
        prefers=_texts(settings.pop("prefers", [])),
        adds=_texts(settings.pop("adds", [])),
        settings=settings,
    )


def _texts(value: object) -> tuple[str, ...]:
    assert isinstance(value, list)
    return tuple(map(str, value))
