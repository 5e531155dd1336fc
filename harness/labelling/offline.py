"""A sheet without a server: one HTML file, or a CSV to fill in; and what comes back from them, or from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue

from harness.autorater import label_studio
from harness.autorater.label_rows import EXTERNAL, json_text
from harness.autorater.label_tables import encode_table, unguard
from harness.autorater.labels import LabelFile, read_labels
from harness.core.errors import HarnessError
from harness.core.judging import Label, Preference, text_hash
from harness.data.csv import read_csv
from harness.data.display import escape, quote
from harness.data.files import Lines
from harness.data.problems import Problem
from harness.data.rows import Row
from harness.labelling.app import MAX_NAME, describe, shown
from harness.labelling.sheet import Sheet, SheetItem, item_id, labels_for, values_of
from harness.store import disk
from harness.store.places import is_file

_PAGE = Path(__file__).parent / "page"
_MAX_BYTES = 16 << 20
N_SHOWN = 20
_WORDS: Mapping[str, int | Preference] = {
    **dict.fromkeys(("y", "yes", "pass", "1"), 1),
    **dict.fromkeys(("n", "no", "fail", "0"), 0),
}
_SIDES: Mapping[str, Preference] = {
    **dict.fromkeys(("a", "first"), "first"),
    **dict.fromkeys(("b", "second"), "second"),
    **dict.fromkeys(("t", "tie", "="), "tie"),
}


def html_sheet(sheet: Sheet, *, rubric: str) -> bytes:
    """The sheet as one HTML file that needs nothing else: answers stay in the browser until they are downloaded.

    What is downloaded is JSON Lines of labels by item; `restored` says whose answers they were.
    """
    data: JsonValue = {
        **describe(sheet, rubric),
        "annotator": "",
        "annotators": [],
        "round": sheet.round,
        "split": sheet.split,
        "guideline": text_hash(rubric),
        "items": [{**shown(item), "probability": item.probability} for item in sheet.items],
    }
    style, script = ((_PAGE / name).read_text() for name in ("page.css", "page.js"))
    policy = f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:"
    policy += "; base-uri 'none'; form-action 'none'"
    page = (_PAGE / "index.html").read_text()
    head = f'<meta charset="utf-8">\n<meta http-equiv="content-security-policy" content="{policy}">'
    page = _replaced(page, '<meta charset="utf-8">', head)
    page = _replaced(page, '<link rel="stylesheet" href="page.css">', f"<style>{style}</style>")
    scripts = f'<script type="application/json" id="sheet-data">{_inert(data)}</script>\n<script>{script}</script>'
    return _replaced(page, '<script src="page.js"></script>', scripts).encode()


def csv_sheet(sheet: Sheet) -> bytes:
    """The sheet as a table with an empty column `value`, in the sheet's order; every cell is safe in a spreadsheet."""
    sides = ("answer_a", "answer_b") if sheet.kind == "pair" else ("answer",)
    rows = [[item.id, "", *map(_cell, (item.item.question, *item.answers))] for item in sheet.items]
    return encode_table(["item", "value", "question", *sides], rows)


def write_html_sheet(sheet: Sheet, path: Path, *, rubric: str) -> None:
    """The HTML sheet as a file."""
    disk.write_atomic(path, html_sheet(sheet, rubric=rubric))


def write_csv_sheet(sheet: Sheet, path: Path, *, rubric: str) -> None:
    """The CSV sheet as a file, and beside it the rubric, .rubric.md, for those who fill it in."""
    disk.write_atomic(path, csv_sheet(sheet))
    disk.write_atomic(path.with_suffix(".rubric.md"), rubric.encode())


def label_studio_sheet(sheet: Sheet) -> tuple[bytes, bytes]:
    """(tasks to import into Label Studio, the labelling configuration for its project). `restored` takes its export."""
    asked: dict[str, JsonValue] = {"kind": sheet.kind, "criterion": sheet.criterion, "scale": sheet.scale}
    tasks: JsonValue = [
        {"data": {label_studio.ITEM: item.id, "question": item.item.question, **_named(item), **asked}}
        for item in sheet.items
    ]
    configuration = label_studio.configuration(sheet.kind, sheet.criterion, sheet.scale)
    return (json_text(tasks) + "\n").encode(), configuration.encode()


