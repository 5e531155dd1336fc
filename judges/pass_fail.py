"""Says whether an answer is good enough: the probability of "yes" against that of "no"."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from harness.core.judging import Item, Verdict
from harness.core.protocols import Generator, JudgeContext, JudgeKind
from harness.core.types import Failure
from judges.asking import PromptedJudge, PromptOptions, Question, ask, frame_of, singles
from judges.options import parse_options, require_labels
from judges.prompt import identity_hash
from judges.verdicts import single_verdict

KIND = "pass_fail"
_QUESTION = "Does the answer meet the criterion?"


class Options(PromptOptions):
    """Nothing beyond what every prompt has."""


@dataclass(frozen=True)
class PassFailJudge(PromptedJudge):
    """Share of "yes" in the probability of "yes" and "no" together."""

    kind = KIND
    takes: Literal["single"] = "single"

    def rate(self, items: Sequence[Item], generator: Generator) -> Iterator[tuple[str, Verdict | Failure]]:
        """(item id, verdict), in the items' order."""
        frame = frame_of(self.context, self.options, identity_hash(self.identity))
        question = yes_no_question(_QUESTION, is_reversed=self.is_reversed)
        found = ask(generator, frame, question, singles(items), seed=self.context.seed)
        for item, answer in zip(items, found, strict=True):
            yield item.id, answer if isinstance(answer, Failure) else single_verdict(answer)

    def reversed(self) -> PassFailJudge:
        """The same judge, the replies named the other way round: a sound verdict stays what it was."""
        return replace(self, is_reversed=not self.is_reversed)


def yes_no_question(text: str, *, is_reversed: bool = False) -> Question:
    """A question that "yes" answers well.

    >>> yes_no_question("Is it polite?").closing
    'Is it polite? Reply yes or no, nothing else.'
    """
    replies = "no or yes" if is_reversed else "yes or no"
    return Question(f"{text} Reply {replies}, nothing else.", ("yes", "no"), (1.0, 0.0))


class PassFailKind:
    """How it enters."""

    def create(self, context: JudgeContext) -> PassFailJudge:
        """A judge of one answer at a time; E-OPTION for labels of pairs."""
        require_labels(context, KIND, ("pass_fail", "likert"))
        return PassFailJudge(context, parse_options(context, Options))


kind: JudgeKind = PassFailKind()
