"""Plain columns, read by the task's templates. Written, they are called `prompt`, `reference` and `system`."""

from __future__ import annotations

from collections.abc import Sequence

from harness.core.types import Message, Sample
from harness.data.formats.reading import Fields, Format, Object, Reading, empty_system, not_empty, spoken, system_of

TEMPLATES = {"prompt": "{prompt}", "reference": "{reference}"}
SYSTEM_TEMPLATE = {"system": "{system}"}


def _conversation(fields: Fields, reading: Reading) -> tuple[Message, ...]:
    assert reading.prompt is not None, "compile_reading lets no columns without templates through"
    return (Message("user", not_empty(reading.prompt.render(fields), "the prompt")),)


def _answers(fields: Fields, reading: Reading) -> tuple[str, ...]:
    assert reading.reference is not None, "compile_reading lets no columns without templates through"
    return reading.reference.render_all(fields)


def _cannot_hold(sample: Sample) -> str | None:
    if len(spoken(sample)) > 1:
        return f"it has {len(spoken(sample)) - 1} earlier turns, and columns hold one question and its answer"
    return empty_system(sample, "a column")


def _write(samples: Sequence[Sample]) -> list[Object]:
    """`system` stands in every row if any has one, and `reference` is a list in all if any has several."""
    several = any(len(sample.references) > 1 for sample in samples)
    rows: list[Object] = [
        {
            "prompt": sample.messages[-1].content,
            "reference": list(sample.references) if several else sample.references[0],
        }
        for sample in samples
    ]
    if all(system_of(sample) is None for sample in samples):
        return rows
    return [{"system": system_of(sample) or "", **row} for row, sample in zip(rows, samples, strict=True)]


COLUMNS = Format(
    name="columns",
    marks=frozenset(),
    fields=frozenset({"prompt", "reference", "system"}),
    conversation=_conversation,
    answers=_answers,
    cannot_hold=_cannot_hold,
    write=_write,
)
