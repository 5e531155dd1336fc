"""Commands that make something new: a task folder from a file of rows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.terminal import echo
from harness.core.errors import HarnessError

new = typer.Typer(help="Make something new: harness new task NAME --data FILE", no_args_is_help=True)
File = Annotated[str | None, typer.Option(metavar="FILE")]


@new.callback()
def _group() -> None:
    """Keeps `task` a word of its own while it is the only topic."""


@new.command("task")
def task(
    name: Annotated[str, typer.Argument(help="name of the task and of its folder")],
    data: Annotated[str | None, typer.Option(help="one file with all rows, a folder, or hf:owner/name")] = None,
    train: File = None,
    validation: File = None,
    test: File = None,
    prompt: Annotated[str | None, typer.Option(help='template of the question: "{subject}\\n{body}"')] = None,
    reference: Annotated[str | None, typer.Option(help='template of the right answer: "{label}"')] = None,
    metric: Annotated[str | None, typer.Option(help="primary metric; proposed from the rows otherwise")] = None,
    preset: Annotated[str | None, typer.Option(help="domain, style, format, behaviour, safety or edge-cases")] = None,
    parent: Annotated[Path, typer.Option("--dir", help="folder that the task's folder is made in")] = Path("tasks"),
    copy: Annotated[bool, typer.Option("--copy", help="copy the data into the folder")] = False,
) -> None:
    """Look at rows and write a task for them: each setting with its reason, and a data card to fill in."""
    from harness.scaffold import Choice, Proposal, propose
    from harness.scaffold import preset as presets
    from harness.scaffold.folder import NewTask, require_free, write_task

    _require_name(name)
    _require_metric(metric)
    require_free(parent / name)
    given = {
        "source": data, "train": train, "validation": validation, "test": test,
        "prompt": prompt, "reference": reference,
    }  # fmt: skip
    typed = {"data.prompt": prompt, "data.reference": reference, "metrics.primary": metric}
    chosen = presets.find(preset) if preset is not None else None
    proposal: Proposal = propose(
        {key: value for key, value in given.items() if value is not None}, Path(), metric=metric, preset=chosen
    )
    choices = tuple(Choice(key, value, "as asked") for key, value in typed.items() if value is not None)
    wanted = NewTask(name, parent, proposal, choices, preset, copy)
    files = write_task(wanted, Path())
    _show(wanted, files, chosen.notes if chosen else ())


def _show(wanted: object, files: tuple[Path, ...], notes: tuple[str, ...]) -> None:
    from harness.data.display import escape
    from harness.scaffold.folder import NewTask

    assert isinstance(wanted, NewTask)
    proposal = wanted.proposal
    echo(f"{proposal.kind}: {escape(proposal.kind_reason, 300)}")
    for choice in proposal.choices:
        echo(f"  {choice.key} = {escape(str(choice.value), 120)}  ({escape(choice.reason, 300)})")
    for doubt in proposal.doubts:
        echo(f"look at this: {escape(doubt, 400)}")
    for note in notes:
        echo(f"note: {note}")
    echo(f"wrote {', '.join(str(file) for file in files)}")
    named = wanted.name if wanted.parent == Path("tasks") else str(wanted.folder)
    echo(f"Next command: harness check task={shlex.quote(named)}")


def _require_metric(metric: str | None) -> None:
    """Names with a colon come from elsewhere (hf:..., file.py:...), and are found when the task is used."""
    from harness import registry

    if metric is not None and ":" not in metric and metric not in registry.names("metrics"):
        raise registry.unknown("metrics", metric, registry.names("metrics"))


def _require_name(name: str) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", name):
        raise HarnessError(
            f"{name!r} cannot be the name of a task",
            fix="use letters, digits, dot, underscore and hyphen, beginning with a letter or digit",
        )
