"""Commands that only read: report and list."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from harness import registry
from harness.catalogue import listed_tasks
from harness.cli.terminal import echo, echo_json, show_table
from harness.core.protocols import Reporter

Things = Literal["tasks", "metrics", "models", "trainers", "backends", "runs"]
AsJson = Annotated[bool, typer.Option("--json", help="for programs")]


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of `harness list`."""

    name: str
    summary: str
    origin: str


def list_things(
    things: Annotated[Things, typer.Argument(help="tasks, metrics, models, trainers, backends or runs")],
    out: Annotated[Path, typer.Option("--out", help="folder of the runs")] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """What there is: tasks, metrics, models, trainers, backends or runs, with where each comes from."""
    rows = _rows(things, out)
    if as_json:
        echo_json([asdict(row) for row in rows])
    elif rows:
        show_table(["name", "what", "from"], [[row.name, row.summary, row.origin] for row in rows], numbers=False)
    else:
        echo(f"no {things} yet")


def report(
    name: Annotated[str, typer.Argument(metavar="RUN", help="task/id, id, or folder")], as_json: AsJson = False
) -> None:
    """Show a finished run's conclusion and write its report again."""
    from harness.cli.summary import show_result
    from harness.store.reports import write_reports
    from harness.store.view import StoredView, find_run

    folder = find_run(name, Path("runs"))
    result = StoredView(folder).result
    reporters = {name: cast(Reporter, registry.load("reporters", name)) for name in registry.names("reporters")}
    write_reports(folder, reporters)
    if as_json:
        echo_json(result)
    else:
        show_result(result, folder)


def _rows(things: Things, out: Path) -> list[_Row]:
    if things == "tasks":
        return [_Row(task.name, task.summary, task.folder) for task in listed_tasks()]
    if things == "runs":
        from harness.store.view import listed_runs

        return [_Row(run.name, run.conclusion, run.state) for run in listed_runs(out)]
    if things == "models":
        return _models()
    return [_Row(plugin.name, plugin.summary, plugin.origin) for plugin in registry.listed(things)]


def _models() -> list[_Row]:
    """The embedded model, and what the Hugging Face cache holds; any other id or folder works as well."""
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    cached = sorted(path.name for path in (home / "hub").glob("models--*") if (path / "snapshots").is_dir())
    rows = [_Row("demo", "the embedded model, for trying the harness out: 2 million parameters", "sft-harness")]
    rows += [_Row(name.removeprefix("models--").replace("--", "/"), "", "Hugging Face cache") for name in cached]
    return [*rows, _Row("ID or FOLDER", "any causal language model in safetensors", "Hugging Face Hub, or a folder")]
