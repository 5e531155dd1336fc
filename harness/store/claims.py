"""What people said of a finished run, kept beside it. It comes after the run, so no stage of the run verifies it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import JsonValue

from harness.core.errors import EnvironmentFault
from harness.core.licences import Validation
from harness.store import disk, layout
from harness.store.encoding import canonical, parse, sha256, sha256_file

# What a claim is computed from; it holds for exactly these.
_SOURCES = (layout.LABELS, layout.RESULT)


@dataclass(frozen=True, slots=True)
class _Kept:
    """`validation.json`. of: file -> sha256 of what the claim was computed from; sha256: of the claim itself."""

    validation: JsonValue
    of: Mapping[str, str]
    sha256: str


def keep_claim(folder: Path, claim: Validation) -> None:
    """Keep a claim that was computed from the run's labels and result as they are now."""
    validation = canonical(claim)
    kept = {"validation": claim, "of": _digests(folder), "sha256": sha256(validation)}
    disk.write_atomic(folder / layout.VALIDATION, canonical(kept))


def kept_claim(folder: Path) -> Validation | None:
    """The claim, if it is still what these labels make of this result; None where any of the three was changed."""
    try:
        content = (folder / layout.VALIDATION).read_bytes()
        kept = parse(_Kept, content, name=layout.VALIDATION)
        validation = canonical(kept.validation)
        if kept.of != _digests(folder) or kept.sha256 != sha256(validation):
            return None
        return parse(Validation, validation, name=layout.VALIDATION)
    except (OSError, EnvironmentFault):
        return None


def _digests(folder: Path) -> dict[str, str]:
    return {name: sha256_file(folder / name) for name in _SOURCES}
