"""Labels as a table of texts: cells that no spreadsheet takes for a formula, and lists in columns of their own."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from pydantic import JsonValue

from harness.autorater.label_rows import row_of, strict_json
from harness.core.errors import HarnessError
from harness.core.judging import Label
from harness.data.display import escape

_TEXTS = ("question", "answer", "answer_2")
COLUMNS = (
    *("id", "kind", "criterion", "value", "annotator", *_TEXTS, "system", "system_2", "round", "scale", "sample"),
    *("split", "references", "shown", "probability", "stratum", "guideline", "time"),
)
# Spreadsheets look for a formula behind quotes, blanks and byte order marks, and at full-width signs too.
_FORMULA = re.compile(r"['\"\ufeff\s]*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")


def guard(text: str) -> str:
    """The text with a ' before it where a spreadsheet would calculate; numbers stay numbers.

    >>> guard("=1+1"), guard("-3"), unguard(guard("'=1+1"))
    ("'=1+1", '-3', "'=1+1")
    """
    return f"'{text}" if _is_formula(text) else text


def unguard(text: str) -> str:
    """What `guard` was given."""
    return text[1:] if text.startswith("'") and _is_formula(text[1:]) else text


def encode_table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> bytes:
    """Rows of texts as CSV, every cell guarded. E-CONVERT for characters that no table keeps."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n", quoting=csv.QUOTE_MINIMAL)
    writer.writerow(names)
    for number, row in enumerate(rows, 1):
        _refuse_lost(row, number)
        writer.writerow([guard(cell) for cell in row])
    return buffer.getvalue().encode()


def encode_labels(labels: Sequence[Label]) -> bytes:
    """The labels as CSV with the columns COLUMNS."""
    return encode_table(COLUMNS, [_cells(label) for label in labels])


def row_of_cells(cells: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """The row of a label from a row of a table; what is empty is not said. E-LABELS for cells that are no numbers."""
    row = {name: unguard(str(cell)) for name, cell in cells.items()}
    given = {name: cell for name, cell in row.items() if cell and name in COLUMNS}
    unknown = {name: cell for name, cell in row.items() if name not in COLUMNS}
    typed: dict[str, JsonValue] = {**unknown, **given}
    two = row.get("kind") == "pair" or bool(row.get("answer_2"))
    typed["question"] = row.get("question", "")
    answers: list[JsonValue] = [row.get("answer", ""), row.get("answer_2", "")]
    typed["answers"] = answers[: 1 + two]
    systems: list[JsonValue] = [row[name] for name in ("system", "system_2") if row.get(name)]
    typed["systems"] = systems
    typed["value"] = _value(row.get("value", ""))
    for name, parse in _PARSERS.items():
        if name in given:
            typed[name] = parse(given[name])
    return {name: cell for name, cell in typed.items() if name not in ("answer", "answer_2", "system", "system_2")}


def _cells(label: Label) -> list[str]:
    row = row_of(label)
    lists = {"answer": label.answers, "system": label.systems}
    singular = {
        name + suffix: each[place] if place < len(each) else ""
        for name, each in lists.items()
        for place, suffix in enumerate(("", "_2"))
    }
    references = json.dumps(label.references, ensure_ascii=False) if label.references else ""
    texts = {**{name: str(value) for name, value in row.items()}, **singular, "references": references}
    return [texts[name] for name in COLUMNS]


def _value(text: str) -> JsonValue:
    return int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else text


def _number(text: str) -> JsonValue:
    return float(text) if _NUMBER.fullmatch(text) else text


def _is_formula(text: str) -> bool:
    return _FORMULA.match(text) is not None and _NUMBER.fullmatch(text) is None


def _refuse_lost(row: Sequence[str], number: int) -> None:
    lost = next((found for cell in row if (found := re.search("[\0\r\ud800-\udfff]", cell))), None)
    if lost is not None:
        raise HarnessError(
            f"row {number} holds {escape(lost[0])}, which a table of texts does not keep",
            fix="write .jsonl instead, which loses nothing",
            code="E-CONVERT",
        )


_PARSERS: Mapping[str, Callable[[str], JsonValue]] = {
    "scale": _value,
    "probability": _number,
    "references": strict_json,
}
