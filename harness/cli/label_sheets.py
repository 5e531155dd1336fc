"""The sheet that `harness label` asks about: found where it was drawn before, else drawn from a run's answers; kept."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from harness.cli.label_words import Asked
from harness.core.errors import EnvironmentFault, HarnessError
from harness.core.judging import Label

if TYPE_CHECKING:
    from harness.labelling.kept import Drawing
    from harness.labelling.sheet import Earlier, Sheet
    from harness.pipeline.answers import Answered


def sheet_for(asked: Asked) -> Sheet:
    """The sheet that was drawn for these words before, or a new one: other words draw what has no label yet."""
    from harness.labelling.sheet import draw, load_sheet

    if _sheet_file(asked).is_file():
        with suppress(EnvironmentFault):
            return load_sheet(_sheet_file(asked))
    words, question, answered = asked.words, asked.question, _answered(asked)
    return draw(
        answered.items,
        n=words.n,
        seed=words.seed,
        kind=question.label,
        criterion=question.criterion,
        samples=answered.samples,
        round=words.round,
        scale=question.scale,
        split=answered.split,
        scores=answered.scores,
        earlier=_earlier(asked),
    )


def _answered(asked: Asked) -> Answered:
    from harness.data import read
    from harness.pipeline.answers import for_calibration, for_choosing, for_validation
    from harness.pipeline.validation import require_own_criterion
    from harness.store.view import StoredView

    if asked.run is None:
        raise HarnessError(
            f"there is no finished run of {asked.task} whose answers could be labelled",
            fix="make one: harness run with this task (a judge without labels is no obstacle, the fallback decides)",
            code="E-NORUN",
        )
    spec = asked.settings.spec
    dataset = read(spec.task, asked.settings.task_folder, drop_bad=spec.drop_bad)
    pairs = asked.question.label == "pair"
    if asked.is_final:
        require_own_criterion(StoredView(asked.run), asked.question)
        return for_validation(asked.run, dataset.split("test"), pairs=pairs, criterion=asked.question.criterion)
    find = for_choosing if asked.words.round == "gate" else for_calibration
    return find(asked.run, dataset.split("validation"), pairs=pairs, criterion=asked.question.criterion)


def _earlier(asked: Asked) -> Earlier:
    """What people have said of these answers already, and where it varied most: the next labels go there.

    A damaged sheet is to be drawn as it was, so that what was filled in on it comes home: then the labels of other
    sheets alone count.
    """
    from harness.labelling.kept import kept_sheets
    from harness.labelling.sheet import Earlier, item_id
    from harness.pipeline.validation import final_spreads
    from harness.store.view import StoredView

    own = _labels_so_far(asked)
    if _sheet_file(asked).is_file():
        kept, _ = kept_sheets([sheets_of(asked)])
        known = {item.id for each in kept for item in each.sheet.items}
        own = [label for label in own if item_id(label.id) in known]
    items = frozenset(label.item for label in own)
    if not asked.is_final or asked.run is None:
        return Earlier(items)
    found = final_spreads(StoredView(asked.run), own, asked.question)
    return Earlier(items, found.by_part, found.n_labels)


def _labels_so_far(asked: Asked) -> list[Label]:
    """The labels that answer what is asked now."""
    from harness.autorater.labels import read_labels

    labels = read_labels(asked.labels).labels if asked.labels.is_file() else ()
    return [label for label in labels if _answers_this(label, asked)]


def labelled(asked: Asked) -> set[str]:
    """The items that have a label which answers what is asked now."""
    return {label.item for label in _labels_so_far(asked)}


def _answers_this(label: Label, asked: Asked) -> bool:
    """Whether a label answers what is asked now, in the final round or in those before it."""
    question = asked.question
    if (label.round == "final") != asked.is_final:
        return False
    same = (label.criterion, label.kind) == (question.criterion, question.label)
    return same and (label.kind != "likert" or label.scale == question.scale)


def keep(sheet: Sheet, asked: Asked) -> None:
    """Keep the sheet, so that the next time shows the same; a damaged one in its place is moved aside."""
    from harness.labelling.sheet import load_sheet, save_sheet
    from harness.store import disk

    file = _sheet_file(asked)
    if file.is_file():
        try:
            load_sheet(file)
        except EnvironmentFault:
            disk.quarantine(file)
        else:
            return
    disk.make_folder(file.parent)
    save_sheet(sheet, file)


def _sheet_file(asked: Asked) -> Path:
    return sheets_of(asked) / _drawing(asked).file_name


def _drawing(asked: Asked) -> Drawing:
    from harness.labelling.kept import Drawing

    return Drawing(
        judge=asked.judge,
        run=asked.run.name if asked.run is not None else "",
        criterion=asked.question.criterion,
        kind=asked.question.label,
        scale=asked.question.scale,
        round=asked.words.round,
        split="test" if asked.is_final else "validation",
        n=asked.words.n,
        seed=asked.words.seed,
    )


def sheets_of(asked: Asked) -> Path:
    """Where sheets are kept: with the run for its final round, else with the task's runs."""
    from harness.labelling.kept import FOLDER

    return (asked.run if asked.is_final and asked.run is not None else asked.task_runs) / FOLDER
