"""Choose a checkpoint and the best untuned candidate, on validation evaluations only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from harness.core.errors import EnvironmentFault
from harness.core.licences import Grade
from harness.core.protocols import AnyMetric, Metric
from harness.core.records import Selection
from harness.core.specs import SelectSpec
from harness.core.types import BoolArray, FloatArray, Outcome, Sample
from harness.pipeline.draws import additive_steps, resamples_for
from harness.pipeline.estimates import clusters_of, rng_for
from harness.pipeline.evaluate import ValidationEvaluation
from harness.pipeline.outcomes import UNASKED
from harness.stats.selection import Choice, choose

# How many checkpoints a judge that may not choose alone leaves to choose among.
N_SHORTLISTED = 3
# Answers of every shortlisted checkpoint to the same prompts that people must have judged to choose.
LEAST_BY_PEOPLE = 30


@dataclass(frozen=True, slots=True)
class JudgeRole:
    """What the judge that a task names as its primary metric may do in this run, by its grade.

    by_people: the scores (N,) that people gave these very answers; nan where nobody judged one.
    """

    metric: Metric
    grade: Grade
    by_people: Callable[[Sequence[Sample], Sequence[Outcome]], FloatArray]


def select(
    checkpoints: Sequence[ValidationEvaluation],
    untuned: Sequence[ValidationEvaluation],
    *,
    metric: AnyMetric,
    spec: SelectSpec,
    seed: int,
    n_resamples: int,
    judge: JudgeRole | None = None,
) -> Selection:
    """The checkpoint to test and the untuned arm to beat, both chosen by the primary metric on validation.

    A candidate that answered fewer than `spec.min_coverage` of the samples cannot be chosen. Scores are compared on
    the samples that all eligible checkpoints answered. Without checkpoints only the untuned arm is chosen.
    judge: one graded `shortlist` leaves its best three to people, where they judged enough answers of all three, else
    to the metric; of any other grade it has no say here: one that may drive is the metric itself.
    """
    arms = (*untuned, *checkpoints)
    excluded = {e.arm.name: _why_few(e, metric, spec) for e in arms if _too_few(e, metric, spec)}
    eligible = [e for e in checkpoints if not _too_few(e, metric, spec)]
    if checkpoints and not eligible:
        raise EnvironmentFault(
            f"no checkpoint answered {spec.min_coverage:.0%} of the validation samples, so none can be chosen",
            fix="see evaluations/*/outcomes.jsonl for the reasons; lower select.min_coverage to choose all the same",
            code="E-COVERAGE",
            resumable=False,
        )
    if not untuned[0].samples:
        return _without_validation(checkpoints, metric, spec, judge)
    kept = _shortlist(eligible, judge)
    if judge is not None and len(kept) < len(eligible):
        why = f"was not among the {len(kept)} that {judge.metric.name} left to choose from"
        excluded |= {e.arm.name: why for e in eligible if e not in kept}
    asked = _asked_people(kept, judge) if len(kept) < len(eligible) else None
    choice: Choice | None = None
    if judge is not None and asked is not None:
        choice = _choose_by_people(kept, asked, judge.metric, spec, seed, n_resamples)
    elif kept:
        choice = _choose(kept, metric, spec, seed, n_resamples)
    return Selection(
        metric=metric.name,
        rule=spec.rule,
        chosen_step=choice.chosen_step if choice else None,
        best_step=choice.best_step if choice else None,
        tied_steps=tuple(choice.tied_steps) if choice else (),
        scores={e.arm.name: e.record.estimate(metric.name) for e in arms},
        # By people it is in the unit of their scores, not of the metric that is named here.
        optimism=choice.optimism if choice and asked is None else None,
        best_untuned=_best_untuned(untuned, metric, spec),
        no_signal=choice.no_signal if choice else False,
        excluded=excluded,
        judge=judge.metric.name if judge else "",
        grade=judge.grade if judge else "",
        shortlist=tuple(_step(e) for e in kept) if len(kept) < len(eligible) else (),
        by_people=0 if asked is None else int(np.isfinite(asked).all(axis=0).sum()),
    )


def _shortlist(eligible: Sequence[ValidationEvaluation], judge: JudgeRole | None) -> list[ValidationEvaluation]:
    """The best by the judge, in order of steps; all where it has no such say, or no score."""
    if judge is None or judge.grade != "shortlist" or len(eligible) <= N_SHORTLISTED:
        return list(eligible)
    common = np.logical_and.reduce([e.scored(judge.metric) for e in eligible])
    values = {_step(e): e.value(judge.metric, common) for e in eligible}
    if not all(np.isfinite(value) for value in values.values()):
        return list(eligible)
    best = sorted(values, key=lambda step: (-values[step], step))[:N_SHORTLISTED]
    return [e for e in eligible if _step(e) in best]


def _asked_people(kept: Sequence[ValidationEvaluation], judge: JudgeRole | None) -> FloatArray | None:
    """People's scores (S, n) of the kept checkpoints on the samples where they judged all of them; None if too few."""
    if judge is None:
        return None
    scores_SN = np.stack([judge.by_people(e.samples, e.outcomes[0]) for e in kept])
    shared = np.isfinite(scores_SN).all(axis=0)
    return scores_SN if int(shared.sum()) >= LEAST_BY_PEOPLE else None


