"""Ids name samples in every later file, so each may stand for one row only."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator

from pydantic import JsonValue

from harness.core.types import Sample
from harness.data.display import quote
from harness.data.problems import Problem

_MAX_SAFE = 2**53


def same_id(sample: Sample, earlier: Sample) -> Problem:
    """E-DUPID: harmless for a repeated row of one split, fatal where it names two different things."""
    equal = _content(sample) == _content(earlier)
    if equal and sample.split == earlier.split:
        return Problem(
            sample.origin,
            "E-DUPID",
            f"the row of {earlier.origin} again, left out",
            "remove the repeated row",
            sample.id,
            "warning",
        )
    what = "the same row, but in another split" if equal else "different content"
    return Problem(
        sample.origin,
        "E-DUPID",
        f"id {quote(sample.id)} already stands at {earlier.origin}, with {what}",
        "give every row of all files its own id, or none: then split and number name it",
        sample.id,
    )


def _content(sample: Sample) -> tuple[object, ...]:
    return sample.messages, sample.references, sample.group, sample.metadata


def doubtful_ids(samples: Iterable[Sample]) -> Iterator[Problem]:
    """Warnings: ids that people or other programs would take for one another."""
    seen: dict[str, Sample] = {}
    for sample in samples:
        earlier = seen.setdefault(unicodedata.normalize("NFKC", sample.id).strip().casefold(), sample)
        if earlier is not sample:
            yield Problem(
                sample.origin,
                "E-ID-CONFUSABLE",
                f"id {sample.id!a} is easily taken for {earlier.id!a} of {earlier.origin}",
                "make the ids differ in more than case, accents' encoding or blanks",
                sample.id,
                "warning",
            )


def rounded_id(value: JsonValue, where: str) -> Problem | None:
    """A warning for a number as id that other programs would round."""
    if not isinstance(value, int) or abs(value) <= _MAX_SAFE:
        return None
    return Problem(
        where,
        "E-ID-BIG",
        f"id {value} is above 2^53: other programs round it when they read it as a number",
        'write the id as a string: "id": "..."',
        str(value),
        "warning",
    )
