"""summary.md of a bench: who leads, the standings and what to mind, for a pull request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from harness.core.bench import BenchResult, Cell, Contest, Entry, Standing
from reports.markdown_parts import escape
from reports.numbers import interval, number, percent, places


class MarkdownLeaderboard:
    """Writes summary.md."""

    def render(self, result: BenchResult) -> Mapping[str, bytes]:
        """{"summary.md": UTF-8 Markdown}."""
        return {"summary.md": ("\n".join(_lines(result)).rstrip() + "\n").encode("utf-8", "backslashreplace")}


leaderboard = MarkdownLeaderboard()


def _lines(result: BenchResult) -> Iterator[str]:
    yield f"# Leaderboard: {escape(', '.join(result.tasks))}"
    yield from ("", *(f"- {escape(verdict)}" for verdict in result.verdicts))
    if result.cautions:
        yield from ("", "## Before you rely on it", "", *(f"- {escape(caution)}." for caution in result.cautions))
    if result.standings:
        yield from ("", "## Standings", "", *_standings(result))
    yield from ("", "## Runs", "", *_runs(result))


def _standings(result: BenchResult) -> Iterator[str]:
    tasks = [
        f"{escape(contest.task)}, {escape(contest.metric)}{'' if contest.higher_is_better else ' ↓'}"
        for contest in result.contests
    ]
    yield from _head(["competitor", "mean rank", "95 % interval", "first in", *tasks])
    decimals = [places(entry.value for entry in contest.entries) for contest in result.contests]
    for standing in result.standings:
        yield _row(_standing(result, standing, decimals))
    samples = [f"n {contest.n}, looks {len(contest.looks)}" for contest in result.contests]
    yield _row(["on test", "", "", "", *samples])


def _standing(result: BenchResult, standing: Standing, decimals: Sequence[int]) -> list[str]:
    entries = [contest.entry(standing.competitor) for contest in result.contests]
    mark = f" (without {escape(', '.join(standing.missing))})" if standing.missing else ""
    return [
        escape(result.name(standing.competitor)),
        number(standing.mean_rank, 2) + mark,
        interval(standing.low, standing.high, 1) or number(None),
        percent(standing.first),
        *(_entry(entry, places) for entry, places in zip(entries, decimals, strict=True)),
    ]


def _entry(entry: Entry | None, decimals: int) -> str:
    return number(None) if entry is None else f"{number(entry.value, decimals)} (rank {entry.rank:g})"


def _runs(result: BenchResult) -> Iterator[str]:
    yield from _head(["task", "model", "trainer", "difference", "95 % interval", "answer", "run"])
    for cell in result.cells:
        yield _row(_run(cell, result.contest(cell.task)))


def _run(cell: Cell, contest: Contest | None) -> list[str]:
    decimals = places(entry.value for entry in contest.entries) if contest is not None else 3
    answer = (cell.answer or number(None)) if cell.finished else f"failed: {escape(cell.reason)}"
    return [
        *(escape(name) for name in (cell.task, cell.model, cell.trainer)),
        number(cell.delta, decimals, signed=True),
        interval(cell.low, cell.high, decimals, signed=True) or number(None),
        answer,
        escape(cell.run_id),
    ]


def _head(names: Sequence[str]) -> Iterator[str]:
    yield _row(names)
    yield _row(["---"] * len(names))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
