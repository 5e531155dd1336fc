"""Knows nothing but how long answers are: the control that every judge of texts has to beat."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

from harness.core.judging import Item, Pair, Verdict
from harness.core.protocols import Generator, JudgeContext, JudgeKind
from harness.core.specs import Spec
from harness.core.types import Failure
from judges.options import parse_options

# Characters at which an answer scores one half; calibration makes its own sense of lengths.
_HALF = 200


class Options(Spec):
    """Nothing to set."""


@dataclass(frozen=True)
class LengthJudge:
    """Longer is better; of a single answer calibration may also find that some length between is best."""

    context: JudgeContext

    kind = "length"
    uses_references = False

    @property
    def name(self) -> str:
        """The judge's own name."""
        return self.context.name

    @property
    def takes(self) -> Literal["single", "pair"]:
        """What the labels are of."""
        return "pair" if self.context.label_kind == "pair" else "single"

    @property
    def identity(self) -> Mapping[str, JsonValue]:
        """There is one such judge."""
        return {"kind": self.kind, "half": _HALF}

    def rate(self, items: Sequence[Item], generator: Generator) -> Iterator[tuple[str, Verdict | Failure]]:
        """(item id, verdict), in the items' order; no model is asked."""
        for item in items:
            yield item.id, pair_verdict(item) if isinstance(item, Pair) else single_verdict(len(item.answer))


def single_verdict(n: int) -> Verdict:
    """Of an answer of n characters. The features can say "the longer", "the shorter" and "neither long nor short"."""
    logarithm = math.log1p(n)
    return Verdict(n / (n + _HALF), (logarithm, logarithm**2))


def pair_verdict(pair: Pair) -> Verdict:
    """The first answer's share of all characters; the same in both orders.

    >>> pair_verdict(Pair("a", "q", ("x", "y"), "q?", ("yes", "y"))).score
    0.75
    """
    first, second = (len(answer) for answer in pair.answers)
    share = first / (first + second) if first + second else 0.5
    return Verdict(share, (share,), orders=(share, share))


class LengthKind:
    """How it enters."""

    def create(self, context: JudgeContext) -> LengthJudge:
        """The judge; E-OPTION for any option."""
        parse_options(context, Options)
        return LengthJudge(context)


kind: JudgeKind = LengthKind()
