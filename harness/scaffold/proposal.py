"""What is proposed: settings of a task file, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

Kind = Literal[
    "classification",
    "extraction",
    "regression",
    "short answer",
    "summarisation",
    "rewriting",
    "translation",
    "data to text",
    "code",
    "chat",
    "generation",
]
Nested = dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Choice:
    """One setting. key: dotted, as in task.toml; reason: one sentence without its full stop, safe to show."""

    key: str
    value: JsonValue
    reason: str


@dataclass(frozen=True, slots=True)
class Proposal:
    """A task that fits the rows.

    choices: in the order of a task file. doubts: what a person should look at, one sentence each, safe to show.
    n_rows: what each file was read as -> its rows. max_prompt, max_reference: characters of the longest ones;
    prompt_tokens, reference_tokens: generous estimates of their tokens.
    """

    kind: Kind
    kind_reason: str
    choices: tuple[Choice, ...]
    doubts: tuple[str, ...]
    n_rows: Mapping[str, int]
    max_prompt: int
    max_reference: int
    prompt_tokens: int
    reference_tokens: int

    def document(self) -> Nested:
        """The settings nested as in task.toml."""
        document: Nested = {}
        for choice in self.choices:
            put(document, choice.key, choice.value)
        return document

    def get(self, key: str) -> JsonValue:
        """The proposed value of a dotted key, None where nothing is proposed."""
        return next((choice.value for choice in self.choices if choice.key == key), None)


def put(document: Nested, key: str, value: JsonValue) -> None:
    """Set a dotted key in nested tables."""
    *tables, last = key.split(".")
    for name in tables:
        inner = document.setdefault(name, {})
        assert isinstance(inner, dict)
        document = inner
    document[last] = value
