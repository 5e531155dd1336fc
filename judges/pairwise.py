"""Says which of two answers is better, asked in both orders, ties counting half."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from harness.core.judging import Item, Verdict
from harness.core.protocols import Generator, JudgeContext, JudgeKind
from harness.core.types import Failure
from judges.asking import Expected, PromptedJudge, PromptOptions, Question, ask, frame_of, pairs
from judges.options import parse_options, require_labels
from judges.prompt import identity_hash
from judges.verdicts import pair_verdict

KIND = "pairwise"
_LABELS = ("A", "B", "C")
_VALUES = (1.0, 0.0, 0.5)
_MEANINGS = ("A if answer A is better", "B if answer B is better", "C if they are equally good")


class Options(PromptOptions):
    """Nothing beyond what every prompt has."""


@dataclass(frozen=True)
class PairwiseJudge(PromptedJudge):
    """Chance that the first answer is better, P(win) + P(tie) / 2, averaged over both orders of showing them."""

    kind = KIND
    takes: Literal["pair"] = "pair"

    def rate(self, items: Sequence[Item], generator: Generator) -> Iterator[tuple[str, Verdict | Failure]]:
        """(item id, verdict), in the items' order; a Failure where either order fails."""
        frame = frame_of(self.context, self.options, identity_hash(self.identity))
        question = pair_question(is_reversed=self.is_reversed)
        shown = [each for item in pairs(items) for each in (item, item.swapped)]
        found = ask(generator, frame, question, shown, seed=self.context.seed)
        for item, forth, back in zip(items, found, found, strict=True):
            yield item.id, _verdict(forth, back)

    def reversed(self) -> PairwiseJudge:
        """The same judge, the replies named the other way round: a sound verdict stays what it was."""
        return replace(self, is_reversed=not self.is_reversed)


def pair_question(*, is_reversed: bool = False) -> Question:
    """Which is better, answer A, answer B or neither (C)? The values are those of the answer that is shown as A."""
    named = ", ".join(_MEANINGS[::-1] if is_reversed else _MEANINGS)
    return Question(
        f"Which answer is better by the criterion? Reply {named}; one letter, nothing else.", _LABELS, _VALUES
    )


def _verdict(forth: Expected | Failure, back: Expected | Failure) -> Verdict | Failure:
    """back: asked with the answers swapped, so that its values are the second answer's."""
    if isinstance(forth, Failure):
        return forth
    if isinstance(back, Failure):
        return back
    return pair_verdict(forth, replace(back, mean=1 - back.mean))


class PairwiseKind:
    """How it enters."""

    def create(self, context: JudgeContext) -> PairwiseJudge:
        """A judge of pairs; E-OPTION for other labels."""
        require_labels(context, KIND, ("pair",))
        return PairwiseJudge(context, parse_options(context, Options))


kind: JudgeKind = PairwiseKind()
