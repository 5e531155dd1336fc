"""Could the judge take an annotator's place? And what the mean of several annotators is worth.

Axes: N items.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from harness.core.types import FloatArray
from harness.stats.resampling import cluster_totals

Scoring = Literal["accuracy", "rmse"]

LEAST_ANNOTATORS = 3
LEAST_ITEMS = 30  # of an annotator; the t test leans on the central limit theorem
_RATE = 0.05  # of false discoveries
_SAME = 1e-9


@dataclass(frozen=True, slots=True)
class AltTest:
    """The alternative annotator test of a judge.

    winning_rate: share of annotators whom the judge could replace; None where too few could be tested.
    advantage_probability: mean chance that the judge agrees with the others at least as well as the annotator does.
    p_values: by annotator, before correction. passed: winning_rate is .5 or more. why: of no result, the reason.
    """

    winning_rate: float | None
    advantage_probability: float | None
    n_annotators: int
    passed: bool
    p_values: Mapping[str, float]
    epsilon: float
    why: str = ""


def alt_test(
    ratings: Sequence[Mapping[str, float]],
    judge_N: FloatArray,
    epsilon: float = 0.2,
    *,
    scoring: Scoring = "accuracy",
    clusters: Sequence[str] | None = None,
) -> AltTest:
    """Calderon, Reichart and Dror 2025 (ACL, "The Alternative Annotator Test"), with the t test on whole prompts.

    ratings: annotator -> score, of each item. For each annotator, judge and annotator are held against all others of
    the item; the judge must win at least as often as the annotator, but for epsilon: what a person costs more than a
    judge (.2 for experts, .15 for trained annotators, .1 for a crowd). Benjamini and Yekutieli correct for testing
    several annotators. An item without a verdict (nan) is one that the judge loses, unless the annotator agrees with
    nobody either.
    accuracy: share of the others with the same score. rmse: minus the root mean squared distance to them.
    It takes three annotators with thirty items each that another has rated too.
    """
    if clusters is not None and len(clusters) != len(ratings):
        raise ValueError(f"{len(clusters)} clusters for {len(ratings)} items")
    names = sorted({annotator for of_item in ratings for annotator in of_item})
    contests = {name: _contest(name, ratings, judge_N, scoring) for name in names}
    tested = {name: contest for name, contest in contests.items() if len(contest.items) >= LEAST_ITEMS}
    if len(tested) < LEAST_ANNOTATORS:
        why = f"{len(tested)} annotators share {LEAST_ITEMS} items or more with others; it takes {LEAST_ANNOTATORS}"
        return AltTest(None, None, len(tested), False, {}, epsilon, why)
    p_values = {name: _p_value(contest, epsilon, clusters) for name, contest in tested.items()}
    rejected = stats.false_discovery_control(list(p_values.values()), method="by") <= _RATE
    winning_rate = float(np.mean(rejected))
    advantage = float(np.mean([contest.judge_wins.mean() for contest in tested.values()]))
    return AltTest(winning_rate, advantage, len(tested), winning_rate >= 0.5, p_values, epsilon)


@dataclass(frozen=True, slots=True)
class _Contest:
    """Of one annotator's items that others rated too: who agreed with the others at least as well, as 0 and 1."""

    items: tuple[int, ...]
    judge_wins: FloatArray
    annotator_wins: FloatArray


def _contest(name: str, ratings: Sequence[Mapping[str, float]], judge_N: FloatArray, scoring: Scoring) -> _Contest:
    items = tuple(i for i, of_item in enumerate(ratings) if name in of_item and len(of_item) > 1)
    judged, own = np.zeros(len(items)), np.zeros(len(items))
    for row, i in enumerate(items):
        others = np.array([score for annotator, score in ratings[i].items() if annotator != name])
        judged[row] = _nearness(float(judge_N[i]), others, scoring)
        own[row] = _nearness(ratings[i][name], others, scoring)
    return _Contest(items, (judged >= own - _SAME).astype(np.float64), (own >= judged - _SAME).astype(np.float64))


def _nearness(score: float, others: FloatArray, scoring: Scoring) -> float:
    if np.isnan(score):
        return 0.0 if scoring == "accuracy" else -np.inf
    if scoring == "accuracy":
        return float(np.mean(np.abs(others - score) < _SAME))
    return -float(np.sqrt(np.mean((others - score) ** 2)))


def _p_value(contest: _Contest, epsilon: float, clusters: Sequence[str] | None) -> float:
    """One-sided, of the annotator winning more often than the judge by epsilon or more; t on the prompts' sums."""
    leads_N = contest.annotator_wins - contest.judge_wins - epsilon
    names = None if clusters is None else [clusters[i] for i in contest.items]
    mean = float(leads_N.mean())
    off_G = cluster_totals((leads_N - mean)[:, None], names)[:, 0]
    n_clusters = len(off_G)
    if n_clusters < 2:
        return 1.0
    error = float(np.sqrt(off_G @ off_G * n_clusters / (n_clusters - 1))) / len(leads_N)
    if error < _SAME:
        return 0.0 if mean < 0 else 1.0
    return float(stats.t.cdf(mean / error, n_clusters - 1))


def majority(scores: Sequence[float]) -> float:
    """The score that most gave; of several such, the one nearest to the mean of all, and the lower of two as near.

    >>> majority([1.0, 1.0, 0.0]), majority([1.0, 0.5, 0.0])
    (1.0, 0.5)
    """
    counts = Counter(scores)
    mean, most = sum(scores) / len(scores), max(counts.values())
    return min(
        (score for score, count in counts.items() if count == most), key=lambda score: (abs(score - mean), score)
    )


def spearman_brown(reliability: float, n_raters: float) -> float:
    """Reliability of the mean of n raters, from that of one. Spearman 1910, Brown 1910.

    Its square root is the most that any judge can correlate with such a mean.

    >>> round(spearman_brown(0.5, 3), 4)
    0.75
    """
    return n_raters * reliability / (1 + (n_raters - 1) * reliability)
