"""One task's competitors on the samples they all have a score on: scores, ranks and who leads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.bench.scores import ArmScores, Finished, Measure, arm_scores, common_ids, rows_of
from harness.bench.standings import (
    Ranks,
    Scored,
    first_shares,
    observed_scores,
    percentile_interval,
    rank,
    resampled_scores,
    spread,
)
from harness.core.bench import Contest, Entry, Lead
from harness.core.protocols import Metric
from harness.core.records import Estimate
from harness.core.specs import JUDGE_PREFIX
from harness.core.types import FloatArray
from harness.pipeline.draws import OF_DRAWS, beside, over_draws
from harness.pipeline.estimates import clusters_of, rng_for
from harness.stats.decision import ALPHA
from harness.stats.multiplicity import holm
from harness.stats.paired import Paired, compare


@dataclass(frozen=True)
class Contender:
    """A competitor's arm in the run that has it. competitor: its place among all of the bench."""

    competitor: int
    finished: Finished
    arm: str
    estimate: Estimate

    @property
    def is_same_as(self) -> tuple[str, str]:
        """Equal for two competitors that are one and the same arm of one run."""
        return self.finished.result.run_id, self.arm


@dataclass(frozen=True)
class Resampling:
    """What all contests of a bench share."""

    seed: int
    n_resamples: int


@dataclass(frozen=True)
class _Field:
    """The contenders that can be resampled, with their statistics (D, n, K) on the same n samples."""

    contenders: tuple[Contender, ...]
    rows: tuple[FloatArray, ...]
    clusters: list[str] | None
    scored: tuple[Scored, ...]
    metric: Metric


@dataclass(frozen=True)
class _Outcome:
    """What came of it, aligned with the contenders. no_intervals: why there are no resamples."""

    values: FloatArray
    ranks: Ranks
    n: int
    n_clusters: int
    lead: Lead | None
    no_intervals: str


def apart(contenders: Sequence[Contender]) -> str:
    """Why runs of one task cannot be ranked together, as a sentence without a full stop; empty where they can.

    A judge that asks the run's own model is another judge with each model, and its licence is another as well.
    """
    own = "a [model] of its own in judge.toml makes a judge the same for all models"
    primaries = {one.finished.result.primary: one.finished.result for one in reversed(contenders)}
    if len(primaries) > 1:
        named = " and ".join(f"{primary} with {result.model}" for primary, result in sorted(primaries.items()))
        return f"nobody is ranked, because different metrics decided in its runs: {named}; {own}"
    [primary] = primaries
    signatures = {one.estimate.signature.partition(OF_DRAWS)[0] for one in contenders}
    if primary.startswith(JUDGE_PREFIX) and len(signatures) > 1:
        return f"nobody is ranked, because {primary} is not the same judge in all of its runs; {own}"
    return ""


def contest(
    contenders: Sequence[Contender],
    measure: Measure,
    *,
    looks: tuple[str, ...],
    resampling: Resampling,
    n_competitors: int,
) -> tuple[Contest, Ranks] | None:
    """The contest and its ranks in columns of all competitors; None where nobody has a defined score."""
    defined = [each for each in contenders if each.estimate.value is not None]
    if not defined:
        return None
    reason = _reason(defined, measure)
    field = None if reason else _field(defined, measure)
    if field is None:
        outcome = _estimated(defined, reason or "there is no sample that all competitors have a score on")
    else:
        outcome = _resampled(field, resampling)
    places = [each.competitor for each in defined]
    return _record(defined, outcome, looks), spread(outcome.ranks, places, n_competitors)


def _reason(contenders: Sequence[Contender], measure: Measure) -> str:
    """Why these cannot be resampled; empty where they can."""
    if not isinstance(measure.metric, Metric):
        return f"{measure.metric.name} is scored on whole sets of answers, so it has no statistics to resample"
    if any(not each.estimate.signature.startswith(measure.metric.signature) for each in contenders):
        return f"{measure.metric.name} is no longer what these runs were scored by"
    if any(id_ not in measure.samples for each in contenders for id_ in each.finished.ids):
        return "the task's data is no longer what these runs were tested on"
    return ""


def _field(contenders: Sequence[Contender], measure: Measure) -> _Field | None:
    """None where there is no sample that all have a score on, or somebody's score on them is undefined."""
    assert isinstance(measure.metric, Metric)
    arms = [arm_scores(each.finished, each.arm) for each in contenders]
    ids = common_ids(arms)
    rows = tuple(rows_of(arm, ids) for arm in arms)
    scored = tuple(_scored(measure.metric, arm, arm_rows) for arm, arm_rows in zip(arms, rows, strict=True))
    if not ids or not np.isfinite(observed_scores(scored)).all():
        return None
    clusters = clusters_of([measure.samples[id_] for id_ in ids])
    return _Field(tuple(contenders), rows, clusters, scored, measure.metric)


