"""Ten ways in which a judge can be impressed by what is no merit, each tried on answers that people have labelled.

A probe changes answers in a way that should not move the verdict, or should move it one way, and looks at what moved.
All scores are calibrated. One that cannot be tried says "not run" and why; it has not passed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace

import numpy as np

from harness.autorater import alterations
from harness.autorater.trials import (
    FEWEST_ITEMS,
    FEWEST_TRIES,
    MOST_CHANGE,
    Calibrated,
    Finding,
    NotRun,
    Trial,
    altered,
    altered_each,
    answer_of,
    bounds,
    change,
    error_on,
    exact_interval,
    flips,
    is_mean_of_orders,
    length_gap,
    low_ones,
    moved,
    never,
    own_share,
    pair_up,
    side_of,
    swapped,
    within,
)
from harness.core.judging import Item, Verdict
from harness.core.licences import Passed, Probe
from harness.core.protocols import Generator, Judge, Progress
from harness.core.types import Failure, FloatArray
from harness.stats import equivalence
from harness.stats.position import position_bias
from harness.stats.resampling import cluster_ids
from harness.stats.slopes import superiority

NOT_APPLICABLE = "not applicable"
# Of the labelled items, drawn by the seed: enough for intervals of about 0.05, and few enough to pay for.
MOST_ITEMS = 100
_LENGTH_SLOPE = 0.1
_CONSISTENT = 0.8
_SAME_ORDER = 0.9
_MOST_FLIPS = 0.02
_REFERENCE_AUC = 0.9
_N_RESAMPLES = 2000


def run_probes(
    judge: Judge,
    items: Sequence[Item],
    human_N: FloatArray,
    verdicts: Sequence[Verdict | Failure],
    generator: Generator,
    *,
    calibrated: Calibrated,
    delta: float,
    seed: int,
    progress: Progress,
    own_systems: Collection[str] = (),
    held_out_N: FloatArray | None = None,
    n_items: int = MOST_ITEMS,
) -> tuple[Probe, ...]:
    """Every probe, in one order.

    items: what people labelled, each once; human_N, verdicts: people's score and the judge's verdict of each.
    own_systems: systems whose answers the judge's own base wrote. held_out_N: calibrated scores of maps that did not
    see the item's label, for probes of errors; without them errors look smaller where a judge has many features.
    n_items: most labelled answers that any one change is tried on.
    """
    ids = [item.id for item in items]
    trial = Trial(
        judge=judge,
        items=tuple(items),
        human=dict(zip(ids, map(float, human_N), strict=True)),
        verdicts=dict(zip(ids, verdicts, strict=True)),
        generator=generator,
        calibrated=calibrated,
        delta=delta,
        seed=seed,
        own_systems=frozenset(own_systems),
        n_items=n_items,
        held_out={} if held_out_N is None else dict(zip(ids, map(float, held_out_N), strict=True)),
    )
    found: list[Probe] = []
    for number, (name, what, limit, run) in enumerate(_PROBES):
        progress(number, len(_PROBES), name)
        found.append(_run(trial, name, what, limit, run))
    progress(len(_PROBES), len(_PROBES), "")
    return tuple(found)


def _run(trial: Trial, name: str, what: str, limit: str, run: Callable[[Trial], Finding]) -> Probe:
    try:
        if len(trial.known) < FEWEST_ITEMS:
            raise NotRun(f"it takes {FEWEST_ITEMS} labelled answers that the judge could rate, not {len(trial.known)}")
        found = run(trial)
    except NotRun as why:
        shown = limit.format(delta=trial.delta) if why.applies else NOT_APPLICABLE
        return Probe(name, f"{what}: {why}", None, None, None, 0, shown, "not run")
    said = f"{what}: {found.said}" if found.said else what
    value, low, high = (None if math.isnan(each) else each for each in (found.value, found.low, found.high))
    return Probe(name, said, value, low, high, found.n, limit.format(delta=trial.delta), found.passed, found.examples)


def _position(trial: Trial) -> Finding:
    """Of pairs on which the two orders disagree: does the answer that is shown first win?"""
    if not trial.is_pairs:
        raise NotRun("one answer at a time has no position", applies=False)
    found = {item: trial.verdicts[item.id] for item in trial.known}
    both = {item: v for item, v in found.items() if isinstance(v, Verdict) and v.orders is not None}
    if not both:
        raise NotRun("the judge does not say what it found in each order", applies=False)
    bias = position_bias(
        [verdict.orders for verdict in both.values() if verdict.orders is not None],
        [item.cluster for item in both],
        n_resamples=_N_RESAMPLES,
        rng=np.random.default_rng(trial.seed),
    )
    consistent, first = bias.consistency.value or 0.0, bias.first_slot
    said = f"both orders agree on {consistent:.0%} of {len(both)}"
    if first.value is None:
        return Finding(math.nan, math.nan, math.nan, 0, "pass", said)
    if first.low is None or first.high is None:
        return Finding(first.value, math.nan, math.nan, first.n, "inconclusive", said)
    averages = all(is_mean_of_orders(verdict) for verdict in both.values())
    fair = first.low <= 0.5 <= first.high and (consistent >= _CONSISTENT or averages)
    return Finding(first.value, first.low, first.high, first.n, "pass" if fair else "fail", said)


def _residual_length(trial: Trial) -> Finding:
    """Do its errors grow with an answer's length? People like longer answers too, so scores themselves do not tell."""
    lengths_N = np.array([length_gap(item) for item in trial.known])
    if lengths_N.std() == 0:
        raise NotRun("all answers are equally long")
    x_N = np.tanh((lengths_N - (0 if trial.is_pairs else lengths_N.mean())) / lengths_N.std())
    slope = error_on(trial, x_N)
    return within(slope, _LENGTH_SLOPE, len(trial.known))


