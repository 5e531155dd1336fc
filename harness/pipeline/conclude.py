"""The run's first line: did tuning help, by how much, can it be trusted, which checkpoint to ship."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.core.protocols import AnyMetric
from harness.core.records import (
    Answer,
    AuditRecord,
    Comparison,
    Conclusion,
    EvaluationRecord,
    Selection,
    SliceComparison,
)
from harness.core.specs import JUDGE_PREFIX
from harness.core.types import CHECKPOINT_PREFIX, checkpoint_name
from harness.data.display import escape as one_line
from harness.pipeline.slices import MOST_SLICES
from harness.pipeline.words import number, probability, signed

# What is said of both answers together. Same prompt: did tuning change anything? Best untuned: was it worth it?
_SAME_PROMPT_ONLY: Mapping[Answer, str] = {
    "better": "Tuning helped",
    "worse": "Tuning did harm",
    "no difference worth having": "Tuning made no difference worth having",
    "cannot tell": "Whether tuning helped cannot be told from this test set",
}
_BEST_WORSE: Mapping[Answer, str] = {
    "better": "Tuning helped, but prompting the untuned model does better",
    "worse": "Tuning did harm",
    "no difference worth having": "Tuning made no difference worth having, and prompting the untuned model does better",
    "cannot tell": "Whether tuning helped cannot be told, but prompting the untuned model does better",
}
_BEST_EQUAL: Mapping[Answer, str] = {
    "better": "Tuning helped, but no more than prompting the untuned model does",
    "worse": "Tuning did harm",
    "no difference worth having": "Tuning made no difference worth having",
    "cannot tell": "Tuning brought nothing worth having beyond prompting the untuned model",
}
_BEST_UNKNOWN: Mapping[Answer, str] = {
    "better": "Tuning helped, but whether it beats prompting the untuned model cannot be told from this test set",
    "worse": "Tuning did harm",
    "no difference worth having": "Tuning made no difference worth having at the same prompt",
    "cannot tell": "Whether tuning helped cannot be told from this test set",
}
_FEW = 20
# Slices named in one sentence.
_MOST_NAMED = 3


@dataclass(frozen=True)
class Evidence:
    """What a conclusion is drawn from.

    metrics: primary first. test: the records of all arms on test. left_out: field -> slices that were not compared.
    judging: what must be said about the judges.
    """

    metrics: Sequence[AnyMetric]
    selection: Selection
    comparisons: Sequence[Comparison]
    slices: Sequence[SliceComparison]
    test: Mapping[str, EvaluationRecord]
    audit: AuditRecord
    left_out: Mapping[str, int]
    judging: Sequence[str] = ()

    @property
    def metric(self) -> AnyMetric:
        """The primary metric."""
        return self.metrics[0]

    @property
    def coverage(self) -> float:
        """Share of the test samples that the arm with the most failures answered."""
        return min(_coverage(record, self.metric.name) for record in self.test.values())


def conclude(evidence: Evidence, *, final_step: int) -> Conclusion:
    """Put a run in words. The answer is the one against the best untuned candidate: that is what one would ship.

    The evidence compares against the same prompt, then (where validation chose one) against the best untuned candidate.
    """
    selection, best = evidence.selection, evidence.comparisons[-1]
    assert selection.chosen_step is not None
    chosen = checkpoint_name(selection.chosen_step)
    return Conclusion(
        sentence=_sentence(evidence),
        answer=best.answer,
        ship=_ship(best, chosen),
        coverage=evidence.coverage,
        coverage_met=evidence.coverage == 1,
        caveats=tuple(_caveats(evidence)),
        next_steps=tuple(_next_steps(selection, best, evidence.test[chosen], final_step)),
    )


def conclude_untuned(evidence: Evidence) -> Conclusion:
    """Put an evaluation without tuning in words: how good the model is, and with which prompt."""
    chosen = evidence.selection.best_untuned or next(iter(evidence.test))
    figure = evidence.test[chosen].estimate(evidence.metric.name)
    interval = "" if figure.low is None else f" [{number(figure.low)}, {number(figure.high)}]"
    found = f"Untuned, {evidence.metric.name} is {number(figure.value)}{interval} with {chosen}"
    if evidence.selection.best_untuned is None:
        against = ": the plain prompt, for there was no validation to look for a better one"
    elif evidence.comparisons:
        comparison = evidence.comparisons[0]
        plain = f"{number(comparison.baseline_value)} with {comparison.baseline} ({_difference(comparison)})"
        against = f", the best prompt on validation, against {plain}"
    else:
        n_tried = len(evidence.selection.scores)
        against = f", the best of {n_tried} prompts on validation" if n_tried > 1 else ""
    return Conclusion(
        sentence=f"{found}{against}{_worse_slices(evidence)}; 95 % intervals, n = {figure.n} test samples.",
        answer=evidence.comparisons[0].answer if evidence.comparisons else None,
        ship=f"{chosen}, if untuned is good enough: nothing was tuned",
        coverage=evidence.coverage,
        coverage_met=evidence.coverage == 1,
        caveats=tuple(_caveats(evidence)),
        next_steps=("tune it and compare: harness run with the same task and model",),
    )


def opening(same: Answer, best: Answer | None) -> str:
    """The first words, from both answers. best: None where the same prompt is the only or the best baseline.

    >>> opening("better", "worse")
    'Tuning helped, but prompting the untuned model does better'
    """
    if best is None or best == "better":
        return _SAME_PROMPT_ONLY[best or same]
    by_best = {"worse": _BEST_WORSE, "no difference worth having": _BEST_EQUAL, "cannot tell": _BEST_UNKNOWN}
    return by_best[best][same]


def _sentence(evidence: Evidence) -> str:
    metric, comparisons = evidence.metric, evidence.comparisons
    same, best = comparisons[0], comparisons[-1]
    differ = best.baseline != same.baseline
    head = opening(same.answer, best.answer if differ else None)
    tuned = f"{metric.name} {number(best.candidate_value)} with {same.candidate}"
    against = f"{number(same.baseline_value)} untuned with the same prompt ({_difference(same)})"
    if differ:
        named = f"for the best untuned candidate on validation, {best.baseline}"
        against = f"{against} and {number(best.baseline_value)} {named} ({_difference(best)})"
    elif len(comparisons) > 1:
        against = f"{against}, which is also the best untuned candidate on validation"
    n = f"n = {best.n}" if best.n == same.n else f"n = {same.n} and {best.n}"
    return f"{head}: {tuned}, against {against}{_worse_slices(evidence)}; 95 % intervals, {n} test samples."


def _worse_slices(evidence: Evidence) -> str:
    """The slices that got worse by the primary metric while the whole got better, for the sentence."""
    if not evidence.comparisons or evidence.comparisons[0].answer != "better":
        return ""
    worse = [row for row in evidence.slices if row.metric == evidence.metric.name and row.answer == "worse"]
    named = ", ".join(f"{one_line(row.name)} ({_slice_difference(row)})" for row in worse[:_MOST_NAMED])
    more = f" and {len(worse) - _MOST_NAMED} more" if len(worse) > _MOST_NAMED else ""
    return f"; but it got worse where {named}{more}" if worse else ""


def _slice_difference(row: SliceComparison) -> str:
    interval = "" if row.low is None else f" [{signed(row.low)}, {signed(row.high)}]"
    return f"{signed(row.delta)}{interval}, n = {row.n}"


def _difference(comparison: Comparison) -> str:
    if comparison.delta is None:
        return f"{comparison.answer}: the difference is undefined"
    low, high = comparison.low, comparison.high
    interval = "" if low is None else f" [{signed(low)}, {signed(high)}]"
    p = "" if comparison.p_adjusted is None else f", p {probability(comparison.p_adjusted)}"
    return f"{comparison.answer}: {signed(comparison.delta)}{interval}{p}"


def _coverage(record: EvaluationRecord, metric: str) -> float:
    return 1 - record.estimate(metric).failures / record.n if record.n else 0.0


def _ship(best: Comparison, chosen: str) -> str:
    return {
        "better": chosen,
        "worse": f"{best.baseline}: the untuned model does better",
        "no difference worth having": f"{best.baseline}: tuning gains less than {best.smallest_effect:g}",
        "cannot tell": f"nothing yet: {best.baseline} until a larger test set tells {chosen} apart from it",
    }[best.answer]


def _caveats(evidence: Evidence) -> list[str]:
    metric, selection, comparisons = evidence.metric, evidence.selection, evidence.comparisons
    coverage, test = evidence.coverage, evidence.test
    caveats = [*evidence.judging, *_leak_caveats(comparisons, evidence.audit)]
    n_checkpoints = sum(name.startswith(CHECKPOINT_PREFIX) for name in selection.scores)
    if coverage < 1:
        lost = any(record.unscored(metric.name) for record in test.values())
        left, have = ("without a score", "have a score on") if lost else ("unanswered", "answered")
        caveats.append(
            f"some candidate left {1 - coverage:.1%} of the test samples {left}; a comparison is over the samples "
            f"that both sides {have}"
        )
    caveats.extend(_unscored(one.name, test) for one in evidence.metrics if _most_unscored(one.name, test))
    caveats.extend(_why_excluded(selection.excluded))
    if selection.best_untuned is None and selection.chosen_step is not None:
        caveats.append("there are no validation rows: the last checkpoint was taken, no best prompt looked for")
    if not selection.no_signal and len(selection.tied_steps) == n_checkpoints > 1:
        caveats.append("validation cannot tell the checkpoints apart; the earliest was taken")
    if comparisons and all(c.candidate_value == c.baseline_value == metric.worst for c in comparisons):
        caveats.append(
            f"every candidate scores {metric.worst:g}, the worst there is: {metric.name} sees nothing learnt"
        )
    if selection.no_signal:
        caveats.append("all checkpoints scored the same on validation: the choice among them had no signal")
    if selection.optimism is not None and selection.optimism > 0:
        caveats.append(
            f"the best validation score is expected to be {selection.optimism:.3g} too good; the test score is not"
        )
    caveats.extend(_slice_caveats(evidence))
    caveats.extend(f"{one.name}: {caveat}" for one in evidence.metrics for caveat in getattr(one, "caveats", ()))
    caveats.extend(f"{name}: {alarm}" for name, record in test.items() for alarm in record.alarms)
    n_units = min((comparison.n_clusters for comparison in comparisons), default=_FEW)
    if n_units < _FEW:
        unit = "test samples" if n_units == comparisons[-1].n else "groups of test samples"
        caveats.append(f"only {n_units} {unit} were compared: the intervals are rough")
    return caveats


def _most_unscored(metric: str, test: Mapping[str, EvaluationRecord]) -> int:
    return max((record.unscored(metric) for record in test.values()), default=0)


def _why_excluded(excluded: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each reason why arms could not be chosen."""
    for why in dict.fromkeys(excluded.values()):
        names = [name for name, reason in excluded.items() if reason == why]
        yield f"{', '.join(names)} could not be chosen: {'it' if len(names) == 1 else 'they'} {why}"


