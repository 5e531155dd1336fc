"""What `harness list` shows: names with a line each and where they come from; on request, whether they work."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, cast, get_args

from harness import registry
from harness.catalogue import listed_tasks
from harness.core.errors import HarnessError
from harness.core.protocols import Reporter

Things = Literal[
    "tasks",
    "presets",
    "metrics",
    "models",
    "trainers",
    "backends",
    "judges",
    "reporters",
    "leaderboards",
    "cards",
    "runs",
]
THINGS: tuple[str, ...] = get_args(Things)
BROKEN = "broken: "


@dataclass(frozen=True, slots=True)
class Row:
    """A line of `harness list`. check: what came of trying it, where that was asked for."""

    name: str
    summary: str
    origin: str
    check: str = ""


def rows_of(things: Things, out: Path) -> list[Row]:
    """What there is of a kind; no plug-in is imported. out: the folder of the runs."""
    if things == "tasks":
        return [*_tasks(), *_lost_task_packages()]
    if things == "runs":
        from harness.store.view import listed_runs

        return [Row(run.name, run.conclusion, run.state) for run in listed_runs(out)]
    if things == "models":
        return _models()
    if things == "presets":
        from harness.scaffold import preset

        return [Row(each.name, each.summary, "sft-harness") for each in preset.listed()]
    return [Row(each.name, each.problem or each.summary, each.origin) for each in registry.listed(things)]


def checked(things: Things, rows: Sequence[Row]) -> list[Row]:
    """The same rows, each tried: imported, and held to its kind's promises as far as that needs no model and no data.

    HarnessError for kinds with nothing to try.
    """
    tries: dict[str, Callable[[Row], str]] = {
        "metrics": lambda row: _try_metric(row.name),
        "reporters": lambda row: _try_reporter(row.name),
        "backends": lambda row: _try_import("backends", row.name),
        "trainers": lambda row: _try_import("trainers", row.name),
        "judges": lambda row: _try_import("judges", row.name),
        "leaderboards": lambda row: _try_import("leaderboards", row.name),
        "cards": lambda row: _try_import("cards", row.name),
        "tasks": lambda row: _try_task(row.origin),
    }
    if things not in tries:
        raise HarnessError(
            f"{things} cannot be checked", fix=f"harness list {' or '.join(tries)} --check", code="E-USAGE"
        )
    return [replace(row, check=_outcome(tries[things], row)) for row in rows]


def _outcome(attempt: Callable[[Row], str], row: Row) -> str:
    """What came of it; nothing that a plug-in raises may hide the others."""
    from harness.testing.promises import ConformanceError, raised

    try:
        return attempt(row)
    except HarnessError as err:
        return f"{BROKEN}{err.what}; {err.fix}"
    except ConformanceError as err:
        return f"{BROKEN}{err.promise}; for example {err.example}"
    except Exception as err:
        return f"{BROKEN}{raised(err)}"


def _try_import(kind: registry.Kind, name: str) -> str:
    registry.load(kind, name)
    return "imports"


def _try_metric(name: str) -> str:
    from harness.testing.metrics import Maker, check_on_any_samples

    tried = check_on_any_samples(cast(Maker, registry.load("metrics", name)), name=name)
    if not tried:
        return "imports; needs settings or data of its own to be tried"
    return f"keeps its promises, tried on {tried}"


def _try_reporter(name: str) -> str:
    from harness.testing.reporters import check_reporter

    check_reporter(cast(Reporter, registry.load("reporters", name)))
    return "keeps its promises"


def _try_task(folder: str) -> str:
    from harness.testing.tasks import check_task

    check_task(Path(folder))
    return "keeps its promises"


def _tasks() -> list[Row]:
    return [Row(task.name, task.summary, task.folder) for task in listed_tasks()]


def _lost_task_packages() -> list[Row]:
    """Distributions that promise tasks whose package is not there."""
    lost = (package for package in registry.task_packages() if package.folder is None)
    return [Row(package.name, "the package of these tasks is nowhere to be found", package.origin) for package in lost]


def _models() -> list[Row]:
    """The embedded models, and what the Hugging Face cache holds; any other id or folder works as well."""
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    cached = sorted(path.name for path in (home / "hub").glob("models--*") if (path / "snapshots").is_dir())
    rows = [
        Row("demo", "the embedded model, for trying the harness out: 2.16 million parameters", "sft-harness"),
        Row("demo-small", "a smaller and weaker one: 0.75 million parameters", "sft-harness"),
    ]
    rows += [Row(name.removeprefix("models--").replace("--", "/"), "", "Hugging Face cache") for name in cached]
    return [*rows, Row("ID or FOLDER", "any causal language model in safetensors", "Hugging Face Hub, or a folder")]
