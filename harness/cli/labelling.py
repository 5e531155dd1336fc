"""`harness label`: draw answers for people to judge, and open the page or write the sheet for it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from pydantic import Field, ValidationError

from harness.cli import execution
from harness.cli.terminal import echo
from harness.core.errors import HarnessError
from harness.core.judging import LabelKind, text_hash
from harness.core.specs import JudgeSpec, Spec

if TYPE_CHECKING:
    from harness.autorater.labels import LabelFile
    from harness.config import Settings
    from harness.labelling.sheet import Sheet
    from harness.pipeline.answers import Answered


class LabelWords(Spec):
    """The words of `harness label` that are its own."""

    n: int = Field(200, ge=1, le=100_000, description="answers on the sheet, or pairs")
    round: Literal["calibration", "gate", "final"] = Field("calibration", description="final: test answers, blind")
    judge: str | None = Field(None, description="whose rubric, criterion and scale are asked; the task's only one")
    criterion: str | None = Field(None, description="without a judge: what is asked")
    label: LabelKind | None = Field(None, description="without a judge: likert, pass_fail or pair")
    scale: int | None = Field(None, ge=2, le=10, description="without a judge: highest Likert value")
    annotator: str = Field("", description="who labels; the page asks otherwise")
    run: str | None = Field(None, description="whose answers; the task's newest finished run")
    form: Literal["page", "html", "csv"] = Field("page", alias="as", description="page, or an offline sheet")
    seed: int = Field(0, ge=0)
    port: int = Field(0, ge=0, le=65535)
    source: str | None = Field(None, alias="import", description="file of labels to add: .jsonl, .csv, .json")
    target: str | None = Field(None, alias="export", description="file to write all labels to: .jsonl, .csv, .json")


_OWN = frozenset(field.alias or name for name, field in LabelWords.model_fields.items())


@dataclass(frozen=True)
class _Asked:
    """What is labelled where. labels: the file that gets them. sheet: where the drawn sheet is kept, to resume."""

    settings: Settings
    words: LabelWords
    question: JudgeSpec
    rubric: str
    run: Path | None
    labels: Path
    typed: tuple[str, ...]


def label(
    words: Annotated[
        list[str],
        typer.Argument(help="task=NAME n=200, or RUN round=final; as=html or csv; import=FILE; export=FILE"),
    ],
    open_browser: Annotated[bool, typer.Option("--open", help="open the page in the browser")] = False,
) -> None:
    """Have people judge answers: a local page, an offline sheet, or labels from elsewhere."""
    asked = _asked(words)
    if asked.words.source is not None:
        _import(asked, Path(asked.words.source))
    elif asked.words.target is not None:
        _export(asked, Path(asked.words.target))
    else:
        _ask(asked, open_browser=open_browser)


def _ask(asked: _Asked, *, open_browser: bool) -> None:
    from harness.autorater.label_journal import LabelJournal
    from harness.labelling.offline import write_csv_sheet, write_html_sheet
    from harness.labelling.server import serve

    sheet = _sheet(asked)
    if asked.words.form != "page":
        write = write_html_sheet if asked.words.form == "html" else write_csv_sheet
        file = Path(f"labels-{asked.settings.spec.task.name}-{sheet.id}.{asked.words.form}")
        write(sheet, file, rubric=asked.rubric)
        echo(f"{len(sheet.items)} to label: {file}")
        again = shlex.join(word for word in asked.typed if not word.startswith("as="))
        echo(f"when done: harness label {again} import=FILE" + _annotator_hint(asked))
        return
    with LabelJournal(asked.labels) as journal:
        n_before = len(journal.labels)
        serve(
            sheet,
            journal,
            rubric=asked.rubric,
            annotator=asked.words.annotator,
            port=asked.words.port,
            open_browser=open_browser,
            on_ready=lambda link: _announce(link, sheet, asked.labels),
        )
        echo(f"{len(journal.labels) - n_before} new labels in {asked.labels}")
    _say_what_next(asked)


def _annotator_hint(asked: _Asked) -> str:
    return " annotator=NAME" if asked.words.form == "csv" and not asked.words.annotator else ""


def _announce(link: str, sheet: Sheet, labels: Path) -> None:
    echo(f"{len(sheet.items)} to label, of {sheet.criterion}; every answer is kept in {labels} at once")
    echo(f"open {link}")
    echo("Ctrl-C ends it; the same command goes on where you stopped", error=True)


def _say_what_next(asked: _Asked) -> None:
    if asked.words.round == "final":
        echo(f"Next command: harness report {asked.run}")
    elif asked.run is not None:
        echo(f"Next command: harness select {asked.run}")


def _import(asked: _Asked, file: Path) -> None:
    """Labels made on a sheet of this task get back what the sheet knows; labels from elsewhere come as they are."""
    from harness.autorater.label_journal import LabelJournal

    found = _labels_in(file, asked)
    with LabelJournal(asked.labels) as journal:
        added = [journal.append(each) for each in found.labels]
    n_known = len(added) - sum(added)
    echo(f"{sum(added)} labels added to {asked.labels}" + (f", {n_known} were there already" if n_known else ""))
    for note in found.notes:
        echo(f"Note: {note}")
    _say_what_next(asked)


def _labels_in(file: Path, asked: _Asked) -> LabelFile:
    """The labels of a file, with what the sheet they were made on knows of them, where it was one of these."""
    from harness.autorater.labels import read_labels
    from harness.labelling.offline import came_back, is_sheet
    from harness.labelling.sheet import item_id

    sheets = _saved_sheets(asked)
    if is_sheet(file):
        found = next((sheet for sheet in sheets if sheet.id in file.name), None)
        if found is None:
            raise HarnessError(
                f"{file} was filled in for a sheet that is not known here",
                fix="keep the name that it was written with: labels-TASK-SHEET.csv",
                code="E-LABELS",
            )
    else:
        names = {item_id(each.id) for each in read_labels(file).labels}
        found = next((sheet for sheet in sheets if names & {item.id for item in sheet.items}), None)
        if found is None:
            return read_labels(file, guideline=text_hash(asked.rubric))
    return came_back(file, found, annotator=asked.words.annotator, rubric=asked.rubric)


def _export(asked: _Asked, file: Path) -> None:
    from harness.autorater.labels import export_labels, read_labels

    for written in export_labels(read_labels(asked.labels).labels, file):
        echo(f"wrote {written}")


def _sheet(asked: _Asked) -> Sheet:
    """The sheet that was drawn for these words before, or a new one, kept so that the next time shows the same."""
    from harness.labelling.sheet import draw, load_sheet, save_sheet
    from harness.store import disk

    words, question = asked.words, asked.question
    name = f"{asked.words.judge or 'labels'}-{words.round}-{words.n}-{words.seed}.json"
    file = _sheets(asked) / name
    if file.is_file():
        return load_sheet(file)
    answered = _answered(asked)
    sheet = draw(
        answered.items,
        n=words.n,
        seed=words.seed,
        kind=question.label,
        criterion=question.criterion,
        samples=answered.samples,
        round=words.round,
        scale=question.scale,
        split=answered.split,
    )
    disk.make_folder(file.parent)
    save_sheet(sheet, file)
    return sheet


def _answered(asked: _Asked) -> Answered:
    from harness.data import read
    from harness.pipeline.answers import for_calibration, for_choosing, for_validation

    if asked.run is None:
        raise HarnessError(
            f"there is no finished run of {asked.settings.spec.task.name} whose answers could be labelled",
            fix="make one: harness run with this task (a judge without labels is no obstacle, the fallback decides)",
            code="E-NORUN",
        )
    spec = asked.settings.spec
    dataset = read(spec.task, asked.settings.task_folder, drop_bad=spec.drop_bad)
    pairs = asked.question.label == "pair"
    if asked.words.round == "final":
        return for_validation(asked.run, dataset.split("test"), pairs=pairs)
    if asked.words.round == "gate":
        return for_choosing(asked.run, dataset.split("validation"), pairs=pairs)
    return for_calibration(asked.run, dataset.split("validation"), pairs=pairs)


def _saved_sheets(asked: _Asked) -> list[Sheet]:
    from harness.labelling.sheet import load_sheet

    return [load_sheet(file) for file in sorted(_sheets(asked).glob("*.json"))]


def _sheets(asked: _Asked) -> Path:
    """Where sheets are kept: with the run for its final round, else with the task's runs."""
    if asked.words.round == "final" and asked.run is not None:
        return asked.run / "sheets"
    return asked.settings.out / asked.settings.spec.task.name / "sheets"


