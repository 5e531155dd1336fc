"""A proposal becomes a task folder: task.toml with the reasons as comments, a data card, and if asked the data."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.core.errors import EnvironmentFault, HarnessError
from harness.core.types import SPLITS
from harness.data.display import escape
from harness.scaffold.files import is_local
from harness.scaffold.proposal import Choice, Proposal
from harness.scaffold.toml import spell, spell_key

TASK_FILE = "task.toml"
SCHEMA_FILE = "task.schema.json"
_FILES = tuple(f"data.{role}" for role in ("source", *SPLITS))
_SECTIONS = ("data", "prompting", "generation", "metrics")
# A hint in place of a setting that only the task's author can write.
_SYSTEM_HINT = '# system = "..."     # what to do, in a sentence: the untuned model gets it too'
_EFFECT_HINT = "# smallest_effect = 0.02     # what would be worth having, in this metric's unit; else 2 % of its range"


@dataclass(frozen=True, slots=True)
class NewTask:
    """What is asked for. choices: settings that were typed and come before the proposal's own.

    copy: whether the data is copied into the folder; otherwise the task names it where it is.
    """

    name: str
    parent: Path
    proposal: Proposal
    typed: tuple[Choice, ...] = ()
    preset: str | None = None
    copy: bool = False

    @property
    def folder(self) -> Path:
        """Where the task will be."""
        return self.parent / self.name


def require_free(folder: Path) -> None:
    """E-EXISTS where something is at the place of the new folder."""
    if folder.exists() or folder.is_symlink():
        raise HarnessError(
            f"{escape(str(folder), 300)} exists already; nothing was written",
            fix="choose another name, or delete it first",
            code="E-EXISTS",
        )


def write_task(task: NewTask, home: Path) -> tuple[Path, ...]:
    """Write the folder whole or not at all; the files in it. home: what the data's paths are relative to."""
    require_free(task.folder)
    try:
        task.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=task.parent, prefix=f".{task.name}-") as place:
            staged = Path(place) / task.name
            staged.mkdir()
            placed = _place_data(task, home, staged)
            (staged / TASK_FILE).write_text(task_text(placed), encoding="utf-8")
            (staged / "README.md").write_text(card_text(placed), encoding="utf-8")
            staged.rename(task.folder)
    except OSError as err:
        raise EnvironmentFault(
            f"the task folder {escape(str(task.folder), 300)} cannot be written: {err.strerror}",
            fix="check the disk and the permissions of its parent",
            code="E-WRITE",
        ) from err
    return tuple(sorted(task.folder.iterdir()))


def task_text(task: NewTask) -> str:
    """The task file: every proposed setting with its reason above it."""
    return "\n".join(_lines(task)) + "\n"


def card_text(task: NewTask) -> str:
    """The data card: counts that are known, and the questions that only people can answer."""
    proposal = task.proposal
    counts = "\n".join(f"| {role} | {n:,} |" for role, n in proposal.n_rows.items())
    look = "".join(f"- [ ] {_plain(doubt)}\n" for doubt in proposal.doubts)
    return f"""# {task.name}

What is asked, and what a right answer is: one sentence.

| file | rows |
|---|---|
{counts}

Kind of task: {proposal.kind} ({_plain(proposal.kind_reason)}).
The longest prompt has {proposal.max_prompt:,} characters, the longest reference {proposal.max_reference:,}.

## Where the data comes from

- Source and licence:
- Collected when, from whom, with whose consent:
- Who wrote or checked the right answers, and how often two people agreed:
- What is personal or confidential in it, and what was done about that:
- Who and what is missing from it, compared with what the model will meet:

## To look at

{look or "- [ ] a few rows of each split, by hand" + chr(10)}
`harness check task={task.name}` audits the rows; `harness show task={task.name}` shows one as the model sees it.
"""


def _lines(task: NewTask) -> Iterator[str]:
    proposal = task.proposal
    if (task.parent / SCHEMA_FILE).is_file():
        yield f"#:schema ../{SCHEMA_FILE}"
    yield f"# Kind of task: {proposal.kind}, because {_plain(proposal.kind_reason)}."
    for doubt in proposal.doubts:
        yield f"# Look at this: {_plain(doubt)}."
    yield f"name = {spell(task.name)}"
    yield 'summary = ""          # what is asked and what a right answer is, in one sentence'
    yield 'licence = ""          # of the data'
    if task.preset:
        yield f"preset = {spell(task.preset)}"
    choices = _all_choices(task)
    for section in dict.fromkeys((*_SECTIONS, *map(_section_of, choices))):
        yield from _section(section, [choice for choice in choices if _section_of(choice) == section])


def _section(section: str, choices: Sequence[Choice]) -> Iterator[str]:
    hints = {"prompting": _SYSTEM_HINT, "metrics": _EFFECT_HINT}
    hint = hints.get(section)
    if section == "prompting" and any(choice.key == "prompting.system" for choice in choices):
        hint = None
    if not choices and hint is None:
        return
    yield ""
    yield f"[{'.'.join(map(spell_key, section.split('.')))}]"
    for choice in choices:
        yield f"# {_plain(choice.reason)}"
        yield f"{spell_key(choice.key.rpartition('.')[2])} = {spell(choice.value)}"
    if hint is not None:
        yield hint


def _all_choices(task: NewTask) -> tuple[Choice, ...]:
    typed = {choice.key for choice in task.typed}
    return (*task.typed, *(choice for choice in task.proposal.choices if choice.key not in typed))


def _section_of(choice: Choice) -> str:
    return choice.key.rpartition(".")[0]


def _place_data(task: NewTask, home: Path, staged: Path) -> NewTask:
    """The task with its data's paths relative to its own folder, copied there where that was asked."""
    choices = tuple(_placed(choice, task, home, staged) for choice in task.proposal.choices)
    typed = tuple(_placed(choice, task, home, staged) for choice in task.typed)
    return replace(task, proposal=replace(task.proposal, choices=choices), typed=typed)


def _placed(choice: Choice, task: NewTask, home: Path, staged: Path) -> Choice:
    path = str(choice.value)
    if choice.key not in _FILES or not is_local(path):
        return choice
    file = home / path
    if not task.copy:
        return replace(choice, value=Path(os.path.relpath(file, task.folder)).as_posix())
    role = choice.key.removeprefix("data.")
    target = staged / (f"{role if role != 'source' else 'data'}{file.suffix.lower()}")
    shutil.copyfile(file, target)
    return replace(choice, value=target.name)


def _plain(text: str) -> str:
    """For comments and cards; a blank that only looks like one (no-break, ideographic) is written as an escape too."""
    shown = escape(text, 1_000)
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in shown)
