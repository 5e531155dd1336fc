"""Words like `tasks=a,b models=x,y trainers=lora,full` become runs, each named before anything is spent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from pydantic import JsonValue

from harness.config import Settings, resolve
from harness.core.errors import HarnessError
from harness.store.encoding import fingerprint

_LISTS = {"tasks": "task", "models": "model", "trainers": "trainer"}


@dataclass(frozen=True, slots=True)
class Planned:
    """One run of the grid, with its name."""

    settings: Settings
    run_id: str

    @property
    def task(self) -> str:
        """The task's own name."""
        return self.settings.spec.task.name

    @property
    def model(self) -> str:
        """The model as it was named."""
        return self.settings.spec.model.name

    @property
    def trainer(self) -> str:
        """The trainer's name."""
        return self.settings.spec.trainer_name

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.settings.out / self.task / self.run_id


@dataclass(frozen=True, slots=True)
class Grid:
    """All runs of a bench: tasks outermost, then models, then trainers.

    by_trainer: whether trainers compete; if none was typed, each task has its own, and a model competes tuned as such.
    """

    cells: tuple[Planned, ...]
    by_trainer: bool = True

    @property
    def out(self) -> Path:
        """Folder of the runs."""
        return self.cells[0].settings.out

    @property
    def bench_id(self) -> str:
        """The same for the same runs, whatever their order was typed in."""
        runs: list[JsonValue] = [*sorted(cell.run_id for cell in self.cells)]
        return f"bench-{fingerprint({'runs': runs})[:8]}"


def plan(words: Sequence[str], *, drop_bad: bool, identify: Callable[[Settings], str]) -> Grid:
    """Every run of the grid, resolved and named; HarnessError that lists the mistakes of all of them at once.

    identify: a run's id from its settings; reads its data and the model's files.
    """
    resolved: list[Settings] = []
    mistakes: dict[str, tuple[str, HarnessError]] = {}
    for cell in cell_words(words):
        try:
            resolved.append(resolve(cell, drop_bad=drop_bad))
        except HarnessError as error:
            mistakes.setdefault(str(error), (" ".join(cell[:3]), error))
    if not mistakes:
        cells = [_named(settings, identify, mistakes) for settings in resolved]
        if not mistakes:
            typed = {word.partition("=")[0] for word in words}
            by_trainer = not typed.isdisjoint({"trainers", "trainer", "trainer.name"})
            return _distinct(Grid(tuple(cell for cell in cells if cell is not None), by_trainer))
    raise _refusal(tuple(mistakes.values()))


def require_fit(cells: Sequence[Planned], prepare: Callable[[Planned], object]) -> None:
    """Prepare every run, so that what each would refuse is refused before the first begins: one HarnessError for all.

    prepare: reads, renders and audits a run's data; raises what it would raise when the run begins.
    """
    refused: dict[str, tuple[list[Planned], HarnessError]] = {}
    for cell in cells:
        try:
            prepare(cell)
        except HarnessError as error:
            # A fault of the machine may have passed by the time the run begins.
            if error.exit_code == HarnessError.exit_code:
                refused.setdefault(str(error), ([], error))[0].append(cell)
    if refused:
        raise _refusal([(_where(found), error) for found, error in refused.values()], named=True)


def cell_words(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """The words of each run of the grid, as `harness run` takes them.

    >>> list(cell_words(["tasks=a,b", "models=m", "seed=1"]))
    [('task=a', 'model=m', 'seed=1'), ('task=b', 'model=m', 'seed=1')]
    """
    lists = {key: _parts(key, words) for key in _LISTS}
    if not lists["tasks"]:
        raise HarnessError("no tasks were named", fix="type tasks=NAME,NAME; `harness list tasks` shows the names")
    rest = [word for word in words if word.partition("=")[0] not in _LISTS]
    for key, single in _LISTS.items():
        typed = {word.partition("=")[0] for word in rest} & {single, f"{single}.name"}
        if typed and (lists[key] or single == "task"):
            raise HarnessError(
                f"{typed.pop()} is for a single run, and this bench has {key}",
                fix=f"name all of them in {key}=A,B",
                code="E-CONFLICT",
            )
    axes = [[f"{single}={value}" for value in lists[key]] or [""] for key, single in _LISTS.items()]
    for cell in product(*axes):
        yield (*(word for word in cell if word), *rest)


def _parts(key: str, words: Sequence[str]) -> tuple[str, ...]:
    """The values of `key=a,b`, each once, in the order typed."""
    given = [word.partition("=")[2] for word in words if word.partition("=")[0] == key]
    if len(given) > 1:
        raise HarnessError(f"{key} is given twice", fix=f"name all of them in one {key}=A,B", code="E-CONFLICT")
    parts = [part.strip() for part in given[0].split(",")] if given else []
    if given and not all(parts):
        raise HarnessError(f"{key} has an empty name: {given[0]!r}", fix=f"type {key}=A,B", code="E-OPTION")
    return tuple(dict.fromkeys(parts))


def _named(
    settings: Settings, identify: Callable[[Settings], str], mistakes: dict[str, tuple[str, HarnessError]]
) -> Planned | None:
    try:
        return Planned(settings, identify(settings))
    except HarnessError as error:
        # A fault of the machine is no mistake in the words, and may pass.
        if error.exit_code != HarnessError.exit_code:
            raise
        mistakes.setdefault(str(error), (f"task={settings.spec.task.name} model={settings.spec.model.name}", error))
        return None


def _where(cells: Sequence[Planned]) -> str:
    """The words of the first of some runs, and how many others there are."""
    first, *others = cells
    more = f" and {len(others)} more" if others else ""
    return f"task={first.task} model={first.model} trainer={first.trainer}{more}"


def _refusal(mistakes: Sequence[tuple[str, HarnessError]], *, named: bool = False) -> HarnessError:
    """One error for all runs; where there is only one kind of mistake, that one itself, with its run if `named`."""
    if len(mistakes) == 1:
        where, error = mistakes[0]
        if not named:
            return error
        return HarnessError(f"{where}: {error.what}", fix=error.fix, code=error.code, details=error.details)
    lines = [line for where, error in mistakes for line in (f"{where}: {error.what}", *_indented(error))]
    return HarnessError(
        f"{len(mistakes)} kinds of mistakes in the runs of this bench; nothing was run",
        fix="correct them and type the command again",
        code=mistakes[0][1].code,
        details=lines,
    )


def _indented(error: HarnessError) -> list[str]:
    return [*(f"  {detail}" for detail in error.details), f"  fix: {error.fix}"]


def _distinct(grid: Grid) -> Grid:
    """The grid, unless two of its tasks bear one name or two of its runs are the same."""
    folders = {(cell.task, str(cell.settings.task_folder.resolve())) for cell in grid.cells}
    twice = [name for name, count in Counter(task for task, _ in folders).items() if count > 1]
    runs = [run for run, count in Counter(cell.run_id for cell in grid.cells).items() if count > 1]
    if twice or runs:
        raise HarnessError(
            f"two tasks are named {twice[0]!r}" if twice else f"two runs of this bench are the same, {runs[0]}",
            fix="give one of them another `name` in its task.toml" if twice else "name each task and model once",
            code="E-CONFLICT",
        )
    return grid