def _unscored(metric: str, test: Mapping[str, EvaluationRecord]) -> str:
    """Answers that were there and got no score, candidate by candidate."""
    without = "no verdict" if metric.startswith(JUDGE_PREFIX) else "no score"
    rows = [(name, record.unscored(metric), record.n) for name, record in test.items()]
    named = ", ".join(f"{n_lost} of {n} with {name}" for name, n_lost, n in rows if n_lost)
    return f"{metric} has {without} on some answers, and its figures are over the others: {named}"


def _slice_caveats(evidence: Evidence) -> list[str]:
    """Slices of the primary metric that fell by more than is worth having, but not beyond doubt; those left out."""
    notes = [
        f"{one_line(field)} has too many values: only its {MOST_SLICES} largest slices were compared, {n} were not"
        for field, n in evidence.left_out.items()
    ]
    fell = [
        f"{one_line(row.name)} ({_slice_difference(row)})"
        for row in evidence.slices
        if row.metric == evidence.metric.name
        and row.answer == "cannot tell"
        and row.delta is not None
        and row.delta < -row.smallest_effect
    ]
    if not fell:
        return notes
    return [*notes, f"lower in {len(fell)} slices, which may be chance: {', '.join(fell[:_MOST_NAMED])}"]


def _leak_caveats(comparisons: Sequence[Comparison], audit: AuditRecord) -> list[str]:
    if not audit.leaked_test_ids:
        return []
    seen = f"{len(audit.leaked_test_ids)} test samples also stand in train or validation"
    clean = comparisons[-1].without_leaked if comparisons else None
    if clean is None:
        return [seen]
    best = comparisons[-1]
    value, delta = number(_figure(clean["candidate"])), signed(_figure(clean["delta"]))
    changed = "" if clean["answer"] == best.answer else f", and the answer changes to: {clean['answer']}"
    return [f"{seen}; without them the score is {value} and the difference to {best.baseline} {delta}{changed}"]


