"""The checklist of choosing a model: what must be known first, and nothing about any particular model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from pydantic import Field

from harness.core.specs import Spec

Modality = Literal["text", "image", "audio", "video"]
Level = Literal["low", "medium", "high"]
Priority = Literal["quality", "balance", "cost"]
Arrangement = Literal["gpu", "cpu", "cloud", "api"]
Facts = Literal["stable", "changing"]


class Answers(Spec):
    """The checklist, filled in. Sizes are those of the longest prompt and answer, in tokens."""

    modality: Modality = Field(description="what goes in and comes out")
    complexity: Level = Field(
        description="low: labels, fields, short answers; medium: summaries, rewriting; high: reasoning, long free text"
    )
    priority: Priority = Field(description="what performance may cost: quality, balance or cost first")
    safety: Level = Field(description="what a wrong answer does; low: annoys, medium: costs money, high: harms people")
    facts: Facts = Field(description="whether right answers stay right, or depend on facts that change")
    arrangement: Arrangement = Field(description="what there is: a GPU, only a CPU, a cloud contract, or only an API")
    memory_gb: float = Field(gt=0, le=1e6, description="memory in GB of the device that tunes, the largest to be had")
    rows: int = Field(ge=0, le=10**12, description="rows with right answers")
    input_tokens: int = Field(ge=1, le=10**9, description="tokens of the longest prompt, about")
    output_tokens: int = Field(ge=1, le=10**9, description="tokens of the longest answer, about")


@dataclass(frozen=True, slots=True)
class Question:
    """One item of the checklist. choices is empty where a number is asked for."""

    key: str
    text: str
    choices: tuple[str, ...]

    @property
    def flag(self) -> str:
        """Its option on the command line."""
        return "--" + self.key.replace("_", "-")


QUESTIONS = tuple(
    Question(name, str(info.description), tuple(map(str, get_args(info.annotation))))
    for name, info in Answers.model_fields.items()
)
