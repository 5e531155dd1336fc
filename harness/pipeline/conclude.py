"""The run's first line: did tuning help, by how much, can it be trusted, which checkpoint to ship."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.core.protocols import Metric
from harness.core.records import Answer, AuditRecord, Comparison, Conclusion, EvaluationRecord, Selection
from harness.core.types import checkpoint_name

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


def conclude(
    *,
    metric: Metric,
    selection: Selection,
    comparisons: Sequence[Comparison],
    test: Mapping[str, EvaluationRecord],
    audit: AuditRecord,
    final_step: int,
) -> Conclusion:
    """Put the run in words. The answer is the one against the best untuned candidate: that is what one would ship.

    comparisons: against the same prompt, then (where validation chose one) against the best untuned candidate.
    """
    best = comparisons[-1]
    chosen = checkpoint_name(selection.chosen_step)
    coverage = min(_coverage(record, metric.name) for record in test.values())
    return Conclusion(
        sentence=_sentence(metric, comparisons),
        answer=best.answer,
        ship=_ship(best, chosen),
        coverage=coverage,
        coverage_met=coverage == 1,
        caveats=tuple(_caveats(metric, selection, comparisons, test, audit, coverage)),
        next_steps=tuple(_next_steps(selection, best, test[chosen], final_step)),
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


def _sentence(metric: Metric, comparisons: Sequence[Comparison]) -> str:
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
    return f"{head}: {tuned}, against {against}; 95 % intervals, {n} test samples."


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


def _caveats(
    metric: Metric,
    selection: Selection,
    comparisons: Sequence[Comparison],
    test: Mapping[str, EvaluationRecord],
    audit: AuditRecord,
    coverage: float,
) -> list[str]:
    caveats = _leak_caveats(comparisons[-1], audit)
    n_untuned = sum(record.step is None for record in test.values())
    if coverage < 1:
        caveats.append(
            f"some candidate left {1 - coverage:.1%} of the test samples unanswered; a comparison is over the samples "
            "that both sides answered"
        )
    caveats.extend(f"{name} could not be chosen: it {reason}" for name, reason in selection.excluded.items())
    if selection.best_untuned is None:
        caveats.append("there are no validation rows: the last checkpoint was taken, no best prompt looked for")
    if not selection.no_signal and len(selection.tied_steps) == len(selection.scores) - n_untuned > 1:
        caveats.append("validation cannot tell the checkpoints apart; the earliest was taken")
    if all(c.candidate_value == c.baseline_value == metric.worst for c in comparisons):
        caveats.append(
            f"every candidate scores {metric.worst:g}, the worst there is: {metric.name} sees nothing learnt"
        )
    if selection.no_signal:
        caveats.append("all checkpoints scored the same on validation: the choice among them had no signal")
    if selection.optimism is not None and selection.optimism > 0:
        caveats.append(
            f"the best validation score is expected to be {selection.optimism:.3g} too good; the test score is not"
        )
    caveats.extend(f"{name}: {alarm}" for name, record in test.items() for alarm in record.alarms)
    n_units = min(comparison.n_clusters for comparison in comparisons)
    if n_units < _FEW:
        unit = "test samples" if n_units == comparisons[-1].n else "groups of test samples"
        caveats.append(f"only {n_units} {unit} were compared: the intervals are rough")
    return caveats


def _leak_caveats(best: Comparison, audit: AuditRecord) -> list[str]:
    if not audit.leaked_test_ids:
        return []
    seen = f"{len(audit.leaked_test_ids)} test samples also stand in train or validation"
    clean = best.without_leaked
    if clean is None:
        return [seen]
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
    measured = bool(selection.scores) and not selection.no_signal
    if measured and selection.best_step == final_step and best.answer != "worse":
        steps.append("the last checkpoint scored best: more epochs may help (trainer.epochs)")
    if selection.chosen_step != selection.best_step:
        best_name = checkpoint_name(selection.best_step)
        steps.append(
            f"{best_name} scored best on validation, {chosen.arm} is earlier and within one standard error of it"
        )
    return steps


def number(value: float | int | None) -> str:
    """A score for people: two decimals from ten up, three below."""
    if value is None:
        return "undefined"
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"


def signed(value: float | int | None) -> str:
    """A difference for people, with its sign."""
    return "undefined" if value is None else f"{value:+.2f}" if abs(value) >= 10 else f"{value:+.3f}"


def probability(p: float) -> str:
    """A p value for people."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"
