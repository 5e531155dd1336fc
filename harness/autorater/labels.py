"""Files of labels: JSON Lines without loss, CSV for spreadsheets, and Label Studio's JSON."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from pydantic import JsonValue

from harness.autorater import label_studio
from harness.autorater.label_journal import LabelJournal
from harness.autorater.label_rows import json_text, label_of, line_of, strict_json
from harness.autorater.label_tables import encode_labels, row_of_cells
from harness.core.errors import HarnessError
from harness.core.judging import Label
from harness.data.csv import read_csv
from harness.data.decoding import decode, refuse_oversize
from harness.data.display import escape, quote
from harness.data.files import Lines, Whole
from harness.data.jsonl import refuse_other_text
from harness.data.problems import Problem
from harness.data.rows import Row
from harness.store import disk
from harness.store.places import is_file

__all__ = ["Imported", "LabelFile", "LabelJournal", "export_labels", "import_labels", "notes_on", "read_labels"]

T = TypeVar("T")
MAX_BYTES = 16 << 20
N_SHOWN = 20


@dataclass(frozen=True, slots=True)
class LabelFile:
    """The labels of a file, all of them, in its order. notes: what there is to know about them, for people.

    torn: those of the notes that are about a line that was left out.
    """

    labels: tuple[Label, ...]
    notes: tuple[str, ...] = ()
    torn: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did: labels that are new, and those that had been there."""

    n_new: int
    n_known: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Found:
    """A label or what is wrong, at its place; `torn`: the rest of a line that a killed process left."""

    where: str
    label: Label | HarnessError
    torn: bool = False


def read_labels(path: Path, *, guideline: str = "") -> LabelFile:
    """The labels in a file of the kind that its suffix says: .jsonl, .csv, .tsv, or .json (Label Studio's export).

    guideline: hash of the rubric in force; labels given under another are counted in the notes. Labels said twice and
    later labels of the same person are counted and kept: `latest` chooses. E-LABELS with every mistake and its line.
    """
    found = list(_reader(path)(path))
    mistakes = [each for each in found if isinstance(each.label, HarnessError) and not each.torn]
    if mistakes:
        raise _refusal(path, mistakes)
    labels = tuple(each.label for each in found if isinstance(each.label, Label))
    clash = _clash(labels)
    if clash is not None:
        raise HarnessError(
            f"{quote(path.name)} has two different labels with the id {quote(clash)}",
            fix="give each label an id of its own, or leave the ids out",
            code="E-LABELS",
        )
    torn = tuple(
        f"{each.where} stops inside a label: a write was cut off there, and it is left out"
        for each in found
        if each.torn
    )
    return LabelFile(labels, (*torn, *notes_on(labels, guideline)), torn)


def import_labels(path: Path, journal: LabelJournal) -> Imported:
    """Add a file's labels to a journal; those it has already, by id, are left as they are."""
    file = read_labels(path)
    added = [journal.append(label) for label in file.labels]
    return Imported(sum(added), len(added) - sum(added), file.notes)


def export_labels(labels: Sequence[Label], path: Path) -> tuple[Path, ...]:
    """Write labels as the suffix says; the files written, durable.

    .jsonl loses nothing. .csv refuses characters that no table keeps (E-CONVERT). .json is a list of tasks to import
    into Label Studio, with the labelling configuration beside it as .xml.
    """
    if not labels:
        raise HarnessError("there are no labels to write", fix="label something first: harness label", code="E-LABELS")
    files = _encoder(path)(labels, path)
    for file, content in files.items():
        disk.write_atomic(file, content)
    return tuple(files)


def _refusal(path: Path, mistakes: Sequence[_Found]) -> HarnessError:
    errors = [(each.where, each.label) for each in mistakes if isinstance(each.label, HarnessError)]
    details = [f"{escape(where, 200)}: {escape(error.what, 300)}" for where, error in errors[:N_SHOWN]]
    more = [f"... and {len(errors) - N_SHOWN:,} more"] if len(errors) > N_SHOWN else []
    return HarnessError(
        f"{len(errors):,} rows of {quote(path.name)} are not labels",
        fix=errors[0][1].fix,
        code="E-LABELS",
        details=[*details, *more],
    )


def _clash(labels: Sequence[Label]) -> str | None:
    known: dict[str, Label] = {}
    return next((label.id for label in labels if known.setdefault(label.id, label) != label), None)


def notes_on(labels: Sequence[Label], guideline: str) -> Iterator[str]:
    """What there is to know about some labels, in sentences. guideline: hash of the rubric in force, or empty."""
    repeated = len(labels) - len({label.id for label in labels})
    if repeated:
        yield f"{repeated:,} labels stand in the file more than once"
    yield from _relabels(labels)
    stale = sum(label.guideline not in ("", guideline) for label in labels) if guideline else 0
    if stale:
        yield f"{stale:,} of {len(labels):,} labels were given under another rubric than the present one"
    scales: dict[str, set[str]] = defaultdict(set)
    for label in labels:
        scales[label.criterion].add(f"likert 1-{label.scale}" if label.kind == "likert" else label.kind)
    for criterion, kinds in scales.items():
        if len(kinds) > 1:
            yield f"{quote(criterion)} was labelled in {len(kinds)} ways: {', '.join(sorted(kinds))}"


