"""Fields that nobody asked for, and fields that were asked for and stand nowhere."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Iterator, Sequence

from harness.core.specs import DataSpec
from harness.data.display import escape, quote
from harness.data.formats import Reading, used_fields
from harness.data.formats.columns import COLUMNS
from harness.data.mixture import Named
from harness.data.problems import Problem
from harness.data.template import MISSING, find, path_of


def field_problems(
    rows: Sequence[Named], row_format: str, reading: Reading, slices: Sequence[str]
) -> Iterator[Problem]:
    """Unused fields, once each; probable misspellings of optional ones; slices that no row has."""
    counts = Counter(name for _, row, _ in rows for name in row.fields)
    if not rows:
        return
    known = used_fields(row_format, reading) | {name for asked in _asked(reading.spec, slices) for name in asked}
    where = rows[0][0].name
    unused = [name for name in counts if name not in known]
    for name in unused:
        yield from _misspelt(name, where, row_format, reading, counts)
    if unused:
        names = escape(", ".join(unused), 400)
        yield Problem(
            where, "E-EXTRA", f"fields kept as metadata, otherwise not used: {names}", "nothing to do", severity="note"
        )
    for name in slices:
        if all(find(path_of(name), row.fields) is MISSING for _, row, _ in rows):
            yield _no_slice(name, where, counts)


def _asked(spec: DataSpec, slices: Sequence[str]) -> list[tuple[str, str]]:
    """Names that settings give, each as it is and as the field that it is nested in."""
    names = [spec.id, *slices, *spec.where, *spec.train_where, *([spec.group] if spec.group else [])]
    return [(name, path_of(name)[0]) for name in names]


def _misspelt(name: str, where: str, row_format: str, reading: Reading, counts: Counter[str]) -> Iterator[Problem]:
    """Of an optional field only: a required one that is missing is an error of its row."""
    if name == "system" and reading.system is None:
        yield _unread(name, where, 'to use it, set data.system = "{system}" in task.toml')
    optional = {reading.spec.id, "system"} | (set() if row_format == COLUMNS.name else {"references"})
    near = difflib.get_close_matches(name, [field for field in optional if field not in counts], n=1, cutoff=0.85)
    if near and len(name) > 3:
        yield _unread(name, where, f"did you mean {quote(near[0])}? Rename the field")


def _unread(name: str, where: str, fix: str) -> Problem:
    return Problem(where, "E-EXTRA", f"field {quote(name)} is not read", fix, severity="warning")


def _no_slice(name: str, where: str, counts: Counter[str]) -> Problem:
    near = difflib.get_close_matches(name, list(counts), n=1)
    fix = f"did you mean {quote(near[0])}?" if near else "name a field of the rows, or remove it from metrics.slices"
    return Problem(where, "E-FIELD", f"metrics.slices names {quote(name)}, which no row has", fix)
