"""`prompt` and `completion`: texts, or lists of messages as TRL writes conversations."""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.types import Message, Sample
from harness.data.formats.messages import read_turns, write_turns
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
    not_empty,
    refuse_tools,
    role_error,
    text_of,
    with_references,
)

_ANSWER = Message("assistant", "")


def _conversation(fields: Fields, reading: Reading) -> tuple[Message, ...]:
    refuse_tools(fields, ("tools",))
    if not isinstance(fields.get("prompt"), list):
        return (Message("user", not_empty(text_of(fields, "prompt"), "the prompt")),)
    turns = read_turns(list_of(fields, "prompt"))
    if turns[-1].role != "user":
        raise role_error(
            f"the last message of 'prompt' is the {turns[-1].role}'s", fix="end the prompt with a user turn"
        )
    return check_order((*turns, _ANSWER), PLAIN)[:-1]


def _answers(fields: Fields, reading: Reading) -> tuple[str, ...]:
    if REFERENCES in fields and "completion" not in fields:
        return more_references(fields)
    return (_completion(fields), *more_references(fields))


def _completion(fields: Fields) -> str:
    value = fields.get("completion")
    if not isinstance(value, list) or not any(isinstance(item, dict) for item in value):
        return text_of(fields, "completion")
    turns = read_turns(value)
    if len(turns) != 1 or turns[0].role != "assistant":
        raise role_error("'completion' is not one message of the assistant's", fix="earlier turns belong in 'prompt'")
    return turns[0].content


def _write(samples: Sequence[Sample]) -> list[Object]:
    """As texts where every prompt is a single user turn, as messages otherwise."""
    return with_references(samples, _texts(samples) if all(map(_is_plain, samples)) else _messages(samples))


def _is_plain(sample: Sample) -> bool:
    return len(sample.messages) == 1


def _texts(samples: Sequence[Sample]) -> list[Object]:
    return [{"prompt": sample.messages[0].content, "completion": sample.references[0]} for sample in samples]


def _messages(samples: Sequence[Sample]) -> list[Object]:
    return [
        {
            "prompt": write_turns(sample.messages),
            "completion": write_turns([Message("assistant", sample.references[0])]),
        }
        for sample in samples
    ]


PAIRS = Format(
    name="prompt-completion",
    marks=frozenset({"prompt", "completion"}),
    fields=frozenset({"prompt", "completion", REFERENCES}),
    conversation=_conversation,
    answers=_answers,
    cannot_hold=holds_all,
    write=_write,
)
