"""Where task folders are: a path, then ./tasks, then the tasks that came with the harness or another distribution."""

from __future__ import annotations

import sysconfig
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness import registry
from harness.core.errors import HarnessError
from harness.store.places import at_home, is_file, is_folder

TASK_FILE = "task.toml"

# The tasks of the project one stands in come before any that are installed.
_HERE = Path("tasks")


@dataclass(frozen=True, slots=True)
class ListedTask:
    """A task as `harness list tasks` shows it."""

    name: str
    summary: str
    folder: str


def find_task(name: str) -> Path:
    """The folder of a task named by path or by name; HarnessError with the nearest names where there is none."""
    path = at_home(name)
    for folder in (path, path.parent if path.name == TASK_FILE else path, _HERE / name):
        if is_file(folder / TASK_FILE):
            return folder
    offers: dict[str, Path] = {}
    for root, origin in _installed_roots():
        if is_file(root / name / TASK_FILE):
            offers.setdefault(origin, root / name)
    if len(offers) > 1:
        raise _clash(name, offers)
    if offers:
        return next(iter(offers.values()))
    if is_folder(path):
        raise HarnessError(
            f"the folder {name!r} has no {TASK_FILE}",
            fix=f"write one (see tasks/headlines/{TASK_FILE} for an example), or name another folder",
            code="E-NOTASK",
        )
    raise registry.unknown("tasks", name, tuple(task.name for task in listed_tasks()))


def listed_tasks() -> tuple[ListedTask, ...]:
    """Every task that can be named without a path."""
    found: dict[str, ListedTask] = {}
    for root in (_HERE, *(root for root, _ in _installed_roots())):
        for file in sorted(root.glob(f"*/{TASK_FILE}")):
            found.setdefault(file.parent.name, ListedTask(file.parent.name, _summary(file), str(file.parent)))
    return tuple(found[name] for name in sorted(found))


def read_toml(file: Path) -> Mapping[str, object]:
    """A TOML file as plain values; HarnessError with the line where it is not TOML."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as err:
        raise HarnessError(f"{file} is not valid TOML: {err}", fix="mend that line", code="E-TOML") from err


def _installed_roots() -> tuple[tuple[Path, str], ...]:
    """Folders of task folders with the distribution they came with; the harness's own first."""
    checkout = Path(__file__).resolve().parents[1] / "tasks"
    installed = Path(sysconfig.get_path("data")) / "share" / "sft-harness" / "tasks"
    own = tuple((root, "sft-harness") for root in (checkout, installed) if root.is_dir())
    return (*own, *registry.task_roots())


def _clash(name: str, offers: Mapping[str, Path]) -> HarnessError:
    return HarnessError(
        f"the task {name!r} is offered by {len(offers)} distributions, and nothing says which is meant",
        details=[f"{origin}: {folder}" for origin, folder in offers.items()],
        fix=f"name its folder: task={next(iter(offers.values()))}",
        code="E-CLASH",
    )


def _summary(file: Path) -> str:
    try:
        return str(read_toml(file).get("summary", ""))
    except HarnessError as error:
        return f"unreadable: {error.what}"
