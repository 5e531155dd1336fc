"""Test samples in parts by the judge's score: what final labels are drawn from, and what their claim is weighed by.

Where people are asked more often about some parts than about others, an estimate that did not know would be of other
samples than the test split's. So a label weighs as its part's samples over its part's labelled samples, whichever batch
it came in: of a part each batch takes at random what the one before left, and both are one random sample of it.
Estimates for each part by itself, with a weight of the verdicts for each, are shorter and cover too rarely: with eight
to forty labels a part .87 to .95, where weighed labels cover .94 to .98 (simulated).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean

import numpy as np

from harness.autorater.estimates import TestSample, matched
from harness.core.judging import Label, latest
from harness.core.licences import JudgeCard
from harness.core.records import SampleRow
from harness.core.specs import JUDGE_PREFIX
from harness.stats.allocation import label_spreads, score_parts
from harness.stats.ppi import LEAST_LABELS


@dataclass(frozen=True, slots=True)
class Spreads:
    """By part, the spread of what verdicts leave unexplained in people's labels, and of how many labels.

    Empty where there are too few to tell.
    """

    by_part: Mapping[str, float] = field(default_factory=dict)
    n_labels: int = 0


def judge_for(cards: Sequence[JudgeCard], criterion: str) -> JudgeCard | None:
    """The judge of a run that rates by this criterion, a calibrated one before others; None without any."""
    own = [card for card in cards if card.criterion == criterion]
    return next((card for card in own if card.maps), own[0] if own else None)


def verdicts(rows: Iterable[SampleRow], judge: str, sides: tuple[str, str]) -> dict[str, tuple[float, float]]:
    """Sample id -> what the judge said of both sides' answers, for every sample on which it said something of both."""
    found = {}
    for row in rows:
        scores = [row.scores.get(side, {}).get(JUDGE_PREFIX + judge) for side in sides]
        one, other = (math.nan if score is None else score for score in scores)
        if math.isfinite(one + other):
            found[row.id] = (one, other)
    return found


def win_score(said: tuple[float, float]) -> float:
    """What a judge of single answers says of the two beside each other, in [0, 1]."""
    return 0.5 + (said[0] - said[1]) / 2


def parted(samples: Sequence[TestSample], said: Mapping[str, tuple[float, float]], *, pairs: bool) -> list[TestSample]:
    """The samples with their parts: by the mean verdict on both sides; of pairs, by which side looks better."""
    score = win_score if pairs else fmean
    scores = [score(said[sample.id]) if sample.id in said else None for sample in samples]
    return [replace(sample, stratum=part) for sample, part in zip(samples, score_parts(scores), strict=True)]


def weighed(labels: Sequence[Label], samples: Sequence[TestSample], sides: tuple[str, str]) -> list[Label]:
    """The labels with the chance that their part really had to get one.

    Of fewer than LEAST_LABELS labelled samples each keeps the chance it was drawn with: all those are in proportion.
    """
    gaps = _gaps(labels, samples, sides)
    if len(gaps) < LEAST_LABELS:
        return list(labels)
    sizes = Counter(sample.stratum for sample in samples)
    done = Counter(sample.stratum for sample in samples if sample.id in gaps)
    found = []
    for label, sample in matched(labels, samples, sides):
        known = sample is not None and sample.stratum in done
        part = sample.stratum if sample is not None else ""
        found.append(replace(label, probability=done[part] / sizes[part]) if known else label)
    return found


def spreads(labels: Sequence[Label], samples: Sequence[TestSample], sides: tuple[str, str]) -> Spreads:
    """How far people's differences of both sides stray from what the judge's differences lead to expect."""
    labels = latest(labels)
    gaps = _gaps(labels, samples, sides)
    parts = {sample.id: sample.stratum for sample in samples if sample.id in gaps}
    if len(gaps) < LEAST_LABELS or len({sample.stratum for sample in samples}) < 2:
        return Spreads()
    human_n = np.array([gaps[name] for name in parts])
    judged_n = np.array([0.0 if s.scores is None else s.scores[0] - s.scores[1] for s in samples if s.id in gaps])
    centred_n = judged_n - judged_n.mean()
    squares = float(centred_n @ centred_n)
    lam = max(0.0, float(centred_n @ human_n) / squares) if squares > 0 else 0.0
    n_labels = sum(sample is not None and sample.id in gaps for _, sample in matched(labels, samples, sides))
    return Spreads(label_spreads(human_n - lam * judged_n, list(parts.values())), n_labels)


def _gaps(labels: Sequence[Label], samples: Sequence[TestSample], sides: tuple[str, str]) -> dict[str, float]:
    """Sample id -> by people, its candidate's score minus its baseline's, for each sample with both, in their order."""
    by_side: dict[str, tuple[list[float], list[float]]] = {}
    for label, sample in matched(latest(labels), samples, sides):
        if sample is None:
            continue
        of_candidate, of_baseline = by_side.setdefault(sample.id, ([], []))
        if label.kind == "pair":
            share = label.score if label.systems[0] == sides[0] else 1 - label.score
            of_candidate.append(share)
            of_baseline.append(1 - share)
            continue
        alike = sample.answers[0] == sample.answers[1]
        if alike or label.systems == sides[:1]:
            of_candidate.append(label.score)
        if alike or label.systems == sides[1:]:
            of_baseline.append(label.score)
    both = {name: scores for name, scores in by_side.items() if all(scores)}
    return {s.id: fmean(both[s.id][0]) - fmean(both[s.id][1]) for s in samples if s.id in both}
