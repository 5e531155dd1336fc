"""leaderboard.html: a bench on one page that opens offline and has no script at all.

Names of models and tasks reach the page through Jinja's autoescape; links go to the runs' own reports beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from harness.core.bench import BenchResult, Cell, Competitor, Contest, Entry, Standing
from reports.numbers import places
from reports.page import environment, policy, safe

Tone = Literal["good", "unsure"]


@dataclass(frozen=True, slots=True)
class Span:
    """Where a mean rank and its interval lie between the first and the last place, in percent; None for no interval."""

    at: float
    left: float | None
    width: float | None


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A competitor in the table of one task. entry: None where it has no score."""

    competitor: Competitor
    entry: Entry | None
    link: str


@dataclass(frozen=True, slots=True)
class TaskTable:
    """One task, best first; decimals suit its metric."""

    contest: Contest
    rows: tuple[TaskRow, ...]
    decimals: int


@dataclass(frozen=True, slots=True)
class StandingRow:
    """A competitor over all tasks, with its entry on each task of the page's order."""

    standing: Standing
    competitor: Competitor
    entries: tuple[Entry | None, ...]
    span: Span


class HtmlLeaderboard:
    """Writes leaderboard.html."""

    def render(self, result: BenchResult) -> Mapping[str, bytes]:
        """{"leaderboard.html": one self-contained page}. The same result gives the same bytes."""
        return {"leaderboard.html": page(result).encode("utf-8", "backslashreplace")}


leaderboard = HtmlLeaderboard()


def page(result: BenchResult) -> str:
    """The page as text."""
    tables = tuple(_table(result, contest) for contest in result.contests)
    return (
        environment()
        .get_template("leaderboard.html.j2")
        .render(
            result=result,
            policy=policy("'none'"),
            style=safe("report.css"),
            own_style=safe("leaderboard.css"),
            headline=result.verdicts[0] if result.verdicts else _nobody(result),
            tone=_tone(result),
            tables=tables,
            rows=standing_rows(result),
            cells=[(cell, report_link(cell.task, cell.run_id), _decimals(cell, tables)) for cell in result.cells],
            n_finished=sum(cell.finished for cell in result.cells),
        )
    )


def report_link(task: str, run_id: str) -> str:
    """The run's report, from the bench's folder.

    >>> report_link("tickets", "demo-lora-1a2b")
    '../tickets/demo-lora-1a2b/report.html'
    """
    return f"../{_quoted(task)}/{_quoted(run_id)}/report.html"


def standing_rows(result: BenchResult) -> tuple[StandingRow, ...]:
    """The main table, in the order of the standings."""
    return tuple(
        StandingRow(
            standing,
            result.competitors[standing.competitor],
            tuple(contest.entry(standing.competitor) for contest in result.contests),
            span(standing, len(result.competitors)),
        )
        for standing in result.standings
    )


def span(standing: Standing, n_competitors: int) -> Span:
    """The place of a mean rank on a line from 1 to the number of competitors."""

    def percent(rank: float) -> float:
        return round(100 * (rank - 1) / max(n_competitors - 1, 1), 2)

    if standing.low is None or standing.high is None:
        return Span(percent(standing.mean_rank), None, None)
    left = percent(standing.low)
    return Span(percent(standing.mean_rank), left, round(percent(standing.high) - left, 2))


def _table(result: BenchResult, contest: Contest) -> TaskTable:
    ordered = sorted(contest.entries, key=lambda entry: (entry.rank, entry.competitor))
    ranked = {entry.competitor for entry in ordered}
    rows = [TaskRow(result.competitors[e.competitor], e, report_link(contest.task, e.run_id)) for e in ordered]
    rows += [TaskRow(each, None, "") for place, each in enumerate(result.competitors) if place not in ranked]
    return TaskTable(contest, tuple(rows), places(entry.value for entry in contest.entries))


def _decimals(cell: Cell, tables: tuple[TaskTable, ...]) -> int:
    return next((table.decimals for table in tables if table.contest.task == cell.task), 3)


def _tone(result: BenchResult) -> Tone:
    lead = result.lead if len(result.contests) > 1 else next((c.lead for c in result.contests), None)
    return "good" if lead is not None and lead.told_apart else "unsure"


def _nobody(result: BenchResult) -> str:
    if result.standings:
        return "There is nobody to compare with."
    some = any(cell.finished for cell in result.cells)
    return "Nobody can be ranked." if some else "No run finished, so nothing can be ranked."


def _quoted(text: str) -> str:
    return quote(text.encode("utf-8", "backslashreplace"), safe="")