def _choose_by_people(
    kept: Sequence[ValidationEvaluation],
    scores_SN: FloatArray,
    metric: Metric,
    spec: SelectSpec,
    seed: int,
    n_resamples: int,
) -> Choice:
    shared: BoolArray = np.asarray(np.isfinite(scores_SN).all(axis=0), bool)
    samples = [sample for sample, both in zip(kept[0].samples, shared, strict=True) if both]
    return choose(
        metric,
        {
            _step(e): np.stack([scores[shared], np.ones(len(samples))], axis=1)
            for e, scores in zip(kept, scores_SN, strict=True)
        },
        clusters=clusters_of(samples),
        rule=spec.rule,
        n_resamples=n_resamples,
        rng=rng_for(seed, "selection by people"),
    )


def _choose(
    eligible: Sequence[ValidationEvaluation], metric: AnyMetric, spec: SelectSpec, seed: int, n_resamples: int
) -> Choice:
    common = np.logical_and.reduce([e.scored(metric) for e in eligible])
    samples = [sample for sample, keep in zip(eligible[0].samples, common, strict=True) if keep]
    joined, statistics = additive_steps(metric, [e.drawn(metric) for e in eligible], common)
    return choose(
        joined,
        {_step(e): one for e, one in zip(eligible, statistics, strict=True)},
        clusters=clusters_of(samples),
        rule=spec.rule,
        n_resamples=resamples_for(metric, n_resamples),
        rng=rng_for(seed, "selection"),
    )


def _without_validation(
    checkpoints: Sequence[ValidationEvaluation], metric: AnyMetric, spec: SelectSpec, judge: JudgeRole | None
) -> Selection:
    """The last checkpoint: there is nothing to choose by, and the audit let this pass only for `select.rule=last`."""
    step = _step(checkpoints[-1]) if checkpoints else None
    return Selection(
        metric=metric.name,
        rule=spec.rule,
        chosen_step=step,
        best_step=step,
        tied_steps=() if step is None else (step,),
        scores={},
        optimism=None,
        best_untuned=None,
        no_signal=False,
        excluded={},
        judge=judge.metric.name if judge else "",
        grade=judge.grade if judge else "",
    )


def _best_untuned(untuned: Sequence[ValidationEvaluation], metric: AnyMetric, spec: SelectSpec) -> str:
    """Best on the samples that all eligible arms answered; a tie goes to the shorter prompt.

    With none eligible or none defined, the plain zero-shot arm.
    """
    eligible = [e for e in untuned if not _too_few(e, metric, spec)]
    if not eligible:
        return untuned[0].arm.name
    common = np.logical_and.reduce([e.scored(metric) for e in eligible])
    sign = 1 if metric.higher_is_better else -1
    values = [sign * e.value(metric, common) for e in eligible]
    ranked = [
        (-value, e.arm.shots, e.arm.name) for value, e in zip(values, eligible, strict=True) if np.isfinite(value)
    ]
    return min(ranked)[2] if ranked else untuned[0].arm.name


def _too_few(evaluation: ValidationEvaluation, metric: AnyMetric, spec: SelectSpec) -> bool:
    """Whether it cannot be chosen: it left the race, or too many of its samples have no score."""
    return UNASKED in evaluation.outcomes[0] or evaluation.coverage(metric) < spec.min_coverage


def _why_few(evaluation: ValidationEvaluation, metric: AnyMetric, spec: SelectSpec) -> str:
    n_unasked = sum(outcome == UNASKED for outcome in evaluation.outcomes[0])
    if n_unasked:
        return f"left the race after {len(evaluation.samples) - n_unasked} of {len(evaluation.samples)} samples"
    answered = float(evaluation.answered.mean())
    if answered < spec.min_coverage:
        return f"answered {answered:.1%} of the samples"
    return f"could be scored on {evaluation.coverage(metric):.1%} of the samples"


def _step(evaluation: ValidationEvaluation) -> int:
    assert evaluation.arm.checkpoint is not None
    return evaluation.arm.checkpoint.step
