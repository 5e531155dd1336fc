"""A name to the object behind it, checked for what its kind must be able to do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path

from harness.core.errors import EnvironmentFault, HarnessError
from harness.core.protocols import Metric, RecomputedMetric
from harness.metrics.context import MetricContext
from harness.registry.files import digest_of, from_file, is_file_name, one_line
from harness.registry.own import shadows
from harness.registry.points import Kind, origin, place_of, point_of

# `hf:rouge` is the entry point `hf`, which reads the rest itself.
PREFIXES = frozenset({"hf"})

_MUST_HAVE: dict[Kind, tuple[str, ...]] = {
    "metrics": (),
    "backends": ("identify", "create"),
    "trainers": ("spec_type", "backends", "settle", "plan", "train"),
    "judges": ("create",),
    "reporters": ("render",),
    "leaderboards": ("render",),
    "cards": ("render",),
}


def load(kind: Kind, name: str, *, folder: Path | None = None) -> object:
    """The object behind a name, a `prefix:rest`, or a `file.py:attr` in `folder` (the task's) or the current one.

    A metric is a maker `MetricContext -> Metric`, wherever it comes from. HarnessError: E-UNKNOWN with the nearest
    names, E-CLASH, E-PLUGIN where it cannot be imported or is not what its kind must be.
    """
    if is_file_name(name):
        found, digest = from_file(name, folder)
        _require(kind, name, found)
        return _own_metric(found, name, digest) if kind == "metrics" else found
    prefix = name.partition(":")[0]
    point = point_of(kind, prefix if prefix in PREFIXES else name)
    found = _import(kind, point)
    _require(kind, name, found, point)
    return found


def source_digest(name: str, folder: Path | None = None) -> str | None:
    """The sha256 of the file behind `file.py:attr`; None for plug-ins that are installed, which have a version."""
    return digest_of(name, folder) if is_file_name(name) else None


def _own_metric(found: object, name: str, digest: str) -> Callable[[MetricContext], Metric | RecomputedMetric]:
    from harness.metrics.own import adapt

    return partial(adapt, found, origin=name, digest=digest)


def _import(kind: Kind, point: EntryPoint) -> object:
    try:
        return point.load()
    except (Exception, SystemExit) as err:
        raise EnvironmentFault(
            f"the {kind.rstrip('s')} {point.name!r} of {origin(point) or 'an unknown distribution'} "
            f"({point.value}) cannot be imported: {one_line(err)}",
            fix=_import_fix(point, err),
            code="E-PLUGIN",
        ) from err


def _import_fix(point: EntryPoint, err: BaseException) -> str:
    """A folder of the same name in front of ours is the usual cause; say so when it is."""
    package = point.module.partition(".")[0]
    for shadow in shadows():
        if shadow.package == package:
            return shadow.fix
    if isinstance(err, ModuleNotFoundError) and err.name and err.name.partition(".")[0] != package:
        return f"pip install {err.name}"
    distribution = point.dist.name if point.dist else package
    return (
        f"pip install --force-reinstall {distribution}, or pip uninstall it; "
        f"its package {package!r} was found at {place_of(package) or 'no place at all'}"
    )


def _require(kind: Kind, name: str, found: object, point: EntryPoint | None = None) -> None:
    """E-PLUGIN unless the object can do what its kind must."""
    where = f" of {origin(point)} ({point.value})" if point else ""
    what = f"{name!r}{where} is no {kind.rstrip('s')}"
    if kind == "metrics" and not callable(found):
        raise HarnessError(
            f"{what}: a metric is made by a function, and this is {type(found).__name__}",
            fix="name a function of a MetricContext, or of a completion and its references",
            code="E-PLUGIN",
        )
    missing = [attribute for attribute in _MUST_HAVE[kind] if not hasattr(found, attribute)]
    if missing:
        raise HarnessError(
            f"{what}: it has no {', '.join(missing)}", fix="see harness/core/protocols.py", code="E-PLUGIN"
        )
    if kind != "metrics" and isinstance(found, type):
        raise HarnessError(
            f"{what}: it is the class, not an object of it",
            fix=f"write {kind.rstrip('s')} = {found.__name__}() in the module and name that",
            code="E-PLUGIN",
        )
