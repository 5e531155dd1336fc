"""`harness label`: draw answers for people to judge, and open the page or write the sheet for it."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import execution
from harness.cli.label_words import Asked, asked_for, help_of_words
from harness.cli.terminal import echo
from harness.core.errors import EnvironmentFault, HarnessError
from harness.core.judging import Label, LabelKind, text_hash
from harness.data.display import escape, quote

if TYPE_CHECKING:
    from harness.autorater.label_journal import LabelJournal
    from harness.autorater.labels import LabelFile
    from harness.labelling.kept import Drawing, KeptSheet
    from harness.labelling.sheet import Earlier, Sheet
    from harness.pipeline.answers import Answered


def label(
    words: Annotated[
        list[str],
        typer.Argument(help="task=NAME n=200, or RUN round=final; as=html or csv; import=FILE; export=FILE"),
    ],
    open_browser: Annotated[bool, typer.Option("--open", help="open the page in the browser")] = False,
) -> None:
    execution.resume_command = shlex.join(["harness", *sys.argv[1:]])
    here = Path.cwd()
    try:
        asked = asked_for(words)
        if asked.words.source is not None:
            _import(asked, here / Path(asked.words.source).expanduser())
        elif asked.words.target is not None:
            _export(asked, here / Path(asked.words.target).expanduser())
        elif asked.words.form == "page":
            _ask(asked, open_browser=open_browser)
        else:
            _write_sheet(asked)
    finally:
        os.chdir(here)
    execution.resume_command = ""


# The words are described once, where they are read. \b keeps the lines apart.
label.__doc__ = f"""Have people judge answers: a local page, an offline sheet, or labels from elsewhere.

