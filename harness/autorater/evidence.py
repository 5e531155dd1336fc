"""What labels and scores say about a judge: does it follow people, beat the controls, err alike on all systems?

Axes: M rows, P pairs of systems, G clusters (prompts), K sums, R resamples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import TypeAlias

import numpy as np
from scipy import stats

from harness.core.licences import Figure, Passed, Transport
from harness.core.types import BoolArray, FloatArray, IntArray
from harness.stats import equivalence
from harness.stats.equivalence import Correlation, Equivalence, Spread
from harness.stats.resampling import bootstrap_values, cluster_ids, cluster_totals

ALPHA = 0.05
MIN_RHO = 0.4
MIN_A_SYSTEM = 40
# Fewer answers in which two systems differ give no interval of how the judge errs on them.
MIN_DIFFERENT = MIN_A_SYSTEM // 4
# A standard error below this is rounding.
_NO_SPREAD = 1e-9


@dataclass(frozen=True)
class Evidence:
    """What the gate looks at: M rows, one for each labelled item and system that gave that very answer.

    human, judged: (M,) scores of people and the judge, calibrated out of fold. raw: before calibration, or nan.
    systems: one name a row, of pairs two, first and second. controls: (M,) their scores, out of the same folds, or nan.
    items: what each row judges, by a name that rows of one text share; each row something else where that is not said.
    twins: of pairs, whether both answers are the same text; nowhere where that is not said.
    n_unscored: labelled items without a verdict. ceiling: the judge's agreement as a share of people's, if known; its n
    is the items that several people labelled.
    calibrated_from_one: whether one score was calibrated, whose direction is then a promise.
    """

    human: FloatArray
    judged: FloatArray
    raw: FloatArray
    clusters: Sequence[str]
    systems: Sequence[tuple[str, ...]]
    controls: Mapping[str, FloatArray]
    n_unscored: int = 0
    label_mass: float | None = None
    ceiling: Figure | None = None
    calibrated_from_one: bool = True
    items: Sequence[str] = ()
    twins: Sequence[bool] = ()

    @property
    def n_answers(self) -> int:
        """How many different answers, or pairs, there are: a text that several systems gave is one of them."""
        return len(set(self.named_items))

    @property
    def named_items(self) -> Sequence[str]:
        """What each row judges, by name."""
        return self.items or [str(row) for row in range(len(self.human))]

    @property
    def of_pairs(self) -> bool:
        """Whether rows are pairs of answers."""
        return bool(self.systems) and len(self.systems[0]) == 2

    @cached_property
    def numbers(self) -> IntArray:
        """The rows' clusters as numbers."""
        return cluster_ids(len(self.clusters), self.clusters)[0]

    @cached_property
    def groups(self) -> IntArray:
        """Rows of one system, or of the same two in either order, have one number."""
        return cluster_ids(len(self.systems), ["\0".join(sorted(names)) for names in self.systems])[0]

    @cached_property
    def turn(self) -> FloatArray:
        """-1 where a pair names its systems the other way round than the alphabet, else 1."""
        return np.array([-1.0 if list(names) != sorted(names) else 1.0 for names in self.systems])


def within_systems(evidence: Evidence, judged_M: FloatArray) -> Correlation:
    """Correlation of some scores with people's, each system's mean taken out: what is left to choose by."""
    turn_M = evidence.turn if evidence.of_pairs else 1.0
    return equivalence.within_correlation(
        (evidence.human - 0.5) * turn_M, (judged_M - 0.5) * turn_M, evidence.groups, evidence.numbers
    )


def system_counts(systems: Sequence[tuple[str, ...]]) -> dict[str, int]:
    """How many rows each system has a part in, by name."""
    counts: dict[str, int] = {}
    for names in systems:
        for name in dict.fromkeys(names):
            counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items()))