def _figure(value: float | int | str | None) -> float | None:
    return value if isinstance(value, int | float) else None


def _next_steps(selection: Selection, best: Comparison, chosen: EvaluationRecord, final_step: int) -> list[str]:
    steps = []
    if chosen.finish_reasons.get("length", 0) > chosen.n / 2:
        steps.append(
            "most tuned answers never ended: train longer or with a higher trainer.lr, try trainer=full, "
            "or set generation.stop"
        )
    if best.answer == "cannot tell" and best.n_needed is not None:
        steps.append(
            f"a test set of {best.n_needed} samples would tell a difference of {best.smallest_effect:g} (80 % power)"
        )
    if selection.no_signal and best.candidate_value == best.baseline_value:
        steps.append(
            "nothing was learnt that the metric sees: more trainer.epochs, a higher trainer.lr, or a larger model"
        )
    measured = bool(selection.scores) and not selection.no_signal
    several = len(selection.scores) > 1 and sum(name.startswith(CHECKPOINT_PREFIX) for name in selection.scores) > 1
    if measured and several and selection.best_step == final_step and best.answer != "worse":
        steps.append("the last checkpoint scored best: more epochs may help (trainer.epochs)")
    if selection.best_step is not None and selection.chosen_step != selection.best_step:
        best_name = checkpoint_name(selection.best_step)
        steps.append(
            f"by {selection.metric} {best_name} scored best on validation, but only {chosen.arm} was asked the test "
            f"samples: `harness run` with metrics.primary={selection.metric} asks it"
            if selection.rule == "recorded"
            else f"{best_name} scored best on validation, {chosen.arm} is earlier and within one standard error of it"
        )
    return steps
