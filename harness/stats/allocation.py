"""Which items to label next.

Axes: I items, H strata.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from harness.core.types import FloatArray, IntArray

LEAST_PER_STRATUM = 10
# See `label_spreads`.
_PRIOR_LABELS = 5
Stratum = TypeVar("Stratum", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Drawn:
    """Items to label, by their index, a stratum after the other, each with the chance that it had to be drawn."""

    indices: IntArray
    probabilities: FloatArray


def score_strata(scores_I: FloatArray, *, n_strata: int = 5, least: int = 1) -> IntArray:
    """Stratum (I,) of each item by quantiles of the judge's score, equal scores together, numbered from 0 upwards.

    As many strata as there can be up to n_strata, with `least` items in each.

    >>> score_strata(np.array([0.1, 0.9, 0.5, 0.5]), n_strata=2).tolist()
    [0, 1, 0, 0]
    """
    if len(scores_I) == 0 or not np.isfinite(scores_I).all():
        raise ValueError("strata need a finite score for each item, and one item at least")
    for n in range(n_strata, 1, -1):
        strata_I = _quantile_strata(scores_I, n)
        if np.bincount(strata_I).min() >= least:
            return strata_I
    return np.zeros(len(scores_I), dtype=np.int64)


def _quantile_strata(scores_I: FloatArray, n_strata: int) -> IntArray:
    cuts = np.quantile(scores_I, np.arange(1, n_strata) / n_strata, method="inverted_cdf")
    found_I = np.searchsorted(np.unique(cuts), scores_I, side="left")
    return np.unique(found_I, return_inverse=True)[1].astype(np.int64)


def score_parts(scores: Sequence[float | None]) -> tuple[str, ...]:
    """What the stratum of each item is called; all "" where its score parts nothing.

    Labels are drawn and estimates made by the same parts: nothing but the scores decides them. An item without a score
    stands at the mean of the others.

    >>> sorted(set(score_parts([*range(20), None])))
    ["part 1 of 2 by the judge's score", "part 2 of 2 by the judge's score"]
    """
    found = [score for score in scores if score is not None]
    if not found:
        return ("",) * len(scores)
    mean = math.fsum(found) / len(found)
    filled_I = np.array([mean if score is None else score for score in scores], dtype=np.float64)
    strata_I = score_strata(filled_I, least=LEAST_PER_STRATUM)
    n = int(strata_I.max()) + 1
    return tuple(f"part {stratum + 1} of {n} by the judge's score" if n > 1 else "" for stratum in strata_I.tolist())


def proportional(sizes: Mapping[Stratum, int], n: int, *, least: int = LEAST_PER_STRATUM) -> dict[Stratum, int]:
    """A first batch of n labels over strata by their sizes, `least` in each where n and its size allow.

    >>> proportional({"low": 900, "high": 100}, 50)
    {'low': 40, 'high': 10}
    """
    return _allocate({name: float(size) for name, size in sizes.items()}, sizes, n, least=least)


def label_spreads(
    errors_n: FloatArray, strata_n: Sequence[Stratum], *, prior: Mapping[Stratum, float] | None = None
) -> dict[Stratum, float]:
    """Spread of what verdicts leave unexplained (human - lambda * judged), by stratum, from a first batch.

    As if five more labels had shown the prior's variance, by default that of all labels within their strata. An
    allocation by the bare spreads of ten labels gives least to the strata that happened to look calm, and intervals
    then cover .84 to .89 (simulated).
    """
    by_stratum: dict[Stratum, list[float]] = {}
    for error, stratum in zip(errors_n.tolist(), strata_n, strict=True):
        by_stratum.setdefault(stratum, []).append(error)
    squares = {name: float(((np.array(each) - np.mean(each)) ** 2).sum()) for name, each in by_stratum.items()}
    pooled = sum(squares.values()) / max(1, len(errors_n) - len(squares))
    return {
        name: math.sqrt(
            (squares[name] + _PRIOR_LABELS * (pooled if prior is None else prior[name] ** 2))
            / (len(each) - 1 + _PRIOR_LABELS)
        )
        for name, each in by_stratum.items()
    }


def neyman(
    sizes: Mapping[Stratum, int],
    spreads: Mapping[Stratum, float],
    labelled: Mapping[Stratum, int],
    n: int,
) -> dict[Stratum, int]:
    """A second batch of n labels, so that both together come as near as can be to size times spread.

    spreads: of each stratum, from `label_spreads`; labelled: the first batch. Neyman 1934.

    >>> neyman({"sure": 500, "unsure": 500}, {"sure": 0.1, "unsure": 0.4}, {"sure": 10, "unsure": 10}, 30)
    {'sure': 0, 'unsure': 30}
    """
    if n == 0:
        return dict.fromkeys(sizes, 0)
    total = sum(size * spreads[name] for name, size in sizes.items())
    wanted = {name: size * spreads[name] if total > 0 else float(size) for name, size in sizes.items()}
    short = _shortfalls(wanted, labelled, n)
    room = {name: size - labelled.get(name, 0) for name, size in sizes.items()}
    return _allocate({name: short.get(name, 0.0) for name in sizes}, room, n, least=0)


def _shortfalls(wanted: Mapping[Stratum, float], labelled: Mapping[Stratum, int], n: int) -> dict[Stratum, float]:
    """Labels that each stratum lacks. What one has beyond its share cannot be taken back: the others share the rest."""
    names = list(wanted)
    while True:
        scale = (n + sum(labelled.get(name, 0) for name in names)) / sum(wanted[name] for name in names)
        short = {name: wanted[name] * scale - labelled.get(name, 0) for name in names}
        kept = [name for name in names if short[name] >= 0]
        if len(kept) == len(names):
            return short
        names = kept


def _allocate(
    wanted: Mapping[Stratum, float], room: Mapping[Stratum, int], n: int, *, least: int
) -> dict[Stratum, int]:
    """n labels, or all there is room for, in whole numbers near the wanted proportions (Sainte-Lague 1910)."""
    counts = {name: min(least, room[name], n // max(1, len(wanted))) for name in wanted}
    for _ in range(min(n, sum(room.values())) - sum(counts.values())):
        free = [name for name in wanted if counts[name] < room[name]]
        counts[max(free, key=lambda name: wanted[name] / (2 * counts[name] + 1))] += 1
    return counts


def draw(
    strata_I: Sequence[Stratum],
    counts: Mapping[Stratum, int],
    rng: np.random.Generator,
    *,
    labelled_I: Sequence[bool] | None = None,
) -> Drawn:
    """Items drawn without repeats, `counts` from each stratum, with their chances (labels over items there).

    A larger count takes what a smaller one takes, and more. labelled_I: items that a batch before this one took, and
    this one leaves alone. A chance is that of this batch alone, seen from before the first one: a stratum's items are
    all alike to both.
    """
    taken_I = np.zeros(len(strata_I), dtype=bool) if labelled_I is None else np.asarray(labelled_I, dtype=bool)
    chosen: list[tuple[int, float]] = []
    for name, count in counts.items():
        in_I = np.array([stratum == name for stratum in strata_I], dtype=bool)
        members = np.flatnonzero(in_I & ~taken_I)
        if count > len(members):
            raise ValueError(f"stratum {name!r} has {len(members)} items, and {count} are wanted")
        chosen += [(int(index), count / int(in_I.sum())) for index in rng.permutation(members)[:count]]
    return Drawn(
        indices=np.array([index for index, _ in chosen], dtype=np.int64),
        probabilities=np.array([chance for _, chance in chosen], dtype=np.float64),
    )
