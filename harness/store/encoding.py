"""Values to bytes and back: canonical JSON, so that equal values are equal bytes and hashes mean something."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import JsonValue, TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from harness.core.errors import EnvironmentFault

T = TypeVar("T")
_CHUNK = 1 << 20


def canonical(value: object, *, indent: int | None = 1) -> bytes:
    """A record, spec or JSON value as canonical JSON: sorted keys, UTF-8, NaN refused, one final newline."""
    plain = to_jsonable_python(value, inf_nan_mode="constants")
    return (json.dumps(plain, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=indent) + "\n").encode()


def parse(kind: type[T], content: bytes, *, name: str) -> T:
    """A record read back; EnvironmentFault where the bytes are not one."""
    try:
        return TypeAdapter(kind).validate_json(content)
    except ValidationError as err:
        first = err.errors()[0]
        raise EnvironmentFault(
            f"{name} does not hold what it should: {'.'.join(map(str, first['loc']))}: {first['msg']}",
            fix="it is damaged, or of another version of the harness; the run's own command makes it anew",
            code="E-CORRUPT",
        ) from err


def sha256(content: bytes) -> str:
    """Hex digest of some bytes."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex digest of a file, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def fingerprint(value: Mapping[str, JsonValue]) -> str:
    """Hash of a JSON value, the same for equal values."""
    return sha256(canonical(dict(value), indent=None))
