"""Samples to try plug-ins on, and texts that people and models really produce to everybody's regret."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.core.types import Message, Sample, TokenRow

HOSTILE_TEXTS = (
    "",
    " ",
    "\n",
    "\r\n\t",
    "\x00",
    "\x1b[31mred\x1b[0m",
    "\ud800",
    "🙂👩‍👩‍👧e\u0301",
    "\u202ereversed\u2066",
    "日本語の文章です。",
    "x" * 100_000,
    "word " * 20_000,
    '{"a":' * 5_000,
    "[" * 100_000,
    "9" * 5_000,
    "1" + "0" * 400,
    "NaN",
    "null",
    "</script><script>",
)

_SENTENCES = (
    "the river crosses the old town",
    "seven boats left the harbour before noon",
    "a cloud of amber dust hung over the road",
    "nobody closed the window that night",
    "the meadow was green and full of bees",
    "copper is softer than the stone they used",
    "she read the letter twice and laughed",
    "the train to the coast leaves at eight",
    "they painted the door blue",
    "winter came early to the valley this year",
    "the lantern went out and the cat ran away",
    "violet is the colour of the ninth house",
)
_LABELS = ("red", "green", "blue", "red", "green", "amber", "blue", "red", "green", "amber", "blue", "red")
_OBJECTS = tuple(f'{{"colour": "{label}", "number": {number}}}' for number, label in enumerate(_LABELS))
_NUMBERS = tuple(str(number) for number in (3, 1, 4.5, 1.25, 5, 9, 2.5, 6, 5.75, 3.5, 8, 9.5))


def samples_of(references: Sequence[str | Sequence[str]], *, group: str | None = None) -> list[Sample]:
    """One test sample for each reference, or for each list of references."""
    many = [(each,) if isinstance(each, str) else tuple(each) for each in references]
    return [
        Sample(
            id=f"sample-{number}",
            split="test",
            messages=(Message("user", f"Question {number}?"),),
            references=answers,
            metadata={"language": "en"},
            group=group,
            origin=f"data.jsonl:{number + 1}",
        )
        for number, answers in enumerate(many)
    ]


# For `harness list metrics --check`: a metric is tried on the first set whose references it can read.
SAMPLE_SETS: Mapping[str, tuple[str, ...]] = {
    "sentences": _SENTENCES,
    "labels": _LABELS,
    "JSON objects": _OBJECTS,
    "numbers": _NUMBERS,
}


def token_rows(n: int, *, n_ids: int = 256, first: int = 0) -> tuple[TokenRow, ...]:
    """Rows of unequal length without any chance in them; the last tokens carry loss."""
    rows = []
    for number in range(first, first + n):
        n_prompt, n_answer = 3 + number * 5 % 11, 1 + number * 3 % 5
        ids = tuple(10 + (number * 37 + place * 17) % (n_ids - 20) for place in range(n_prompt + n_answer))
        rows.append(TokenRow(f"row-{number}", ids, (False,) * n_prompt + (True,) * n_answer))
    return tuple(rows)
