"""Records of judges: what was found out about one, what it may therefore do, and what people's labels make of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import JsonValue

from harness.core.judging import LabelKind
from harness.core.records import Answer

Grade = Literal["drive", "shortlist", "advisory", "uncalibrated"]
Passed = Literal["pass", "fail", "inconclusive", "not run"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A number about a judge or about people: never without its interval and n. None where it is undefined.

    low, high: 95 % by clusters of prompts. note: how it was computed, or why it is undefined.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    n_clusters: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Bin:
    """A bar of the reliability diagram: the mean of calibrated scores there, and of human ones with its interval."""

    predicted: float
    observed: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Transport:
    """How differently the judge errs on two systems: mean(judge - human) of the one minus that of the other.

    low, high: 90 %, the interval of an equivalence test at 5 %.
    """

    system: str
    other: str
    difference: float
    low: float
    high: float
    n: tuple[int, int]
    passed: Passed


@dataclass(frozen=True, slots=True)
class Probe:
    """A change that should leave a verdict alone, or should move it one way, and what it did.

    limit: in words, what would pass. examples: a few escaped one-line texts.
    """

    name: str
    what: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    limit: str
    passed: Passed
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GateLine:
    """One condition of the gate. more_labels: how many more would be likely to settle it; None where none would."""

    code: Literal["G0", "G1", "G2", "G3", "G4"]
    name: str
    passed: Passed
    what: str
    more_labels: int | None = None


@dataclass(frozen=True, slots=True)
class Licence:
    """What a judge may do, why, and for exactly which judge: any other fingerprint has no licence.

    fingerprint: model, prompt, rubric, settings (decoding among them) and labels, each by its hash.
    reasons: sentences for people.
    """

    judge: str
    grade: Grade
    fingerprint: Mapping[str, str]
    lines: tuple[GateLine, ...]
    reasons: tuple[str, ...]
    delta: float


@dataclass(frozen=True, slots=True)
class JudgeCard:
    """All that is known of a judge; `card.json`.

    human: agreement between people (the ceiling). controls: the same figures for length, constant and metrics.
    confusion: rows people, columns judge, over `levels`. maps: the calibration, one for each fold.
    labels_used: ids of the labels that fitted it; they may never correct it. simulated: whether annotators were.
    sd_difference: by people, of two systems' answers to one prompt (of a pair, of its score); plans are made with it.
    """

    judge: str
    kind: str
    criterion: str
    label_kind: LabelKind
    model: str
    licence: Licence
    n_labels: int
    n_items: int
    n_clusters: int
    n_repeats: int
    n_failures: int
    failures: Mapping[str, int]
    annotators: Mapping[str, int]
    systems: Mapping[str, int]
    agreement: tuple[Figure, ...]
    human: tuple[Figure, ...]
    controls: Mapping[str, tuple[Figure, ...]]
    levels: tuple[str, ...]
    confusion: tuple[tuple[int, ...], ...]
    reliability: tuple[Bin, ...]
    transport: tuple[Transport, ...]
    probes: tuple[Probe, ...]
    map_kind: str
    maps: tuple[Mapping[str, JsonValue], ...]
    label_mass: float | None
    labels_used: tuple[str, ...]
    simulated: bool
    identity: Mapping[str, JsonValue] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    sd_difference: float | None = None

    def figure(self, name: str) -> Figure:
        """A figure of agreement, by name."""
        return next(figure for figure in self.agreement if figure.name == name)


@dataclass(frozen=True, slots=True)
class Corrected:
    """A mean, or mean difference, of human scores, estimated from few labels and many verdicts.

    method: in words ("PPI++, clustered"). lam: weight of the verdicts. rho: correlation of verdict and label.
    effective_labels: how many labels alone would give this interval. n_judged: items with a verdict only.
    target: what the interval is about. label_systems: whose answers people judged. warning: said wherever it is shown.
    """

    name: str
    value: float
    low: float
    high: float
    p: float | None
    n_labels: int
    n_judged: int
    n_clusters: int
    lam: float
    rho: float | None
    effective_labels: float | None
    method: str
    target: Literal["population", "test set"]
    label_systems: tuple[str, ...]
    warning: str = ""


@dataclass(frozen=True, slots=True)
class Validation:
    """What people said, blind, of the chosen candidate and its baseline on test: the run's validated claim.

    difference: candidate minus baseline, by people, the judge's verdicts making the interval shorter where they may.
    sentence: for the report's first line. simulated: whether the annotators were.
    """

    criterion: str
    candidate: str
    baseline: str
    candidate_score: Corrected
    baseline_score: Corrected
    difference: Corrected
    wins: int
    ties: int
    losses: int
    answer: Answer
    sentence: str
    annotators: Mapping[str, int]
    simulated: bool
