"""Imitates people with faults of one's choosing, for trying out what a judge has to go through: no model is asked."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import NormalDist, fmean, pstdev
from typing import Literal

from pydantic import Field, JsonValue, model_validator

from harness.autorater.labels import read_labels
from harness.core.judging import Item, Label, Pair, Single, Verdict, latest, text_hash
from harness.core.protocols import Generator, JudgeContext, JudgeKind
from harness.core.specs import Fraction, Spec
from harness.core.types import Failure
from judges import length
from judges.options import option_error, parse_options

UNPARSED = Failure("judge", "unparsed verdict")
UNKNOWN = Failure("judge", "no people's score to imitate")
_WORD = re.compile(r"\w+")
# An answer that is not known is taken for a known one of the same question that shares this much of its words.
_ALIKE = 0.6
_ORDERS = frozenset({"ignore", "disregard", "verdict", "score", "output", "rate", "instructions", "winner"})


class Options(Spec):
    """Whom to imitate, and how badly."""

    labels: str | None = Field(None, description="file of labels to imitate, beside judge.toml")
    scores: dict[str, Fraction] = Field(default_factory=dict, description="or people's score by the hash of the item")
    rho: float = Field(1.0, ge=0, le=1, description="correlation with people; below 1 noise is added")
    slope: float = Field(1.0, description="of the judge's scores against people's; negative: the opposite of people")
    bias: float = Field(0.0, description="added to every score")
    position: float = Field(0.0, description="of pairs: added to whichever answer is shown first")
    systems: dict[str, float] = Field(default_factory=dict, description="added to the scores of these systems' answers")
    length: Fraction = Field(0.0, description="share of the score that is the answer's length instead")
    obedient: bool = Field(False, description="gives an answer that gives orders the best score")
    unparsed: Fraction = Field(0.0, description="share of items without a verdict")

    @model_validator(mode="after")
    def _imitates_somebody(self) -> Options:
        if (self.labels is None) == (not self.scores):
            raise ValueError("give either labels or scores")
        return self


@dataclass(frozen=True)
class Known:
    """People's scores: by the item's hash, and the answers to each question, for answers that were changed."""

    scores: Mapping[str, float]
    answers: Mapping[str, tuple[tuple[str, ...], ...]]

    @cached_property
    def mean(self) -> float:
        """Of all scores."""
        return fmean(self.scores.values())

    @cached_property
    def sd(self) -> float:
        """Of all scores."""
        return pstdev(self.scores.values())

    def nearest(self, question: str, answers: tuple[str, ...]) -> tuple[tuple[str, ...] | None, float]:
        """The judged answers that these are, or were before they were changed, and how near; None if they are none."""
        if text_hash(question, *answers) in self.scores:
            return answers, math.inf
        judged = [each for each in self.answers.get(question, ()) if len(each) == len(answers)]
        shares = [min(map(_shared, each, answers)) for each in judged]
        best = max(range(len(judged)), key=shares.__getitem__, default=None)
        return (None, 0.0) if best is None or shares[best] < _ALIKE else (judged[best], shares[best])

    def has_side(self, question: str, answer: str, side: int) -> bool:
        """Whether an answer is, or was made from, one that was judged on this side of a pair."""
        return any(_shared(each[side], answer) >= _ALIKE for each in self.answers.get(question, ()))


@dataclass(frozen=True)
class SyntheticJudge:
    """People's score, moved and blurred as the options say. The same text gets the same blur every time.

    A changed answer gets the score of the one it was made from, so that only the chosen faults answer to probes; one
    that is like none that people judged gets 0. Without the labels' texts such an item has no verdict.
    """

    context: JudgeContext
    options: Options
    known: Known
    is_reversed: bool = False

    kind = "synthetic"
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
        """The options, and whom it imitates."""
        scores = text_hash(*(f"{key} {score!r}" for key, score in sorted(self.known.scores.items())))
        faults = self.options.model_dump(exclude={"labels", "scores"})
        return {"kind": self.kind, **faults, "imitated": scores, "reversed": self.is_reversed}

    def reversed(self) -> SyntheticJudge:
        """Says the same: it reads no scale."""
        return replace(self, is_reversed=not self.is_reversed)

    def rate(self, items: Sequence[Item], generator: Generator) -> Iterator[tuple[str, Verdict | Failure]]:
        """(item id, verdict), in the items' order."""
        for item in items:
            yield item.id, self._verdict(item)

    def _verdict(self, item: Item) -> Verdict | Failure:
        if _chance(self.context.seed, "unparsed", item.id) < self.options.unparsed:
            return UNPARSED
        if not self.known.answers and _hash(item) not in self.known.scores:
            return UNKNOWN
        return self._pair(item) if isinstance(item, Pair) else self._single(item)

    def _single(self, item: Single) -> Verdict:
        judged, _ = self.known.nearest(item.question, (item.answer,))
        if self.options.obedient and _gives_orders(item.answer, judged[0] if judged else ""):
            return Verdict(1.0, (1.0,), label_mass=1.0)
        human = 0.0 if judged is None else self.known.scores[text_hash(item.question, *judged)]
        kindness = self.options.systems.get(item.system, 0.0)
        score = self._moved(human, item.question, judged or ()) + kindness
        score = _within(self._mixed(score, length.single_verdict(len(item.answer)).score))
        return Verdict(score, (score,), label_mass=1.0)

    def _pair(self, pair: Pair) -> Verdict:
        """Seen from the first answer, whichever is shown first."""
        preferred = self._preferred(pair)
        forth, back = (_within(preferred + sign * self.options.position) for sign in (1, -1))
        score = (forth + back) / 2
        return Verdict(score, (score,), label_mass=1.0, orders=(forth, back))

    def _preferred(self, pair: Pair) -> float:
        judged, near = self.known.nearest(pair.question, pair.answers)
        if near < self.known.nearest(pair.question, pair.answers[::-1])[1]:
            return 1 - self._preferred(pair.swapped)
        if self.options.obedient:
            obeyed = [_gives_orders(answer, judged[side] if judged else "") for side, answer in enumerate(pair.answers)]
            if any(obeyed):
                return 0.5 + (obeyed[0] - obeyed[1]) / 2
        if judged is None:
            sides = [self.known.has_side(pair.question, answer, side) for side, answer in enumerate(pair.answers)]
            return 0.5 + (sides[0] - sides[1]) / 2
        kindness = [self.options.systems.get(system, 0.0) for system in pair.systems]
        moved = self._moved(self.known.scores[text_hash(pair.question, *judged)], pair.question, judged)
        return self._mixed(moved + kindness[0] - kindness[1], length.pair_verdict(pair).score)

    def _moved(self, human: float, question: str, judged: tuple[str, ...]) -> float:
        """People's score by slope, noise and bias; an answer that nobody judged has no noise."""
        slope, rho = (self.options.slope, self.options.rho) if self.options.rho > 0 else (0.0, 1.0)
        sd = self.known.sd * (abs(slope) * (1 / rho**2 - 1) ** 0.5 if slope else float(self.options.rho == 0))
        noise = NormalDist().inv_cdf(_chance(self.context.seed, question, *judged)) if judged and sd else 0.0
        return self.known.mean + slope * (human - self.known.mean) + sd * noise + self.options.bias

    def _mixed(self, score: float, by_length: float) -> float:
        return (1 - self.options.length) * score + self.options.length * by_length


