"""ShareGPT: `conversations` of from and value."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import JsonValue

from harness.core.types import Message, Role, Sample
from harness.data.display import quote
from harness.data.formats.reading import (
    REFERENCES,
    Fields,
    Format,
    Object,
    Reading,
    check_order,
    holds_all,
    list_of,
    more_references,
    refuse_tools,
    role_error,
    whole,
    with_references,
)
from harness.data.template import json_type

_ROLES: dict[str, Role] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
}
_WORDS = {"system": "system", "user": "human", "assistant": "gpt"}


def _turns(fields: Fields) -> tuple[Message, ...]:
    refuse_tools(fields, ("tools",))
    items = list_of(fields, "conversations")
    return check_order(tuple(_turn(item, index) for index, item in enumerate(items)), _WORDS, "turn")


def _turn(item: JsonValue, index: int) -> Message:
    if not isinstance(item, dict):
        raise role_error(f"turn {index} is {json_type(item)}, not an object", _WORDS)
    extra = next((key for key, value in item.items() if key not in ("from", "value") and value is not None), None)
    if extra is not None:
        what = f"turn {index} has a field {quote(extra)}, which would be lost; only from and value are read"
        raise role_error(what, _WORDS)
    speaker, value = item.get("from"), item.get("value")
    if not isinstance(speaker, str) or speaker not in _ROLES:
        known = ", ".join(_ROLES)
        raise role_error(f"turn {index} is from {quote(str(speaker))}; {known} are known", _WORDS)
    if not isinstance(value, str):
        raise role_error(f"the value of turn {index} is {json_type(value)}, not a string", _WORDS)
    return Message(_ROLES[speaker], value)


def _conversation(fields: Fields, reading: Reading) -> tuple[Message, ...]:
    return _turns(fields)[:-1]


def _answers(fields: Fields, reading: Reading) -> tuple[str, ...]:
    return (_turns(fields)[-1].content, *more_references(fields))


def _write(samples: Sequence[Sample]) -> list[Object]:
    return with_references(samples, [{"conversations": _speeches(whole(sample))} for sample in samples])


def _speeches(messages: Sequence[Message]) -> list[JsonValue]:
    return [{"from": _WORDS[message.role], "value": message.content} for message in messages]


SHAREGPT = Format(
    name="sharegpt",
    marks=frozenset({"conversations"}),
    fields=frozenset({"conversations", REFERENCES}),
    conversation=_conversation,
    answers=_answers,
    cannot_hold=holds_all,
    write=_write,
)
