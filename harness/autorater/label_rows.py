"""One label as a row of a file and back: strict, with every mistake of a row at once."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from harness.core.errors import HarnessError
from harness.core.judging import Label, LabelKind, Preference, Round, text_hash
from harness.data.decoding import surrogate
from harness.data.display import escape, quote
from harness.data.jsonl import finite, integer, no_constant, refuse_depth, too_deep, unique

EXTERNAL = "external"
_PREFERENCES = ("first", "second", "tie")


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    id: str = ""
    kind: LabelKind
    criterion: str = Field(min_length=1)
    value: int | Preference
    annotator: str = Field(min_length=1)
    question: str
    answers: list[str] = Field(min_length=1, max_length=2)
    systems: list[str] = Field(default=[], max_length=2)
    round: Round = "calibration"
    scale: int = Field(default=5, ge=2, le=100)
    sample: str = ""
    split: str = ""
    references: list[str] = []
    shown: Literal["given", "swapped"] = "given"
    probability: float = Field(default=1.0, gt=0, le=1)
    stratum: str = ""
    guideline: str = ""
    time: str = ""


def row_of(label: Label) -> dict[str, JsonValue]:
    """The label as the fields of a row, in the order in which Label has them."""
    fields = dataclasses.asdict(label)
    return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}


def label_of(row: Mapping[str, JsonValue]) -> Label:
    """The label in a row; HarnessError E-LABELS with every mistake as a detail.

    Without an id the row is called by the hash of all it says, and without systems its answers come from "external".
    """
    try:
        parsed = _Row.model_validate(row)
    except ValidationError as error:
        raise _wrong([_sentence(each["loc"], each["msg"]) for each in error.errors()]) from error
    mistakes = _mistakes(parsed)
    if mistakes:
        raise _wrong(mistakes)
    return _label(parsed, row)


def strict_json(text: str) -> JsonValue:
    """A JSON text whose objects name nothing twice and whose numbers are finite; HarnessError for any other.

    Unlike rows of data a label may hold NUL: it says what somebody was shown, whatever that was.
    """
    refuse_depth(text)
    try:
        value: JsonValue = json.loads(
            text, object_pairs_hook=unique, parse_int=integer, parse_float=finite, parse_constant=no_constant
        )
    except json.JSONDecodeError as error:
        found = escape(text[max(0, error.pos - 20) : error.pos + 20])
        raise HarnessError(
            f"not JSON at column {error.pos + 1}: {error.msg[:1].lower()}{error.msg[1:]}, near {found}",
            fix="mend the line; a JSON serialiser writes it right",
            code="E-JSON",
        ) from error
    except RecursionError as error:
        raise too_deep() from error
    return value


def line_of(label: Label) -> bytes:
    """The label as a line of JSON Lines."""
    return (json_text(row_of(label)) + "\n").encode()


def json_text(value: JsonValue) -> str:
    """The value as JSON on one line. E-SURROGATE for half a surrogate pair: no file could give it back."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    half = re.search("[\ud800-\udfff]", text)
    if half is not None:
        raise surrogate(f"half of a surrogate pair ({escape(half[0])}) in a label")
    return text


def _label(row: _Row, given: Mapping[str, JsonValue]) -> Label:
    fields = row.model_dump()
    for name in ("answers", "systems", "references"):
        fields[name] = tuple(fields[name])
    fields["id"] = row.id or text_hash(json.dumps(given, sort_keys=True))
    fields["systems"] = fields["systems"] or (EXTERNAL,) * len(row.answers)
    return Label(**fields)


def _mistakes(row: _Row) -> list[str]:
    """What a row says that cannot be, field by field right as it may be."""
    wanted = 2 if row.kind == "pair" else 1
    mistakes = []
    if len(row.answers) != wanted:
        mistakes.append(f"answers: {len(row.answers)} of them, but a label of kind {row.kind} judges {wanted}")
    if row.systems and len(row.systems) != len(row.answers):
        mistakes.append(f"systems: {len(row.systems)} of them for {len(row.answers)} answers")
    if not _is_possible(row.value, row.kind, row.scale):
        mistakes.append(f"value: {quote(str(row.value))} is not {_possible(row.kind, row.scale)}")
    if row.shown == "swapped" and row.kind != "pair":
        mistakes.append("shown: only the answers of a pair can be swapped")
    if row.time and not _is_time(row.time):
        mistakes.append(f"time: {quote(row.time)} is not an ISO 8601 time")
    return mistakes


def _is_possible(value: int | Preference, kind: LabelKind, scale: int) -> bool:
    if kind == "pair":
        return value in _PREFERENCES
    lowest, highest = (0, 1) if kind == "pass_fail" else (1, scale)
    return isinstance(value, int) and lowest <= value <= highest


def _possible(kind: LabelKind, scale: int) -> str:
    if kind == "pair":
        return "first, second or tie"
    return "0 or 1" if kind == "pass_fail" else f"a whole number from 1 to {scale}"


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _sentence(place: tuple[int | str, ...], message: str) -> str:
    named = ".".join(escape(str(each)) for each in place if each not in ("int", "literal['first','second','tie']"))
    return f"{named}: {message[:1].lower()}{message[1:]}"


def _wrong(mistakes: list[str]) -> HarnessError:
    return HarnessError(
        "; ".join(dict.fromkeys(mistakes)),
        fix="harness/autorater/README.md says what a label has",
        code="E-LABELS",
    )
