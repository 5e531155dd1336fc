"""From any format and file to any other: what is written is read back, and must be the same samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory

from pydantic import JsonValue

from harness.core.errors import EnvironmentFault, HarnessError
from harness.core.records import Finding
from harness.core.specs import DataSpec
from harness.core.types import Sample
from harness.data.dataset import Gathered, gather, sample_bytes
from harness.data.display import escape
from harness.data.formats import FORMATS
from harness.data.formats.columns import COLUMNS, SYSTEM_TEMPLATE, TEMPLATES
from harness.data.formats.gemini import GEMINI
from harness.data.formats.reading import Object
from harness.data.limits import gemini_limits
from harness.data.problems import Problems
from harness.data.writing import encode, to_rows


@dataclass(frozen=True, slots=True)
class Converted:
    """A file that can be written. settings: what a task says to read it as what it was."""

    source_format: str
    target_format: str
    n_rows: int
    n_dropped: Mapping[str, int]
    first: Object
    content: bytes
    settings: Mapping[str, JsonValue]
    findings: tuple[Finding, ...]


def convert(spec: DataSpec, folder: Path, target: str, to: str, *, drop_bad: bool) -> Converted:
    """The samples of `spec.source` as the bytes of a file named `target`, in the format called `to`.

    Kept: order, ids (those of rows that had none too), turns, system instruction, all references, metadata, groups.
    Raises HarnessError for bad rows unless `drop_bad`, and E-CONVERT where the target cannot hold the rows.
    """
    gathered = gather(spec, folder, drop_bad=drop_bad)
    refuse_fatal(gathered.findings)
    if not gathered.samples:
        raise HarnessError("no row is left to convert", fix="mend the rows, or give others", code="E-EMPTY")
    rows = to_rows(gathered.samples, FORMATS[to], id_field=spec.id)
    content = encode(rows, PurePath(target).suffix.lower())
    settings = _settings(spec, to, rows)
    _require_same(gathered, content, target, spec, settings)
    return Converted(
        source_format=gathered.row_format,
        target_format=to,
        n_rows=gathered.n_rows,
        n_dropped=gathered.n_dropped,
        first=rows[0],
        content=content,
        settings=settings,
        findings=(*gathered.findings, *_limits(gathered, content, target, to)),
    )


def _limits(gathered: Gathered, content: bytes, target: str, to: str) -> tuple[Finding, ...]:
    """Notes on what the service that the rows are written for might not take, unless reading them said so."""
    if to != GEMINI.name or gathered.row_format == GEMINI.name:
        return ()
    problems = Problems()
    for problem in gemini_limits(gathered.samples, name=target, n_bytes=len(content)):
        problems.add(problem)
    return problems.findings()


def refuse_fatal(findings: Sequence[Finding]) -> None:
    """One error for all that is wrong with the rows, if anything is."""
    fatal = [finding for finding in findings if finding.severity == "fatal"]
    if fatal:
        first = fatal[0]
        raise HarnessError(
            first.what,
            fix=f"{first.fix}; or leave bad rows out with --drop-bad",
            code=first.code,
            details=[example for finding in fatal for example in finding.examples],
        )


def _settings(spec: DataSpec, to: str, rows: Sequence[Object]) -> dict[str, JsonValue]:
    """The [data] settings that read the target; only those that are not the default."""
    kept: dict[str, JsonValue] = {"format": to}
    if to == COLUMNS.name:
        kept |= TEMPLATES
        kept |= SYSTEM_TEMPLATE if "system" in rows[0] else {}
    names = {"id": spec.id, "group": spec.group, "allow_empty": spec.allow_empty}
    return kept | {name: value for name, value in names.items() if value != DataSpec.model_fields[name].default}


def _require_same(
    gathered: Gathered, content: bytes, target: str, spec: DataSpec, settings: Mapping[str, JsonValue]
) -> None:
    """E-CONVERT where the file, read again, gives other samples."""
    again = _read_back(content, PurePath(target).suffix, {**settings, "max_record_bytes": spec.max_record_bytes})
    before = {sample.id: sample for sample in gathered.samples}
    after = {sample.id: sample for sample in again.samples}
    changed = [sample for id_, sample in before.items() if id_ not in after or not _same(sample, after[id_])]
    if changed or list(before) != list(after):
        raise HarnessError(
            f"{len(changed):,} of {len(before):,} rows would not be the same when read again from {target!r}",
            fix="write .jsonl, which holds every row; a column of Parquet has one type",
            code="E-CONVERT",
            details=[f"{sample.origin} ({escape(sample.id)})" for sample in changed[:5]],
        )


def _read_back(content: bytes, suffix: str, settings: Mapping[str, JsonValue]) -> Gathered:
    name = f"rows{suffix}"
    try:
        with TemporaryDirectory() as folder:
            (Path(folder) / name).write_bytes(content)
            return gather(DataSpec.model_validate({"source": name, **settings}), Path(folder), drop_bad=True)
    except OSError as error:
        raise EnvironmentFault(
            f"could not write a temporary file: {error.strerror}", fix="free some disk space", code="E-DISK"
        ) from error


def _same(one: Sample, other: Sample) -> bool:
    return sample_bytes(one) == sample_bytes(other)
