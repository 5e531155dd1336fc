"""Reads the model's inner state at the end of the question instead of its reply; labels fit a linear head on it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

from harness.core.judging import Item, Verdict
from harness.core.protocols import Generator, JudgeContext, JudgeKind
from harness.core.types import Failure, FloatArray
from judges.asking import PromptOptions, ask_hidden, base_identity, frame_of, pairs, singles
from judges.likert import likert_question
from judges.options import parse_options
from judges.pairwise import pair_question
from judges.prompt import Frame, identity_hash

KIND = "head"


class Options(PromptOptions):
    """Nothing beyond what every prompt has."""


@dataclass(frozen=True)
class HeadJudge:
    """Features and no score: before it is calibrated on labels it says nothing.

    Of a pair the features are the states of both orders, one minus the other: they change sign with the pair.
    """

    context: JudgeContext
    options: Options

    kind = KIND

    @property
    def name(self) -> str:
        """The judge's own name."""
        return self.context.name

    @property
    def takes(self) -> Literal["single", "pair"]:
        """What the labels are about."""
        return "pair" if self.context.label_kind == "pair" else "single"

    @property
    def uses_references(self) -> bool:
        """Whether it is shown the right answers."""
        return self.options.references

    @property
    def identity(self) -> Mapping[str, JsonValue]:
        """All that decides a verdict but the model."""
        return {**base_identity(self.context, self.options), "scale": self.context.scale, "takes": self.takes}

    def rate(self, items: Sequence[Item], generator: Generator) -> Iterator[tuple[str, Verdict | Failure]]:
        """(item id, verdict), in the items' order."""
        return self._rate_pairs(items, generator) if self.takes == "pair" else self._rate_singles(items, generator)

    def _rate_singles(self, items: Sequence[Item], generator: Generator) -> Iterator[tuple[str, Verdict | Failure]]:
        closing = likert_question(self.context.scale).closing
        found = ask_hidden(generator, self._frame(), closing, singles(items))
        for item, state in zip(items, found, strict=True):
            yield item.id, state if isinstance(state, Failure) else _verdict(state)

    def _rate_pairs(self, items: Sequence[Item], generator: Generator) -> Iterator[tuple[str, Verdict | Failure]]:
        shown = [each for item in pairs(items) for each in (item, item.swapped)]
        found = ask_hidden(generator, self._frame(), pair_question().closing, shown)
        for item, forth, back in zip(items, found, found, strict=True):
            yield item.id, _pair_verdict(forth, back)

    def _frame(self) -> Frame:
        return frame_of(self.context, self.options, identity_hash(self.identity))


def _verdict(state: FloatArray) -> Verdict:
    return Verdict(math.nan, tuple(float(each) for each in state))


def _pair_verdict(forth: FloatArray | Failure, back: FloatArray | Failure) -> Verdict | Failure:
    if isinstance(forth, Failure):
        return forth
    return back if isinstance(back, Failure) else _verdict(forth - back)


class HeadKind:
    """How it enters."""

    def create(self, context: JudgeContext) -> HeadJudge:
        """A judge of whatever the labels are about."""
        return HeadJudge(context, parse_options(context, Options))


kind: JudgeKind = HeadKind()
