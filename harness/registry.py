"""Names to objects by entry point: the one door for the harness's own plug-ins and a third party's.

Listing imports nothing: a plug-in's one-line description is read from its module's source.
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Literal

from harness.core.errors import EnvironmentFault, HarnessError

Kind = Literal["metrics", "backends", "trainers", "reporters"]


@dataclass(frozen=True, slots=True)
class Listed:
    """A plug-in as `harness list` shows it."""

    name: str
    summary: str
    origin: str


def names(kind: Kind) -> tuple[str, ...]:
    """All names of a kind, sorted."""
    return tuple(sorted({point.name for point in entry_points(group=f"harness.{kind}")}))


def listed(kind: Kind) -> tuple[Listed, ...]:
    """Every plug-in of a kind with its description and the distribution it comes from."""
    points = {point.name: point for point in entry_points(group=f"harness.{kind}")}
    return tuple(
        Listed(name, _summary(point), f"{point.dist.name} {point.dist.version}" if point.dist else "")
        for name, point in sorted(points.items())
    )


def load(kind: Kind, name: str) -> object:
    """The object behind a name; HarnessError with the nearest names where there is none."""
    points = [point for point in entry_points(group=f"harness.{kind}") if point.name == name]
    if not points:
        raise unknown(kind, name, names(kind))
    try:
        return points[0].load()
    except (ImportError, AttributeError) as err:
        raise EnvironmentFault(
            f"the {kind.rstrip('s')} {name!r} ({points[0].value}) cannot be imported: {err}",
            fix=_import_fix(points[0], err),
            code="E-PLUGIN",
        ) from err


def unknown(kind: str, name: str, known: tuple[str, ...]) -> HarnessError:
    """The error for a name that is not known: nearest names, and the command that lists all."""
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known: {', '.join(known) or 'none'}"
    return HarnessError(
        f"there is no {kind.rstrip('s')} named {name!r}; {hint}",
        fix=f"harness list {kind} shows them all",
        code="E-UNKNOWN",
    )


def _import_fix(point: EntryPoint, err: Exception) -> str:
    """A folder of the same name in front of ours is the usual cause; say so when it is."""
    package = point.module.partition(".")[0]
    spec = importlib.util.find_spec(package)
    found = spec.origin or str(list(spec.submodule_search_locations or [])) if spec else "nowhere"
    if isinstance(err, ModuleNotFoundError) and err.name and not err.name.startswith(package):
        return f"pip install {err.name}"
    return f"the package {package!r} was found at {found}; rename or remove it if it is not the harness's own"


def _summary(point: EntryPoint) -> str:
    """First line of the module's docstring, read from source without importing it."""
    try:
        package = importlib.util.find_spec(point.module.partition(".")[0])
        if package is None or not package.submodule_search_locations:
            return ""
        relative = Path(*point.module.split(".")[1:]).with_suffix(".py")
        source = (Path(package.submodule_search_locations[0]) / relative).read_text(encoding="utf-8")
        document = ast.get_docstring(ast.parse(source)) or ""
    except (OSError, SyntaxError, ValueError):
        return ""
    return document.partition("\n")[0]