def read_csv_sheet(path: Path, sheet: Sheet, *, annotator: str, rubric: str) -> tuple[Label, ...]:
    """The labels in a CSV sheet that somebody filled in; rows without a value are not labelled yet.

    value: 1 to the scale; pass or fail, y or n, 1 or 0; A, B or tie. The texts are the sheet's own, whatever a
    spreadsheet made of them. E-LABELS with every mistake and its line.
    """
    if not annotator.strip() or len(annotator) > MAX_NAME:
        raise HarnessError("whose labels are these?", fix="name one annotator: annotator=NAME", code="E-LABELS")
    items = {item.id: item for item in sheet.items}
    labels: list[Label] = []
    mistakes: list[str] = []
    for row in read_csv(Lines(path, path.name, limit=_MAX_BYTES), delimiter=_delimiter(path)):
        if isinstance(row, Problem):
            mistakes.append(f"{row.where}: {row.what}")
        elif isinstance(row, Row):
            try:
                labels += _from_cells(row.fields, sheet, items, annotator, rubric)
            except HarnessError as error:
                mistakes.append(f"{path.name}:{row.line}: {error.what}")
    if mistakes:
        raise _refusal(path, mistakes)
    return tuple(labels)


def is_sheet(path: Path) -> bool:
    """Whether a file looks like a CSV sheet rather than a file of labels."""
    if path.suffix.lower() not in (".csv", ".tsv") or not is_file(path):
        return False
    names = re.split(r"[,;\t]", _first_line(path).removeprefix("\ufeff").strip())
    return {"item", "value"} <= set(names) and "kind" not in names


def items_named(path: Path) -> frozenset[str]:
    """The items that a file's rows are about: of a CSV sheet its column `item`, of labels what their ids begin with."""
    if not is_sheet(path):
        return frozenset(item_id(label.id) for label in read_labels(path).labels)
    rows = read_csv(Lines(path, path.name, limit=_MAX_BYTES), delimiter=_delimiter(path))
    return frozenset(unguard(str(row.fields.get("item", ""))).strip() for row in rows if isinstance(row, Row))


def came_back(path: Path, sheet: Sheet, *, annotator: str = "", rubric: str = "") -> LabelFile:
    """The labels in any file that came back from people: a CSV sheet, what an offline sheet downloaded, or labels.

    Those made on this sheet get back what it hid; the others are taken as they are, and counted in the notes.
    """
    if is_sheet(path):
        return LabelFile(read_csv_sheet(path, sheet, annotator=annotator, rubric=rubric))
    file = read_labels(path, guideline=text_hash(rubric) if rubric else "")
    known = {item.id for item in sheet.items}
    labels = [
        each for label in file.labels for each in (restored([label], sheet) if item_id(label.id) in known else (label,))
    ]
    others = sum(item_id(label.id) not in known for label in labels)
    more = (f"{others:,} of {len(labels):,} labels were not made on this sheet",) if others else ()
    return LabelFile(tuple(labels), (*file.notes, *more))


def restored(labels: Sequence[Label], sheet: Sheet) -> tuple[Label, ...]:
    """Labels of a blinded sheet with all that the sheet knows of them: systems, sides, sample, stratum, probability.

    They are known by their ids, which begin with the item's. Of a text that several systems gave, each gets a label.
    Labels that say whose answers they judge are left as they are. E-LABELS where one is not of this sheet.
    """
    items = {item.id: item for item in sheet.items}
    strange = [label.id for label in labels if item_id(label.id) not in items]
    if strange:
        raise HarnessError(
            f"{len(strange):,} of {len(labels):,} labels are not of this sheet, {quote(strange[0])} for one",
            fix="name the sheet that they were made on",
            code="E-LABELS",
        )
    return tuple(each for label in labels for each in _restored(label, sheet, items[item_id(label.id)]))