def _scored(metric: Metric, arm: ArmScores, rows: FloatArray) -> Scored:
    n_draws = len(arm.statistics)
    return Scored(beside(rows, n_draws), over_draws(metric, n_draws).value)


def _estimated(contenders: Sequence[Contender], reason: str) -> _Outcome:
    """Ranks by the runs' own estimates, each over the samples that its own arm has a score on."""
    values = np.array([each.estimate.value for each in contenders], dtype=np.float64)
    ranks = Ranks(rank(values, higher_is_better=_higher(contenders)), None)
    estimates = [each.estimate for each in contenders]
    return _Outcome(values, ranks, min(e.n for e in estimates), min(e.n_clusters for e in estimates), None, reason)


def _resampled(field: _Field, resampling: Resampling) -> _Outcome:
    higher, values = field.metric.higher_is_better, observed_scores(field.scored)
    n = field.rows[0].shape[1]
    n_clusters = n if field.clusters is None else len(set(field.clusters))
    ranks_C = rank(values, higher_is_better=higher)
    if n_clusters < 2:
        return _Outcome(values, Ranks(ranks_C, None), n, n_clusters, None, "one sample or group cannot be resampled")
    scores_RC = resampled_scores(
        field.scored,
        clusters=field.clusters,
        n_resamples=resampling.n_resamples,
        rng=rng_for(resampling.seed, f"ranks {field.contenders[0].finished.result.task}"),
    )
    ranks = Ranks(ranks_C, rank(scores_RC, higher_is_better=higher))
    return _Outcome(values, ranks, n, n_clusters, _lead(field, values, resampling), "")


def _record(contenders: Sequence[Contender], outcome: _Outcome, looks: tuple[str, ...]) -> Contest:
    first, ranks_RC = contenders[0].finished, outcome.ranks.ranks_RC
    shares = [None] * len(contenders) if ranks_RC is None else first_shares(ranks_RC).tolist()
    return Contest(
        task=first.result.task,
        metric=first.result.primary,
        higher_is_better=_higher(contenders),
        n=outcome.n,
        n_clusters=outcome.n_clusters,
        entries=tuple(_entry(each, place, outcome, shares[place]) for place, each in enumerate(contenders)),
        lead=outcome.lead,
        test_sha256=first.test_sha256,
        looks=looks,
        no_intervals=outcome.no_intervals,
    )


def _entry(contender: Contender, place: int, outcome: _Outcome, first: float | None) -> Entry:
    ranks_RC = outcome.ranks.ranks_RC
    low, high = (None, None) if ranks_RC is None else percentile_interval(ranks_RC[:, place]) or (None, None)
    return Entry(
        competitor=contender.competitor,
        run_id=contender.finished.result.run_id,
        arm=contender.arm,
        estimate=contender.estimate,
        value=float(outcome.values[place]),
        rank=float(outcome.ranks.ranks_C[place]),
        rank_low=low,
        rank_high=high,
        first=first,
    )


def _higher(contenders: Sequence[Contender]) -> bool:
    result = contenders[0].finished.result
    return result.higher_is_better[result.primary]


def _lead(field: _Field, values: FloatArray, resampling: Resampling) -> Lead | None:
    """The first against the second, p adjusted for the first having been found by looking at all the others."""
    order = np.argsort(-values if field.metric.higher_is_better else values, kind="stable")
    distinct: dict[tuple[str, str], int] = {}
    for place in order:
        distinct.setdefault(field.contenders[place].is_same_as, int(place))
    first, *others = distinct.values()
    if not others:
        return None
    tests = [_paired(field, first, other, resampling) for other in others]
    adjusted = holm([test.p for test in tests])[0]
    second = tests[0]
    apart = second.low is not None and second.low > 0 and adjusted is not None and adjusted < ALPHA
    return Lead(
        first=field.contenders[first].competitor,
        second=field.contenders[others[0]].competitor,
        difference=second.delta,
        low=second.low,
        high=second.high,
        p_adjusted=adjusted,
        n_tests=len(tests),
        told_apart=apart,
    )


def _paired(field: _Field, first: int, other: int, resampling: Resampling) -> Paired:
    n_draws = max(len(field.rows[first]), len(field.rows[other]))
    return compare(
        over_draws(field.metric, n_draws),
        beside(field.rows[first], n_draws),
        beside(field.rows[other], n_draws),
        clusters=field.clusters,
        n_resamples=resampling.n_resamples,
        rng=rng_for(resampling.seed, f"lead {field.contenders[first].is_same_as} {field.contenders[other].is_same_as}"),
    )


def same_everywhere(contests: Sequence[Contest], one: int, other: int) -> bool:
    """Whether two competitors are one and the same arm in every contest: then neither can lead the other."""

    def arms(competitor: int) -> Mapping[str, tuple[str, str]]:
        found = {each.task: each.entry(competitor) for each in contests}
        return {task: (entry.run_id, entry.arm) for task, entry in found.items() if entry is not None}

    return arms(one) == arms(other)
