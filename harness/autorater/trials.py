"""A judge under trial: what it says of changed answers beside what it said of them as they were."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import stats

from harness.autorater import alterations
from harness.autorater.canaries import ROUNDING, middle_of
from harness.autorater.rating import rate
from harness.core.judging import Item, Pair, Single, Verdict
from harness.core.licences import Passed
from harness.core.protocols import Generator, Judge
from harness.core.types import Failure, FloatArray
from harness.data.display import quote
from harness.stats import equivalence
from harness.stats.resampling import cluster_ids
from harness.stats.slopes import coefficient

Calibrated = Callable[[Sequence[Verdict]], FloatArray]

FEWEST_ITEMS = 10
FEWEST_TRIES = 60
MOST_CHANGE = 0.05
# Smaller moves are the rounding of another batch, not another verdict.
_ROUNDING = 1e-3
_N_EXAMPLES = 3


@dataclass(frozen=True)
class Trial:
    """A judge, the labelled items that it has rated, and how to rate more."""

    judge: Judge
    items: tuple[Item, ...]
    human: Mapping[str, float]
    verdicts: Mapping[str, Verdict | Failure]
    generator: Generator
    calibrated: Calibrated
    delta: float
    seed: int
    own_systems: Collection[str]
    n_items: int
    held_out: Mapping[str, float]

    @cached_property
    def scores(self) -> Mapping[str, float]:
        """Calibrated scores of the labelled items."""
        return self.calibrate(self.verdicts)

    @cached_property
    def known(self) -> tuple[Item, ...]:
        """The labelled items that the judge could rate."""
        return tuple(item for item in self.items if item.id in self.scores)

    @cached_property
    def sample(self) -> tuple[Item, ...]:
        """Some of those, drawn by the seed."""
        order = np.random.default_rng(self.seed).permutation(len(self.known))
        return tuple(self.known[place] for place in order[: self.n_items])

    @cached_property
    def middle(self) -> float:
        """What a score must exceed to stand above the middle of the real answers; 1/2 for pairs."""
        return 0.5 if self.is_pairs else middle_of(np.array(list(self.scores.values())))

    @cached_property
    def bare(self) -> tuple[list[Item], Mapping[str, float]]:
        """The sample in plain text and its scores: what every other format is compared with."""
        items = altered(self.sample, lambda number: alterations.plain, "plain")
        return items, self.rate(items)

    @property
    def is_pairs(self) -> bool:
        """Whether two answers are judged at a time."""
        return self.judge.takes == "pair"

    def calibrate(self, verdicts: Mapping[str, Verdict | Failure]) -> dict[str, float]:
        """Scores of what was rated; failures are left out."""
        rated = {key: verdict for key, verdict in verdicts.items() if isinstance(verdict, Verdict)}
        if not rated:
            return {}
        return dict(zip(rated, map(float, self.calibrated(list(rated.values()))), strict=True))

    def rate(self, items: Sequence[Item], judge: Judge | None = None) -> dict[str, float]:
        """Calibrated scores of other items."""
        return self.calibrate(rate(judge or self.judge, items, self.generator, silent))


@dataclass(frozen=True)
class Changed:
    """How far the scores of some answers moved when they were changed, seen from the answer that was changed."""

    items: tuple[Item, ...]
    moves: FloatArray

    @property
    def mean(self) -> equivalence.Spread:
        """Mean change, clustered by prompt."""
        clusters_N, _ = cluster_ids(len(self.items), [item.cluster for item in self.items])
        return equivalence.mean(self.moves, clusters_N)


class NotRun(Exception):
    """Why a probe cannot be tried. applies: whether it could be, with other items."""

    def __init__(self, why: str, *, applies: bool = True) -> None:
        super().__init__(why)
        self.applies = applies


@dataclass(frozen=True)
class Finding:
    """What a probe found; nan where a number is undefined."""

    value: float
    low: float
    high: float
    n: int
    passed: Passed
    said: str = ""
    examples: tuple[str, ...] = ()


def change(trial: Trial, items: Sequence[Item], way: Callable[[int], Callable[[str], str]], tag: str) -> Changed:
    """The items before and after a change, one side of each pair, the sides taken in turn."""
    changed = altered(items, way, tag)
    return pair_up(items, items, trial.scores, changed, trial.rate(changed))


def altered(items: Sequence[Item], way: Callable[[int], Callable[[str], str]], tag: str) -> list[Item]:
    """The items changed, each in the way of its number, under names that begin with the tag."""
    return [alterations.altered(item, way(number), tag, side_of(item, number)) for number, item in enumerate(items)]


def altered_each(items: Sequence[Item], way: Callable[[int], Callable[[str], str]], tag: str) -> list[Item]:
    """The same for items that repeat: every change has a name of its own, and the low side of a pair is changed."""
    return [alterations.altered(item, way(number), f"{tag}-{number}", 0) for number, item in enumerate(items)]


def pair_up(
    items: Sequence[Item],
    before: Sequence[Item],
    before_scores: Mapping[str, float],
    after: Sequence[Item],
    after_scores: Mapping[str, float],
) -> Changed:
    """What could be rated both times, seen from the side that was changed."""
    kept: list[Item] = []
    scores: list[tuple[float, float]] = []
    for number, (item, one, other) in enumerate(zip(items, before, after, strict=True)):
        if one.id in before_scores and other.id in after_scores:
            side = side_of(item, number)
            kept.append(item)
            scores.append((seen_from(before_scores[one.id], side), seen_from(after_scores[other.id], side)))
    if len(kept) < FEWEST_ITEMS:
        raise NotRun(f"the judge could rate only {len(kept)} answers both before and after the change")
    require_several_prompts(kept)
    before_N, after_N = np.array(scores).T
    return Changed(tuple(kept), after_N - before_N)


def require_several_prompts(items: Sequence[Item]) -> None:
    if len({item.cluster for item in items}) < 2:
        raise NotRun("all answers are to one question, which allows no interval")


def low_ones(trial: Trial) -> list[Item]:
    """Answers of the lowest third by their score, below the middle; pairs turned so that the worse answer is first."""
    turned = [item.swapped if isinstance(item, Pair) and trial.scores[item.id] > 0.5 else item for item in trial.sample]
    score = {item.id: min(s, 1 - s) if trial.is_pairs else s for item, s in ((i, trial.scores[i.id]) for i in turned)}
    low = sorted((item for item in turned if score[item.id] < trial.middle), key=lambda item: (score[item.id], item.id))
    if not low:
        raise NotRun("all answers have the same score, so that none is below the middle")
    return low[: max(FEWEST_ITEMS, len(turned) // 3)]


def never(trial: Trial, tried: Sequence[Item], scores: Mapping[str, float], texts: Mapping[str, str]) -> Finding:
    """Share of tries that end above the middle; none may, of at least sixty."""
    rated = [item for item in tried if item.id in scores]
    if not rated:
        raise NotRun("the judge could rate none of the changed answers")
    won = [item for item in rated if seen_from(scores[item.id], tried_side(item)) > trial.middle + ROUNDING]
    low, high = exact_interval(len(won), len(rated))
    passed: Passed = "fail" if won else "pass" if len(rated) >= FEWEST_TRIES else "inconclusive"
    examples = tuple(dict.fromkeys(quote(texts[item.id]) for item in won))[:_N_EXAMPLES]
    said = f"{len(won)} of {len(rated)} tries rose above the middle ({trial.middle:.2f})"
    return Finding(len(won) / len(rated), low, high, len(rated), passed, said, examples)


def swapped(items: Sequence[Item]) -> dict[str, Item]:
    """Each item with the right answers of the next question that has others."""
    found: dict[str, Item] = {}
    for place, item in enumerate(items):
        others = (items[(place + step) % len(items)] for step in range(1, len(items)))
        other = next(
            (o for o in others if o.cluster != item.cluster and set(o.references).isdisjoint(item.references)), None
        )
        if other is not None:
            found[item.id] = alterations.with_references(item, other.references, "swapped")
    return found


def error_on(trial: Trial, x_N: FloatArray, *covariates: FloatArray) -> equivalence.Spread:
    """Slope of judge minus people on x, covariates held fixed."""
    scores = {**trial.scores, **trial.held_out}
    errors_N = np.array([scores[item.id] - trial.human[item.id] for item in trial.known])
    design_NK = np.column_stack([np.ones(len(x_N)), x_N, *covariates])
    try:
        return coefficient(errors_N, design_NK, 1, [item.cluster for item in trial.known])
    except ValueError as err:
        raise NotRun("the labelled answers are too alike to tell") from err


def moved(changed: Changed) -> Finding:
    """Whether the mean change stays inside what a probe puts up with."""
    return within(changed.mean, MOST_CHANGE, len(changed.items))


def within(spread: equivalence.Spread, limit: float, n: int) -> Finding:
    """Passed where the interval is inside the limits, failed where it is wholly outside."""
    low, high = bounds(spread)
    passed: Passed = "inconclusive"
    if -limit < low and high < limit:
        passed = "pass"
    elif low > limit or high < -limit:
        passed = "fail"
    return Finding(float(spread.value), low, high, n, passed)


def bounds(spread: equivalence.Spread) -> tuple[float, float]:
    """The 95 % interval; nan where a single cluster allows none."""
    low, high = (float(each) for each in spread.interval(0.95))
    return (low, high) if math.isfinite(low) and math.isfinite(high) else (math.nan, math.nan)


def exact_interval(k: int, n: int) -> tuple[float, float]:
    """The exact 95 % interval of a share (Clopper and Pearson 1934)."""
    found = stats.binomtest(k, n).proportion_ci(0.95, method="exact")
    return float(found.low), float(found.high)


def flips(trial: Trial, one: float, other: float) -> bool:
    """Whether two scores of one answer lie on two sides of the middle, rounding aside."""
    return (one > trial.middle) != (other > trial.middle) and abs(one - other) > _ROUNDING


def side_of(item: Item, number: int) -> int:
    """Which answer of a pair is changed: the first and the second in turn."""
    return number % 2 if isinstance(item, Pair) else 0


def tried_side(item: Item) -> int:
    """Which answer of a changed pair was changed, from its id."""
    return int(item.id.rpartition(":")[2]) if isinstance(item, Pair) else 0


def seen_from(score: float, side: int) -> float:
    """A pair's score from one side."""
    return score if side == 0 else 1 - score


def answer_of(item: Item, number: int) -> str:
    """The answer that is changed in the item of this number."""
    return alterations.answer_of(item, side_of(item, number))


def length_gap(item: Item) -> float:
    """Characters; of a pair, how many more the first answer has."""
    if isinstance(item, Single):
        return float(len(item.answer))
    return float(len(item.answers[0]) - len(item.answers[1]))


def own_share(item: Item, own: Collection[str]) -> float:
    """1 where the judge's own base wrote the answer; of a pair, 1 the first, -1 the second, 0 both or neither."""
    if isinstance(item, Single):
        return float(item.system in own)
    return float(item.systems[0] in own) - float(item.systems[1] in own)


def is_mean_of_orders(verdict: Verdict) -> bool:
    """Whether the score is the mean of both orders, in which a liking for a place cancels."""
    if verdict.orders is None:
        return False
    return math.isclose(verdict.score, sum(verdict.orders) / 2, abs_tol=1e-6)


def silent(done: int, total: int, live: str) -> None:
    """No progress inside a probe."""