def _relabels(labels: Sequence[Label]) -> Iterator[str]:
    """How often a person judged the same thing again, and how often with the same result."""
    given: dict[tuple[str, ...], list[Label]] = defaultdict(list)
    for label in {label.id: label for label in labels}.values():
        given[(label.annotator, label.item, *label.systems, label.criterion, label.round)].append(label)
    again = [(one, two) for judged in given.values() for one, two in pairwise(judged)]
    if again:
        same = sum(one.value == two.value for one, two in again)
        yield f"{len(again):,} labels judge again what their annotator had judged ({same:,} alike); the last counts"


def _read_jsonl(path: Path) -> Iterator[_Found]:
    lines = Lines(path, path.name, limit=MAX_BYTES)
    first = True
    for line in lines:
        if not line.oversize and not line.content.strip():
            continue
        if first:
            refuse_other_text(line.content, path.name)
            first = False
        where = f"{path.name}:{line.number}"
        try:
            refuse_oversize(line, MAX_BYTES)
            yield _Found(where, _label(strict_json(decode(line))))
        except HarnessError as error:
            yield _Found(where, error, torn=not line.ended and error.code != "E-LABELS")


def _read_table(path: Path, delimiter: str) -> Iterator[_Found]:
    for row in read_csv(Lines(path, path.name, limit=MAX_BYTES), delimiter=delimiter):
        if isinstance(row, Problem):
            yield _Found(row.where, HarnessError(row.what, fix=row.fix, code=row.code))
        elif isinstance(row, Row):
            yield _at(f"{path.name}:{row.line}", row.fields)


def _at(where: str, cells: Mapping[str, JsonValue]) -> _Found:
    try:
        return _Found(where, label_of(row_of_cells(cells)))
    except HarnessError as error:
        return _Found(where, error)


def _read_label_studio(path: Path) -> Iterator[_Found]:
    content = Whole(path, path.name, limit=MAX_BYTES).read()
    try:
        value = strict_json(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise HarnessError(f"{quote(path.name)} is not UTF-8", fix="export it again", code="E-ENC") from error
    for number, row in label_studio.rows(value):
        where = f"{path.name}, task {number}"
        try:
            yield _Found(where, row if isinstance(row, HarnessError) else label_of(row))
        except HarnessError as error:
            yield _Found(where, error)


def _label(value: JsonValue) -> Label:
    if not isinstance(value, dict):
        raise HarnessError("the row is not an object", fix='write each label as {"kind": ...}', code="E-LABELS")
    return label_of(value)


def _reader(path: Path) -> Callable[[Path], Iterator[_Found]]:
    if not is_file(path):
        raise HarnessError(
            f"there is no file of labels at {quote(str(path), 200)}",
            fix="name one, or make labels: harness label",
            code="E-FILE",
        )
    return _chosen(path, _READERS, "read")


def _encoder(path: Path) -> Callable[[Sequence[Label], Path], dict[Path, bytes]]:
    return _chosen(path, _ENCODERS, "written")


def _chosen(path: Path, by_suffix: Mapping[str, T], done: str) -> T:
    if path.suffix.lower() not in by_suffix:
        raise HarnessError(
            f"{quote(path.suffix or 'no suffix')} is not a kind of file that labels are {done} as",
            fix=f"end the name with one of {', '.join(by_suffix)}",
            code="E-FORMAT",
        )
    return by_suffix[path.suffix.lower()]


def _as_label_studio(labels: Sequence[Label], path: Path) -> dict[Path, bytes]:
    kinds = {(label.kind, label.criterion, label.scale) for label in labels}
    if len(kinds) > 1:
        raise HarnessError(
            f"a Label Studio project asks one question, and these labels answer {len(kinds)}",
            fix="write one file for each criterion and kind, or .jsonl",
            code="E-CONVERT",
        )
    tasks = (json_text(label_studio.tasks(labels)) + "\n").encode()
    return {path: tasks, path.with_suffix(".xml"): label_studio.configuration(*kinds.pop()).encode()}


_READERS: Mapping[str, Callable[[Path], Iterator[_Found]]] = {
    ".jsonl": _read_jsonl,
    ".csv": lambda path: _read_table(path, ","),
    ".tsv": lambda path: _read_table(path, "\t"),
    ".json": _read_label_studio,
}
_ENCODERS: Mapping[str, Callable[[Sequence[Label], Path], dict[Path, bytes]]] = {
    ".jsonl": lambda labels, path: {path: b"".join(map(line_of, labels))},
    ".csv": lambda labels, path: {path: encode_labels(labels)},
    ".json": _as_label_studio,
}
