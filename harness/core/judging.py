"""The nouns of judging: what is judged, what a judge says of it, and what people say.

A *verdict* is a judge's, a *label* is a person's. All scores are in [0, 1], higher is better; the score of a pair is
the chance that its first answer is better, ties counting half.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

LabelKind = Literal["pass_fail", "likert", "pair"]
Round = Literal["calibration", "gate", "final"]
Preference = Literal["first", "second", "tie"]
# How annotators that are no people are named.
_SIMULATED = "simulated"


@dataclass(frozen=True, slots=True)
class Single:
    """One answer to be judged.

    cluster: what the answers to one prompt share; they stand and fall together. system: who wrote the answer, by name.
    """

    id: str
    cluster: str
    system: str
    question: str
    answer: str
    references: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one prompt, to be judged against each other: `answers` and `systems` in the same order."""

    id: str
    cluster: str
    systems: tuple[str, str]
    question: str
    answers: tuple[str, str]
    references: tuple[str, ...] = ()

    @property
    def swapped(self) -> Pair:
        """The same two answers in the other order."""
        return Pair(self.id, self.cluster, self.systems[::-1], self.question, self.answers[::-1], self.references)


Item: TypeAlias = Single | Pair


@dataclass(frozen=True, slots=True)
class LabelScores:
    """Log-probabilities of the labels as a continuation of a prompt, in nats, one a label, over the whole vocabulary.

    n_samples: None where the model's own probabilities were read; else from how many samples they were counted.
    """

    log_probs: tuple[float, ...]
    n_samples: int | None = None

    @property
    def mass(self) -> float:
        """Probability of all labels together: how far the model keeps to the format."""
        return float(sum(math.exp(each) for each in self.log_probs))

    @property
    def shares(self) -> tuple[float, ...]:
        """Probability of each label given that it is one of them."""
        highest = max(self.log_probs)
        weights = [math.exp(each - highest) for each in self.log_probs]
        return tuple(weight / sum(weights) for weight in weights)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a judge says of one item.

    score: as the judge has it, before calibration, in [0, 1]; nan where it has none before it is fitted to labels.
    features: what calibration maps to the human scale; of most judges the score alone.
    spread: variance of the judge's own distribution over scores. label_mass: see LabelScores; None without labels.
    orders: of a pair, the score with the first answer shown first, and with the second shown first.
    """

    score: float
    features: tuple[float, ...]
    spread: float | None = None
    label_mass: float | None = None
    orders: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class Label:
    """A person's judgement, with the text that was judged. Never overwritten; a later one of the same person counts.

    value: 0 or 1 (pass_fail), 1..scale (likert), or "first", "second", "tie" (pair; of `answers` as they stand here,
    in whatever order they were shown).
    sample: the sample's id, cluster: its prompt's; split: where it stood, empty if unknown.
    probability: chance with which this item came onto the sheet; stratum: the part it was drawn from.
    guideline: hash of the rubric that the annotator was given. time: when, ISO 8601, empty if unknown.
    """

    id: str
    kind: LabelKind
    criterion: str
    value: int | Preference
    annotator: str
    question: str
    answers: tuple[str, ...]
    systems: tuple[str, ...]
    round: Round = "calibration"
    scale: int = 5
    sample: str = ""
    split: str = ""
    references: tuple[str, ...] = ()
    shown: Literal["given", "swapped"] = "given"
    probability: float = 1.0
    stratum: str = ""
    guideline: str = ""
    time: str = ""

    @property
    def cluster(self) -> str:
        """Hash of the prompt: all answers to one question are one cluster, whatever their samples are called."""
        return text_hash(self.question)

    @property
    def item(self) -> str:
        """Hash of what was judged: question and answers."""
        return text_hash(self.question, *self.answers)

    @property
    def score(self) -> float:
        """The value in [0, 1]."""
        if self.kind == "pair":
            return {"first": 1.0, "tie": 0.5, "second": 0.0}[str(self.value)]
        value = float(self.value)
        return value if self.kind == "pass_fail" else (value - 1) / (self.scale - 1)


def text_hash(*texts: str) -> str:
    """sha256 of some texts in their order, as 32 hexadecimal digits."""
    return hashlib.sha256(json.dumps(texts, ensure_ascii=False).encode("utf-8", "backslashreplace")).hexdigest()[:32]


def is_simulated(annotator: str) -> bool:
    """Whether an annotator is no person, by the name alone.

    >>> is_simulated("Simulated-1"), is_simulated("ann")
    (True, False)
    """
    return annotator.strip().casefold().startswith(_SIMULATED)


def latest(labels: Sequence[Label]) -> tuple[Label, ...]:
    """The labels that count: the last one of each annotator, of what was judged and whose, in the order of the first.

    Two systems that say the same are two things to judge: their difference is a tie, not a gap.
    """
    kept: dict[tuple[str, ...], Label] = {}
    for label in labels:
        kept[(label.annotator, label.item, *label.systems, label.criterion, label.round)] = label
    return tuple(kept.values())
