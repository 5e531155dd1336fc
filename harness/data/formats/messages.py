"""OpenAI's `messages`: turns of role and content."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import JsonValue

from harness.core.types import Message, Role, Sample
from harness.data.display import quote
from harness.data.formats.reading import (
    PLAIN,
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

_ROLES: tuple[Role, ...] = ("system", "user", "assistant")
_TOOLS = ("tools", "functions")
_PARTS = 'parts are {"type": "text", "text": "..."}; leave rows with images or sound out'


def read_turns(items: Sequence[JsonValue]) -> tuple[Message, ...]:
    """Turns of role and content, in whatever order; E-ROLE."""
    return tuple(_turn(item, index) for index, item in enumerate(items))


def write_turns(messages: Sequence[Message]) -> list[JsonValue]:
    """The turns as objects of role and content."""
    return [{"role": message.role, "content": message.content} for message in messages]


def _turns(fields: Fields, reading: Reading) -> tuple[Message, ...]:
    refuse_tools(fields, _TOOLS)
    return check_order(read_turns(list_of(fields, reading.messages_field)), PLAIN)


def _turn(item: JsonValue, index: int) -> Message:
    if not isinstance(item, dict):
        raise role_error(f"message {index} is {json_type(item)}, not an object")
    if item.get("weight") is not None:
        raise role_error(
            f"message {index} has a weight; which turns are trained on is a setting of the task, not of a message",
            fix='remove "weight", and set data.train_on = "last" or "all"',
        )
    extra = next((key for key, value in item.items() if key not in ("role", "content") and value is not None), None)
    if extra is not None:
        what = f"message {index} has a field {quote(extra)}, which would be lost; only role and content are read"
        raise role_error(what)
    return Message(_known_role(item.get("role"), index), _content(item.get("content"), index))


def _content(value: JsonValue, index: int) -> str:
    """A string, or a list of nothing but text parts, which are joined without anything between them."""
    if isinstance(value, list) and value:
        return "".join(_part(part, f"part {number} of message {index}") for number, part in enumerate(value))
    if not isinstance(value, str):
        raise role_error(f"the content of message {index} is {json_type(value)}, not a string")
    return value


def _part(part: JsonValue, what: str) -> str:
    if not isinstance(part, dict):
        raise role_error(f"{what} is {json_type(part)}, not an object")
    other = next((key for key, value in part.items() if key not in ("type", "text") and value is not None), None)
    kind, text = part.get("type"), part.get("text")
    if kind != "text" or other is not None:
        raise role_error(f"{what} has {quote(str(other or kind))}; only text is trained on and scored here", fix=_PARTS)
    if not isinstance(text, str):
        raise role_error(f"the text of {what} is {json_type(text)}, not a string", fix=_PARTS)
    return text


def _known_role(role: JsonValue, index: int) -> Role:
    for known in _ROLES:
        if role == known:
            return known
    raise role_error(f"message {index} has the role {quote(str(role))}; {', '.join(_ROLES)} are known")


def _conversation(fields: Fields, reading: Reading) -> tuple[Message, ...]:
    return _turns(fields, reading)[:-1]


def _answers(fields: Fields, reading: Reading) -> tuple[str, ...]:
    return (_turns(fields, reading)[-1].content, *more_references(fields))


def _write(samples: Sequence[Sample]) -> list[Object]:
    return with_references(samples, [{"messages": write_turns(whole(sample))} for sample in samples])


MESSAGES = Format(
    name="messages",
    marks=frozenset({"messages"}),
    fields=frozenset({"messages", REFERENCES}),
    conversation=_conversation,
    answers=_answers,
    cannot_hold=holds_all,
    write=_write,
)
