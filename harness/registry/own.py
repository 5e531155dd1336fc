"""Whether `harness`, `judges`, `trainers` and `reports` are ours: these names are common, and the first found wins."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from harness.core.errors import EnvironmentFault
from harness.registry.points import place_of

OWN_PACKAGES = ("harness", "judges", "trainers", "reports")


@dataclass(frozen=True, slots=True)
class Shadow:
    """One of our packages that is not ours: which path is found, which was expected, what to do."""

    package: str
    what: str
    fix: str


def require_own_packages() -> None:
    """EnvironmentFault E-SHADOW unless every one of the harness's packages is the harness's own."""
    found = shadows()
    if found:
        raise EnvironmentFault(
            "other code stands in the place of the harness's own packages",
            details=[shadow.what for shadow in found],
            fix="; ".join(dict.fromkeys(shadow.fix for shadow in found)),
            code="E-SHADOW",
            resumable=False,
        )


def shadows() -> tuple[Shadow, ...]:
    """The packages that something else stands in front of or was written over; imports nothing."""
    home = Path(__file__).resolve().parents[2]
    found = (_elsewhere(package, home) or _written_over(package, home) for package in OWN_PACKAGES)
    return tuple(shadow for shadow in found if shadow is not None)


def _elsewhere(package: str, home: Path) -> Shadow | None:
    place = place_of(package)
    if place is not None and Path(place).resolve() == home / package:
        return None
    what = (
        f"the package {package!r} is found at {place or 'no place at all'}, but the harness's own is {home / package}"
    )
    if place is None:
        return Shadow(package, what, "pip install --force-reinstall sft-harness")
    return Shadow(
        package,
        what,
        f"rename {place}, take its folder out of PYTHONPATH, or type `harness` in another folder",
    )


def _written_over(package: str, home: Path) -> Shadow | None:
    """Another distribution with a package of this name in the same site-packages has mixed its files with ours."""
    try:
        other = distribution(package)
    except PackageNotFoundError:
        return None
    if Path(str(other.locate_file(package))).resolve() != home / package:
        return None
    what = f"the distribution {package} {other.version} has written its own files into {home / package}"
    return Shadow(package, what, f"pip uninstall {package}, then pip install --force-reinstall sft-harness")
