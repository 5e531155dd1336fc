"""Gemini's tuning rows: `contents` of role and parts, and an optional `systemInstruction`."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import JsonValue

from harness.core.errors import HarnessError
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
    spoken,
    system_of,
    with_references,
)
from harness.data.template import json_type

_ROLES: dict[str, Role] = {"user": "user", "model": "assistant"}
_WORDS = {"system": "systemInstruction", "user": "user", "assistant": "model"}
_SYSTEM = ("systemInstruction", "system_instruction")
_TOOLS = ("tools", "toolConfig", "tool_config")


def _turns(fields: Fields) -> tuple[Message, ...]:
    refuse_tools(fields, _TOOLS)
    contents = [_turn(item, index) for index, item in enumerate(list_of(fields, "contents"))]
    check_order(tuple(contents), _WORDS, "content")
    return (*_system(fields), *contents)


def _system(fields: Fields) -> tuple[Message, ...]:
    given = [name for name in _SYSTEM if fields.get(name) is not None]
    if len(given) > 1:
        raise _error(f"the row has both {given[0]!r} and {given[1]!r}", fix="keep one of them")
    for name in given:
        value = fields[name]
        if not isinstance(value, dict):
            raise _error(f"{name!r} is {json_type(value)}, not an object", fix=f'write {{"{name}": {{"parts": ...}}}}')
        if value.get("role") not in (None, "system", "user"):
            raise _error(f"{name!r} has the role {quote(str(value['role']))}", fix='leave its role out, or "system"')
        return (Message("system", _text(value, repr(name))),)
    return ()


def _turn(item: JsonValue, index: int) -> Message:
    if not isinstance(item, dict):
        raise _error(f"content {index} is {json_type(item)}, not an object")
    role = item.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise _error(f"content {index} has the role {quote(str(role))}; user and model are known")
    return Message(_ROLES[role], _text(item, f"content {index}"))


def _text(item: Object, what: str) -> str:
    """The texts of all parts, joined without anything between them."""
    extra = next((key for key, value in item.items() if key not in ("role", "parts") and value is not None), None)
    if extra is not None:
        raise _error(f"{what} has a field {quote(extra)}, which would be lost; only role and parts are read")
    parts = item.get("parts")
    if not isinstance(parts, list) or not parts:
        found = "an empty list" if parts == [] else json_type(parts)
        raise _error(f"the parts of {what} are {found}, not a list of texts", fix=_PARTS)
    return "".join(_part(part, f"part {number} of {what}") for number, part in enumerate(parts))


def _part(part: JsonValue, what: str) -> str:
    if not isinstance(part, dict):
        raise _error(f"{what} is {json_type(part)}, not an object", fix=_PARTS)
    other = next((key for key, value in part.items() if key != "text" and value is not None), None)
    if other is not None:
        raise _error(f"{what} has {quote(other)}; only text is trained on and scored here", fix=_PARTS)
    text = part.get("text")
    if not isinstance(text, str):
        raise _error(f"the text of {what} is {json_type(text)}, not a string", fix=_PARTS)
    return text


_PARTS = 'parts are [{"text": "..."}]; leave rows with images, files or calls out'


def _error(what: str, fix: str | None = None) -> HarnessError:
    return role_error(what, _WORDS, fix)


def _conversation(fields: Fields, reading: Reading) -> tuple[Message, ...]:
    return _turns(fields)[:-1]


def _answers(fields: Fields, reading: Reading) -> tuple[str, ...]:
    return (_turns(fields)[-1].content, *more_references(fields))


def _write(samples: Sequence[Sample]) -> list[Object]:
    return with_references(samples, [_row(sample) for sample in samples])


def _row(sample: Sample) -> Object:
    names = {"user": "user", "assistant": "model"}
    turns = (*spoken(sample), Message("assistant", sample.references[0]))
    contents: list[JsonValue] = [{"role": names[turn.role], "parts": [{"text": turn.content}]} for turn in turns]
    system = system_of(sample)
    return (
        {"contents": contents} if system is None else {_SYSTEM[0]: {"parts": [{"text": system}]}, "contents": contents}
    )


GEMINI = Format(
    name="gemini",
    marks=frozenset({"contents"}),
    fields=frozenset({"contents", *_SYSTEM, REFERENCES}),
    conversation=_conversation,
    answers=_answers,
    cannot_hold=holds_all,
    write=_write,
)
