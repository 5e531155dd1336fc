"""Sheets without a server: what people send back becomes labels with all that the sheet hid."""

import csv
import io
import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from harness.autorater.labels import export_labels
from harness.core.errors import HarnessError
from harness.core.judging import Single, text_hash
from harness.labelling.offline import (
    came_back,
    csv_sheet,
    html_sheet,
    is_sheet,
    items_named,
    label_studio_sheet,
    read_csv_sheet,
    restored,
    write_csv_sheet,
)
from harness.labelling.sheet import Sheet, draw, label_for
from tests.labelling.serving import RUBRIC, a_sheet
from tests.reports.hostile import CORPUS

TEXTS = tuple(text for text in CORPUS if "\ud800" not in text)


def filled(sheet: Sheet, values: list[str], delimiter: str = ",") -> bytes:
    """The CSV sheet as a spreadsheet saves it after somebody typed these values."""
    rows = list(csv.reader(io.StringIO(csv_sheet(sheet).decode(), newline="")))
    for row, value in zip(rows[1:], values, strict=False):
        row[1] = value
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter, lineterminator="\r\n").writerows(rows)
    return b"\xef\xbb\xbf" + out.getvalue().encode()


def back(sheet: Sheet, values: list[str], folder: Path, delimiter: str = ",") -> list[object]:
    path = folder / "filled.csv"
    path.write_bytes(filled(sheet, values, delimiter))
    return [label.value for label in read_csv_sheet(path, sheet, annotator="Ada", rubric=RUBRIC)]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_filled_table_becomes_labels_of_the_sheets_own_texts(delimiter: str, tmp_path: Path) -> None:
    sheet = a_sheet(6, texts=("=1+1", "a\r\nb\0c", 'comma, "quote" and ; semicolon'))
    path = tmp_path / "filled.csv"
    path.write_bytes(filled(sheet, ["1", "", "5", "4.0", " 2 "], delimiter))
    labels = read_csv_sheet(path, sheet, annotator="Ada", rubric=RUBRIC)
    assert [label.value for label in labels] == [1, 5, 4, 2]
    for label, at in zip(labels, (0, 2, 3, 4), strict=True):
        item = sheet.items[at].item
        assert isinstance(item, Single)
        assert (label.question, label.answers, label.systems) == (item.question, (item.answer,), (item.system,))
        assert (label.annotator, label.guideline, label.sample) == ("Ada", text_hash(RUBRIC), item.id)
    assert read_csv_sheet(path, sheet, annotator="Ada", rubric=RUBRIC) == labels, "reading twice adds nothing"


def test_words_of_people_are_understood(tmp_path: Path) -> None:
    assert back(a_sheet(6, "pass_fail"), ["y", "No", "PASS", "fail", "1", "0"], tmp_path) == [1, 0, 1, 0, 1, 0]
    sheet = a_sheet(6, "pair")
    turned = {"given": ("first", "second"), "swapped": ("second", "first")}
    wanted = [turned[each.shown][at % 2] for at, each in enumerate(sheet.items)]
    assert back(sheet, ["A", "b", "a", "B", "first", "second"], tmp_path) == wanted
    assert back(sheet, ["tie", "T", "="], tmp_path) == ["tie"] * 3


def test_every_mistake_in_a_table_is_named_with_its_line(tmp_path: Path) -> None:
    sheet = a_sheet(4)
    path = tmp_path / "filled.csv"
    content = filled(sheet, ["6", "good", "3", "4.5"]).replace(sheet.items[2].id.encode(), b"ffff")
    path.write_bytes(content)
    with pytest.raises(HarnessError) as caught:
        read_csv_sheet(path, sheet, annotator="Ada", rubric=RUBRIC)
    assert [detail.split(": ")[0] for detail in caught.value.details] == [f"filled.csv:{line}" for line in (2, 3, 4, 5)]
    assert "1, 2, 3, 4, 5" in caught.value.details[0]
    assert "ffff" in caught.value.details[2]


def test_a_table_needs_a_name_for_its_annotator(tmp_path: Path) -> None:
    path = tmp_path / "filled.csv"
    path.write_bytes(filled(a_sheet(2), ["1"]))
    with pytest.raises(HarnessError, match="whose labels"):
        read_csv_sheet(path, a_sheet(2), annotator=" ", rubric=RUBRIC)


def test_no_cell_of_a_table_acts_and_no_system_is_named() -> None:
    sheet = a_sheet(2 * len(TEXTS), texts=TEXTS)
    hostile = Sheet(
        sheet.kind,
        sheet.criterion,
        tuple(
            replace(each, item=replace(each.item, answer=text)) for each, text in zip(sheet.items, TEXTS, strict=False)
        ),  # type: ignore[call-arg]
    )
    table = csv_sheet(hostile).decode()
    cells = [cell for row in csv.reader(io.StringIO(table, newline="")) for cell in row]
    assert not [cell for cell in cells if cell.startswith(tuple("=+-@\t\r＝＋－＠"))]
    assert "secret" not in table
    assert len(cells) == 4 * (len(hostile.items) + 1)


def test_the_rubric_lies_beside_the_table(tmp_path: Path) -> None:
    write_csv_sheet(a_sheet(2), tmp_path / "sheet.csv", rubric=RUBRIC)
    assert (tmp_path / "sheet.rubric.md").read_text() == RUBRIC
    assert is_sheet(tmp_path / "sheet.csv")
    assert not is_sheet(tmp_path / "sheet.rubric.md")


