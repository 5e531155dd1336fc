"""The run's first line: did tuning help, by how much, can it be trusted, which checkpoint to ship."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.core.protocols import Metric
from harness.core.records import AuditRecord, Comparison, Conclusion, EvaluationRecord, Selection
from harness.core.types import checkpoint_name


def conclude(
    *,
    metric: Metric,
    selection: Selection,
    comparisons: Sequence[Comparison],
    test: Mapping[str, EvaluationRecord],
    audit: AuditRecord,
    min_coverage: float,
    final_step: int,
) -> Conclusion:
    """Put the run in words. The answer is the one against the best untuned candidate: that is what one would ship."""
    same, best = comparisons
    chosen = checkpoint_name(selection.chosen_step)
    coverage = min(_coverage(record, metric.name) for record in test.values())
    return Conclusion(
        sentence=_sentence(metric, same, best, test[chosen], test),
        answer=best.answer,
        ship=_ship(best, chosen),
        coverage=coverage,
        coverage_met=coverage >= min_coverage,
        caveats=tuple(_caveats(metric, selection, comparisons, test, audit, coverage)),
        next_steps=tuple(_next_steps(selection, best, chosen, final_step)),
    )


def _coverage(record: EvaluationRecord, metric: str) -> float:
    return 1 - record.estimate(metric).failures / record.n if record.n else 0.0


def _sentence(
    metric: Metric,
    same: Comparison,
    best: Comparison,
    chosen: EvaluationRecord,
    test: Mapping[str, EvaluationRecord],
) -> str:
    opening = {
        "better": "Tuning helped",
        "worse": "Tuning did harm",
        "no difference worth having": "Tuning made no difference worth having",
        "cannot tell": "Whether tuning helped cannot be told from this test set",
    }[best.answer]
    tuned = f"{metric.name} {number(chosen.estimate(metric.name).value)} with {same.candidate}"
    first = f"{_baseline(same, test)} untuned with the same prompt ({_difference(same)})"
    second = f"{_baseline(best, test)} for the best untuned candidate, {best.baseline} ({_difference(best)})"
    against = f"{first}, which is also the best untuned candidate" if best.baseline == same.baseline else None
    n = f"n = {best.n}" if best.n == same.n else f"n = {same.n} and {best.n}"
    return f"{opening}: {tuned}, against {against or f'{first} and {second}'}; 95 % intervals, {n} test samples."


def _baseline(comparison: Comparison, test: Mapping[str, EvaluationRecord]) -> str:
    return number(test[comparison.baseline].estimate(comparison.metric).value)


def _difference(comparison: Comparison) -> str:
    if comparison.delta is None:
        return f"{comparison.answer}: the difference is undefined"
    low, high = comparison.low, comparison.high
    interval = "" if low is None else f" [{signed(low)}, {signed(high)}]"
    p = "" if comparison.p_adjusted is None else f", p {probability(comparison.p_adjusted)}"
    return f"{comparison.answer}: {signed(comparison.delta)}{interval}{p}"


def _ship(best: Comparison, chosen: str) -> str:
    if best.answer == "better":
        return chosen
    if best.answer == "cannot tell":
        return f"nothing yet: {best.baseline} until a larger test set tells {chosen} apart from it"
    return f"{best.baseline}: the untuned model does as well or better"


def _caveats(
    metric: Metric,
    selection: Selection,
    comparisons: Sequence[Comparison],
    test: Mapping[str, EvaluationRecord],
    audit: AuditRecord,
    coverage: float,
) -> list[str]:
    caveats = []
    if coverage < 1:
        caveats.append(f"some candidate left {1 - coverage:.1%} of the test samples unanswered; they are in no number")
    caveats.extend(_leak_caveats(comparisons, audit))
    if selection.no_signal:
        caveats.append("all checkpoints scored the same on validation: the choice among them had no signal")
    if selection.optimism is not None and selection.optimism > 0:
        caveats.append(
            f"the best validation score is expected to be {selection.optimism:.3g} too good; the test score is not"
        )
    caveats.extend(f"{name}: {alarm}" for name, record in test.items() for alarm in record.alarms)
    small = next((c for c in comparisons if c.n < 20), None)
    if small is not None:
        caveats.append(f"only {small.n} test samples were compared: the intervals are rough")
    return caveats


def _leak_caveats(comparisons: Sequence[Comparison], audit: AuditRecord) -> list[str]:
    if not audit.leaked_test_ids:
        return []
    n = len(audit.leaked_test_ids)
    kept = next((c.without_leaked for c in comparisons if c.without_leaked is not None), None)
    if kept is None or kept["delta"] is None:
        return [f"{n} test samples also stand in train"]
    value, delta = kept["candidate"], signed(kept["delta"])
    without = f"without them the score is {number(value)} and the difference {delta}"
    return [f"{n} test samples also stand in train; {without}"]


def _next_steps(selection: Selection, best: Comparison, chosen: str, final_step: int) -> list[str]:
    steps = []
    if best.answer == "cannot tell" and best.n_needed is not None:
        steps.append(
            f"a test set of {best.n_needed} samples would tell a difference of {best.smallest_effect:g} (80 % power)"
        )
    if selection.best_step == final_step and best.answer != "worse":
        steps.append("the last checkpoint scored best: more epochs may help (trainer.epochs)")
    if selection.chosen_step != selection.best_step:
        best_name = checkpoint_name(selection.best_step)
        steps.append(f"{best_name} scored best on validation, {chosen} is earlier and within one standard error of it")
    return steps


def number(value: float | int | None) -> str:
    """A score for people: three significant decimals below ten, two above."""
    if value is None:
        return "undefined"
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"


def signed(value: float | int | None) -> str:
    """A difference for people, with its sign."""
    return "undefined" if value is None else f"{value:+.2f}" if abs(value) >= 10 else f"{value:+.3f}"


def probability(p: float) -> str:
    """A p value for people."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"
