"""Rates an answer from 1 to the highest: the mean of the scale under the model's own label probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import JsonValue

from harness.core.judging import Item, Verdict
from harness.core.protocols import Generator, JudgeContext, JudgeKind
from harness.core.types import Failure
from judges.asking import PromptedJudge, PromptOptions, Question, ask, base_identity, frame_of, singles
from judges.options import parse_options, require_labels
from judges.prompt import identity_hash
from judges.verdicts import single_verdict

KIND = "likert"


class Options(PromptOptions):
    """Nothing beyond what every prompt has; the scale is that of the labels."""


@dataclass(frozen=True)
class LikertJudge(PromptedJudge):
    """Expected score over the labels "1".."scale" (G-Eval, Liu et al. 2023): no reply has to be parsed."""

    kind = KIND
    takes: Literal["single"] = "single"

    @property
    def identity(self) -> Mapping[str, JsonValue]:
        """All that decides a verdict but the model."""
        own = {"scale": self.context.scale, "reversed": self.is_reversed}
        return {**base_identity(self.context, self.options), **own}

    def rate(self, items: Sequence[Item], generator: Generator) -> Iterator[tuple[str, Verdict | Failure]]:
        """(item id, verdict), in the items' order."""
        frame = frame_of(self.context, self.options, identity_hash(self.identity))
        question = likert_question(self.context.scale, is_reversed=self.is_reversed)
        found = ask(generator, frame, question, singles(items), seed=self.context.seed)
        for item, answer in zip(items, found, strict=True):
            yield item.id, answer if isinstance(answer, Failure) else single_verdict(answer)

    def reversed(self) -> LikertJudge:
        """The same judge, its scale named from the other end: a sound verdict stays what it was."""
        return replace(self, is_reversed=not self.is_reversed)


def likert_question(scale: int, *, is_reversed: bool = False) -> Question:
    """How good is it, from 1 to `scale`?

    >>> likert_question(3).labels, likert_question(3).values
    (('1', '2', '3'), (0.0, 0.5, 1.0))
    """
    ends = ["1 (worst)", f"{scale} (best)"]
    first, last = reversed(ends) if is_reversed else ends
    labels = tuple(str(value) for value in range(1, scale + 1))
    return Question(
        f"How good is the answer by the criterion? Reply with one number from {first} to {last}, nothing else.",
        labels,
        tuple((value - 1) / (scale - 1) for value in range(1, scale + 1)),
    )


class LikertKind:
    """How it enters."""

    def create(self, context: JudgeContext) -> LikertJudge:
        """A judge of one answer at a time; E-OPTION for labels of pairs."""
        require_labels(context, KIND, ("likert", "pass_fail"))
        return LikertJudge(context, parse_options(context, Options))


kind: JudgeKind = LikertKind()
