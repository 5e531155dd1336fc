"""How far a judge agrees with people, and people with each other: the same figures for both.

Axes: N items, P pairs of raters. Scores in [0, 1]; clusters are prompts, and every interval resamples whole prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from harness.core.judging import LabelKind
from harness.core.licences import Figure
from harness.core.types import FloatArray, IntArray
from harness.stats import raters
from harness.stats.raters import Formula, Measure
from harness.stats.resampling import cluster_ids

_ROUNDING = 1e-9  # means of thirds and fifths miss their level by this much
# Names of figures on levels -> formula of the table, and the worst that it can be.
_ON_LEVELS: Mapping[str, tuple[Callable[[FloatArray], FloatArray], float]] = {
    "accuracy": (raters.accuracy, 0.0),
    "balanced_accuracy": (raters.balanced_accuracy, 0.0),
    "weighted_f1": (raters.weighted_f1, 0.0),
    "kappa": (raters.kappa, -1.0),
    "weighted_kappa": (raters.weighted_kappa, -1.0),
    "alpha": (raters.nominal_alpha, -1.0),
}
_LEVELS_OF_KIND: Mapping[LabelKind, tuple[str, ...]] = {
    "pass_fail": ("accuracy", "balanced_accuracy", "weighted_f1", "kappa", "alpha"),
    "likert": ("accuracy", "balanced_accuracy", "weighted_f1", "kappa", "weighted_kappa"),
    "pair": ("accuracy", "balanced_accuracy", "weighted_f1", "kappa", "weighted_kappa", "alpha"),
}


def level_names(label_kind: LabelKind, scale: int) -> tuple[str, ...]:
    """The levels of a kind of label in words, from score 0 to score 1."""
    if label_kind == "likert":
        return tuple(str(value) for value in range(1, scale + 1))
    return ("fail", "pass") if label_kind == "pass_fail" else ("second", "tie", "first")


def levels(scores_N: FloatArray, n_levels: int) -> IntArray:
    """The nearest of some equally spaced levels in [0, 1]; halfway goes outwards, and exactly .5 of two levels is 0.

    Outwards, because then swapping the answers of a pair, or turning a scale round, turns the levels round.

    >>> levels(np.array([0.0, 0.25, 0.5, 0.75, 1.0]), 3).tolist()
    [0, 0, 1, 2, 2]
    """
    steps = n_levels - 1
    from_middle_N = scores_N - 0.5
    away_N = np.abs(from_middle_N) * steps + _ROUNDING
    nearest_N = np.floor(away_N + 0.5) if steps % 2 == 0 else np.floor(away_N) + 0.5
    signs_N = np.where(from_middle_N > _ROUNDING, 1, -1)
    found_N: IntArray = np.rint(steps / 2 + signs_N * np.minimum(nearest_N, steps / 2)).astype(np.int64)
    return found_N


def judged_levels(human_N: FloatArray, judge_N: FloatArray, label_kind: LabelKind, scale: int) -> IntArray:
    """What a judge's scores say in the levels of the labels.

    Of pairs, a score within a band round .5 is a tie: the widest band that gives the judge no more ties than people
    have, because a score of .6 may mean "first" or "cannot tell". Exactly .5 always is one.
    """
    if label_kind != "pair":
        return levels(judge_N, len(level_names(label_kind, scale)))
    ties = float(np.mean(levels(human_N, 3) == 1)) if len(human_N) else 0.0
    away_N = np.abs(judge_N - 0.5)
    widths_U, counts_U = np.unique(np.round(away_N, 12), return_counts=True)
    allowed_U = widths_U[counts_U.cumsum() <= ties * len(judge_N) + _ROUNDING]
    band = max(float(allowed_U[-1]) if len(allowed_U) else 0.0, 0.0)
    return np.where(away_N <= band + _ROUNDING, 1, np.where(judge_N > 0.5, 2, 0)).astype(np.int64)


def confusion(
    human_N: FloatArray, judge_N: FloatArray, label_kind: LabelKind, scale: int
) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """The levels, lowest first, and how often people (rows) and the judge (columns) said each."""
    names = level_names(label_kind, scale)
    counts_CC = np.zeros((len(names), len(names)), dtype=np.int64)
    rows_N = levels(human_N, len(names))
    np.add.at(counts_CC, (rows_N, judged_levels(human_N, judge_N, label_kind, scale)), 1)
    return names, tuple(tuple(int(count) for count in row) for row in counts_CC)


def agreement(
    human_N: FloatArray,
    judge_N: FloatArray,
    clusters: Sequence[str],
    *,
    label_kind: LabelKind,
    scale: int = 5,
    n_resamples: int,
    rng: np.random.Generator,
    systems: Sequence[str] | None = None,
) -> tuple[Figure, ...]:
    """Every figure of agreement that fits the kind of label, each with its interval.

    On levels: accuracy, balanced_accuracy and weighted_f1 as scikit-learn and Google's judge evaluation have them,
    kappa, weighted_kappa (squared distances), alpha (Krippendorff's: nominal; of Likert labels on the scores
    themselves, distances squared), of pairs accuracy_without_ties (where people see no tie; a judge's tie counts half).
    On scores: spearman, kendall (tau-b), pearson; with `systems` also pearson_within_system, the systems' means taken
    off both sides.
    ValueError for a score that is not a finite number: leave such items out, and count them.
    """
    _must_be_finite(human_N, judge_N)
    ids_N, n_clusters = cluster_ids(len(human_N), clusters)
    if not len(human_N):
        return ()
    sides = _Sides(human_N, judge_N, tuple(clusters), None if systems is None else tuple(systems))
    measures = [*_level_measures(sides, label_kind, scale), *_score_measures(sides)]
    return raters.figures(measures, ids_N, n_clusters, n_resamples=n_resamples, rng=rng)


@dataclass(frozen=True, slots=True)
class _Sides:
    """Two raters' scores of the same items."""

    human: FloatArray
    judge: FloatArray
    clusters: tuple[str, ...]
    systems: tuple[str, ...] | None


def _level_measures(sides: _Sides, label_kind: LabelKind, scale: int) -> list[Measure]:
    n_levels = len(level_names(label_kind, scale))
    rows_N = levels(sides.human, n_levels)
    columns_N = judged_levels(sides.human, sides.judge, label_kind, scale)
    found = [
        Measure(name, raters.counted(of_counts, rows_N, columns_N, n_levels, sides.clusters), worst)
        for name, (of_counts, worst) in ((name, _ON_LEVELS[name]) for name in _LEVELS_OF_KIND[label_kind])
    ]
    if label_kind == "likert":
        both = list(zip(sides.human.tolist(), sides.judge.tolist(), strict=True))
        found.append(Measure("alpha", raters.interval_alpha(both, sides.clusters), -1.0, "distances squared"))
    if label_kind == "pair":
        found.append(_without_ties(rows_N, columns_N, sides.clusters))
    return found


def _without_ties(rows_N: IntArray, columns_N: IntArray, clusters: Sequence[str]) -> Measure:
    decided_N = (rows_N != 1).astype(np.float64)
    right_N = decided_N * np.where(columns_N == 1, 0.5, columns_N == rows_N)
    note = f"{int(decided_N.sum())} pairs on which people see no tie; a judge's tie counts half"
    return Measure("accuracy_without_ties", raters.share(right_N, decided_N, clusters), 0.0, note)


def _score_measures(sides: _Sides) -> list[Measure]:
    both = (sides.human, sides.judge, sides.clusters)
    found = [
        Measure("spearman", raters.spearman(*both), -1.0),
        Measure("kendall", raters.kendall(*both), -1.0, "tau-b"),
        Measure("pearson", raters.pearson(*both), -1.0),
    ]
    if sides.systems is not None:
        within = raters.pearson(*both, systems=sides.systems)
        found.append(Measure("pearson_within_system", within, -1.0, "each system's mean taken off both sides"))
    return found


def ceiling(
    ratings: Sequence[Mapping[str, float]],
    clusters: Sequence[str],
    *,
    label_kind: LabelKind,
    scale: int = 5,
    n_resamples: int,
    rng: np.random.Generator,
    judge_N: FloatArray | None = None,
    systems: Sequence[str] | None = None,
) -> tuple[Figure, ...]:
    """How far people agree with each other, and how near a judge comes to that.

    ratings: annotator -> score, of each item; items that fewer than two people rated are left out.
    human_human_accuracy, _kappa and _weighted_kappa: of one annotator with one other, over all pairs that rated an
    item; not with the others' mean, which lies between levels. human_human_pearson, _pearson_within_system and
    _spearman: of one annotator with the mean of the others (leave one out). human_human_alpha: of all raters.
    With judge_N (nan: no verdict) also judge_<name>, the judge put in each annotator's place, so against the same
    people and as many, on the items that it judged; and ceiling_ratio_<name>, judge over people on those items.
    """
    judge_of_N = np.full(len(ratings), np.nan) if judge_N is None else judge_N
    kept = [i for i, of_item in enumerate(ratings) if len(of_item) > 1]
    if judge_N is not None:
        kept = [i for i in kept if np.isfinite(judge_of_N[i])]
    if not kept:
        note = "nobody rated an item that another had rated, so there is no ceiling"
        return (Figure("human_human_alpha", None, None, None, 0, 0, note),)
    asked = _Asked(
        tuple(ratings[i] for i in kept),
        judge_of_N[kept],
        tuple(clusters[i] for i in kept),
        None if systems is None else tuple(systems[i] for i in kept),
    )
    measures = [*_pair_measures(asked, label_kind, scale), *_left_out_measures(asked), _alpha(asked, label_kind, scale)]
    if judge_N is None:
        measures = [measure for measure in measures if measure.name.startswith("human_human")]
    ids_N, n_clusters = cluster_ids(len(kept), asked.clusters)
    return raters.figures(measures, ids_N, n_clusters, n_resamples=n_resamples, rng=rng)


@dataclass(frozen=True, slots=True)
class _Asked:
    """Items with two ratings or more, and the judge's scores of them."""

    ratings: tuple[Mapping[str, float], ...]
    judge: FloatArray
    clusters: tuple[str, ...]
    systems: tuple[str, ...] | None


def _trio(name: str, human: Formula, judge: Formula, worst: float) -> list[Measure]:
    """People with people, the judge with people, and the one over the other."""
    human, judge = raters.remembered(human), raters.remembered(judge)
    return [
        Measure(f"human_human_{name}", human, worst),
        Measure(f"judge_{name}", judge, worst),
        Measure(f"ceiling_ratio_{name}", raters.ratio(judge, human), worst),
    ]


def _pairs(asked: _Asked) -> tuple[IntArray, FloatArray, FloatArray, FloatArray]:
    """Every two different ratings of an item: item (P,), the one, the other, and weight 1 / (number of others)."""
    rows = [
        (i, one, other, 1 / (len(scores) - 1))
        for i, scores in enumerate(list(of_item.values()) for of_item in asked.ratings)
        for a, one in enumerate(scores)
        for b, other in enumerate(scores)
        if a != b
    ]
    table_P4 = np.array(rows, dtype=np.float64)
    return table_P4[:, 0].astype(np.int64), table_P4[:, 1], table_P4[:, 2], table_P4[:, 3]


def _pair_measures(asked: _Asked, label_kind: LabelKind, scale: int) -> list[Measure]:
    names = ["accuracy", "kappa", *(["weighted_kappa"] if label_kind == "likert" else [])]
    n_levels = len(level_names(label_kind, scale))
    items_P, one_P, other_P, weights_P = _pairs(asked)
    clusters = [asked.clusters[i] for i in items_P]
    rows_P, columns_P = levels(one_P, n_levels), levels(other_P, n_levels)
    judge_P = judged_levels(one_P, np.nan_to_num(asked.judge, nan=0.5)[items_P], label_kind, scale)
    found = list[Measure]()
    for name in names:
        of_counts, worst = _ON_LEVELS[name]
        human = raters.counted(of_counts, rows_P, columns_P, n_levels, clusters, weights_P)
        judge = raters.counted(of_counts, rows_P, judge_P, n_levels, clusters, weights_P)
        found += _trio(name, human, judge, worst)
    return found


def _left_out_measures(asked: _Asked) -> list[Measure]:
    """Correlations of each rating with the mean of the others of the item, and of the judge with the same means."""
    rows = [
        (i, one, (sum(of_item.values()) - one) / (len(of_item) - 1))
        for i, of_item in enumerate(asked.ratings)
        for one in of_item.values()
    ]
    items_P, one_P, others_P = np.array(rows, dtype=np.float64).T
    index_P = items_P.astype(np.int64)
    clusters = [asked.clusters[i] for i in index_P]
    judge_P = np.nan_to_num(asked.judge, nan=0.5)[index_P]
    kinds: dict[str, Callable[[FloatArray, FloatArray, Sequence[str]], Formula]] = {
        "pearson": raters.pearson,
        "spearman": raters.spearman,
    }
    if asked.systems is not None:
        systems = [asked.systems[i] for i in index_P]
        kinds["pearson_within_system"] = partial(raters.pearson, systems=systems)
    return [
        measure
        for name, kind in kinds.items()
        for measure in _trio(name, kind(others_P, one_P, clusters), kind(others_P, judge_P, clusters), -1.0)
    ]


def _alpha(asked: _Asked, label_kind: LabelKind, scale: int) -> Measure:
    name, note = "human_human_alpha", f"Krippendorff's, {len({a for each in asked.ratings for a in each})} annotators"
    if label_kind == "likert":
        scores = [list(of_item.values()) for of_item in asked.ratings]
        return Measure(name, raters.interval_alpha(scores, asked.clusters), -1.0, f"{note}, distances squared")
    n_levels = len(level_names(label_kind, scale))
    items_P, one_P, other_P, weights_P = _pairs(asked)
    clusters = [asked.clusters[i] for i in items_P]
    # Both orders of a pair are here, and the formula adds them once more.
    formula = raters.counted(
        raters.nominal_alpha, levels(one_P, n_levels), levels(other_P, n_levels), n_levels, clusters, weights_P / 2
    )
    return Measure(name, formula, -1.0, f"{note}, levels as names")


def _must_be_finite(*sides: FloatArray) -> None:
    if not all(np.isfinite(side).all() for side in sides):
        raise ValueError("a score that is not a finite number: leave such items out before asking for agreement")
