"""What `harness label import=FILE` takes: labels of a sheet or from elsewhere, but none that nobody could use."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.label_sheets import sheets_of
from harness.cli.label_telling import as_asked
from harness.cli.label_words import Asked
from harness.core.errors import HarnessError
from harness.core.judging import Label, text_hash
from harness.data.display import quote

if TYPE_CHECKING:
    from harness.autorater.labels import LabelFile
    from harness.labelling.kept import KeptSheet


def labels_in(file: Path, asked: Asked) -> LabelFile:
    """The labels of a file, with what the sheet they were made on knows of them, where it was one of these."""
    from dataclasses import replace

    from harness.autorater.labels import read_labels
    from harness.labelling.kept import kept_sheets, made_on
    from harness.labelling.offline import came_back, is_sheet, items_named

    items = items_named(file)
    kept, notes = kept_sheets([sheets_of(asked)])
    found = made_on(items, kept, file_name=file.name)
    if found is not None:
        _require_asked(found, file, asked)
        back = came_back(file, found.sheet, annotator=asked.words.annotator, rubric=asked.rubric)
        return replace(back, notes=(*back.notes, *notes))
    _refuse_elsewhere(items, file, asked)
    if is_sheet(file):
        raise HarnessError(
            f"{quote(file.name, 200)} was filled in for a sheet that is not known here",
            fix="name the task or run that it was drawn for; the column `item` must be as it was",
            code="E-LABELS",
            details=notes,
        )
    return read_labels(file, guideline=text_hash(asked.rubric))


def _require_asked(found: KeptSheet, file: Path, asked: Asked) -> None:
    """E-LABELS where the sheet asks something else than the words do: its answers are no labels of this judge."""
    sheet, question = found.sheet, asked.question
    then = as_asked(sheet.criterion, sheet.kind, sheet.scale)
    now = as_asked(question.criterion, question.label, question.scale)
    if then != now:
        raise HarnessError(
            f"{quote(file.name, 200)} is of a sheet that asks about {quote(then)}, not about {quote(now)}",
            fix="name the judge that it was drawn for, judge=NAME, or what it asks: criterion=... label=... scale=...",
            code="E-LABELS",
        )


def _refuse_elsewhere(items: frozenset[str], file: Path, asked: Asked) -> None:
    """E-LABELS for what was made on another round's sheet, with the command that takes it."""
    from harness.labelling.kept import FOLDER, kept_sheets, made_on

    folders = [asked.task_runs / FOLDER, *sorted(asked.task_runs.glob(f"*/{FOLDER}"))]
    found = made_on(items, kept_sheets(folders)[0], file_name=file.name)
    if found is None:
        return
    whose = found.file.parent.parent
    which = asked.task_word if whose == asked.task_runs else asked.shown(whose)
    command = ["harness", "label", which, f"round={found.sheet.round}", f"import={asked.shown(file)}"]
    raise HarnessError(
        f"{quote(file.name, 200)} is a sheet of the {found.sheet.round} round of {whose.name}",
        fix=shlex.join(command),
        code="E-LABELS",
    )


def require_fitting(labels: Iterable[Label], file: Path, asked: Asked) -> list[str]:
    """E-LABELS for labels that whoever reads them next could not use; notes on those that others can."""
    from harness.pipeline.validation import require_final

    labels, question = tuple(labels), asked.question
    if not labels:
        raise HarnessError(
            f"no row of {quote(file.name, 200)} has a value", fix="fill in the column `value`", code="E-LABELS"
        )
    if asked.is_final and asked.run is not None:
        require_final(labels, asked.run, question)
        return []
    final = sum(each.round == "final" for each in labels)
    if final:
        raise HarnessError(
            f"{final} of {len(labels)} labels in {quote(file.name, 200)} are of a run's final round",
            fix=f"import them for that run: harness label RUN round=final import={file.name}",
            code="E-LABELS",
        )
    own = [each for each in labels if each.criterion == question.criterion]
    now = as_asked(question.criterion, question.label, question.scale)
    other = sorted({as_asked(each.criterion, each.kind, each.scale) for each in own} - {now})
    if not own or other:
        found = other or sorted({as_asked(each.criterion, each.kind, each.scale) for each in labels})
        raise HarnessError(
            f"labels in {quote(file.name, 200)} are for {', '.join(map(quote, found))}, and {quote(now)} is asked",
            fix="name their judge, judge=NAME, or what they answer: criterion=... label=... scale=...",
            code="E-LABELS",
        )
    strange = len(labels) - len(own)
    return [f"{strange} of {len(labels)} labels are for another criterion than {quote(now)}"] if strange else []


def refuse_clashes(labels: Iterable[Label], known: Iterable[Label]) -> None:
    """E-LABELS where a label that is there has the id of another that is to come."""
    from dataclasses import replace

    there = {each.id: each for each in known}
    clash = [each for each in labels if each.id in there and replace(each, time=there[each.id].time) != there[each.id]]
    if clash:
        raise HarnessError(
            f"{len(clash)} labels have the ids of other labels that are there already, {quote(clash[0].id)} for one",
            fix="give each label an id of its own, or leave the ids out",
            code="E-LABELS",
        )
