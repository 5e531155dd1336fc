"""What a row looks like, and how each shape becomes a conversation and its right answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from harness.core.errors import HarnessError
from harness.core.specs import DataSpec
from harness.core.types import Message, Role
from harness.data.display import escape, quote
from harness.data.template import Template, compile_template, did_you_mean, json_type

Fields = Mapping[str, JsonValue]

COLUMNS = "columns"
MESSAGES = "messages"
PAIR = "prompt/completion"
BOTH = "messages and prompt/completion"
UNKNOWN = "unknown"

_ROLES: tuple[Role, ...] = ("system", "user", "assistant")
_GRAMMAR = "an optional system turn, then user and assistant by turns, ending with assistant"


@dataclass(frozen=True, slots=True)
class Reading:
    """A DataSpec with its templates compiled."""

    spec: DataSpec
    prompt: Template | None
    reference: Template | None
    system: Template | None

    @property
    def messages_field(self) -> str:
        """The field that holds the turns."""
        return self.spec.messages or "messages"

    def used_fields(self, shape: str) -> frozenset[str]:
        """Top-level fields that become conversation or answers, and so are not metadata."""
        templates = [template for template in (self.prompt, self.reference, self.system) if template is not None]
        used = frozenset[str]().union(*(template.fields for template in templates))
        own = {MESSAGES: {self.messages_field, "references"}, PAIR: {"prompt", "completion", "references"}}
        return used | own.get(shape, set())


def compile_reading(spec: DataSpec) -> Reading:
    """Compile the templates of a spec; E-TEMPLATE or E-CONFLICT where it makes no sense."""
    if spec.prompt is not None and spec.messages is not None:
        raise HarnessError(
            "[data] gives both templates (prompt, reference) and a messages field",
            fix="keep prompt and reference for columns, or messages for conversations",
            code="E-CONFLICT",
        )
    return Reading(spec, _compiled(spec.prompt), _compiled(spec.reference), _compiled(spec.system))


def _compiled(text: str | None) -> Template | None:
    return None if text is None else compile_template(text)


def shape_of(fields: Fields, reading: Reading) -> str:
    """The shape of one row: what the task says, or what its fields look like."""
    if reading.prompt is not None:
        return COLUMNS
    if reading.spec.messages is not None:
        return MESSAGES
    pair = not fields.keys().isdisjoint({"prompt", "completion", "references"})
    if "messages" in fields:
        return BOTH if "prompt" in fields or "completion" in fields else MESSAGES
    return PAIR if pair else UNKNOWN


def conversation(fields: Fields, shape: str, reading: Reading) -> tuple[Message, ...]:
    """The turns up to and including the last user turn; HarnessError where the row has none."""
    if shape == MESSAGES:
        turns = _turns(fields, reading)[:-1]
    else:
        prompt = reading.prompt.render(fields) if reading.prompt is not None else _text(fields, "prompt")
        turns = (Message("user", _not_empty(prompt, "the prompt")),)
    if reading.system is not None and turns[0].role != "system":
        turns = (Message("system", reading.system.render(fields)), *turns)
    return turns


def answers(fields: Fields, shape: str, reading: Reading) -> tuple[str, ...]:
    """The right answers, the first being the one that is trained on; HarnessError where there is none."""
    if reading.reference is not None:
        found = reading.reference.render_all(fields)
    elif shape == MESSAGES:
        found = (_turns(fields, reading)[-1].content, *_references(fields))
    elif "references" in fields and "completion" not in fields:
        found = _references(fields)
    else:
        found = (_text(fields, "completion"), *_references(fields))
    if not found:
        raise HarnessError(
            "the list of references is empty", fix="give at least one right answer a row", code="E-FIELD"
        )
    if not reading.spec.allow_empty and not all(answer.strip() for answer in found):
        raise HarnessError(
            "the reference is empty or blank: training on it teaches to answer nothing",
            fix="write the answer, or set data.allow_empty = true if nothing is the right answer",
            code="E-EMPTY-COMPLETION",
        )
    return tuple(dict.fromkeys(found))


def _text(fields: Fields, name: str) -> str:
    if name not in fields:
        raise missing(fields, name)
    value = fields[name]
    if isinstance(value, str):
        return value
    advice = "several right answers go in a field 'references'" if isinstance(value, list) else "write it in quotes"
    raise _not_text(f"field {name!r}", value, advice)


def missing(fields: Fields, name: str) -> HarnessError:
    """E-FIELD: a required field that is not there, with the nearest one that is."""
    return HarnessError(
        f"no field {name!r}; the row has: {escape(', '.join(fields) or 'no fields')}",
        fix=did_you_mean(name, fields)
        or f'add {name!r}, or name the columns in task.toml: [data] prompt = "{{question}}", reference = "{{answer}}"',
        code="E-FIELD",
    )


def _not_empty(text: str, what: str) -> str:
    if text.strip():
        return text
    raise HarnessError(f"{what} is empty or blank", fix="write it, or leave the row out", code="E-FIELD")


def _references(fields: Fields) -> tuple[str, ...]:
    value = fields.get("references", [])
    if not isinstance(value, list):
        raise _not_text("field 'references'", value, "write a list of strings", wanted="a list of strings")
    for index, item in enumerate(value):
        if not isinstance(item, str):
            raise _not_text(f"item {index} of 'references'", item, "write a list of strings")
    return tuple(item for item in value if isinstance(item, str))


def _not_text(what: str, value: JsonValue, advice: str, *, wanted: str = "a string") -> HarnessError:
    return HarnessError(f"{what} is {json_type(value)}, not {wanted}", fix=advice, code="E-TYPE")


def _turns(fields: Fields, reading: Reading) -> tuple[Message, ...]:
    """The whole conversation, checked against the grammar; at least a user's and an assistant's turn."""
    name = reading.messages_field
    if name not in fields:
        raise missing(fields, name)
    value = fields[name]
    if not isinstance(value, list):
        raise _not_text(f"field {name!r}", value, "write a list of turns", wanted="a list of turns")
    if not value:
        raise _role(f"{name!r} is an empty list")
    turns = tuple(_turn(item, index) for index, item in enumerate(value))
    _refuse_order(turns)
    return turns


def _turn(item: JsonValue, index: int) -> Message:
    if not isinstance(item, dict):
        raise _role(f"message {index} is {json_type(item)}, not an object")
    extra = next((key for key, value in item.items() if key not in ("role", "content") and value is not None), None)
    if extra is not None:
        raise _role(f"message {index} has a field {quote(extra)}, which would be lost; only role and content are read")
    content = item.get("content")
    if not isinstance(content, str):
        raise _role(f"the content of message {index} is {json_type(content)}, not a string")
    return Message(_known_role(item.get("role"), index), content)


def _known_role(role: JsonValue, index: int) -> Role:
    for known in _ROLES:
        if role == known:
            return known
    raise _role(f"message {index} has the role {quote(str(role))}; {', '.join(_ROLES)} are known")


def _refuse_order(turns: tuple[Message, ...]) -> None:
    start = 1 if turns[0].role == "system" else 0
    for index, turn in enumerate(turns[start:], start):
        wanted = "user" if (index - start) % 2 == 0 else "assistant"
        if turn.role != wanted:
            raise _role(f"message {index} is the {turn.role}'s where the {wanted}'s is due")
        if turn.role == "user":
            _not_empty(turn.content, f"message {index} (user)")
    if turns[-1].role != "assistant":
        raise _role(f"the last message ({len(turns) - 1}) is the {turns[-1].role}'s, so the row has no answer")


def _role(what: str) -> HarnessError:
    return HarnessError(what, fix=f"write the turns as: {_GRAMMAR}", code="E-ROLE")