def _restored(label: Label, sheet: Sheet, item: SheetItem) -> tuple[Label, ...]:
    if set(label.systems) != {EXTERNAL}:
        return (label,)
    if label.answers != item.answers or label.kind != sheet.kind:
        raise HarnessError(
            f"the label {quote(label.id)} judges other answers than the sheet has",
            fix="name the sheet that it was made on; its texts must be as they were",
            code="E-LABELS",
        )
    return labels_for(
        sheet, item, label.value, annotator=label.annotator, id=label.id, guideline=label.guideline, time=label.time
    )


def _from_cells(
    cells: Mapping[str, JsonValue], sheet: Sheet, items: Mapping[str, SheetItem], annotator: str, rubric: str
) -> list[Label]:
    missing = [name for name in ("item", "value") if name not in cells]
    if missing:
        raise _bad(f"no column {missing[0]}")
    name, said = unguard(str(cells["item"])).strip(), unguard(str(cells["value"])).strip()
    if not said:
        return []
    if name not in items:
        raise _bad(f"the sheet has no item {quote(name)}")
    value = _value(said, sheet)
    guideline = text_hash(rubric)
    # The same sheet read twice gives the same labels.
    made = text_hash(annotator, name, said, sheet.round, guideline)
    return list(labels_for(sheet, items[name], value, annotator=annotator, id=f"{name}.{made}", guideline=guideline))


def _value(said: str, sheet: Sheet) -> int | Preference:
    word = said.lower()
    by_kind: Mapping[str, Mapping[str, int | Preference]] = {
        "pass_fail": _WORDS,
        "pair": _SIDES,
        # Spreadsheets like to write 4 as 4.0.
        "likert": {form: value for value in values_of(sheet) for form in (str(value), f"{value}.0")},
    }
    possible = by_kind[sheet.kind]
    if word not in possible:
        raise _bad(f"the value {quote(said)} is none of {', '.join(map(str, _names(sheet)))}")
    return possible[word]


def _names(sheet: Sheet) -> tuple[str, ...]:
    if sheet.kind == "pair":
        return ("A", "tie", "B")
    return ("pass", "fail") if sheet.kind == "pass_fail" else tuple(str(value) for value in values_of(sheet))


def _named(item: SheetItem) -> dict[str, JsonValue]:
    return dict(zip(("answer", "answer_2"), item.answers, strict=False))


def _delimiter(path: Path) -> str:
    """What a spreadsheet wrote between cells: it depends on its user's country."""
    return max((",", ";", "\t"), key=_first_line(path).count)


def _first_line(path: Path) -> str:
    with path.open("rb") as file:
        return file.readline(4096).decode("utf-8", "replace")


def _cell(text: str) -> str:
    """A text for people's eyes: line ends as tables have them, and nothing that no table keeps."""
    return re.sub("[\0\ud800-\udfff]", "\ufffd", text.replace("\r\n", "\n").replace("\r", "\n"))


def _inert(value: JsonValue) -> str:
    """JSON that cannot end the element it stands in."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _replaced(page: str, old: str, new: str) -> str:
    assert page.count(old) == 1, old
    return page.replace(old, new)


def _refusal(path: Path, mistakes: Sequence[str]) -> HarnessError:
    more = [f"... and {len(mistakes) - N_SHOWN:,} more"] if len(mistakes) > N_SHOWN else []
    return HarnessError(
        f"{len(mistakes):,} rows of {quote(path.name)} cannot be read as answers",
        fix="mend the rows; leave `value` empty where there is no answer",
        code="E-LABELS",
        details=[*(escape(mistake, 400) for mistake in mistakes[:N_SHOWN]), *more],
    )


def _bad(what: str) -> HarnessError:
    return HarnessError(what, fix="mend the row", code="E-LABELS")
