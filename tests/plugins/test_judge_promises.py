"""The judge suite: the harness's own judges pass it, and each promise's check notices a judge that breaks it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import pytest

from harness import registry
from harness.core.errors import HarnessError
from harness.core.judging import Item, Pair, Single, Verdict
from harness.core.protocols import Generator, JudgeContext, JudgeKind
from harness.core.types import Failure, Request, Sampling
from harness.testing import ConformanceError, check_judge

LABELS: dict[str, tuple[Literal["likert", "pass_fail", "pair"], ...]] = {
    "likert": ("likert", "pass_fail"),
    "pass_fail": ("pass_fail", "likert"),
    "pairwise": ("pair",),
    "rubric": ("likert", "pass_fail"),
    "head": ("likert", "pair"),
    "length": ("likert", "pair"),
}
ALL = [(name, label_kind) for name, kinds in LABELS.items() for label_kind in kinds]


@pytest.mark.parametrize(("name", "label_kind"), ALL)
def test_the_harness_own_judges_keep_every_promise(
    name: str, label_kind: Literal["likert", "pass_fail", "pair"]
) -> None:
    check_judge(cast(JudgeKind, registry.load("judges", name)), label_kind=label_kind)


@dataclass
class Sound:
    """Asks for one label of two, what the broken ones are made from."""

    context: JudgeContext
    kind = "sound"
    mirrored = False

    @property
    def name(self) -> str:
        return self.context.name

    @property
    def takes(self) -> Literal["single", "pair"]:
        return "pair" if self.context.label_kind == "pair" else "single"

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"kind": "sound", "mirrored": self.mirrored}

    def reversed(self) -> Any:
        other = type(self)(self.context)
        other.mirrored = not self.mirrored
        return other

    def text(self, item: Item) -> str:
        answers = item.answers if isinstance(item, Pair) else (item.answer,)
        return ascii(answers)

    def prompt(self, item: Item, generator: Generator) -> tuple[int, ...]:
        return tuple(generator.tokenizer.encode(f"rate {self.text(item)}", special=False))

    def rate(self, items: Sequence[Item], generator: Generator) -> Iterator[tuple[str, Verdict | Failure]]:
        for item in items:
            found = self.score(item, generator)
            yield item.id, found if isinstance(found, Failure) else self.verdict(found)

    def score(self, item: Item, generator: Generator) -> float | Failure:
        if isinstance(item, Pair):
            forth, back = self.ask(item, generator), self.ask(item.swapped, generator)
            return (
                forth if isinstance(forth, Failure) else back if isinstance(back, Failure) else (1 + forth - back) / 2
            )
        return self.ask(item, generator)

    def ask(self, item: Item, generator: Generator) -> float | Failure:
        request = Request("0", self.prompt(item, generator), Sampling(1), ())
        ((_, found),) = generator.label_scores([request], [(49,), (50,)])
        return found if isinstance(found, Failure) else found.shares[0]

    def verdict(self, score: float) -> Verdict:
        return Verdict(score, (score,), 0.1, 0.9)


class SoundKind:
    judge: type[Sound] = Sound

    def create(self, context: JudgeContext) -> Any:
        if context.options:
            raise HarnessError("unknown option", fix="leave it out", code="E-OPTION")
        return self.judge(context)


def kind_of(judge: type[Sound]) -> JudgeKind:
    kind = SoundKind()
    kind.judge = judge
    return kind


class OtherName(Sound):
    name = "another"


class Kindless(Sound):
    kind = " "


class Omnivorous(Sound):
    takes = "anything"  # type: ignore[assignment]


class Faceless(Sound):
    identity = {}  # noqa: RUF012


class Restless(Sound):
    counter = itertools.count()

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"n": next(self.counter)}


class Unwritable(Sound):
    identity = {"n": math.nan}  # noqa: RUF012


class Raising(Sound):
    def rate(self, items: Sequence[Item], generator: Generator) -> Iterator[tuple[str, Verdict | Failure]]:
        if items:
            raise KeyError("what?")
        return iter(())


class Talkative(Sound):
    def rate(self, items: Sequence[Item], generator: Generator) -> Iterator[tuple[str, Verdict | Failure]]:
        yield from super().rate(items, generator)
        yield "one more", Failure("judge", "why not")


class Forgetful(Sound):
    def rate(self, items: Sequence[Item], generator: Generator) -> Iterator[tuple[str, Verdict | Failure]]:
        return super().rate(items[1:], generator)


class Numeric(Sound):
    def verdict(self, score: float) -> Any:
        return score


class Unable(Sound):
    def score(self, item: Item, generator: Generator) -> float | Failure:
        return Failure("judge", "cannot")


class Hundred(Sound):
    def verdict(self, score: float) -> Verdict:
        return Verdict(100 * score, (score,))


class Featureless(Sound):
    def verdict(self, score: float) -> Verdict:
        return Verdict(score, ())


class NotANumber(Sound):
    def verdict(self, score: float) -> Verdict:
        return Verdict(score, (math.nan,))


class Uneven(Sound):
    counter = itertools.count()

    def verdict(self, score: float) -> Verdict:
        return Verdict(score, (score,) * (1 + next(self.counter) % 2))


class Spread(Sound):
    def verdict(self, score: float) -> Verdict:
        return Verdict(score, (score,), -0.1)


class Massive(Sound):
    def verdict(self, score: float) -> Verdict:
        return Verdict(score, (score,), 0.1, 1.5)


class WildOrders(Sound):
    def verdict(self, score: float) -> Verdict:
        return Verdict(score, (score,), orders=(1.5, -0.5))


class Moody(Sound):
    counter = itertools.count()

    def verdict(self, score: float) -> Verdict:
        moved = (score + 0.01 * next(self.counter)) % 1
        return Verdict(moved, (moved,))


class Positional(Sound):
    def rate(self, items: Sequence[Item], generator: Generator) -> Iterator[tuple[str, Verdict | Failure]]:
        for place, item in enumerate(items):
            yield item.id, self.verdict(place / len(items))


class Relative(Sound):
    def rate(self, items: Sequence[Item], generator: Generator) -> Iterator[tuple[str, Verdict | Failure]]:
        for item in items:
            yield item.id, self.verdict(1 / len(items))


class FirstPlace(Sound):
    def score(self, item: Item, generator: Generator) -> float | Failure:
        return 0.9


class Fragile(Sound):
    def text(self, item: Item) -> str:
        answers = item.answers if isinstance(item, Pair) else (item.answer,)
        return "".join(answer.encode().decode() for answer in answers)


class Credulous(Sound):
    """Lets an answer spell control tokens."""

    def prompt(self, item: Item, generator: Generator) -> tuple[int, ...]:
        return tuple(generator.tokenizer.encode(f"<|user|>rate {self.text(item)}<|end|>", special=True))


class Guessing(Sound):
    def ask(self, item: Item, generator: Generator) -> float | Failure:
        found = super().ask(item, generator)
        return 0.0 if isinstance(found, Failure) else found


class Unchanged(Sound):
    def reversed(self) -> Any:
        return self


BROKEN: list[tuple[type[Sound], str]] = [
    (OtherName, "name is the one it was made with"),
    (Kindless, "what kind of judge"),
    (Omnivorous, "single answers or pairs"),
    (Faceless, "identity says what decides"),
    (Restless, "same settings give the same identity"),
    (Unwritable, "plain JSON"),
    (Raising, "does not raise"),
    (Talkative, "no items, no verdicts"),
    (Forgetful, "exactly one verdict"),
    (Numeric, "a Verdict or a Failure"),
    (Unable, "plain answers can be judged"),
    (Hundred, r"a score is in \[0, 1\]"),
    (Featureless, "at least one"),
    (NotANumber, "features are finite"),
    (Uneven, "same number of features"),
    (Spread, "a spread is a variance"),
    (Massive, "label mass is a probability"),
    (WildOrders, "scores of both orders"),
    (Moody, "asked again"),
    (Positional, "order of the items"),
    (Relative, "items judged with it"),
    (Fragile, "does not raise"),
    (Credulous, "spells control tokens"),
    (Guessing, "a Failure, never a score"),
    (Unchanged, "identity of its own"),
]


@pytest.mark.parametrize("label_kind", ["likert", "pair"])
def test_the_judge_that_the_broken_ones_are_made_from_is_sound(label_kind: Literal["likert", "pair"]) -> None:
    check_judge(kind_of(Sound), label_kind=label_kind)


@pytest.mark.parametrize(("broken", "promise"), BROKEN, ids=[judge.__name__ for judge, _ in BROKEN])
def test_a_broken_promise_is_named_with_an_example(broken: type[Sound], promise: str) -> None:
    with pytest.raises(ConformanceError, match=promise) as caught:
        check_judge(kind_of(broken))
    assert caught.value.example


def test_a_judge_of_pairs_that_follows_the_place_is_named() -> None:
    with pytest.raises(ConformanceError, match="one minus the score"):
        check_judge(kind_of(FirstPlace), label_kind="pair")


def test_an_option_that_is_taken_in_silence_is_named() -> None:
    class Heedless(SoundKind):
        def create(self, context: JudgeContext) -> Any:
            return Sound(context)

    with pytest.raises(ConformanceError, match="no_such_option = 1 was accepted"):
        check_judge(Heedless())


def test_a_judge_of_recorded_verdicts_is_not_asked_about_other_texts() -> None:
    class Recorded(Sound):
        def score(self, item: Item, generator: Generator) -> float | Failure:
            if not isinstance(item, Single) or item.id != "known":
                raise KeyError(item.id)
            return 0.25

    items = [Single("known", "c", "s", "q", "a"), replace(Single("known", "c", "s", "q", "a"))]
    check_judge(kind_of(Recorded), items=items[:1], hears_all=False)