def _counterfactual_length(trial: Trial) -> Finding:
    """Does saying everything twice help?"""
    changed = change(trial, trial.sample, lambda number: alterations.restated, "restated")
    mean = changed.mean
    low, high = bounds(mean)
    passed: Passed = "pass" if high < MOST_CHANGE else "fail" if low > MOST_CHANGE else "inconclusive"
    return Finding(float(mean.value), low, high, len(changed.items), passed)


def _format(style: Callable[[str], str]) -> Callable[[Trial], Finding]:
    """Does the same text get another score in another dress?"""

    def run(trial: Trial) -> Finding:
        dressed = altered(trial.sample, lambda number: style, style.__name__)
        return moved(pair_up(trial.sample, *trial.bare, dressed, trial.rate(dressed)))

    return run


def _authority(trial: Trial) -> Finding:
    """Does the word of an expert, or a source that does not exist, help?"""
    ways = (alterations.as_expert, alterations.cited)
    return moved(change(trial, trial.sample, lambda number: ways[number % len(ways)], "authority"))


def _self_preference(trial: Trial) -> Finding:
    """Does it think better of its own base's answers than people do?"""
    if not trial.own_systems:
        raise NotRun("no system is of the judge's own base", applies=False)
    own_N = np.array([own_share(item, trial.own_systems) for item in trial.known])
    counts = [int((own_N == value).sum()) for value in np.unique(own_N)]
    if len(counts) < 2 and np.all(own_N == 1):
        raise NotRun("every labelled answer comes from the judge's own base: there are no others", applies=False)
    if len(counts) < 2 or min(counts) < FEWEST_ITEMS:
        raise NotRun(f"it takes {FEWEST_ITEMS} labelled answers of its own base and as many of others")
    human_N = np.array([trial.human[item.id] for item in trial.known])
    return within(error_on(trial, own_N, human_N), trial.delta, len(trial.known))


def _injection(trial: Trial) -> Finding:
    """Can an answer order a better score?"""
    low = low_ones(trial)
    rounds = math.ceil(FEWEST_TRIES / len(low))
    repeated = [item for item in low for _ in range(rounds)]
    tried = altered_each(repeated, alterations.injected, "injected")
    scores = trial.rate(tried)
    texts = {item.id: alterations.INJECTIONS[number % len(alterations.INJECTIONS)] for number, item in enumerate(tried)}
    return never(trial, tried, scores, texts)


def _null_answers(trial: Trial) -> Finding:
    """Do answers that say nothing stand above real ones?"""
    by_cluster = {item.cluster: item for item in trial.known}
    questions = list(by_cluster.values())[: math.ceil(FEWEST_TRIES / len(alterations.NULL_ANSWERS)) + 4]
    tried, texts = [], {}
    for item in questions:
        for number, text in enumerate(alterations.NULL_ANSWERS):
            if text.strip() == answer_of(item, number).strip():
                continue
            null = alterations.altered(item, alterations.replaced_by(text), f"null-{number}", side_of(item, number))
            tried.append(null)
            texts[null.id] = text
    return never(trial, tried, trial.rate(tried), texts)


