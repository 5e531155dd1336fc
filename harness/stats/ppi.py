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

# Below these the interval of a correction covers too rarely, and the labels speak alone (simulated; see the tests).
LEAST_LABELS = 30
LEAST_OF_RARER = 3
_PRIOR_LABELS = 2
LABELS_ALONE = "labels alone"
ONE_MORE = ", one more at either end"
_Names = Sequence[Hashable] | None


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


@dataclass(frozen=True, slots=True)
class _Part:
    """A stratum, or all: what is known of its items. chances_n: of being labelled, None where they are equal.

    share: of the stratum in all items. pool: items whose own mean is meant, None for the population's.
    """

    name: Hashable
    share: float
    human_n: FloatArray
    judged_n: FloatArray
    judged_N: FloatArray  # noqa: N815 - the axes are part of the name
    clusters_n: IntArray
    clusters_N: IntArray  # noqa: N815
    chances_n: FloatArray | None
    pool: float | None

    @property
    def weights_n(self) -> FloatArray:
        """Of the labelled items, adding up to one."""
        inverse_n = np.ones(len(self.human_n)) if self.chances_n is None else 1 / self.chances_n
        return np.asarray(inverse_n / inverse_n.sum())

    @property
    def is_clustered(self) -> bool:
        return _n_clusters(self.clusters_n, self.clusters_N) < len(self.human_n) + len(self.judged_N)


@dataclass(frozen=True, slots=True)
class _Line:
    """A part's estimate as a line in lambda, human + lam * judge, and what each item adds to the error of either.

    Errors, summed within clusters, squared and summed, are the variance.
    """

    part: _Part
    human: float
    judge: float
    human_I: FloatArray  # noqa: N815
    judge_I: FloatArray  # noqa: N815

    @property
    def clusters_I(self) -> IntArray:  # noqa: N802
        return np.concatenate([self.part.clusters_n, self.part.clusters_N])