def _asked(typed: Sequence[str]) -> _Asked:
    """Everything that the words settle; the first may name a run instead of a task."""
    from harness.config import resolve
    from harness.store.view import find_run

    own = [word for word in typed if word.partition("=")[0] in _OWN]
    rest = [word for word in typed if word not in own]
    words = _own_words(own)
    named = rest.pop(0) if rest and "=" not in rest[0] else words.run
    run = None if named is None else find_run(named, Path("runs")).resolve()
    if run is not None:
        started, _, home = execution.started_with(run)
        if home is not None:
            os.chdir(home)
        rest = [*started, *rest]
    settings = resolve(rest)
    if words.round == "final" and run is None:
        raise HarnessError(
            "the final round is of one run's test answers", fix="harness label RUN round=final", code="E-USAGE"
        )
    words, question, rubric, labels = _question(words, settings)
    if run is None:
        run = _newest(settings)
    if words.round == "final" and run is not None:
        from harness.store import layout

        labels = run / layout.LABELS
    return _Asked(settings, words, question, rubric, run, labels, tuple(typed))


def _own_words(own: Sequence[str]) -> LabelWords:
    values = dict(word.split("=", 1) for word in own)
    try:
        return LabelWords.model_validate(values)
    except ValidationError as err:
        details = [f"{each['loc'][0] if each['loc'] else 'label'}: {each['msg']}" for each in err.errors()]
        raise HarnessError(
            "the words of harness label are wrong", fix="harness label --help", code="E-OPTION", details=details
        ) from err


