"""What a prediction-powered mean is made of: strata, and in each the error that every item contributes.

An estimate is a line in lambda, and so is its error in each cluster; the variance is the sum of the clusters' squared
errors, whatever the design. Axes: n labelled items, N items with a verdict only, I both, the labelled first.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from harness.core.types import FloatArray, IntArray

Names: TypeAlias = Sequence[Hashable] | None


@dataclass(frozen=True, slots=True)
class Part:
    """A stratum, or all: what is known of its items. chances_n: of being labelled, None where they are equal.

    share: of the stratum in all items. pool: items whose own mean is meant, None for the population's.
    """

    name: Hashable
    share: float
    human_n: FloatArray
    judged_n: FloatArray
    judged_N: FloatArray
    clusters_n: IntArray
    clusters_N: IntArray
    chances_n: FloatArray | None
    pool: float | None

    @property
    def weights_n(self) -> FloatArray:
        """Of the labelled items, adding up to one."""
        inverse_n = np.ones(len(self.human_n)) if self.chances_n is None else 1 / self.chances_n
        return np.asarray(inverse_n / inverse_n.sum())

    @property
    def is_clustered(self) -> bool:
        return count_clusters(self.clusters_n, self.clusters_N) < len(self.human_n) + len(self.judged_N)


@dataclass(frozen=True, slots=True)
class Line:
    """A part's estimate as a line in lambda, human + lam * judge, and what each item adds to the error of either.

    Errors, summed within clusters, squared and summed, are the variance.
    """

    part: Part
    human: float
    judge: float
    human_I: FloatArray
    judge_I: FloatArray

    @property
    def clusters_I(self) -> IntArray:  # noqa: N802
        return np.concatenate([self.part.clusters_n, self.part.clusters_N])


def parts_of(
    human_n: FloatArray,
    judged_n: FloatArray,
    judged_N: FloatArray,
    clusters: tuple[Names, Names],
    strata: tuple[Names, Names],
    probabilities_n: FloatArray | None,
    *,
    pool: int | None,
) -> list[Part]:
    """The strata in the order of their first item; one part named 0 where there are none."""
    human_n, judged_n, judged_N = (np.asarray(each, dtype=np.float64) for each in (human_n, judged_n, judged_N))
    n, m = len(human_n), len(human_n) + len(judged_N)
    _refuse(human_n, judged_n, judged_N, probabilities_n, pool)
    clusters_I, _ = _joined(clusters, n, m, np.arange(m))
    strata_I, names = _joined(strata, n, m, np.zeros(m, dtype=np.int64))
    parts = []
    for number, name in enumerate(names):
        in_n, in_N = strata_I[:n] == number, strata_I[n:] == number
        share = float(in_n.sum() + in_N.sum()) / m
        parts.append(
            Part(
                name=name,
                share=share,
                human_n=human_n[in_n],
                judged_n=judged_n[in_n],
                judged_N=judged_N[in_N],
                clusters_n=clusters_I[:n][in_n],
                clusters_N=clusters_I[n:][in_N],
                chances_n=None if probabilities_n is None else probabilities_n[in_n],
                pool=None if pool is None else pool * share,
            )
        )
    return parts


def _refuse(
    human_n: FloatArray,
    judged_n: FloatArray,
    judged_N: FloatArray,
    probabilities_n: FloatArray | None,
    pool: int | None,
) -> None:
    m = len(human_n) + len(judged_N)
    if len(human_n) != len(judged_n):
        raise ValueError(f"{len(human_n)} labels beside {len(judged_n)} verdicts on the same items")
    if not all(np.isfinite(each).all() for each in (human_n, judged_n, judged_N)):
        raise ValueError("a label or a verdict is not a finite number")
    if probabilities_n is not None and not np.all((probabilities_n > 0) & (probabilities_n <= 1)):
        raise ValueError("an inclusion probability is not in (0, 1]")
    if pool is not None and (pool < m or (len(judged_N) > 0 and pool != m)):
        raise ValueError(f"a pool of {pool} needs a label or a verdict for each item, not {m}")


def _joined(names: tuple[Names, Names], n: int, m: int, default_I: IntArray) -> tuple[IntArray, list[Hashable]]:
    """Numbers (I,) of the names of both sides, and the names."""
    labelled, judged = names
    if labelled is None and judged is None:
        return default_I, [0]
    if labelled is None or judged is None or (len(labelled), len(judged)) != (n, m - n):
        raise ValueError(f"clusters and strata need a name for each of {n} labelled and {m - n} judged items")
    return numbers_of([*labelled, *judged])


def numbers_of(names: Sequence[Hashable]) -> tuple[IntArray, list[Hashable]]:
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], dtype=np.int64), list(numbers)


def line_of(part: Part, *, large_sample: bool) -> Line:
    weights_n, n_judged = part.weights_n, len(part.judged_N)
    human, at_labels = float(weights_n @ part.human_n), float(weights_n @ part.judged_n)
    human_I = np.concatenate([weights_n * (part.human_n - human), np.zeros(n_judged)])
    if n_judged == 0:
        judge, judge_I = 0.0, np.zeros(len(human_I))
    else:
        judge, judge_I = _judge_terms(part, at_labels)
    if part.pool is not None:
        unseen_n = np.sqrt(1 - pool_chances(part))
        human_I[: len(unseen_n)] *= unseen_n
        judge_I[: len(unseen_n)] *= unseen_n
    scale_I = np.ones(len(human_I)) if large_sample else _small_sample_scale(part)
    return Line(part, human, judge, human_I * scale_I, judge_I * scale_I)


def _judge_terms(part: Part, at_labels: float) -> tuple[float, FloatArray]:
    """The judge's mean on the others minus that on the labelled items, and what each item adds to its error.

    Where labels were drawn with unequal chances the items without one are no random sample, and all items take
    their place. Of a finite pool, all its verdicts are known: only the regression on them, from the labels, errs.
    """
    judged_I = np.concatenate([part.judged_n, part.judged_N])
    n, m = len(part.judged_n), len(judged_I)
    others_I = np.full(m, 1 / m)
    if part.chances_n is None:
        others_I = np.repeat([0.0, 1 / (m - n)], [n, m - n])
    at_others = float(others_I @ judged_I)
    labelled_I = np.concatenate([part.weights_n * (part.judged_n - at_labels), np.zeros(m - n)])
    if part.pool is None:
        return at_others - at_labels, others_I * (judged_I - at_others) - labelled_I
    stretch = m / (m - n) if part.chances_n is None else 1.0
    return at_others - at_labels, -stretch * labelled_I


def pool_chances(part: Part) -> FloatArray:
    """Chance of each labelled item of a finite pool, adding up as the labels do that there are.

    A sheet of which a part was labelled leaves the chances in proportion, and all too high.
    """
    assert part.pool is not None
    chances_n = np.ones(len(part.human_n)) if part.chances_n is None else part.chances_n
    return np.minimum(1.0, chances_n * float((1 / chances_n).sum()) / part.pool)


def _small_sample_scale(part: Part) -> FloatArray:
    """Root of G / (G - 1) for the labelled clusters, and for the others."""
    n_units, n_others = count_clusters(part.clusters_n), count_clusters(part.clusters_N)
    if n_units < 2:
        where = "" if part.name == 0 else f" of stratum {part.name!r}"
        raise ValueError(f"{n_units} labelled item or cluster{where} is too few for an interval")
    of_others = n_others / (n_others - 1) if n_others > 1 else 1.0
    squares_I = np.repeat([n_units / (n_units - 1), of_others], [len(part.human_n), len(part.judged_N)])
    return np.asarray(np.sqrt(squares_I))


def weight_of(line: Line, given: float | Mapping[Hashable, float] | None, *, clip: bool) -> float:
    """The weight of the verdicts that makes the variance least, within the limits of `mean`."""
    if given is not None:
        return float(given[line.part.name] if isinstance(given, Mapping) else given)
    is_simple = line.part.chances_n is None and not line.part.is_clustered
    lam = max(0.0, _simple_lam(line.part) if is_simple else _least_squares_lam(line))
    return min(1.0, lam) if clip else lam


def _simple_lam(part: Part) -> float:
    """PPI++, eq. of the optimal lambda for a mean: cov_n(human, judged) / ((1 + n / N) var_{n+N}(judged))."""
    judged_I = np.concatenate([part.judged_n, part.judged_N])
    n, n_judged = len(part.judged_n), len(part.judged_N)
    if n_judged == 0 or np.ptp(judged_I) == 0:
        return 0.0
    covariance = float((part.human_n - part.human_n.mean()) @ (part.judged_n - part.judged_n.mean())) / n
    return covariance / ((1 + n / n_judged) * float(judged_I.var(ddof=1)))


def _least_squares_lam(line: Line) -> float:
    """Where the sum of squares of the clusters' errors is least: exact for any design."""
    human_G, judge_G = cluster_sums(line.human_I, line.clusters_I), cluster_sums(line.judge_I, line.clusters_I)
    squares = float(judge_G @ judge_G)
    return -float(human_G @ judge_G) / squares if squares > 0 else 0.0


def count_clusters(*clusters: IntArray) -> int:
    return int(np.count_nonzero(np.bincount(np.concatenate(clusters))))


def cluster_sums(terms_I: FloatArray, clusters_I: IntArray) -> FloatArray:
    return np.asarray(np.bincount(clusters_I, weights=terms_I), dtype=np.float64)