def known_from(labels: Sequence[Label]) -> Known:
    """What people said: the mean over annotators of what each said last."""
    told: dict[str, list[float]] = {}
    answers: dict[str, dict[tuple[str, ...], None]] = {}
    for label in latest(labels):
        told.setdefault(label.item, []).append(label.score)
        answers.setdefault(label.question, {})[label.answers] = None
    return Known(
        {item: fmean(scores) for item, scores in told.items()},
        {question: tuple(each) for question, each in answers.items()},
    )


def _hash(item: Item) -> str:
    return text_hash(item.question, *(item.answers if isinstance(item, Pair) else (item.answer,)))


def _words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.casefold()))


def _shared(judged: str, answer: str) -> float:
    """Share of a judged answer's words that an answer has too; texts without words share nothing."""
    words = _words(judged)
    return len(words & _words(answer)) / len(words) if words else 0.0


def _gives_orders(answer: str, before: str) -> bool:
    return bool((_words(answer) - _words(before)) & _ORDERS)


def _chance(seed: int, *texts: str) -> float:
    """A number strictly between 0 and 1 that hangs on these texts alone."""
    digest = hashlib.sha256(text_hash(str(seed), *texts).encode()).digest()
    return (int.from_bytes(digest[:6], "big") + 0.5) / 2**48


def _within(score: float) -> float:
    return min(max(score, 0.0), 1.0)


class SyntheticKind:
    """How it enters."""

    def create(self, context: JudgeContext) -> SyntheticJudge:
        """The judge; E-OPTION for wrong options, E-LABELS for a file that is none of labels."""
        options = parse_options(context, Options)
        if options.labels is None:
            return SyntheticJudge(context, options, Known(options.scores, {}))
        labels = [each for each in read_labels(context.folder / options.labels).labels if each.round != "final"]
        if not labels:
            raise option_error(context, "there is nobody to imitate: the file has no labels", fix="name another file")
        return SyntheticJudge(context, options, known_from(labels))


kind: JudgeKind = SyntheticKind()
