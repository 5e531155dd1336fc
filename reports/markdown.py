"""summary.md: the conclusion, the main tables and the caveats, for a pull request or a model card."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet

from harness.core.protocols import RunView
from harness.core.records import Comparison, RunResult, SliceComparison
from reports import judges
from reports.judge_markdown import corrected_lines, judge_lines, people_lines
from reports.markdown_parts import escape, section, table
from reports.numbers import interval, number, p_value, percent
from reports.tables import ArmRow, Cell, arm_rows, checkpoint_rows, decimals_of, signatures, slice_rows


class MarkdownReporter:
    """Writes summary.md."""

    def render(self, view: RunView) -> Mapping[str, bytes]:
        """{"summary.md": UTF-8 Markdown}."""
        return {"summary.md": ("\n".join(_lines(view)).rstrip() + "\n").encode()}


reporter = MarkdownReporter()


def _lines(view: RunView) -> Iterator[str]:
    result, validation, badge = view.result, view.validation, judges.badge(view)
    unproven = judges.unproven(view)
    yield f"# {escape(result.task)}: {judges.headline(result, validation)}" + (f", {badge.words}" if badge else "")
    first = result.conclusion.sentence if validation is None else validation.sentence
    yield from ("", f"**{escape(first)}**", "")
    if validation is not None:
        yield from (f"By the run itself: {escape(result.conclusion.sentence)}", "")
    if result.summary:
        yield from (escape(result.summary), "")
    yield from _facts(result)
    yield from section("Caveats", (f"- {escape(caveat)}" for caveat in result.conclusion.caveats))
    if validation is not None:
        yield from section("What people said", people_lines(validation))
    yield from section("Results on test", _results(result, unproven))
    yield from section("Comparisons", _comparisons(result, unproven))
    yield from section("Slices", _slices(result, unproven))
    yield from section("Checkpoints", _checkpoints(result, unproven))
    yield from section("Judges", (line for card in view.judges for line in (*judge_lines(card), "")))
    yield from section(f"By {judges.on_validation(view)}, on validation", corrected_lines(view.corrected))
    yield from section("Next steps", (f"- {escape(step)}" for step in result.conclusion.next_steps))
    yield from section("Signatures", _signatures(result))


def _named(metric: str, unproven: AbstractSet[str]) -> str:
    """A metric's name; a judge that has no licence is never named without saying so."""
    return escape(metric) + (f" ({judges.UNPROVEN})" if metric in unproven else "")


def _facts(result: RunResult) -> Iterator[str]:
    met = "" if result.conclusion.coverage_met else " (the rest failed)"
    yield f"- ship: {escape(result.conclusion.ship)}"
    yield f"- model: {escape(result.model)}, trainer: {escape(result.trainer)}, run: {escape(result.run_id)}"
    yield f"- samples scored on both sides: {percent(result.conclusion.coverage)}{met}"


def _results(result: RunResult, unproven: AbstractSet[str]) -> Iterator[str]:
    higher = result.higher_is_better
    names = [_named(metric, unproven) + ("" if higher.get(metric, True) else " ↓") for metric in result.metrics]
    yield from table(["arm", "n", "failures", *names], (_result_row(row) for row in arm_rows(result, "test")))


def _result_row(row: ArmRow) -> list[str]:
    record = row.record
    return [escape(record.arm), str(record.n), str(sum(record.failures.values())), *(_cell(cell) for cell in row.cells)]


def _cell(cell: Cell) -> str:
    if cell.estimate is None:
        return number(None)
    estimate = cell.estimate
    if estimate.value is None:
        return f"{number(None)} {escape(estimate.undefined or '')}".rstrip()
    ends = interval(estimate.low, estimate.high, cell.decimals)
    lost = f"({cell.unscored} without a score)" if cell.unscored else ""
    return " ".join(filter(None, (number(estimate.value, cell.decimals), ends, lost)))


def _comparisons(result: RunResult, unproven: AbstractSet[str]) -> Iterator[str]:
    head = ["question", "difference", "95 % interval", "p", "wins / ties / losses", "answer"]
    decimals = decimals_of(result)
    places = [decimals.get(each.metric, 3) for each in result.comparisons]
    pairs = zip(result.comparisons, places, strict=True)
    yield from table(head, (_comparison_row(each, shown, unproven) for each, shown in pairs))


def _comparison_row(comparison: Comparison, decimals: int, unproven: AbstractSet[str]) -> list[str]:
    sides = f"{escape(comparison.candidate)} against {escape(comparison.baseline)}"
    return [
        f"{comparison.question}: {sides}, {_named(comparison.metric, unproven)}",
        number(comparison.delta, decimals, signed=True),
        interval(comparison.low, comparison.high, decimals, signed=True) or number(None),
        html.escape(p_value(comparison.p), quote=False),
        f"{comparison.wins} / {comparison.ties} / {comparison.losses}",
        comparison.answer,
    ]


def _slices(result: RunResult, unproven: AbstractSet[str]) -> Iterator[str]:
    places = decimals_of(result).get(result.primary, 3)
    name = _named(result.primary, unproven)
    head = [f"{name} by slice", "n", "before", "after", "difference", "p adjusted (Holm)", "answer"]
    yield from table(head, (_slice_row(row, places) for row in slice_rows(result) if row.metric == result.primary))


def _slice_row(row: SliceComparison, places: int) -> list[str]:
    ends = interval(row.low, row.high, places, signed=True)
    return [
        escape(row.name),
        str(row.n),
        number(row.baseline_value, places),
        number(row.candidate_value, places),
        f"{number(row.delta, places, signed=True)} {ends}".rstrip(),
        html.escape(p_value(row.p_adjusted), quote=False),
        row.answer,
    ]


def _checkpoints(result: RunResult, unproven: AbstractSet[str]) -> Iterator[str]:
    places = decimals_of(result).get(result.selection.metric, 3)
    name = _named(result.selection.metric, unproven)
    head = ["step", "training loss", "validation loss", f"{name} on validation", "note"]
    rows = (
        [
            str(row.step),
            *(number(loss) for loss in row.losses),
            number(row.score.value if row.score else None, places),
            escape(", ".join(row.notes)),
        ]
        for row in checkpoint_rows(result)
    )
    yield from table(head, rows)
    if result.checkpoints:
        yield from ("", f"Rule: {escape(result.selection.rule)}")
    chosen = judges.choice(result.selection)
    if chosen:
        yield from ("", f"Judge: {escape(chosen)}.")


def _signatures(result: RunResult) -> Iterator[str]:
    for metric, signs in signatures(result).items():
        yield from (f"- {escape(metric)}: {escape(sign)}" for sign in signs)