def _question(words: LabelWords, settings: Settings) -> tuple[LabelWords, JudgeSpec, str, Path]:
    """What people are asked, with which rubric, and the file for their labels: a judge's, or as the words say."""
    from harness.autorater.configuration import LABELS_FILE, find_judge, own_judges, read_judge, written_to

    folder, names = settings.task_folder, settings.spec.task.metrics.judges
    name = words.judge or next(iter(names or own_judges(folder)), None)
    if words.criterion is not None and words.judge is None:
        spec = JudgeSpec(kind="none", criterion=words.criterion, label=words.label or "likert", scale=words.scale or 5)
        return words, spec, words.criterion, folder / LABELS_FILE
    if name is None:
        raise HarnessError(
            f"task {settings.spec.task.name} has no judge, so nothing says what people are to be asked",
            fix='type criterion="how helpful the answer is" label=likert, or judge=NAME (judges/README.md)',
            code="E-USAGE",
        )
    place = find_judge(name, folder)
    spec, rubric = read_judge(place)
    return words.model_copy(update={"judge": name}), spec, rubric, written_to(spec, place, folder)


def _newest(settings: Settings) -> Path | None:
    """The run of the task that finished last."""
    from harness.store import layout

    files = (settings.out / settings.spec.task.name).glob(f"*/{layout.RESULT}")
    return max((file.parent for file in files), key=lambda run: (run / layout.RESULT).stat().st_mtime, default=None)