@dataclass(frozen=True, slots=True)
class Apart:
    """How much the labelled answers of two systems tell them apart.

    own: answers of each that the other did not give; of pairs, twice the pairs with two different answers.
    of: all different answers of each, or twice all pairs. n_labels: how many answers or pairs that is in all.
    """

    own: tuple[int, int]
    of: tuple[int, int]
    n_labels: int

    @property
    def different(self) -> int:
        """Answers that show how the judge errs on the one and not the other."""
        return min(self.own)

    def as_one(self, delta: float) -> bool:
        """Whether they differ too seldom to be favoured: a bias reaches 1 on an answer at most, and delta needs more.

        By the exact one-sided 95 % bound of the share of answers in which they differ (Clopper and Pearson 1934).
        """
        shares = (
            stats.beta.ppf(1 - ALPHA, k + 1, n - k) if k < n else 1.0 for k, n in zip(self.own, self.of, strict=True)
        )
        return max(shares) < delta


def apart(evidence: Evidence, one: str, other: str) -> Apart:
    """How much the labelled answers of two systems tell them apart: a text that both gave does not."""
    rows = zip(evidence.systems, evidence.named_items, strict=True)
    if evidence.of_pairs:
        twins = evidence.twins or [False] * len(evidence.systems)
        met = {item: twin for (names, item), twin in zip(rows, twins, strict=True) if set(names) == {one, other}}
        n_different = sum(not twin for twin in met.values())
        return Apart((n_different, n_different), (len(met), len(met)), len(met))
    gave: dict[str, set[str]] = {one: set(), other: set()}
    for (name,), item in rows:
        if name in gave:
            gave[name].add(item)
    first, second = gave[one], gave[other]
    return Apart((len(first - second), len(second - first)), (len(first), len(second)), len(first | second))


def follows_people(correlation: Correlation) -> BoolArray:
    """Whether the one-sided 95 % lower bound of the correlation with people is high enough."""
    return np.asarray(correlation.interval(1 - 2 * ALPHA)[0] >= MIN_RHO)


def transport_passed(tests: Equivalence) -> tuple[BoolArray, BoolArray]:
    """Of P pairs of systems (P, ...): which are shown alike, and which are shown to differ; Holm over the pairs."""
    inside, outside = (equivalence.holm_adjusted(p) <= ALPHA for p in (tests.p_inside, tests.p_outside))
    return inside, outside


def transports(evidence: Evidence, delta: float) -> tuple[Transport, ...]:
    """How differently the judge errs on each two systems, worst first.

    Single answers: the mean of judge - human on the one system less that on the other. Pairs: the mean of it over the
    pairs of these two, the one counted as first. Systems with labels of fewer than two prompts are left out. Two that
    say the same pass nothing: "not run" where they hardly ever differ, inconclusive where it is not sure that they do.
    """
    found = _pair_spreads(evidence) if evidence.of_pairs else _single_spreads(evidence)
    if not found:
        return ()
    spreads = [spread for *_, spread in found]
    tests = [_tested(spread, delta) for spread in spreads]
    outcomes = _outcomes(tests, [apart(evidence, one, other) for one, other, *_ in found], delta)
    records = [
        Transport(
            system=one,
            other=other,
            difference=float(spread.value),
            low=float(test.low),
            high=float(test.high),
            n=n,
            passed=passed,
        )
        for (one, other, n, spread), test, passed in zip(found, tests, outcomes, strict=True)
    ]
    return tuple(sorted(records, key=lambda record: -abs(record.difference)))


def _tested(spread: Spread, delta: float) -> Equivalence:
    """The tests of one difference, also where errors do not vary at all, which is not the same as knowing it exactly.

    Then by what n prompts without an exception allow: p is the chance that as many show none if the difference were
    delta, an exception counting 1; the bound is 1 - .05 ** (1 / n).
    """
    if float(spread.se) > _NO_SPREAD:
        return equivalence.equivalence(spread, delta)
    n, distance = spread.df + 1, abs(float(spread.value)) - delta
    reach = 1 - ALPHA ** (1 / n)
    inside, outside = ((1 - min(max(each, 0.0), 1.0)) ** n for each in (-distance, distance))
    return Equivalence(spread.value - reach, spread.value + reach, np.asarray(inside), np.asarray(outside))


