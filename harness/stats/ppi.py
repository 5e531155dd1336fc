"""Means of people's scores from few labels and many verdicts: prediction-powered inference (PPI++).

The verdicts' mean, weighted by lambda, moves with the whole sample; the labels take its bias out again:
lam * mean_N(judged) + mean_n(human - lam * judged). Angelopoulos, Duchi and Zrnic 2023 (arXiv:2311.01453); in strata
Fisch et al. 2024 (arXiv:2406.04291). Unbiased whatever the judge is worth, provided that the labelled items were drawn
at random from the items that the claim is about, and that no label which fitted the judge is among them (unless the
score beside it came out of a fold without it).

Axes: n labelled items, N items with a verdict only, I both, the labelled first; G clusters, H strata.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy import special

from harness.core.types import FloatArray, IntArray
from harness.stats.paired import mcnemar_mid_p
from harness.stats.ppi_terms import (
    Line,
    Names,
    Part,
    cluster_sums,
    count_clusters,
    line_of,
    numbers_of,
    parts_of,
    pool_chances,
    weight_of,
)

# Below these the interval of a correction covers too rarely, and the labels speak alone (simulated; see the tests).
LEAST_LABELS = 30
LEAST_OF_RARER = 3
_PRIOR_LABELS = 2
LABELS_ALONE = "labels alone"
ONE_MORE = ", with one imagined label added at each end of the scale"


@dataclass(frozen=True, slots=True)
class PPI:
    """An estimated mean with its interval, and what the verdicts added to it.

    se: standard error. lam: weight of the verdicts, over strata by their shares; lams: of each stratum. rho:
    correlation of labels and verdicts, None where either is constant. effective_labels: how many labels alone,
    drawn at random and clustered as these are, would have this standard error. n, N: items with a label, and with a
    verdict only; n_clusters: of the labelled ones. p: two-sided, of a mean of zero. df: infinite where normal
    quantiles were used.
    """

    value: float
    low: float
    high: float
    se: float
    lam: float
    rho: float | None
    effective_labels: float
    n: int
    N: int
    n_clusters: int
    method: str
    p: float
    df: float
    lams: Mapping[Hashable, float] = field(default_factory=dict)


def mean(
    human_n: FloatArray,
    judged_n: FloatArray,
    judged_N: FloatArray,
    *,
    clusters_n: Names = None,
    clusters_N: Names = None,
    strata_n: Names = None,
    strata_N: Names = None,
    probabilities_n: FloatArray | None = None,
    pool: int | None = None,
    bounds: tuple[float, float] | None = None,
    lam: float | Mapping[Hashable, float] | None = None,
    clip: bool = False,
    large_sample: bool = False,
    level: float = 0.95,
) -> PPI:
    """The mean of people's scores over all items, of which n have a label and all have a verdict.

    For a paired difference give differences, one a prompt. judged_N: of the items without a label.
    clusters: names of prompts; a labelled and an unlabelled item may share one. Variances are then of cluster sums,
    with t quantiles of the labelled clusters. strata: each is estimated by itself, lambda too, and weighed by its
    share of the items. probabilities_n: chance with which each labelled item was drawn (Hajek's weighted mean).
    pool: size of a finite set, the test set, whose own mean is meant; None: the population it was drawn from.
    bounds: the range of a score; the interval is kept within it, and is defined where all labels are equal.
    lam: fixed, or by stratum; None: what makes the variance least, never below zero: a judge that people contradict
    gets no say. clip: at most 1. large_sample: normal quantiles and no correction for n, as ppi-python has it.

    With fewer than LEAST_LABELS labels, or fewer than LEAST_OF_RARER that differ from the most frequent one, or
    verdicts that are all the same, the labels speak alone unless `lam` is given. ValueError: fewer than two labels
    or labelled clusters (in a stratum), values that are not finite, lengths that do not match, and equal labels
    without `bounds`.

    >>> rng = np.random.default_rng(1)
    >>> human, noise = rng.random(2100), rng.normal(0, 0.1, 2100)
    >>> found = mean(human[:100], (human + noise)[:100], (human + noise)[100:])
    >>> found.n, found.effective_labels > 500
    (100, True)
    """
    parts = parts_of(
        human_n, judged_n, judged_N, (clusters_n, clusters_N), (strata_n, strata_N), probabilities_n, pool=pool
    )
    rho = _correlation(parts)
    if lam is None and (too_few(human_n, clusters_n) or says_nothing(judged_n, judged_N)):
        alone = labels_only(
            human_n,
            clusters_n=clusters_n,
            probabilities_n=chances(probabilities_n, strata_n, strata_N),
            pool=pool,
            bounds=bounds,
            large_sample=large_sample,
            level=level,
        )
        return replace(alone, rho=rho, N=len(judged_N))
    lines = [line_of(part, large_sample=large_sample) for part in parts]
    lams = {line.part.name: weight_of(line, lam, clip=clip) for line in lines}
    return _combined(lines, lams, rho, bounds=bounds, large_sample=large_sample, level=level)


def labels_only(
    human_n: FloatArray,
    *,
    clusters_n: Names = None,
    probabilities_n: FloatArray | None = None,
    pool: int | None = None,
    bounds: tuple[float, float] | None = None,
    large_sample: bool = False,
    level: float = 0.95,
) -> PPI:
    """The labels' own mean with a t interval by clusters; parameters as in `mean`.

    Where fewer than LEAST_OF_RARER labels differ from the most frequent one, the spread that was seen says little:
    one more cluster at either end of `bounds` is then counted in (for differences of pass and fail this is Bonett
    and Price 2012, eq. 6), and p is the sign test's mid-p. Never an interval of no width.
    """
    nothing = np.zeros(0)
    clusters = (clusters_n, None if clusters_n is None else ())
    (part,) = parts_of(human_n, human_n, nothing, clusters, (None, None), probabilities_n, pool=pool)
    line = line_of(part, large_sample=large_sample)
    found = _combined([line], {0: 0.0}, None, bounds=bounds, large_sample=large_sample, level=level)
    found = replace(found, method=_method([line], LABELS_ALONE))
    if bounds is None:
        if np.ptp(part.human_n) == 0:
            raise ValueError("all labels are equal, so an interval needs the bounds of the score")
        return found
    return _with_one_more_each_way(found, part, bounds, level) if _has_little_spread(part) else found


def too_few(human_n: FloatArray, clusters_n: Names = None) -> bool:
    """Whether labels, or those of the rarer values, are too few to correct verdicts by.

    >>> too_few(np.array([1.0] * 98 + [0.0] * 2))
    True
    """
    clusters = None if clusters_n is None else numbers_of(clusters_n)[0]
    return len(human_n) < LEAST_LABELS or n_off_mode(np.asarray(human_n), clusters) < LEAST_OF_RARER


def n_off_mode(human_n: FloatArray, clusters_n: IntArray | None = None) -> int:
    """Labels, or clusters with one, that differ from the most frequent label."""
    values, counts = np.unique(human_n, return_counts=True)
    off_n = human_n != values[counts.argmax()]
    return int(off_n.sum()) if clusters_n is None else count_clusters(clusters_n[off_n])


def says_nothing(judged_n: FloatArray, judged_N: FloatArray) -> bool:
    """Whether verdicts cannot add anything: all the same, or none beyond the labelled items."""
    return len(judged_N) == 0 or np.ptp(np.concatenate([judged_n, judged_N])) == 0


def chances(probabilities_n: FloatArray | None, strata_n: Names, strata_N: Names) -> FloatArray | None:
    """Chance of each label: as given, else its stratum's share of labels; None where all are equal.

    >>> chances(None, ["a", "a", "b"], ["a", "a", "b"])
    array([0.5, 0.5, 0.5])
    """
    if probabilities_n is not None or strata_n is None or strata_N is None:
        return probabilities_n
    labelled, everywhere = Counter(strata_n), Counter([*strata_n, *strata_N])
    return np.array([labelled[name] / everywhere[name] for name in strata_n])


def quantile(level: float, df: float) -> float:
    """Of Student's t, half of 1 - level above it; the normal distribution's where df is infinite.

    >>> round(quantile(0.95, 9), 4), round(quantile(0.95, np.inf), 4)
    (2.2622, 1.96)
    """
    return float(special.ndtri(0.5 + level / 2) if np.isinf(df) else special.stdtrit(df, 0.5 + level / 2))


def _combined(
    lines: Sequence[Line],
    lams: Mapping[Hashable, float],
    rho: float | None,
    *,
    bounds: tuple[float, float] | None,
    large_sample: bool,
    level: float,
) -> PPI:
    """The strata's estimates weighed by their shares; a cluster in several strata is still one cluster."""
    value = sum(line.part.share * (line.human + lams[line.part.name] * line.judge) for line in lines)
    clusters_I = np.concatenate([line.clusters_I for line in lines])
    alone_I = np.concatenate([line.part.share * line.human_I for line in lines])
    added_I = np.concatenate([line.part.share * lams[line.part.name] * line.judge_I for line in lines])
    errors_G = cluster_sums(alone_I + added_I, clusters_I)
    se = float(np.sqrt(errors_G @ errors_G + _hidden_variance(lines, lams)))
    n_clusters = count_clusters(*(line.part.clusters_n for line in lines))
    df = np.inf if large_sample else float(max(1, n_clusters - len(lines)))
    half = quantile(level, df) * se
    low, high = _within(bounds, value - half, value + half)
    return PPI(
        value=float(value),
        low=low,
        high=high,
        se=se,
        lam=float(sum(line.part.share * lams[line.part.name] for line in lines)),
        rho=rho,
        effective_labels=_effective(lines, alone_I, clusters_I, se, large_sample=large_sample),
        n=sum(len(line.part.human_n) for line in lines),
        N=sum(len(line.part.judged_N) for line in lines),
        n_clusters=n_clusters,
        method=_method(lines),
        p=_two_sided_p(abs(value) / se, df) if se > 0 else float(value == 0),
        df=df,
        lams=lams,
    )


def _two_sided_p(distance: float, df: float) -> float:
    return float(2 * (special.ndtr(-distance) if np.isinf(df) else special.stdtr(df, -distance)))


def _within(bounds: tuple[float, float] | None, low: float, high: float) -> tuple[float, float]:
    least, most = bounds or (-np.inf, np.inf)
    return float(min(max(low, least), most)), float(max(min(high, most), least))


def _hidden_variance(lines: Sequence[Line], lams: Mapping[Hashable, float]) -> float:
    """What strata with few labels may hide: each variance counts as if two more labels had shown the mean of all.

    Ten labels that are all "pass" have no variance, and a stratum of mostly passes has some: without this, five
    strata of ten to fifty labels cover .89 to .94 where they should .95, with it .94 to .96 (simulated).
    """
    if len(lines) == 1:
        return 0.0
    left_H = [_left_over(line.part, lams[line.part.name]) for line in lines]
    typical = sum(line.part.share * left for line, left in zip(lines, left_H, strict=True))
    hidden = 0.0
    for line, left in zip(lines, left_H, strict=True):
        n = len(line.part.human_n)
        unseen = 1.0 if line.part.pool is None else 1 - float(pool_chances(line.part).mean())
        more = _PRIOR_LABELS * (typical - left) / (n - 1 + _PRIOR_LABELS)
        hidden += max(0.0, line.part.share**2 * unseen * more / n)
    return hidden


def _left_over(part: Part, lam: float) -> float:
    """Variance of labels that the verdicts leave unexplained."""
    return float((part.human_n - lam * part.judged_n).var(ddof=1))


def _effective(
    lines: Sequence[Line], alone_I: FloatArray, clusters_I: IntArray, se: float, *, large_sample: bool
) -> float:
    """Labels drawn at random that would have this standard error, clustered as the labels are."""
    human_n, weights_n = _pooled(lines)
    alone_G = cluster_sums(alone_I, clusters_I)
    items = float(alone_I @ alone_I)
    if se == 0 or items == 0:
        return float(len(human_n))
    n_clusters = count_clusters(*(line.part.clusters_n for line in lines))
    scale = 1.0 if large_sample else n_clusters / max(1, n_clusters - 1)
    variance = scale * float(weights_n @ (human_n - weights_n @ human_n) ** 2) * float(alone_G @ alone_G) / items
    of_pool = sum(variance / line.part.pool * line.part.share**2 for line in lines if line.part.pool is not None)
    return variance / (se**2 + of_pool)


def _pooled(lines: Sequence[Line]) -> tuple[FloatArray, FloatArray]:
    """All labels, and weights that stand for all items and add up to one."""
    human_n = np.concatenate([line.part.human_n for line in lines])
    return human_n, np.concatenate([line.part.share * line.part.weights_n for line in lines])


def _correlation(parts: Sequence[Part]) -> float | None:
    """Of labels and verdicts, the labelled items weighed so that they stand for all; None where either is constant."""
    human_n, judged_n = (np.concatenate([getattr(part, name) for part in parts]) for name in ("human_n", "judged_n"))
    if np.ptp(human_n) == 0 or np.ptp(judged_n) == 0:
        return None
    weights_n = np.concatenate([part.share * part.weights_n for part in parts])
    human_n, judged_n = human_n - weights_n @ human_n, judged_n - weights_n @ judged_n
    both = float(weights_n @ (human_n * judged_n))
    return float(np.clip(both / np.sqrt((weights_n @ human_n**2) * (weights_n @ judged_n**2)), -1, 1))


def _method(lines: Sequence[Line], name: str = "PPI++") -> str:
    """In words: the estimator and what it allows for."""
    parts = [line.part for line in lines]
    clusters_I = np.concatenate([line.clusters_I for line in lines])
    kinds = (
        ("clustered", count_clusters(clusters_I) < len(clusters_I)),
        ("stratified", len(parts) > 1),
        ("weighted", any(part.chances_n is not None for part in parts)),
    )
    return ", ".join([name, *(word for word, holds in kinds if holds)])


def _has_little_spread(part: Part) -> bool:
    clusters_n = part.clusters_n if count_clusters(part.clusters_n) < len(part.clusters_n) else None
    return n_off_mode(part.human_n, clusters_n) < LEAST_OF_RARER


def _with_one_more_each_way(found: PPI, part: Part, bounds: tuple[float, float], level: float) -> PPI:
    """The normal interval of the clusters' means and one more at either bound; p by the signs of the clusters."""
    numbers_n = np.unique(part.clusters_n, return_inverse=True)[1]
    means_G = cluster_sums(part.human_n, numbers_n) / np.bincount(numbers_n)
    more_G = np.concatenate([means_G, bounds])
    se = float(np.sqrt(more_G.var() / len(more_G)))
    half = quantile(level, np.inf) * se
    low, high = _within(bounds, float(more_G.mean()) - half, float(more_G.mean()) + half)
    p = mcnemar_mid_p(int((means_G > 0).sum()), int((means_G < 0).sum()))
    return replace(
        found,
        low=min(low, found.value),
        high=max(high, found.value),
        se=se,
        p=p,
        method=found.method + ONE_MORE,
    )
