"""Sheets that were drawn before: what they are called, and which one a filled-in file was made on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.core.errors import EnvironmentFault
from harness.core.judging import LabelKind, Round, text_hash
from harness.data.display import escape
from harness.labelling.sheet import Sheet, load_sheet

FOLDER = "sheets"


@dataclass(frozen=True, slots=True)
class KeptSheet:
    """A sheet and the file that it is kept in."""

    file: Path
    sheet: Sheet


@dataclass(frozen=True, slots=True)
class Drawing:
    """All that decides what is on a sheet. judge: whose question it is, if one's; run: whose answers, by its id."""

    judge: str
    run: str
    criterion: str
    kind: LabelKind
    scale: int
    round: Round
    split: str
    n: int
    seed: int

    @property
    def file_name(self) -> str:
        """Another for whatever differs."""
        about = text_hash(self.judge, self.run, self.criterion, self.kind, str(self.scale), self.split)
        return f"{Path(self.judge).name or 'labels'}-{self.round}-{self.n}-{self.seed}-{about[:12]}.json"


def kept_sheets(folders: Iterable[Path]) -> tuple[tuple[KeptSheet, ...], tuple[str, ...]]:
    """The sheets in some folders, and a note for each file that is damaged: it hides no other."""
    found, notes = [], []
    for file in (file for folder in folders for file in sorted(folder.glob("*.json"))):
        try:
            found.append(KeptSheet(file, load_sheet(file)))
        except EnvironmentFault:
            notes.append(f"the sheet {escape(str(file), 200)} is damaged, or of another version, and was passed over")
    return tuple(found), tuple(notes)


def made_on(items: frozenset[str], kept: Sequence[KeptSheet], *, file_name: str = "") -> KeptSheet | None:
    """The sheet that rows about these items were made on, whatever their file is called by now; None if none of these.

    A larger sheet may have a smaller one's items: then the file's name tells, else the smallest that has the most.
    """
    sharing = [(len(items & {item.id for item in each.sheet.items}), each) for each in kept]
    ranked = [
        (each.sheet.id in file_name, shared, -len(each.sheet.items), number, each)
        for number, (shared, each) in enumerate(sharing)
        if shared
    ]
    return max(ranked, key=lambda found: found[:4])[-1] if ranked else None
