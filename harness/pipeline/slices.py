"""Samples by the values of a metadata field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from harness.core.types import Sample

# Of a field with more values than this, only the largest slices are compared; the others are counted.
MOST_SLICES = 50
NO_VALUE = "(none)"


@dataclass(frozen=True, slots=True)
class Slice:
    """The samples, by index, that have one value in one field."""

    field: str
    value: str
    inside: tuple[int, ...]

    @property
    def name(self) -> str:
        """How records name it."""
        return f"{self.field}={self.value}"


def slices_of(samples: Sequence[Sample], fields: Sequence[str]) -> tuple[Slice, ...]:
    """The slices of all fields, a field's largest MOST_SLICES by name; empty for no samples."""
    return tuple(found for field in dict.fromkeys(fields) for found in _slices(samples, field))


def n_left_out(samples: Sequence[Sample], fields: Sequence[str]) -> dict[str, int]:
    """Field -> how many of its values are too many to compare; fields with few values are not in it."""
    values = {field: len({slice_value(sample.metadata, field) for sample in samples}) for field in fields}
    return {field: n - MOST_SLICES for field, n in values.items() if n > MOST_SLICES}


def slice_value(metadata: Mapping[str, JsonValue], field: str) -> str:
    """The value of a field as slices spell it; a dotted name reaches into objects.

    >>> slice_value({"source": {"language": "de"}}, "source.language")
    'de'
    """
    if field in metadata:
        found = metadata[field]
    else:
        head, _, rest = field.partition(".")
        inner = metadata.get(head)
        return slice_value(inner, rest) if rest and isinstance(inner, dict) else NO_VALUE
    return NO_VALUE if found is None else str(found)


def _slices(samples: Sequence[Sample], field: str) -> list[Slice]:
    members: dict[str, list[int]] = {}
    for index, sample in enumerate(samples):
        members.setdefault(slice_value(sample.metadata, field), []).append(index)
    largest = sorted(members, key=lambda value: (-len(members[value]), value))[:MOST_SLICES]
    return [Slice(field, value, tuple(members[value])) for value in sorted(largest)]
