"""Asks several questions about an answer; people's labels decide what each is worth."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import Field, JsonValue

from harness.core.judging import Item, Verdict
from harness.core.protocols import Generator, JudgeContext, JudgeKind
from harness.core.types import Failure
from judges.asking import Expected, PromptOptions, Question, ask_all, base_identity, frame_of, singles
from judges.options import option_error, parse_options, require_labels
from judges.pass_fail import yes_no_question
from judges.prompt import identity_hash
from judges.verdicts import combined_verdict

KIND = "rubric"
# "Is it polite? (1-4)" is answered by a number, any other question by yes or no.
_SCALED = re.compile(r"^(?P<text>.*\S)\s*\(1-(?P<top>[2-9])\)$", re.DOTALL)
_MOST_QUESTIONS = 40


class Options(PromptOptions):
    """The questions."""

    questions: tuple[str, ...] = Field(
        (), description='asked one by one; by default the lines of rubric.md that begin with "- "; (1-4) ends a scale'
    )


@dataclass(frozen=True)
class RubricJudge:
    """One feature a question, combined by calibration; before that the score is their mean."""

    context: JudgeContext
    options: Options
    questions: tuple[str, ...]
    is_reversed: bool = False

    kind = KIND
    takes: Literal["single"] = "single"

    @property
    def name(self) -> str:
        """The judge's own name."""
        return self.context.name

    @property
    def uses_references(self) -> bool:
        """Whether it is shown the right answers."""
        return self.options.references

    @property
    def identity(self) -> Mapping[str, JsonValue]:
        """All that decides a verdict but the model."""
        own: dict[str, JsonValue] = {"questions": list(self.questions), "reversed": self.is_reversed}
        return {**base_identity(self.context, self.options), **own}

    def rate(self, items: Sequence[Item], generator: Generator) -> Iterator[tuple[str, Verdict | Failure]]:
        """(item id, verdict), in the items' order; a Failure where any question fails."""
        frame = frame_of(self.context, self.options, identity_hash(self.identity))
        asked = [parse_question(text, is_reversed=self.is_reversed) for text in self.questions]
        found = ask_all(generator, frame, asked, singles(items), seed=self.context.seed)
        for item, answers in zip(items, found, strict=True):
            yield item.id, _verdict(answers)

    def reversed(self) -> RubricJudge:
        """The same judge, every scale named from the other end: a sound verdict stays what it was."""
        return replace(self, is_reversed=not self.is_reversed)


def parse_question(text: str, *, is_reversed: bool = False) -> Question:
    """A line of the rubric as a question, by yes or no unless it ends in a scale.

    >>> parse_question("Is it polite? (1-3)").values
    (0.0, 0.5, 1.0)
    """
    scaled = _SCALED.match(text.strip())
    if scaled is None:
        return yes_no_question(text.strip(), is_reversed=is_reversed)
    top = int(scaled["top"])
    ends = ["1 (not at all)", f"{top} (fully)"]
    first, last = reversed(ends) if is_reversed else ends
    closing = f"{scaled['text']} Reply with one number from {first} to {last}, nothing else."
    labels = tuple(str(value) for value in range(1, top + 1))
    return Question(closing, labels, tuple((value - 1) / (top - 1) for value in range(1, top + 1)))


def questions_in(rubric: str) -> tuple[str, ...]:
    """The lines of a rubric that begin with "- "."""
    return tuple(line[2:].strip() for line in rubric.splitlines() if line.startswith("- ") and line[2:].strip())


def _verdict(answers: Sequence[Expected | Failure]) -> Verdict | Failure:
    failed = [each for each in answers if isinstance(each, Failure)]
    return failed[0] if failed else combined_verdict([each for each in answers if isinstance(each, Expected)])


class RubricKind:
    """How it enters."""

    def create(self, context: JudgeContext) -> RubricJudge:
        """A judge of one answer at a time; E-OPTION for labels of pairs and for a rubric without questions."""
        require_labels(context, KIND, ("likert", "pass_fail"))
        options = parse_options(context, Options)
        questions = options.questions or questions_in(context.rubric)
        if not 1 <= len(questions) <= _MOST_QUESTIONS or not all(text.strip() for text in questions):
            raise option_error(
                context,
                f"a rubric asks 1 to {_MOST_QUESTIONS} questions, each with words; this one has {len(questions)}",
                fix='set options.questions, or begin the questions of rubric.md with "- "',
            )
        return RubricJudge(context, options, tuple(questions))


kind: JudgeKind = RubricKind()
