"""Alpaca: `instruction`, `input` and `output`, with an optional `system` and earlier turns in `history`.

The user's turn is the instruction, a blank line, and the input; without an input it is the instruction alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import JsonValue

from harness.core.types import Message, Sample
from harness.data.formats.reading import (
    REFERENCES,
    Fields,
    Format,
    Object,
    Reading,
    as_text,
    empty_system,
    more_references,
    not_empty,
    not_text,
    role_error,
    spoken,
    system_of,
    text_of,
    with_references,
)


def _conversation(fields: Fields, reading: Reading) -> tuple[Message, ...]:
    parts = (text_of(fields, "instruction"), _optional(fields, "input"))
    question = not_empty("\n\n".join(part for part in parts if part), "the instruction")
    return (*_system(fields), *_history(fields.get("history")), Message("user", question))


def _optional(fields: Fields, name: str) -> str:
    """A text that may be missing, null or empty, which all say the same."""
    value = fields.get(name)
    return "" if value is None else as_text(value, f"field {name!r}")


def _system(fields: Fields) -> tuple[Message, ...]:
    text = _optional(fields, "system")
    return (Message("system", text),) if text else ()


def _history(value: JsonValue) -> tuple[Message, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise not_text("field 'history'", value, "write a list of [question, answer] pairs", wanted="a list of pairs")
    return tuple(message for index, pair in enumerate(value) for message in _exchange(pair, index))


def _exchange(pair: JsonValue, index: int) -> tuple[Message, Message]:
    if not isinstance(pair, list) or len(pair) != 2:
        raise role_error(
            f"item {index} of 'history' is not a pair", fix='write each earlier turn as ["asked", "answered"]'
        )
    asked, answered = (as_text(text, f"a text of item {index} of 'history'") for text in pair)
    return Message("user", not_empty(asked, f"the question of item {index} of 'history'")), Message(
        "assistant", answered
    )


def _answers(fields: Fields, reading: Reading) -> tuple[str, ...]:
    return (text_of(fields, "output"), *more_references(fields))


def _cannot_hold(sample: Sample) -> str | None:
    return empty_system(sample, "the field 'system'")


def _write(samples: Sequence[Sample]) -> list[Object]:
    """`system` and `history` stand in every row if any row has one."""
    rows = [_row(sample) for sample in samples]
    if any(system_of(sample) is not None for sample in samples):
        rows = [{"system": system_of(sample) or "", **row} for row, sample in zip(rows, samples, strict=True)]
    if any(len(spoken(sample)) > 1 for sample in samples):
        rows = [{**row, "history": _pairs(spoken(sample)[:-1])} for row, sample in zip(rows, samples, strict=True)]
    return with_references(samples, rows)


def _row(sample: Sample) -> Object:
    return {"instruction": sample.messages[-1].content, "input": "", "output": sample.references[0]}


def _pairs(turns: Sequence[Message]) -> list[JsonValue]:
    return [[asked.content, answered.content] for asked, answered in zip(turns[::2], turns[1::2], strict=True)]


ALPACA = Format(
    name="alpaca",
    marks=frozenset({"instruction"}),
    fields=frozenset({"instruction", "input", "output", "system", "history", REFERENCES}),
    conversation=_conversation,
    answers=_answers,
    cannot_hold=_cannot_hold,
    write=_write,
)
