"""From prompts to verdicts: how likely each label is to come next, and what that makes of the labels' values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from pydantic import Field, JsonValue

from harness.core.errors import HarnessError
from harness.core.judging import Item, LabelScores, Pair, Single
from harness.core.protocols import Generator, JudgeContext
from harness.core.specs import Spec
from harness.core.types import Failure, FloatArray, Request, Sampling
from judges.prompt import VERSION, Frame, identity_hash, prompt_text
from judges.rendering import JudgeRenderer

# Prompts are made and asked this many at a time: a judged run may have 100,000 items.
_CHUNK = 1024


class PromptOptions(Spec):
    """What every judge that is asked by a prompt can be told."""

    max_characters: int = Field(8000, ge=1, description="of an answer; the rest is cut, and the prompt says so")
    references: bool = Field(True, description="show the right answers, where the data has any")


@dataclass(frozen=True, slots=True)
class Question:
    """What ends a prompt, the labels that may be replied, and what each is worth in [0, 1]."""

    closing: str
    labels: tuple[str, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Expected:
    """A distribution over labels, as numbers: mean and variance of their values, and the labels' own probability."""

    mean: float
    variance: float
    mass: float


def frame_of(context: JudgeContext, options: PromptOptions, judge: str) -> Frame:
    """The frame of a judge's prompts. judge: see `Frame`."""
    return Frame(judge, context.criterion, context.rubric, options.max_characters, options.references)


def base_identity(context: JudgeContext, options: PromptOptions) -> dict[str, str | int | bool]:
    """What decides a verdict in every judge that is asked by a prompt."""
    return {
        "prompt": VERSION,
        "criterion": context.criterion,
        "rubric": identity_hash({"rubric": context.rubric}),
        "max_characters": options.max_characters,
        "references": options.references,
        "seed": context.seed,
    }


def ask(
    generator: Generator, frame: Frame, question: Question, items: Sequence[Item], *, seed: int
) -> Iterator[Expected | Failure]:
    """What the model expects of each item, in their order."""
    return (answers[0] for answers in ask_all(generator, frame, [question], items, seed=seed))


def ask_all(
    generator: Generator, frame: Frame, questions: Sequence[Question], items: Sequence[Item], *, seed: int
) -> Iterator[tuple[Expected | Failure, ...]]:
    """What the model expects of each item, question by question, in the items' order."""
    renderer = JudgeRenderer(generator.tokenizer)
    labels = {question.labels: renderer.label_ids(question.labels) for question in questions}
    for chunk in _chunks(items):
        found: dict[tuple[int, int], Expected | Failure] = {}
        for texts, ids in labels.items():
            # An item's questions follow each other: they share all but the end of the prompt, which is computed once.
            asked = {
                (row, column): _prompt(renderer, frame, item, question.closing)
                for row, item in enumerate(chunk)
                for column, question in enumerate(questions)
                if question.labels == texts
            }
            for (row, column), answer in _scores(generator, asked, ids, seed):
                values = questions[column].values
                found[row, column] = answer if isinstance(answer, Failure) else expected(answer, values)
        for row in range(len(chunk)):
            yield tuple(found[row, column] for column in range(len(questions)))


def ask_hidden(
    generator: Generator, frame: Frame, closing: str, items: Sequence[Item]
) -> Iterator[FloatArray | Failure]:
    """The model's inner state at the end of each item's prompt, in their order."""
    renderer = JudgeRenderer(generator.tokenizer)
    for chunk in _chunks(items):
        prompts = [_prompt(renderer, frame, item, closing) for item in chunk]
        requests = _requests(prompts, 1, 0)
        found = dict(generator.hidden(requests)) if requests else {}
        for number, prompt in enumerate(prompts):
            yield prompt if isinstance(prompt, Failure) else _finite(found[str(number)])


def singles(items: Sequence[Item]) -> list[Single]:
    """The items as single answers; ValueError if one is a pair."""
    found = [item for item in items if isinstance(item, Single)]
    if len(found) < len(items):
        raise ValueError("a judge of single answers was given a pair")
    return found


def pairs(items: Sequence[Item]) -> list[Pair]:
    """The items as pairs; ValueError if one is a single answer."""
    found = [item for item in items if isinstance(item, Pair)]
    if len(found) < len(items):
        raise ValueError("a judge of pairs was given a single answer")
    return found


def expected(scores: LabelScores, values: Sequence[float]) -> Expected | Failure:
    """Mean and variance of the values under the labels' shares; a Failure where no label has any probability."""
    if any(map(math.isnan, scores.log_probs)) or not math.isfinite(max(scores.log_probs)):
        return Failure("judge", "no label has any probability")
    mean = sum(share * value for share, value in zip(scores.shares, values, strict=True))
    variance = sum(share * (value - mean) ** 2 for share, value in zip(scores.shares, values, strict=True))
    return Expected(mean, variance, min(scores.mass, 1.0))


def _prompt(renderer: JudgeRenderer, frame: Frame, item: Item, closing: str) -> tuple[int, ...] | Failure:
    try:
        return renderer.prompt_ids(prompt_text(frame, item, closing))
    except HarnessError as err:
        # One answer that spells a control token, on a tokenizer that cannot keep it text, is no reason to stop a run.
        if err.code != "E-SPECIAL-IN-TEXT":
            raise
        return Failure("judge", "the tokenizer would make control tokens of the text")


def _scores(
    generator: Generator,
    asked: Mapping[tuple[int, int], tuple[int, ...] | Failure],
    labels: tuple[tuple[int, ...], ...],
    seed: int,
) -> Iterator[tuple[tuple[int, int], LabelScores | Failure]]:
    prompts = list(asked.values())
    requests = _requests(prompts, max(map(len, labels)), seed)
    found = dict(generator.label_scores(requests, labels)) if requests else {}
    for number, (place, prompt) in enumerate(asked.items()):
        yield place, prompt if isinstance(prompt, Failure) else found[str(number)]


def _finite(state: FloatArray | Failure) -> FloatArray | Failure:
    if isinstance(state, Failure) or np.isfinite(state).all():
        return state
    return Failure("judge", "the model's inner state is not finite")


def _requests(prompts: Sequence[tuple[int, ...] | Failure], n_tokens: int, seed: int) -> list[Request]:
    sampling = Sampling(max_tokens=n_tokens, seed=seed)
    return [
        Request(str(number), prompt, sampling, ())
        for number, prompt in enumerate(prompts)
        if not isinstance(prompt, Failure)
    ]


def _chunks(items: Sequence[Item]) -> Iterator[list[Item]]:
    rest = iter(items)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


@dataclass(frozen=True)
class PromptedJudge:
    """What judges that ask one question of a prompt have in common. is_reversed: the scale is named from its end."""

    context: JudgeContext
    options: PromptOptions
    is_reversed: bool = False

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
        return {**base_identity(self.context, self.options), "reversed": self.is_reversed}
