"""Generators that answer by a rule of the test's, over the fake tokenizer, and contexts to make judges from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from harness.backends.fake import FakeTokenizer
from harness.core.judging import LabelKind, LabelScores, Pair, Single
from harness.core.protocols import JudgeContext, Tokenizer
from harness.core.types import Failure, FloatArray, Outcome, Request

# (prompt as text, labels as text) -> probability of each label, over all there is.
Rule = Callable[[str, Sequence[str]], Sequence[float] | Failure]


@dataclass
class RuledGenerator:
    """Label probabilities by a rule; hidden states by another."""

    rule: Rule
    state: Callable[[str], Sequence[float] | Failure] = lambda prompt: [0.0]
    tokenizer: Tokenizer = field(default_factory=FakeTokenizer)
    context_length: int = 10**9
    identity: Mapping[str, JsonValue] = field(default_factory=lambda: {"backend": "ruled"})
    prompts: list[str] = field(default_factory=list)

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[str, Outcome]]:
        raise AssertionError("judges that read labels generate nothing")

    def label_scores(
        self, requests: Sequence[Request], labels: Sequence[tuple[int, ...]]
    ) -> Iterator[tuple[str, LabelScores | Failure]]:
        names = [self.tokenizer.decode(label, skip_special=True) for label in labels]
        for request in requests:
            found = self.rule(self._text(request), names)
            yield request.id, found if isinstance(found, Failure) else LabelScores(tuple(map(_log, found)))

    def hidden(self, requests: Sequence[Request]) -> Iterator[tuple[str, FloatArray | Failure]]:
        for request in requests:
            found = self.state(self._text(request))
            yield request.id, found if isinstance(found, Failure) else np.array(found, dtype=np.float64)

    def _text(self, request: Request) -> str:
        self.prompts.append(self.tokenizer.decode(request.ids, skip_special=False))
        return self.prompts[-1]


def _log(probability: float) -> float:
    return math.log(probability) if probability > 0 else -math.inf


def context(
    label_kind: LabelKind = "likert", *, rubric: str = "", scale: int = 5, **options: JsonValue
) -> JudgeContext:
    return JudgeContext("mine", "helpfulness", rubric, label_kind, scale, options, Path())


def single(number: int, answer: str, *references: str) -> Single:
    return Single(f"item-{number}", f"prompt-{number}", "base", f"Question {number}?", answer, references)


def pair(number: int, first: str, second: str) -> Pair:
    return Pair(f"item-{number}", f"prompt-{number}", ("base", "tuned"), f"Question {number}?", (first, second))