\b
Words of its own, besides task=NAME or RUN:
{help_of_words()}
"""


def _ask(asked: Asked, *, open_browser: bool) -> None:
    from harness.labelling.server import require_libraries, serve

    require_libraries()
    sheet = _sheet(asked)
    with _journal(asked) as journal:
        n_before = len(journal.labels)
        serve(
            sheet,
            journal,
            rubric=asked.rubric,
            annotator=asked.words.annotator,
            port=asked.words.port,
            open_browser=open_browser,
            on_ready=lambda link: _announce(link, sheet, asked),
        )
        echo(f"{len(journal.labels) - n_before} new labels in {asked.shown(asked.labels)}")
    _say_what_next(asked)


@contextmanager
def _journal(asked: Asked) -> Iterator[LabelJournal]:
    """The file of labels; where nobody gave the first one, there is none afterwards."""
    from harness.autorater.label_journal import LabelJournal
    from harness.store import disk

    was_there = asked.labels.exists()
    with LabelJournal(asked.labels) as journal:
        try:
            yield journal
        finally:
            if not was_there and not journal.labels:
                disk.remove(asked.labels)


def _write_sheet(asked: Asked) -> None:
    from harness.labelling.offline import csv_sheet, html_sheet, write_csv_sheet, write_html_sheet

    sheet = _sheet(asked)
    form = asked.words.form
    file = asked.here / f"labels-{asked.task}-{sheet.id}.{form}"
    content = html_sheet(sheet, rubric=asked.rubric) if form == "html" else csv_sheet(sheet)
    if file.exists() and file.read_bytes() != content:
        raise HarnessError(
            f"{file.name} is already there, and somebody may have filled it in",
            fix=f"import it ({_again(asked, file.name)}), or move it away first",
            code="E-EXISTS",
        )
    _keep(sheet, asked)
    (write_html_sheet if form == "html" else write_csv_sheet)(sheet, file, rubric=asked.rubric)
    _describe(sheet, asked)
    echo(f"written: {asked.shown(file)}")
    # The page of an offline sheet names its download like this.
    back = f"labels-{sheet.id}.jsonl" if form == "html" else file.name
    where = " (the file that its button downloads)" if form == "html" else ""
    echo(f"when done: {_again(asked, back)}{where}")


def _again(asked: Asked, file: str) -> str:
    """The command that takes a sheet back."""
    typed = [word for word in asked.typed if not word.startswith("as=")]
    whose = asked.words.form == "csv" and not asked.words.annotator
    return shlex.join(["harness", "label", *typed, f"import={file}"]) + (" annotator=NAME" if whose else "")


def _announce(link: str, sheet: Sheet, asked: Asked) -> None:
    _keep(sheet, asked)
    _describe(sheet, asked)
    echo(f"every label is kept in {asked.shown(asked.labels)} at once")
    echo(f"open {link}")
    echo("Ctrl-C ends it; the same command goes on where you stopped", error=True)


def _describe(sheet: Sheet, asked: Asked) -> None:
    """What is asked about which answers, and why they are as many as they are."""
    rubric = f", by the rubric of judge {asked.judge}" if asked.judge else ""
    echo(f"asked: {escape(_as_asked(sheet.criterion, sheet.kind, sheet.scale))}{rubric}")
    run = asked.run.name if asked.run is not None else "none"
    echo(f"answers: {sheet.split} of {run}, whose is hidden")
    echo(_counts(sheet, asked.words.n))
    if sheet.allocation:
        echo(sheet.allocation)
    if not {each.item.id for each in sheet.items} - _labelled(asked):
        echo(f"all of these have labels: seed={asked.words.seed + 1} asks about others")


def _as_asked(criterion: str, kind: LabelKind, scale: int) -> str:
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


def _say_what_next(asked: Asked) -> None:
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
    task = next((word for word in asked.typed if word.startswith("task=")), f"task={_task_folder(asked)}")
    return shlex.join(["harness", "judge", "calibrate", task, f"judge={asked.judge}"])


def _primary(run: Path) -> str:
    """The primary metric that the run was asked for."""
    from harness.core.specs import RunSpec
    from harness.store.view import StoredView

    return RunSpec.model_validate(StoredView(run).spec).task.metrics.primary


def _task_folder(asked: Asked) -> str:
    return asked.shown(asked.settings.task_folder.resolve())


def _import(asked: Asked, file: Path) -> None:
    """Labels made on a sheet of this task get back what the sheet knows; labels from elsewhere come as they are.

    What is refused is refused before anything is written.
    """
    found = _labels_in(file, asked)
    notes = [*found.notes, *_require_fitting(found.labels, file, asked)]
    with _journal(asked) as journal:
        _refuse_clashes(found.labels, journal.labels)
        added = [journal.append(each) for each in found.labels]
    n_known = len(added) - sum(added)
    known = f", {n_known} were there already" if n_known else ""
    echo(f"{sum(added)} labels added to {asked.shown(asked.labels)}{known}")
    for note in notes:
        echo(f"Note: {note}")
    _say_what_next(asked)


def _labels_in(file: Path, asked: Asked) -> LabelFile:
    """The labels of a file, with what the sheet they were made on knows of them, where it was one of these."""
    from dataclasses import replace

    from harness.autorater.labels import read_labels
    from harness.labelling.kept import kept_sheets, made_on
    from harness.labelling.offline import came_back, is_sheet, items_named

    items = items_named(file)
    kept, notes = kept_sheets([_sheets(asked)])
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
    then = _as_asked(sheet.criterion, sheet.kind, sheet.scale)
    now = _as_asked(question.criterion, question.label, question.scale)
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
    which = f"task={_task_folder(asked)}" if whose == asked.task_runs else asked.shown(whose)
    command = ["harness", "label", which, f"round={found.sheet.round}", f"import={asked.shown(file)}"]
    raise HarnessError(
        f"{quote(file.name, 200)} is a sheet of the {found.sheet.round} round of {whose.name}",
        fix=shlex.join(command),
        code="E-LABELS",
    )


def _require_fitting(labels: Iterable[Label], file: Path, asked: Asked) -> list[str]:
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
    now = _as_asked(question.criterion, question.label, question.scale)
    other = sorted({_as_asked(each.criterion, each.kind, each.scale) for each in own} - {now})
    if not own or other:
        found = other or sorted({_as_asked(each.criterion, each.kind, each.scale) for each in labels})
        raise HarnessError(
            f"labels in {quote(file.name, 200)} are for {', '.join(map(quote, found))}, and {quote(now)} is asked",
            fix="name their judge, judge=NAME, or what they answer: criterion=... label=... scale=...",
            code="E-LABELS",
        )
    strange = len(labels) - len(own)
    return [f"{strange} of {len(labels)} labels are for another criterion than {quote(now)}"] if strange else []


def _refuse_clashes(labels: Iterable[Label], known: Iterable[Label]) -> None:
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


def _export(asked: Asked, file: Path) -> None:
    from harness.autorater.labels import export_labels, read_labels

    for target in (file, file.with_suffix(".xml")) if file.suffix.lower() == ".json" else (file,):
        if target.exists():
            raise HarnessError(
                f"{quote(asked.shown(target), 200)} is already there", fix="choose another name", code="E-EXISTS"
            )
    for written in export_labels(read_labels(asked.labels).labels, file):
        echo(f"wrote {asked.shown(written)}")


def _sheet(asked: Asked) -> Sheet:
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
        kept, _ = kept_sheets([_sheets(asked)])
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


def _labelled(asked: Asked) -> set[str]:
    return {label.item for label in _labels_so_far(asked)}


def _answers_this(label: Label, asked: Asked) -> bool:
    """Whether a label answers what is asked now, in the final round or in those before it."""
    question = asked.question
    if (label.round == "final") != asked.is_final:
        return False
    same = (label.criterion, label.kind) == (question.criterion, question.label)
    return same and (label.kind != "likert" or label.scale == question.scale)


def _keep(sheet: Sheet, asked: Asked) -> None:
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
    return _sheets(asked) / _drawing(asked).file_name


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


def _sheets(asked: Asked) -> Path:
    """Where sheets are kept: with the run for its final round, else with the task's runs."""
    from harness.labelling.kept import FOLDER

    return (asked.run if asked.is_final and asked.run is not None else asked.task_runs) / FOLDER
