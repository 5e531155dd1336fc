"""How rows are written: one module a format, recognised by its fields or named by the task."""

from __future__ import annotations

from harness.core.errors import HarnessError
from harness.core.specs import DataSpec
from harness.core.types import Message
from harness.data.formats.alpaca import ALPACA
from harness.data.formats.columns import COLUMNS
from harness.data.formats.gemini import GEMINI
from harness.data.formats.messages import MESSAGES
from harness.data.formats.pairs import PAIRS
from harness.data.formats.reading import Fields, Format, Reading
from harness.data.formats.sharegpt import SHAREGPT
from harness.data.template import compile_template

FORMATS = {row_format.name: row_format for row_format in (MESSAGES, GEMINI, PAIRS, ALPACA, SHAREGPT, COLUMNS)}
UNKNOWN = "unknown"
AMBIGUOUS = " or "


def compile_reading(spec: DataSpec) -> Reading:
    """Compile the templates of a spec; E-TEMPLATE or E-CONFLICT where it makes no sense."""
    if spec.prompt is not None and spec.messages is not None:
        raise _conflict(
            "[data] gives both templates (prompt, reference) and a messages field",
            "keep prompt and reference for columns, or messages for conversations",
        )
    if spec.prompt is not None and spec.format not in ("auto", COLUMNS.name):
        raise _conflict(
            f"[data] gives templates (prompt, reference) and format = {spec.format!r}",
            "keep the templates for columns, or the format, which needs none",
        )
    if spec.format == COLUMNS.name and spec.prompt is None:
        raise _conflict(
            "[data] says format = 'columns' but not which columns",
            'add templates: prompt = "{question}", reference = "{answer}"',
        )
    if spec.messages is not None and spec.format not in ("auto", MESSAGES.name):
        raise _conflict(
            f"[data] gives a messages field and format = {spec.format!r}",
            "keep one of them: messages names the field of format = 'messages'",
        )
    return Reading(spec, *(None if text is None else compile_template(text) for text in _templates(spec)))


def _templates(spec: DataSpec) -> tuple[str | None, str | None, str | None]:
    return spec.prompt, spec.reference, spec.system


def _conflict(what: str, fix: str) -> HarnessError:
    return HarnessError(what, fix=fix, code="E-CONFLICT")


def name_format(fields: Fields, reading: Reading) -> str:
    """The name of one row's format: what the task says, or what its fields look like.

    UNKNOWN where nothing fits; names joined by AMBIGUOUS where several do.
    """
    if reading.prompt is not None:
        return COLUMNS.name
    if reading.spec.messages is not None:
        return MESSAGES.name
    if reading.spec.format != "auto":
        return reading.spec.format
    fitting = [row_format.name for row_format in FORMATS.values() if not row_format.marks.isdisjoint(fields)]
    if not fitting:
        return PAIRS.name if "references" in fields else UNKNOWN
    return AMBIGUOUS.join(fitting)


def used_fields(name: str, reading: Reading) -> frozenset[str]:
    """Top-level fields that become conversation or answers, and so are not metadata."""
    if name == COLUMNS.name or name not in FORMATS:
        return reading.template_fields
    own = FORMATS[name].fields
    if name == MESSAGES.name:
        own = own - MESSAGES.marks | {reading.messages_field}
    return own | reading.template_fields


def conversation(fields: Fields, name: str, reading: Reading) -> tuple[Message, ...]:
    """The turns up to and including the last user turn; HarnessError where the row has none.

    A row without a system turn gets one from the task's template, unless that comes out empty.
    """
    turns = FORMATS[name].conversation(fields, reading)
    if reading.system is None or turns[0].role == "system":
        return turns
    text = reading.system.render(fields)
    return (Message("system", text), *turns) if text else turns


def answers(fields: Fields, name: str, reading: Reading) -> tuple[str, ...]:
    """The right answers, the first being the one that is trained on; HarnessError where there is none."""
    found = FORMATS[name].answers(fields, reading)
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


__all__ = ["AMBIGUOUS", "FORMATS", "UNKNOWN", "Format", "Reading", "answers", "compile_reading", "conversation"]
__all__ += ["name_format", "used_fields"]