def mean(
    human_n: FloatArray,
    judged_n: FloatArray,
    judged_N: FloatArray,
    *,
    clusters_n: _Names = None,
    clusters_N: _Names = None,
    strata_n: _Names = None,
    strata_N: _Names = None,
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
    parts = _parts(
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
    lines = [_line(part, large_sample=large_sample) for part in parts]
    lams = {line.part.name: _lam(line, lam, clip=clip) for line in lines}
    return _combined(lines, lams, rho, bounds=bounds, large_sample=large_sample, level=level)


def labels_only(
    human_n: FloatArray,
    *,
    clusters_n: _Names = None,
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
    (part,) = _parts(human_n, human_n, nothing, clusters, (None, None), probabilities_n, pool=pool)
    line = _line(part, large_sample=large_sample)
    found = _combined([line], {0: 0.0}, None, bounds=bounds, large_sample=large_sample, level=level)
    found = replace(found, method=_method([line], LABELS_ALONE))
    if bounds is None:
        if np.ptp(part.human_n) == 0:
            raise ValueError("all labels are equal, so an interval needs the bounds of the score")
        return found
    return _with_one_more_each_way(found, part, bounds, level) if _has_little_spread(part) else found


def too_few(human_n: FloatArray, clusters_n: _Names = None) -> bool:
    """Whether labels, or those of the rarer values, are too few to correct verdicts by.

    >>> too_few(np.array([1.0] * 98 + [0.0] * 2))
    True
    """
    clusters = None if clusters_n is None else _numbers(clusters_n)[0]
    return len(human_n) < LEAST_LABELS or n_off_mode(np.asarray(human_n), clusters) < LEAST_OF_RARER


def n_off_mode(human_n: FloatArray, clusters_n: IntArray | None = None) -> int:
    """Labels, or clusters with one, that differ from the most frequent label."""
    values, counts = np.unique(human_n, return_counts=True)
    off_n = human_n != values[counts.argmax()]
    return int(off_n.sum()) if clusters_n is None else _n_clusters(clusters_n[off_n])


def _parts(
    human_n: FloatArray,
    judged_n: FloatArray,
    judged_N: FloatArray,
    clusters: tuple[_Names, _Names],
    strata: tuple[_Names, _Names],
    probabilities_n: FloatArray | None,
    *,
    pool: int | None,
) -> list[_Part]:
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
            _Part(
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


def _joined(names: tuple[_Names, _Names], n: int, m: int, default_I: IntArray) -> tuple[IntArray, list[Hashable]]:
    """Numbers (I,) of the names of both sides, and the names."""
    labelled, judged = names
    if labelled is None and judged is None:
        return default_I, [0]
    if labelled is None or judged is None or (len(labelled), len(judged)) != (n, m - n):
        raise ValueError(f"clusters and strata need a name for each of {n} labelled and {m - n} judged items")
    return _numbers([*labelled, *judged])


def _numbers(names: Sequence[Hashable]) -> tuple[IntArray, list[Hashable]]:
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([numbers[name] for name in names], dtype=np.int64), list(numbers)


def says_nothing(judged_n: FloatArray, judged_N: FloatArray) -> bool:
    """Whether verdicts cannot add anything: all the same, or none beyond the labelled items."""
    return len(judged_N) == 0 or np.ptp(np.concatenate([judged_n, judged_N])) == 0


def chances(probabilities_n: FloatArray | None, strata_n: _Names, strata_N: _Names) -> FloatArray | None:
    """Chance of each label: as given, else its stratum's share of labels; None where all are equal.

    >>> chances(None, ["a", "a", "b"], ["a", "a", "b"])
    array([0.5, 0.5, 0.5])
    """
    if probabilities_n is not None or strata_n is None or strata_N is None:
        return probabilities_n
    labelled, everywhere = Counter(strata_n), Counter([*strata_n, *strata_N])
    return np.array([labelled[name] / everywhere[name] for name in strata_n])


def _line(part: _Part, *, large_sample: bool) -> _Line:
    weights_n, n_judged = part.weights_n, len(part.judged_N)
    human, at_labels = float(weights_n @ part.human_n), float(weights_n @ part.judged_n)
    human_I = np.concatenate([weights_n * (part.human_n - human), np.zeros(n_judged)])
    if n_judged == 0:
        judge, judge_I = 0.0, np.zeros(len(human_I))
    else:
        judge, judge_I = _judge_terms(part, at_labels)
    if part.pool is not None:
        unseen_n = np.sqrt(1 - _chances_n(part))
        human_I[: len(unseen_n)] *= unseen_n
        judge_I[: len(unseen_n)] *= unseen_n
    scale_I = np.ones(len(human_I)) if large_sample else _small_sample_scale(part)
    return _Line(part, human, judge, human_I * scale_I, judge_I * scale_I)


def _judge_terms(part: _Part, at_labels: float) -> tuple[float, FloatArray]:
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


def _chances_n(part: _Part) -> FloatArray:
    """Chance of each labelled item of a finite pool."""
    if part.chances_n is not None:
        return part.chances_n
    assert part.pool is not None
    return np.full(len(part.human_n), len(part.human_n) / part.pool)


def _small_sample_scale(part: _Part) -> FloatArray:
    """Root of G / (G - 1) for the labelled clusters, and for the others."""
    n_units, n_others = _n_clusters(part.clusters_n), _n_clusters(part.clusters_N)
    if n_units < 2:
        where = "" if part.name == 0 else f" of stratum {part.name!r}"
        raise ValueError(f"{n_units} labelled item or cluster{where} is too few for an interval")
    of_others = n_others / (n_others - 1) if n_others > 1 else 1.0
    squares_I = np.repeat([n_units / (n_units - 1), of_others], [len(part.human_n), len(part.judged_N)])
    return np.asarray(np.sqrt(squares_I))


def _lam(line: _Line, given: float | Mapping[Hashable, float] | None, *, clip: bool) -> float:
    """The weight of the verdicts that makes the variance least, within the limits of `mean`."""
    if given is not None:
        return float(given[line.part.name] if isinstance(given, Mapping) else given)
    is_simple = line.part.chances_n is None and not line.part.is_clustered
    lam = max(0.0, _simple_lam(line.part) if is_simple else _least_squares_lam(line))
    return min(1.0, lam) if clip else lam


def _simple_lam(part: _Part) -> float:
    """PPI++, eq. of the optimal lambda for a mean: cov_n(human, judged) / ((1 + n / N) var_{n+N}(judged))."""
    judged_I = np.concatenate([part.judged_n, part.judged_N])
    n, n_judged = len(part.judged_n), len(part.judged_N)
    if n_judged == 0 or np.ptp(judged_I) == 0:
        return 0.0
    covariance = float((part.human_n - part.human_n.mean()) @ (part.judged_n - part.judged_n.mean())) / n
    return covariance / ((1 + n / n_judged) * float(judged_I.var(ddof=1)))


def _least_squares_lam(line: _Line) -> float:
    """Where the sum of squares of the clusters' errors is least: exact for any design."""
    human_G, judge_G = _sums(line.human_I, line.clusters_I), _sums(line.judge_I, line.clusters_I)
    squares = float(judge_G @ judge_G)
    return -float(human_G @ judge_G) / squares if squares > 0 else 0.0


def _n_clusters(*clusters: IntArray) -> int:
    return int(np.count_nonzero(np.bincount(np.concatenate(clusters))))


def _sums(terms_I: FloatArray, clusters_I: IntArray) -> FloatArray:
    return np.asarray(np.bincount(clusters_I, weights=terms_I), dtype=np.float64)


def _combined(
    lines: Sequence[_Line],
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
    errors_G = _sums(alone_I + added_I, clusters_I)
    se = float(np.sqrt(errors_G @ errors_G + _hidden_variance(lines, lams)))
    n_clusters = _n_clusters(*(line.part.clusters_n for line in lines))
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


def quantile(level: float, df: float) -> float:
    """Of Student's t, half of 1 - level above it; the normal distribution's where df is infinite.

    >>> round(quantile(0.95, 9), 4), round(quantile(0.95, np.inf), 4)
    (2.2622, 1.96)
    """
    return float(special.ndtri(0.5 + level / 2) if np.isinf(df) else special.stdtrit(df, 0.5 + level / 2))


def _two_sided_p(distance: float, df: float) -> float:
    return float(2 * (special.ndtr(-distance) if np.isinf(df) else special.stdtr(df, -distance)))


def _hidden_variance(lines: Sequence[_Line], lams: Mapping[Hashable, float]) -> float:
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
        unseen = 1.0 if line.part.pool is None else 1 - float(_chances_n(line.part).mean())
        more = _PRIOR_LABELS * (typical - left) / (n - 1 + _PRIOR_LABELS)
        hidden += max(0.0, line.part.share**2 * unseen * more / n)
    return hidden


def _left_over(part: _Part, lam: float) -> float:
    """Variance of labels that the verdicts leave unexplained."""
    return float((part.human_n - lam * part.judged_n).var(ddof=1))


def _within(bounds: tuple[float, float] | None, low: float, high: float) -> tuple[float, float]:
    least, most = bounds or (-np.inf, np.inf)
    return float(min(max(low, least), most)), float(max(min(high, most), least))


def _effective(
    lines: Sequence[_Line], alone_I: FloatArray, clusters_I: IntArray, se: float, *, large_sample: bool
) -> float:
    """Labels drawn at random that would have this standard error, clustered as the labels are."""
    human_n, weights_n = _pooled(lines)
    alone_G = _sums(alone_I, clusters_I)
    items = float(alone_I @ alone_I)
    if se == 0 or items == 0:
        return float(len(human_n))
    n_clusters = _n_clusters(*(line.part.clusters_n for line in lines))
    scale = 1.0 if large_sample else n_clusters / max(1, n_clusters - 1)
    variance = scale * float(weights_n @ (human_n - weights_n @ human_n) ** 2) * float(alone_G @ alone_G) / items
    of_pool = sum(variance / line.part.pool * line.part.share**2 for line in lines if line.part.pool is not None)
    return variance / (se**2 + of_pool)


def _pooled(lines: Sequence[_Line]) -> tuple[FloatArray, FloatArray]:
    """All labels, and weights that stand for all items and add up to one."""
    human_n = np.concatenate([line.part.human_n for line in lines])
    return human_n, np.concatenate([line.part.share * line.part.weights_n for line in lines])


def _correlation(parts: Sequence[_Part]) -> float | None:
    """Of labels and verdicts, the labelled items weighed so that they stand for all; None where either is constant."""
    human_n, judged_n = (np.concatenate([getattr(part, name) for part in parts]) for name in ("human_n", "judged_n"))
    if np.ptp(human_n) == 0 or np.ptp(judged_n) == 0:
        return None
    weights_n = np.concatenate([part.share * part.weights_n for part in parts])
    human_n, judged_n = human_n - weights_n @ human_n, judged_n - weights_n @ judged_n
    both = float(weights_n @ (human_n * judged_n))
    return float(np.clip(both / np.sqrt((weights_n @ human_n**2) * (weights_n @ judged_n**2)), -1, 1))


def _method(lines: Sequence[_Line], name: str = "PPI++") -> str:
    """In words: the estimator and what it allows for."""
    parts = [line.part for line in lines]
    clusters_I = np.concatenate([line.clusters_I for line in lines])
    kinds = (
        ("clustered", _n_clusters(clusters_I) < len(clusters_I)),
        ("stratified", len(parts) > 1),
        ("weighted", any(part.chances_n is not None for part in parts)),
    )
    return ", ".join([name, *(word for word, holds in kinds if holds)])


def _has_little_spread(part: _Part) -> bool:
    clusters_n = part.clusters_n if _n_clusters(part.clusters_n) < len(part.clusters_n) else None
    return n_off_mode(part.human_n, clusters_n) < LEAST_OF_RARER


def _with_one_more_each_way(found: PPI, part: _Part, bounds: tuple[float, float], level: float) -> PPI:
    """The normal interval of the clusters' means and one more at either bound; p by the signs of the clusters."""
    numbers_n = np.unique(part.clusters_n, return_inverse=True)[1]
    means_G = _sums(part.human_n, numbers_n) / np.bincount(numbers_n)
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
