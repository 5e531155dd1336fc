"""How a row is read in any format: the settings compiled, what a format is, and the checks that all share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from harness.core.errors import HarnessError
from harness.core.specs import DataSpec
from harness.core.types import Message, Sample
from harness.data.display import escape, quote
from harness.data.template import Template, did_you_mean, json_type

Fields = Mapping[str, JsonValue]
Object = dict[str, JsonValue]
REFERENCES = "references"


@dataclass(frozen=True, slots=True)
class Reading:
    """A DataSpec with its templates compiled."""

    spec: DataSpec
    prompt: Template | None
    reference: Template | None
    system: Template | None

    @property
    def messages_field(self) -> str:
        """The field that holds the turns of the `messages` format."""
        return self.spec.messages or "messages"

    @property
    def template_fields(self) -> frozenset[str]:
        """Top-level fields that the templates may read."""
        templates = [template for template in (self.prompt, self.reference, self.system) if template is not None]
        return frozenset[str]().union(*(template.fields for template in templates))


@dataclass(frozen=True, slots=True)
class Format:
    """One way to write a row.

    marks: a row with any of these fields is taken to be in this format.
    fields: what becomes conversation or answers, and so is not metadata.
    conversation: the turns up to and including the last user turn. answers: the right answers, as they stand.
    Both raise HarnessError where the row has none.
    cannot_hold: why a sample cannot be written in this format, or None.
    write: the fields for samples that can be, the same for all rows of one data set where they can be the same.
    """

    name: str
    marks: frozenset[str]
    fields: frozenset[str]
    conversation: Callable[[Fields, Reading], tuple[Message, ...]]
    answers: Callable[[Fields, Reading], tuple[str, ...]]
    cannot_hold: Callable[[Sample], str | None]
    write: Callable[[Sequence[Sample]], list[Object]]


def text_of(fields: Fields, name: str) -> str:
    """A required field that is a string; E-FIELD or E-TYPE."""
    if name not in fields:
        raise missing(fields, name)
    return as_text(fields[name], f"field {name!r}")


def as_text(value: JsonValue, what: str) -> str:
    """A value that must be a string; E-TYPE."""
    if isinstance(value, str):
        return value
    advice = "several right answers go in a field 'references'" if isinstance(value, list) else "write it in quotes"
    raise not_text(what, value, advice)


def missing(fields: Fields, name: str) -> HarnessError:
    """E-FIELD: a required field that is not there, with the nearest one that is."""
    return HarnessError(
        f"no field {name!r}; the row has: {escape(', '.join(fields) or 'no fields')}",
        fix=did_you_mean(name, fields)
        or f'add {name!r}, or name the columns in task.toml: [data] prompt = "{{question}}", reference = "{{answer}}"',
        code="E-FIELD",
    )


def not_empty(text: str, what: str) -> str:
    """The text; E-FIELD where it is empty or blank."""
    if text.strip():
        return text
    raise HarnessError(f"{what} is empty or blank", fix="write it, or leave the row out", code="E-FIELD")


def not_text(what: str, value: JsonValue, advice: str, *, wanted: str = "a string") -> HarnessError:
    """E-TYPE: a value of another type than is wanted."""
    return HarnessError(f"{what} is {json_type(value)}, not {wanted}", fix=advice, code="E-TYPE")


def list_of(fields: Fields, name: str) -> list[JsonValue]:
    """A required field that is a list of turns; E-FIELD, E-TYPE, or E-ROLE where it is empty."""
    if name not in fields:
        raise missing(fields, name)
    value = fields[name]
    if not isinstance(value, list):
        raise not_text(f"field {name!r}", value, "write a list of turns", wanted="a list of turns")
    if not value:
        raise role_error(f"{name!r} is an empty list")
    return value


def more_references(fields: Fields) -> tuple[str, ...]:
    """Further right answers, in any format: the list of strings in the field `references`, if there is one."""
    value = fields.get(REFERENCES)
    if value is None:
        return ()
    if not isinstance(value, list):
        raise not_text("field 'references'", value, "write a list of strings", wanted="a list of strings")
    for index, item in enumerate(value):
        if not isinstance(item, str):
            raise not_text(f"item {index} of 'references'", item, "write a list of strings")
    return tuple(item for item in value if isinstance(item, str))


def with_references(samples: Sequence[Sample], rows: Sequence[Object]) -> list[Object]:
    """The rows with the answers after the first, in every row if any has some."""
    if all(len(sample.references) == 1 for sample in samples):
        return list(rows)
    return [{**row, REFERENCES: list(sample.references[1:])} for row, sample in zip(rows, samples, strict=True)]


def refuse_tools(fields: Fields, names: Sequence[str]) -> None:
    """E-ROLE for a row that offers tools: without them the conversation would be another one."""
    name = next((name for name in names if fields.get(name)), None)
    if name is not None:
        raise HarnessError(
            f"the row defines {quote(name)}; calls of tools are neither trained nor scored here",
            fix=f"write the tools into the system turn as text, or remove {quote(name)}",
            code="E-ROLE",
        )


def check_order(turns: tuple[Message, ...], words: Mapping[str, str], what: str = "message") -> tuple[Message, ...]:
    """The turns, if a system turn only begins, then user and assistant alternate, and the last is the assistant's.

    words: what this format calls the roles, for messages. E-ROLE, or E-FIELD for a user turn without text.
    """
    start = 1 if turns[0].role == "system" else 0
    for index, message in enumerate(turns[start:], start):
        due = "user" if (index - start) % 2 == 0 else "assistant"
        if message.role != due:
            raise role_error(f"{what} {index} is the {words[message.role]}'s where the {words[due]}'s is due", words)
        if message.role == "user":
            not_empty(message.content, f"{what} {index} ({words['user']})")
    if turns[-1].role != "assistant":
        last = words[turns[-1].role]
        raise role_error(f"the last {what} ({len(turns) - 1}) is the {last}'s, so the row has no answer", words)
    return turns


PLAIN = {"system": "system", "user": "user", "assistant": "assistant"}


def role_error(what: str, words: Mapping[str, str] = PLAIN, fix: str | None = None) -> HarnessError:
    """E-ROLE: turns in an order, or of a kind, that is not read."""
    grammar = (
        f"an optional {words['system']} turn, then {words['user']} and {words['assistant']} by turns, "
        f"ending with {words['assistant']}"
    )
    return HarnessError(what, fix=fix or f"write the turns as: {grammar}", code="E-ROLE")


def whole(sample: Sample) -> tuple[Message, ...]:
    """The conversation with its first right answer."""
    return (*sample.messages, Message("assistant", sample.references[0]))


def system_of(sample: Sample) -> str | None:
    """The text of the system turn, if there is one."""
    first = sample.messages[0]
    return first.content if first.role == "system" else None


def spoken(sample: Sample) -> tuple[Message, ...]:
    """The turns of user and assistant before the answer."""
    return sample.messages[0 if system_of(sample) is None else 1 :]


def holds_all(sample: Sample) -> str | None:
    """No sample is too much for a format of free conversations."""
    return None


def empty_system(sample: Sample, where: str) -> str | None:
    """Why a format in which an empty text means "no system instruction" cannot hold this sample."""
    return (
        f"its system instruction is empty, and {where} cannot tell that from none" if system_of(sample) == "" else None
    )
