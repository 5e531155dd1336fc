"""harness bench: a grid of ordinary runs, one after another in this process, and how its competitors stand."""

from __future__ import annotations

import shlex
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from harness import registry
from harness.cli import execution
from harness.cli.bench_table import show_bench, show_grid
from harness.cli.running import AllowFailures, AsJson
from harness.cli.terminal import echo, echo_json
from harness.core.errors import BackendUnreachable, EnvironmentFault, HarnessError

if TYPE_CHECKING:
    from harness.bench.grid import Grid, Planned
    from harness.bench.result import Ended
    from harness.config import Settings
    from harness.core.bench import BenchResult, Leaderboard
    from harness.pipeline.prepare import Plugins, Prepared

Words = Annotated[
    list[str],
    typer.Argument(help="tasks=A,B models=X,Y trainers=T,U, and settings for all runs as `harness run` takes them"),
]


def bench(
    words: Words,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show the grid and its cost, do nothing")] = False,
    drop_bad: Annotated[bool, typer.Option("--drop-bad", help="leave bad rows out, counted")] = False,
    allow_failures: AllowFailures = False,
    as_json: AsJson = False,
) -> None:
    """Run tasks × models × trainers and rank them. Typed again, it continues; finished runs are not repeated.

    A run that fails is shown with its reason and the others go on; the exit code is then the highest of theirs.
    """
    from harness.bench.grid import plan, require_fit
    from harness.bench.result import assemble, bench_folder

    grid = plan(words, drop_bad=drop_bad, identify=_run_id)
    if dry_run:
        _show_plan(grid, as_json=as_json)
        return
    require_fit([cell for cell in grid.cells if not execution.is_finished(cell.folder)], _prepare)
    options = ["--drop-bad"] * drop_bad + ["--allow-failures"] * allow_failures + ["--json"] * as_json
    command = shlex.join(["harness", "bench", *words, *options])
    ended = _run_all(grid, command, allow_failures=allow_failures)
    result = assemble(grid, ended)
    folder = bench_folder(grid)
    _write(result, folder)
    if as_json:
        echo_json(result)
    else:
        show_bench(result, folder)
    execution.exit_code = max(cell.exit_code for cell in result.cells)
    if execution.exit_code in (EnvironmentFault.exit_code, BackendUnreachable.exit_code):
        echo(f"resume with: {command}", error=True)


def _run_id(settings: Settings) -> str:
    from harness.pipeline.prepare import identify

    return identify(settings.spec, execution.plugins_of(settings), settings.task_folder).run_id


def _prepare(cell: Planned) -> tuple[Plugins, Prepared]:
    """A run with everything behind it that may refuse it before its model is loaded; nothing is written."""
    from harness.pipeline.prepare import identify, prepare, require_sound, require_trainable
    from harness.store.cache import RENDERINGS, ContentCache

    settings = cell.settings
    plugins = execution.plugins_of(settings)
    require_trainable(settings.spec, plugins)
    renderings = ContentCache(settings.out, RENDERINGS)
    prepared = prepare(identify(settings.spec, plugins, settings.task_folder), plugins, renderings)
    require_sound(prepared)
    plugins.trainer.plan(prepared.train_rows, prepared.trainer_spec)
    return plugins, prepared


def _run_all(grid: Grid, command: str, *, allow_failures: bool) -> list[Ended]:
    """Every run, the finished ones at no cost. Stopped in between, the command to go on with is the bench's own."""
    ended = []
    for number, cell in enumerate(grid.cells, 1):
        echo(f"run {number} of {len(grid.cells)}: {cell.task}, {cell.model}, {cell.trainer}", error=True)
        try:
            ended.append(_run_one(cell, allow_failures=allow_failures))
        except BaseException:
            execution.resume_command = command
            raise
    execution.resume_command = ""
    return ended


def _run_one(cell: Planned, *, allow_failures: bool) -> Ended:
    """One run as `harness run` does it; what it prints goes to stderr, stdout is for the bench's own table."""
    from harness.bench.result import Ended

    try:
        with redirect_stdout(sys.stderr):
            execution.execute(cell.settings, dry_run=False, as_json=False, allow_failures=allow_failures)
    except HarnessError as error:
        echo(str(error), error=True)
        return Ended(cell, error.exit_code, error.what)
    except MemoryError:
        echo("error[E-OOM]: out of memory", error=True)
        return Ended(cell, EnvironmentFault.exit_code, "out of memory")
    return Ended(cell, execution.exit_code)


def _write(result: BenchResult, folder: Path) -> None:
    from harness.store import disk
    from harness.store.encoding import canonical

    disk.write_atomic(folder / "bench.json", canonical(result))
    for name in registry.names("leaderboards"):
        leaderboard = cast("Leaderboard", registry.load("leaderboards", name))
        for file, content in leaderboard.render(result).items():
            disk.write_atomic(folder / file, content)


def _show_plan(grid: Grid, *, as_json: bool) -> None:
    """What is still to be done, run by run, and what it costs; a run that cannot begin says why."""
    rows = [_estimate(cell) for cell in grid.cells]
    if as_json:
        echo_json({"bench_id": grid.bench_id, "runs": rows})
    else:
        show_grid(grid.bench_id, rows)
    execution.exit_code = max((cast(int, row["exit_code"]) for row in rows), default=0)


def _estimate(cell: Planned) -> dict[str, str | int]:
    from harness.pipeline.check import make_plan

    row: dict[str, str | int] = {
        "task": cell.task,
        "model": cell.model,
        "trainer": cell.trainer,
        "run_id": cell.run_id,
        "state": "finished",
        "exit_code": 0,
    }
    if execution.is_finished(cell.folder):
        return row
    try:
        plugins, prepared = _prepare(cell)
        made = make_plan(prepared, plugins)
    except HarnessError as error:
        return {**row, "state": error.what, "exit_code": error.exit_code}
    return {
        **row,
        "state": "to do",
        "steps": made.training.n_steps if made.training is not None else 0,
        "generations": made.n_generations,
        "prompt_tokens": made.prompt_tokens,
        "max_output_tokens": made.max_output_tokens,
    }
