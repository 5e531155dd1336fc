"""How `harness label` tells what it asks, about how many answers and why, and what to type next."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.label_sheets import labelled
from harness.cli.label_words import Asked
from harness.cli.terminal import echo
from harness.core.judging import LabelKind
from harness.data.display import escape

if TYPE_CHECKING:
    from harness.labelling.sheet import Sheet


def describe(sheet: Sheet, asked: Asked) -> None:
    """What is asked about which answers, and why they are as many as they are."""
    rubric = f", by the rubric of judge {asked.judge}" if asked.judge else ""
    echo(f"asked: {escape(as_asked(sheet.criterion, sheet.kind, sheet.scale))}{rubric}")
    run = asked.run.name if asked.run is not None else "none"
    echo(f"answers: {sheet.split} of {run}, whose is hidden")
    echo(_counts(sheet, asked.words.n))
    if sheet.allocation:
        echo(sheet.allocation)
    if not {each.item.id for each in sheet.items} - labelled(asked):
        echo(f"all of these have labels: seed={asked.words.seed + 1} asks about others")


def as_asked(criterion: str, kind: LabelKind, scale: int) -> str:
    """A criterion with how it is answered."""
    how = {"likert": f"1 to {scale}", "pass_fail": "pass or fail", "pair": "which of two is better"}
    return f"{criterion} ({how[kind]})"


def _counts(sheet: Sheet, n: int) -> str:
    """How many there are to label, and why not n."""
    prompts = len({each.item.cluster for each in sheet.items})
    shown = f"{len(sheet.items)} to label"
    if sheet.n_answers > len(sheet.items):
        shown += f", for {sheet.n_answers} answers: what several systems said alike is asked once"
    if sheet.n_answers == n:
        return shown
    if all(each.probability == 1 for each in sheet.items):
        return f"{shown} (all there are: {_product(prompts, sheet.n_answers)}; {n} were asked for)"
    return f"{shown} ({_product(prompts, sheet.n_answers)}: all answers to a prompt or none; {n} were asked for)"


def _product(prompts: int, answers: int) -> str:
    each, rest = divmod(answers, prompts)
    return f"{prompts} prompts x {each}" if rest == 0 else f"{answers} answers to {prompts} prompts"


def again(asked: Asked, file: str) -> str:
    """The command that takes a sheet back."""
    typed = [word for word in asked.typed if not word.startswith("as=")]
    whose = asked.words.form == "csv" and not asked.words.annotator
    return shlex.join(["harness", "label", *typed, f"import={file}"]) + (" annotator=NAME" if whose else "")


def say_what_next(asked: Asked) -> None:
    """The next command, where there is one."""
    command = _next_command(asked)
    if command is not None:
        echo(f"Next command: {command}")


def _next_command(asked: Asked) -> str | None:
    """Final labels are for the report; others for a new choice where the judge decides, else to calibrate it."""
    from harness.core.specs import JUDGE_PREFIX
    from harness.store.layout import origin_of

    if asked.is_final:
        return f"harness report {shlex.quote(asked.shown(asked.run))}" if asked.run is not None else None
    if not asked.judge:
        return None
    if asked.run is not None and _primary(asked.run) == JUDGE_PREFIX + asked.judge:
        origin = asked.run.with_name(origin_of(asked.run.name))
        return f"harness select {shlex.quote(asked.shown(origin if origin.is_dir() else asked.run))}"
    task = next((word for word in asked.typed if word.startswith("task=")), asked.task_word)
    return shlex.join(["harness", "judge", "calibrate", task, f"judge={asked.judge}"])


def _primary(run: Path) -> str:
    """The primary metric that the run was asked for."""
    from harness.core.specs import RunSpec
    from harness.store.view import StoredView

    return RunSpec.model_validate(StoredView(run).spec).task.metrics.primary