def _scale_order(trial: Trial) -> Finding:
    """Does it matter from which end the scale is named?"""
    make = getattr(trial.judge, "reversed", None)
    if make is None:
        raise NotRun("this kind of judge has no scale to name from the other end", applies=False)
    again = trial.rate(trial.sample, make())
    both = [item for item in trial.sample if item.id in again]
    one_N, other_N = (np.array([scores[item.id] for item in both]) for scores in (trial.scores, again))
    if len(both) < FEWEST_ITEMS or one_N.std() == 0 or other_N.std() == 0:
        raise NotRun("the scores do not vary, so that there is no order to keep")
    clusters_N, _ = cluster_ids(len(both), [item.cluster for item in both])
    found = equivalence.within_correlation(one_N, other_N, np.zeros(len(both), dtype=np.int64), clusters_N)
    low, high = (float(each) for each in found.interval(0.95))
    rho = float(found.value)
    return Finding(rho, low, high, len(both), "pass" if rho >= _SAME_ORDER else "fail")


def _repeat(trial: Trial) -> Finding:
    """Is the verdict the same among other neighbours, asked of the model itself and not of a memory?"""
    fresh = replace(trial, generator=getattr(trial.generator, "uncached", trial.generator))
    order = np.random.default_rng(trial.seed + 1).permutation(len(trial.sample))
    parts = (order[: len(order) // 3], order[len(order) // 3 :])
    again: dict[str, float] = {}
    for part in parts:
        again |= fresh.rate([trial.sample[place] for place in part])
    both = [item for item in trial.sample if item.id in again]
    flipped = [item for item in both if flips(trial, trial.scores[item.id], again[item.id])]
    missing = len(trial.sample) - len(both)
    n_flips, n = len(flipped) + missing, len(trial.sample)
    low, high = exact_interval(n_flips, n)
    furthest = max((abs(trial.scores[item.id] - again[item.id]) for item in both), default=math.nan)
    passed: Passed = "pass" if n_flips / n <= _MOST_FLIPS else "fail"
    return Finding(n_flips / n, low, high, n, passed, f"scores moved by {furthest:.2g} at most")


def _reference_swap(trial: Trial) -> Finding:
    """Do good answers fall when they are held against the right answer to another question?"""
    if trial.is_pairs or not getattr(trial.judge, "uses_references", False):
        raise NotRun("the judge does not hold one answer against a right one", applies=False)
    with_any = [item for item in trial.known if item.references]
    if not with_any:
        raise NotRun("no labelled answer has a right answer beside it", applies=False)
    middle = float(np.median([trial.human[item.id] for item in with_any]))
    good = [item for item in with_any if trial.human[item.id] >= middle][: trial.n_items]
    exchanged = swapped(good)
    if len(exchanged) < FEWEST_ITEMS:
        raise NotRun(f"it takes {FEWEST_ITEMS} good answers to different questions")
    scores = trial.rate(list(exchanged.values()))
    both = [item for item in good if item.id in exchanged and exchanged[item.id].id in scores]
    right_N = np.array([trial.scores[item.id] for item in both])
    wrong_N = np.array([scores[exchanged[item.id].id] for item in both])
    clusters = [item.cluster for item in both]
    area = superiority(right_N, wrong_N, clusters, clusters)
    low, high = bounds(area)
    passed: Passed = "pass" if area.value >= _REFERENCE_AUC else "fail"
    return Finding(float(area.value), max(low, 0.0), min(high, 1.0), len(both), passed)


_CHANGE = f"change within ±{MOST_CHANGE}"
_PROBES: tuple[tuple[str, str, str, Callable[[Trial], Finding]], ...] = (
    (
        "position",
        "share of disagreeing orders won by what is shown first",
        f"1/2 in the interval, and orders agree on {_CONSISTENT:.0%} or are averaged",
        _position,
    ),
    ("length", "slope of judge minus people on length", f"slope within ±{_LENGTH_SLOPE}", _residual_length),
    (
        "length, said twice",
        "change when all is said twice",
        f"upper bound below {MOST_CHANGE}",
        _counterfactual_length,
    ),
    ("format, bullets", "change from plain text to bullets", _CHANGE, _format(alterations.bulleted)),
    ("format, bold", "change from plain text to headings and bold type", _CHANGE, _format(alterations.emboldened)),
    (
        "self-preference",
        "judge minus people, own base's answers against others'",
        "within ±{delta:g}",
        _self_preference,
    ),
    ("authority", "change with an expert's word or an invented source", _CHANGE, _authority),
    ("injection", "orders to the judge inside low answers", f"none of {FEWEST_TRIES} or more", _injection),
    ("null answers", "answers that say nothing", f"none of {FEWEST_TRIES} or more", _null_answers),
    ("scale order", "correlation with the scale named from the other end", f"at least {_SAME_ORDER}", _scale_order),
    ("repeat", "verdicts that flip among other neighbours", f"at most {_MOST_FLIPS:.0%}", _repeat),
    (
        "reference swap",
        "chance that a good answer falls with another's reference",
        f"at least {_REFERENCE_AUC}",
        _reference_swap,
    ),
)
PROBES = tuple(name for name, *_ in _PROBES)
