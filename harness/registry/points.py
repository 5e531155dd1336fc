"""What installed distributions offer under the entry-point groups `harness.*`, without importing any of it."""

from __future__ import annotations

import ast
import difflib
import importlib.util
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Literal

from harness.core.errors import HarnessError

Kind = Literal["metrics", "backends", "trainers", "judges", "reporters", "leaderboards", "cards"]
KINDS: tuple[Kind, ...] = ("metrics", "backends", "trainers", "judges", "reporters", "leaderboards", "cards")


@dataclass(frozen=True, slots=True)
class Listed:
    """A plug-in as `harness list` shows it. problem: why it cannot be used, as far as that shows without importing."""

    name: str
    summary: str
    origin: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class TaskPackage:
    """Task folders that an installed distribution brings. folder: None where its package is nowhere to be found."""

    name: str
    origin: str
    folder: Path | None


def points(kind: str) -> tuple[EntryPoint, ...]:
    """Every entry point of a kind, sorted by name, then by distribution; each once."""
    found = {(point.name, origin(point), point.value): point for point in entry_points(group=f"harness.{kind}")}
    return tuple(found[key] for key in sorted(found))


def names(kind: Kind) -> tuple[str, ...]:
    """All names of a kind, sorted."""
    return tuple(sorted({point.name for point in points(kind)}))


def listed(kind: Kind) -> tuple[Listed, ...]:
    """Every plug-in of a kind with its description and the distribution it comes from; a contested name twice."""
    found = points(kind)
    n_offers = Counter(point.name for point in found)
    contested = "offered by more than one distribution, so it cannot be used"
    return tuple(
        Listed(point.name, _summary(point.module), origin(point), contested if n_offers[point.name] > 1 else "")
        for point in found
    )


def point_of(kind: Kind, name: str) -> EntryPoint:
    """The one entry point with this name.

    E-UNKNOWN with the nearest names where there is none, E-CLASH where two distributions offer it: which of them
    comes first depends on the order of sys.path, and a number must not.
    """
    found = [point for point in points(kind) if point.name == name]
    if not found:
        raise unknown(kind, name, names(kind))
    if len(found) > 1:
        raise _clash(kind, name, found)
    return found[0]


def origin(point: EntryPoint) -> str:
    """The distribution and its version."""
    return f"{point.dist.name} {point.dist.version}" if point.dist else ""


def unknown(kind: str, name: str, known: tuple[str, ...]) -> HarnessError:
    """The error for a name that is not known: nearest names, and the command that lists all."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known) or 'none'}"
    return HarnessError(
        f"there is no {kind.rstrip('s')} named {name!r}; {hint}",
        fix=f"harness list {kind} shows them all",
        code="E-UNKNOWN",
    )


def task_packages() -> tuple[TaskPackage, ...]:
    """Every entry point of the group `harness.tasks`: a package or module whose folder holds task folders."""
    return tuple(TaskPackage(point.name, origin(point), _folder(point.module)) for point in points("tasks"))


def judge_roots() -> tuple[tuple[Path, str], ...]:
    """Folders of judge configurations, `<root>/<name>/judge.toml`, with the distribution that brought each."""
    found = ((_folder(point.module), origin(point)) for point in points("judge_folders"))
    return tuple((folder, where) for folder, where in found if folder is not None)


def task_roots() -> tuple[tuple[Path, str], ...]:
    """Folders that hold task folders, with the distribution that brought each."""
    found = ((package.folder, package.origin) for package in task_packages())
    return tuple((folder, where) for folder, where in found if folder is not None)


def place_of(package: str) -> str | None:
    """Where Python finds a top-level package or module, without importing it; None if nowhere."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None:
        return None
    return next(iter(spec.submodule_search_locations or ()), spec.origin)


def _folder(module: str) -> Path | None:
    """The folder of a package, or the one a module stands in."""
    file = _module_file(module)
    if file is not None:
        return file.parent
    head, _, rest = module.partition(".")
    place = place_of(head)
    # A package without __init__.py is a folder all the same.
    folder = Path(place, *rest.split(".")) if place and rest else Path(place) if place else None
    return folder if folder is not None and folder.is_dir() else None


def _module_file(module: str) -> Path | None:
    head, *rest = module.split(".")
    place = place_of(head)
    if place is None:
        return None
    if place.endswith(".py"):
        return Path(place) if not rest else None
    bare = Path(place, *rest)
    choices = (bare / "__init__.py", *((bare.with_name(f"{bare.name}.py"),) if rest else ()))
    return next((file for file in choices if file.is_file()), None)


def _summary(module: str) -> str:
    """First line of the module's docstring, read from source."""
    file = _module_file(module)
    if file is None:
        return ""
    try:
        document = ast.get_docstring(ast.parse(file.read_bytes())) or ""
    except (OSError, SyntaxError, ValueError):
        return ""
    return document.partition("\n")[0]


def _clash(kind: Kind, name: str, found: Sequence[EntryPoint]) -> HarnessError:
    distributions = [point.dist.name if point.dist else point.value for point in found]
    others = [distribution for distribution in distributions if distribution != "sft-harness"]
    return HarnessError(
        f"the {kind.rstrip('s')} {name!r} is offered by {len(found)} distributions, and nothing says which is meant",
        details=[f"{origin(point) or 'unknown'}: {point.value}" for point in found],
        fix=f"keep one: pip uninstall {' or '.join(others)}; or ask its author for a name of its own",
        code="E-CLASH",
    )