def test_a_table_of_labels_is_not_taken_for_a_sheet(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("id,kind,item,value\n")
    assert not is_sheet(tmp_path / "labels.csv")


class Elements(HTMLParser):
    """How often each element and attribute stands in a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(name for name, _ in attrs)))


def elements(page: bytes) -> list[tuple[str, tuple[str, ...]]]:
    parser = Elements()
    parser.feed(page.decode())
    return parser.found


def test_hostile_texts_add_no_element_to_an_offline_sheet() -> None:
    page = html_sheet(a_sheet(2 * len(TEXTS), texts=TEXTS), rubric="\n".join(TEXTS))
    assert elements(page) == elements(html_sheet(a_sheet(4), rubric="plain"))
    assert b"secret" not in page
    assert b"://evil" not in page.replace(b"https://evil.invalid", b""), "only as text"


def test_an_offline_sheet_asks_the_network_for_nothing() -> None:
    page = html_sheet(a_sheet(4), rubric=RUBRIC)
    assert b"src=" not in page
    assert b"http:" not in page
    assert b"https:" not in page
    assert b"default-src 'none'" in page


def downloaded(sheet: Sheet, at: int, value: object, **changes: object) -> dict[str, object]:
    """A line as the page writes it: answers as shown, no systems."""
    item = sheet.items[at]
    return {
        "id": f"{item.id}.{at:032x}",
        "kind": sheet.kind,
        "criterion": sheet.criterion,
        "value": value,
        "annotator": "Ada",
        "question": item.item.question,
        "answers": list(item.answers),
        "scale": sheet.scale,
        "guideline": text_hash(RUBRIC),
        "time": "2026-01-02T03:04:05.678Z",
        **changes,
    }


def test_a_downloaded_file_gets_back_what_the_sheet_hid(tmp_path: Path) -> None:
    sheet = a_sheet(10, "pair")
    values = ["first", "second", "tie", "first", "first"]
    path = tmp_path / "labels.jsonl"
    rows = [downloaded(sheet, at, value) for at, value in enumerate(values)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    labels = came_back(path, sheet).labels
    assert len({label.shown for label in labels}) == 2, "both orders are among them"
    for label, value, item in zip(labels, values, sheet.items, strict=False):
        same = label_for(
            sheet,
            item,
            value,
            annotator="Ada",
            id=label.id,
            guideline=text_hash(RUBRIC),
            time=label.time,  # type: ignore[arg-type]
        )
        assert label == same
        assert label.systems == ("secret-base", "secret-tuned")


def test_a_text_of_several_systems_comes_back_as_a_label_of_each(tmp_path: Path) -> None:
    systems = ("one", "two", "three")
    items = {name: [Single(name, "c", name, "q", "the same" if name != "two" else "other")] for name in systems}
    sheet = draw(items, n=10, seed=0, kind="likert", criterion="helpfulness")
    table, lines = tmp_path / "sheet.csv", tmp_path / "labels.jsonl"
    table.write_bytes(filled(sheet, ["4", "4"]))
    lines.write_text("".join(json.dumps(downloaded(sheet, at, 4)) + "\n" for at in range(2)))
    for file in (table, lines):
        labels = came_back(file, sheet, annotator="Ada", rubric=RUBRIC)
        assert {label.systems for label in labels.labels} == {("one",), ("two",), ("three",)}
        assert len({label.id for label in labels.labels}) == 3
        assert labels.notes == ()
        assert items_named(file) == {item.id for item in sheet.items}


def test_labels_that_know_their_systems_stay_as_they_are(tmp_path: Path) -> None:
    sheet = a_sheet(10, "pair")
    labels = tuple(
        label_for(sheet, item, "first", annotator="Ada", id=f"{item.id}.0", guideline="") for item in sheet.items
    )
    assert len({label.value for label in labels}) == 2
    export_labels(labels, tmp_path / "labels.jsonl")
    assert came_back(tmp_path / "labels.jsonl", sheet).labels == labels


def test_labels_of_another_sheet_are_not_given_this_ones_systems(tmp_path: Path) -> None:
    sheet = a_sheet(4)
    path = tmp_path / "labels.jsonl"
    path.write_text(json.dumps(downloaded(sheet, 0, 3)) + "\n" + json.dumps(downloaded(sheet, 1, 3, id="x.1")) + "\n")
    file = came_back(path, sheet)
    assert [label.systems[0] for label in file.labels][1] == "external"
    assert file.notes == ("1 of 2 labels were not made on this sheet",)
    with pytest.raises(HarnessError, match="1 of 1 labels are not of this sheet"):
        restored(file.labels[1:], sheet)
    changed = downloaded(sheet, 0, 3, answers=["something else"])
    path.write_text(json.dumps(changed) + "\n")
    with pytest.raises(HarnessError, match="judges other answers"):
        came_back(path, sheet)


def test_a_sheet_labelled_in_label_studio_comes_back(tmp_path: Path) -> None:
    sheet = a_sheet(8, "pair")
    tasks = json.loads(label_studio_sheet(sheet)[0])
    assert "secret" not in json.dumps(tasks)
    for number, task in enumerate(tasks):
        result = {"from_name": "verdict", "to_name": "answer", "type": "choices", "value": {"choices": ["A"]}}
        task["annotations"] = [{"id": number, "completed_by": 5, "was_cancelled": False, "result": [result]}]
    path = tmp_path / "export.json"
    path.write_text(json.dumps(tasks))
    labels = came_back(path, sheet).labels
    assert [label.value for label in labels] == ["first" if item.shown == "given" else "second" for item in sheet.items]
    assert {label.annotator for label in labels} == {"5"}
