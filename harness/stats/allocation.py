"""Which items to label next, and how many labels a question needs.

Axes: I items, H strata.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from harness.core.types import FloatArray, IntArray

LEAST_PER_STRATUM = 10
# See `label_spreads`.
_PRIOR_LABELS = 5
LADDER = (50, 100, 200, 400, 800)


@dataclass(frozen=True, slots=True)
class Drawn:
    """Items to label, by their index, in a random order, each with the chance that it had to be drawn."""

    indices: IntArray
    probabilities: FloatArray


@dataclass(frozen=True, slots=True)
class PlanRow:
    """What some number of labels can show. detectable: smallest true difference found with the wanted power.

    power: of finding the difference that was asked for. half_width: of the 95 % interval. labels_alone: how many
    labels would do the same with no judge. settles: whether this is the number that the difference asked for needs.
    """

    n_labels: int
    detectable: float
    power: float
    half_width: float
    labels_alone: int
    settles: bool


def score_strata(scores_I: FloatArray, *, n_strata: int = 5) -> IntArray:
    """Stratum (I,) of each item by quantiles of the judge's score, equal scores together, numbered from 0 upwards.

    >>> score_strata(np.array([0.1, 0.9, 0.5, 0.5]), n_strata=2).tolist()
    [0, 1, 0, 0]
    """
    if len(scores_I) == 0 or not np.isfinite(scores_I).all():
        raise ValueError("strata need a finite score for each item, and one item at least")
    cuts = np.quantile(scores_I, np.arange(1, n_strata) / n_strata, method="inverted_cdf")
    found_I = np.searchsorted(np.unique(cuts), scores_I, side="left")
    return np.unique(found_I, return_inverse=True)[1].astype(np.int64)


def proportional(sizes: Mapping[Hashable, int], n: int, *, least: int = LEAST_PER_STRATUM) -> dict[Hashable, int]:
    """A first batch of n labels over strata by their sizes, `least` in each where n and its size allow.

    >>> proportional({"low": 900, "high": 100}, 50)
    {'low': 40, 'high': 10}
    """
    return _allocate({name: float(size) for name, size in sizes.items()}, sizes, n, least=least)


def verdict_spreads(judged_I: FloatArray, strata_I: Sequence[Hashable]) -> dict[Hashable, float]:
    """Spread of pass or fail labels that calibrated verdicts lead to expect in each stratum: sqrt(mean p (1 - p)).

    Known before there is any label, and needs no correction for having been looked at.
    """
    by_stratum: dict[Hashable, list[float]] = {}
    for score, stratum in zip(judged_I.tolist(), strata_I, strict=True):
        by_stratum.setdefault(stratum, []).append(score * (1 - score))
    return {name: math.sqrt(max(0.0, sum(each) / len(each))) for name, each in by_stratum.items()}


def label_spreads(
    errors_n: FloatArray, strata_n: Sequence[Hashable], *, prior: Mapping[Hashable, float] | None = None
) -> dict[Hashable, float]:
    """Spread of what verdicts leave unexplained (human - lambda * judged), by stratum, from a first batch.

    As if five more labels had shown the prior's variance, by default that of all labels within their strata. An
    allocation by the bare spreads of ten labels gives least to the strata that happened to look calm, and intervals
    then cover .84 to .89 (simulated).
    """
    by_stratum: dict[Hashable, list[float]] = {}
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
    sizes: Mapping[Hashable, int],
    spreads: Mapping[Hashable, float],
    labelled: Mapping[Hashable, int],
    n: int,
) -> dict[Hashable, int]:
    """A second batch of n labels, so that both together come as near as can be to size times spread.

    spreads: of each stratum, from `verdict_spreads` or `label_spreads`; labelled: the first batch. Neyman 1934.

    >>> neyman({"sure": 500, "unsure": 500}, {"sure": 0.1, "unsure": 0.4}, {"sure": 10, "unsure": 10}, 30)
    {'sure': 0, 'unsure': 30}
    """
    total = sum(size * spreads[name] for name, size in sizes.items())
    wanted = {name: size * spreads[name] if total > 0 else float(size) for name, size in sizes.items()}
    short = _shortfalls(wanted, labelled, n)
    room = {name: size - labelled.get(name, 0) for name, size in sizes.items()}
    return _allocate({name: short.get(name, 0.0) for name in sizes}, room, n, least=0)


def _shortfalls(wanted: Mapping[Hashable, float], labelled: Mapping[Hashable, int], n: int) -> dict[Hashable, float]:
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
    wanted: Mapping[Hashable, float], room: Mapping[Hashable, int], n: int, *, least: int
) -> dict[Hashable, int]:
    """n labels, or all there is room for, in whole numbers near the wanted proportions (Sainte-Lague 1910)."""
    counts = {name: min(least, room[name], n // max(1, len(wanted))) for name in wanted}
    for _ in range(min(n, sum(room.values())) - sum(counts.values())):
        free = [name for name in wanted if counts[name] < room[name]]
        counts[max(free, key=lambda name: wanted[name] / (2 * counts[name] + 1))] += 1
    return counts


def draw(strata_I: Sequence[Hashable], counts: Mapping[Hashable, int], rng: np.random.Generator) -> Drawn:
    """Items drawn without repeats, `counts` from each stratum, with their chances (labels over items there)."""
    chosen: list[tuple[int, float]] = []
    for name, count in counts.items():
        members = np.flatnonzero([stratum == name for stratum in strata_I])
        if count > len(members):
            raise ValueError(f"stratum {name!r} has {len(members)} items, and {count} are wanted")
        chosen += [(int(index), count / len(members)) for index in rng.choice(members, count, replace=False)]
    order = rng.permutation(len(chosen))
    return Drawn(
        indices=np.array([chosen[i][0] for i in order], dtype=np.int64),
        probabilities=np.array([chosen[i][1] for i in order], dtype=np.float64),
    )


def labels_needed(
    effect: float, *, sd: float, rho: float, n_judged: int, power: float = 0.8, alpha: float = 0.05
) -> int:
    """Labels with which PPI++ finds a mean (difference) of `effect` with the given power, two-sided.

    The least n with n >= (z_{1 - alpha/2} + z_power)^2 sd^2 (1 - rho^2 N / (n + N)) / effect^2, whose right side is
    the variance of PPI++ (Angelopoulos, Duchi and Zrnic 2023) in labels. sd: of one label (difference of labels);
    rho: its correlation with the verdict; n_judged: N, items with a verdict only.

    >>> labels_needed(0.10, sd=0.85, rho=0.6, n_judged=2000)
    397
    """
    if not effect > 0:
        raise ValueError("no number of labels shows a difference of zero or less")
    if not (sd > 0 and -1 <= rho <= 1 and n_judged >= 0):
        raise ValueError("the spread must be positive, the correlation in [-1, 1], the judged items zero or more")
    alone = float(stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power)) ** 2 * sd**2 / effect**2
    # n = alone (1 - rho^2 N / (n + N)) is quadratic in n, with one positive root.
    middle = n_judged - alone
    root = (-middle + math.sqrt(middle**2 + 4 * alone * n_judged * (1 - rho**2))) / 2
    return max(2, math.ceil(root - 1e-9))


def effective_labels(n: int, *, rho: float, n_judged: int) -> float:
    """Labels alone that n labels with verdicts are worth: n / (1 - rho^2 N / (n + N)).

    >>> round(effective_labels(100, rho=0.6, n_judged=2000))
    152
    """
    unexplained = 1 - rho**2 * n_judged / (n + n_judged) if n_judged else 1.0
    return n / unexplained if unexplained > 0 else float(n + n_judged)


def plan(
    effect: float, *, sd: float, rho: float, n_judged: int, power: float = 0.8, ladder: Sequence[int] = LADDER
) -> tuple[PlanRow, ...]:
    """What each number of labels of the ladder can show, and the one that `effect` needs among them, in order."""
    needed = labels_needed(effect, sd=sd, rho=rho, n_judged=n_judged, power=power)
    return tuple(_plan_row(n, effect, sd, rho, n_judged, power, settles=n == needed) for n in sorted({*ladder, needed}))


def _plan_row(n: int, effect: float, sd: float, rho: float, n_judged: int, power: float, *, settles: bool) -> PlanRow:
    worth = effective_labels(n, rho=rho, n_judged=n_judged)
    error = sd / math.sqrt(worth)
    z = float(stats.norm.ppf(0.975))
    return PlanRow(
        n_labels=n,
        detectable=(z + float(stats.norm.ppf(power))) * error,
        power=float(stats.norm.sf(z - effect / error) + stats.norm.cdf(-z - effect / error)),
        half_width=z * error,
        labels_alone=math.ceil(worth - 1e-9),
        settles=settles,
    )


def labels_for_equivalence(delta: float, *, sd: float, difference: float = 0.0, power: float = 0.8) -> int | None:
    """Labels (pairs) after which a 90 % interval lies inside +-delta with the given power; None where it never will.

    sd: of one pair's difference of errors, human against judge. Two one-sided tests at 5 %, normal approximation
    (Chow, Shao, Wang and Lokhnygina 2017, section 3.2; exact in the limit at a difference of zero).

    >>> labels_for_equivalence(0.1, sd=0.3)
    78
    """
    room = delta - abs(difference)
    if room <= 0:
        return None
    # At a difference of zero either end may fail, and each may do so half as often.
    quantile = stats.norm.ppf((1 + power) / 2) if difference == 0 else stats.norm.ppf(power)
    return max(2, math.ceil((float(stats.norm.ppf(0.95) + quantile) * sd / room) ** 2))


def labels_to_settle(value: float, half_width: float, n: int, threshold: float) -> int | None:
    """Labels in all after which an interval that is now `half_width` either way leaves out the threshold.

    Widths shrink with the root of n. For a kappa, a correlation, a difference to a control. None where value and
    threshold are one and the same.

    >>> labels_to_settle(0.5, 0.16, 100, 0.4)
    256
    """
    distance = abs(value - threshold)
    return max(n, math.ceil(n * (half_width / distance) ** 2 - 1e-9)) if distance > 0 else None
