"""What a bench prints: competitors by tasks with their ranks, who leads, what to mind, and where the page is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from harness.cli.terminal import echo, show_table
from harness.core.bench import BenchResult, Contest, Standing

_COSTS = ("steps", "generations", "prompt_tokens", "max_output_tokens")


def show_bench(result: BenchResult, folder: Path) -> None:
    """Print a bench."""
    if result.standings:
        headings = [f"{contest.task} {contest.metric}" for contest in result.contests]
        rows = [_row(standing, result) for standing in result.standings]
        show_table(["competitor", *headings, "mean rank", "first"], [*rows, *_counts(result.contests)])
        echo(
            "score (rank); mean rank over tasks [95 % bootstrap interval], 1 is best, ties share their places; "
            "first: share of resamples"
        )
    elif not any(cell.finished for cell in result.cells):
        echo("No run finished, so nothing can be ranked.")
    for line in result.verdicts:
        echo(line)
    for caution in result.cautions:
        echo(f"Note: {caution}.")
    for cell in result.cells:
        if not cell.finished:
            echo(f"Failed: {cell.task}, {cell.model}, {cell.trainer}: {cell.reason}")
    echo(f"Leaderboard: {folder / 'leaderboard.html'}")


def show_grid(bench_id: str, rows: Sequence[Mapping[str, str | int]]) -> None:
    """Print what a bench would do."""
    headings = ["task", "model", "trainer", "state", *(name.replace("_", " ") for name in _COSTS)]
    names = ("task", "model", "trainer", "state", *_COSTS)
    show_table(headings, [[str(row.get(name, "")) for name in names] for row in rows], numbers=False)
    totals = {name: sum(int(row.get(name, 0)) for row in rows) for name in _COSTS}
    n_left = sum(row["state"] == "to do" for row in rows)
    echo(
        f"{bench_id}: {n_left} of {len(rows)} runs to do, {totals['steps']} training steps, {totals['generations']} "
        f"generations, {totals['prompt_tokens']} prompt tokens, at most {totals['max_output_tokens']} generated ones"
    )
    echo("Answers that runs share are generated once, so the true cost may be lower.")


def _row(standing: Standing, result: BenchResult) -> list[str]:
    cells = [_cell(contest, standing.competitor) for contest in result.contests]
    interval = "" if standing.low is None or standing.high is None else f" [{standing.low:.2f}, {standing.high:.2f}]"
    missing = "*" if standing.missing else ""
    first = "" if standing.first is None else f"{standing.first:.0%}"
    return [result.name(standing.competitor), *cells, f"{standing.mean_rank:.2f}{missing}{interval}", first]


def _cell(contest: Contest, competitor: int) -> str:
    entry = contest.entry(competitor)
    return "none" if entry is None else f"{entry.value:.3f} ({entry.rank:g})"


def _counts(contests: Sequence[Contest]) -> list[list[str]]:
    """Below the scores: how many samples they rest on, and how often these were looked at."""
    return [
        ["test samples", *(str(contest.n) for contest in contests), "", ""],
        ["runs that compared on them", *(str(len(contest.looks)) for contest in contests), "", ""],
    ]
