"""summary.md: the conclusion, the main tables and the caveats, for a pull request or a model card."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from harness.core.protocols import RunView
from harness.core.records import Comparison, RunResult, SliceComparison
from reports.numbers import interval, number, p_value, percent
from reports.tables import ArmRow, Cell, arm_rows, checkpoint_rows, decimals_of, signatures, slice_rows
from reports.text import one_line

# An underscore inside a word is text in CommonMark: metric names stay readable in the raw file.
_SPECIAL = re.compile(r"([\\`*\[\]|~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9]))")
_LEADING = re.compile(r"^(\d*)([-+>#=.)])")
_SHOWN = 600


class MarkdownReporter:
    """Writes summary.md."""

    def render(self, view: RunView) -> Mapping[str, bytes]:
        """{"summary.md": UTF-8 Markdown}."""
        return {"summary.md": ("\n".join(_lines(view)).rstrip() + "\n").encode()}


reporter = MarkdownReporter()


def escape(text: str) -> str:
    r"""Text that Markdown shows as it is: one line, no markup, no HTML.

    >>> escape("a|b <i>`x`")
    'a\\|b &lt;i&gt;\\`x\\`'
    """
    line = html.escape(_SPECIAL.sub(r"\\\1", one_line(text, _SHOWN)), quote=False)
    return _LEADING.sub(r"\1\\\2", line)


def _lines(view: RunView) -> Iterator[str]:
    result = view.result
    yield f"# {escape(result.task)}: {result.conclusion.answer or 'untuned'}"
    yield from ("", f"**{escape(result.conclusion.sentence)}**", "")
    if result.summary:
        yield from (escape(result.summary), "")
    yield from _facts(result)
    yield from _section("Caveats", (f"- {escape(caveat)}" for caveat in result.conclusion.caveats))
    yield from _section("Results on test", _results(result))
    yield from _section("Comparisons", _comparisons(result))
    yield from _section("Slices", _slices(result))
    yield from _section("Checkpoints", _checkpoints(result))
    yield from _section("Next steps", (f"- {escape(step)}" for step in result.conclusion.next_steps))
    yield from _section("Signatures", _signatures(result))


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    body = list(lines)
    if body:
        yield from ("", f"## {title}", "", *body)


def _facts(result: RunResult) -> Iterator[str]:
    met = "" if result.conclusion.coverage_met else " (the rest failed)"
    yield f"- ship: {escape(result.conclusion.ship)}"
    yield f"- model: {escape(result.model)}, trainer: {escape(result.trainer)}, run: {escape(result.run_id)}"
    yield f"- samples with an answer: {percent(result.conclusion.coverage)}{met}"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    body = list(rows)
    if body:
        yield _row(head)
        yield _row(["---"] * len(head))
        yield from (_row(cells) for cells in body)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _results(result: RunResult) -> Iterator[str]:
    names = [escape(metric) + ("" if result.higher_is_better.get(metric, True) else " ↓") for metric in result.metrics]
    yield from _table(["arm", "n", "failures", *names], (_result_row(row) for row in arm_rows(result, "test")))


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
    return f"{number(estimate.value, cell.decimals)} {ends}".rstrip()


def _comparisons(result: RunResult) -> Iterator[str]:
    head = ["question", "difference", "95 % interval", "p", "wins / ties / losses", "answer"]
    decimals = decimals_of(result)
    yield from _table(head, (_comparison_row(each, decimals.get(each.metric, 3)) for each in result.comparisons))


def _comparison_row(comparison: Comparison, decimals: int) -> list[str]:
    sides = f"{escape(comparison.candidate)} against {escape(comparison.baseline)}"
    return [
        f"{comparison.question}: {sides}, {escape(comparison.metric)}",
        number(comparison.delta, decimals, signed=True),
        interval(comparison.low, comparison.high, decimals, signed=True) or number(None),
        html.escape(p_value(comparison.p), quote=False),
        f"{comparison.wins} / {comparison.ties} / {comparison.losses}",
        comparison.answer,
    ]


def _slices(result: RunResult) -> Iterator[str]:
    places = decimals_of(result).get(result.primary, 3)
    head = [f"{escape(result.primary)} by slice", "n", "before", "after", "difference", "p adjusted (Holm)", "answer"]
    yield from _table(head, (_slice_row(row, places) for row in slice_rows(result) if row.metric == result.primary))


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


def _checkpoints(result: RunResult) -> Iterator[str]:
    places = decimals_of(result).get(result.selection.metric, 3)
    head = ["step", "training loss", "validation loss", f"{escape(result.selection.metric)} on validation", "note"]
    rows = (
        [
            str(row.step),
            *(number(loss) for loss in row.losses),
            number(row.score.value if row.score else None, places),
            escape(", ".join(row.notes)),
        ]
        for row in checkpoint_rows(result)
    )
    yield from _table(head, rows)
    if result.checkpoints:
        yield from ("", f"Rule: {escape(result.selection.rule)}")


def _signatures(result: RunResult) -> Iterator[str]:
    for metric, signs in signatures(result).items():
        yield from (f"- {escape(metric)}: {escape(sign)}" for sign in signs)