def _outcomes(tests: Sequence[Equivalence], aparts: Sequence[Apart], delta: float) -> list[Passed]:
    """Of P pairs of systems; those that cannot pass are no part of the family that Holm's procedure is about."""
    told_P = np.array([each.different >= MIN_DIFFERENT for each in aparts])
    failed_P = transport_passed(_joint(tests))[1]
    passed_P = np.zeros_like(failed_P)
    if len(tried := np.flatnonzero(told_P)):
        passed_P[tried] = transport_passed(_joint([tests[p] for p in tried]))[0]
    untold: list[Passed] = [
        "not run" if each.different < MIN_DIFFERENT and each.as_one(delta) else "inconclusive" for each in aparts
    ]
    return ["fail" if failed_P[p] else "pass" if passed_P[p] else untold[p] for p in range(len(aparts))]


def _joint(tests: Sequence[Equivalence]) -> Equivalence:
    return Equivalence(*(np.array([getattr(test, name) for test in tests]) for name in Equivalence.__slots__))


# The two systems, how many rows each has, and the difference.
_Compared: TypeAlias = tuple[str, str, tuple[int, int], Spread]


def _single_spreads(evidence: Evidence) -> list[_Compared]:
    residuals_M, numbers_M = evidence.judged - evidence.human, evidence.numbers
    names = np.array([name for (name,) in evidence.systems])
    chosen = {name: names == name for name in sorted(set(names.tolist()))}
    usable = [name for name, rows_M in chosen.items() if len(np.unique(numbers_M[rows_M])) > 1]
    found: list[_Compared] = []
    for one, other in combinations(usable, 2):
        rows_M = chosen[one] | chosen[other]
        spread = equivalence.mean_difference(
            residuals_M[rows_M], chosen[one][rows_M], chosen[other][rows_M], _renumbered(numbers_M[rows_M])
        )
        found.append((one, other, (int(chosen[one].sum()), int(chosen[other].sum())), spread))
    return found


def _pair_spreads(evidence: Evidence) -> list[_Compared]:
    residuals_M, numbers_M = (evidence.judged - evidence.human) * evidence.turn, evidence.numbers
    found: list[_Compared] = []
    for one, other in sorted({(min(names), max(names)) for names in evidence.systems}):
        rows_M = np.array([set(names) == {one, other} for names in evidence.systems])
        if one != other and len(np.unique(numbers_M[rows_M])) > 1:
            spread = equivalence.mean(residuals_M[rows_M], _renumbered(numbers_M[rows_M]))
            found.append((one, other, (int(rows_M.sum()), int(rows_M.sum())), spread))
    return found


def _renumbered(numbers: IntArray) -> IntArray:
    return np.asarray(np.unique(numbers, return_inverse=True)[1], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Gain:
    """R squared of a judge less that of a control, its 95 % interval and standard error by bootstrap of clusters."""

    value: float
    low: float
    high: float
    se: float


def gain_over(evidence: Evidence, control_M: FloatArray, *, n_resamples: int, rng: np.random.Generator) -> Gain | None:
    """What the judge knows beyond a control. None where people's scores do not vary.

    Rows on which the control has no score count for neither.
    """
    rows_M = np.isfinite(control_M)
    y = evidence.human[rows_M]
    if not len(y) or np.ptp(y) < 1e-12:
        return None
    clusters = [evidence.clusters[i] for i in np.flatnonzero(rows_M)]
    saved = (control_M[rows_M] - y) ** 2 - (evidence.judged[rows_M] - y) ** 2
    totals_GK = cluster_totals(np.column_stack([saved, y, y**2, np.ones_like(y)]), clusters)
    drawn_R = bootstrap_values(_gain, totals_GK, n_resamples=n_resamples, rng=rng)
    drawn_R = drawn_R[np.isfinite(drawn_R)]
    if len(drawn_R) < n_resamples / 2:
        return None
    low, high = np.percentile(drawn_R, [2.5, 97.5])
    return Gain(float(_gain(totals_GK.sum(axis=0))), float(low), float(high), float(drawn_R.std()))


def _gain(totals: FloatArray) -> FloatArray:
    """Squared error saved over the total sum of squares; nan where that is nothing."""
    saved, sums, squares, n = np.moveaxis(totals, -1, 0)
    total = squares - sums**2 / n
    return np.where(total > 1e-9, saved / np.where(total > 1e-9, total, 1), np.nan)
