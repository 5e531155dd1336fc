"""A task's rows, read, checked and split, with accounts that close."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from harness.core.errors import HarnessError
from harness.core.records import DataRecord, Finding
from harness.core.specs import DataSpec, TaskSpec
from harness.core.types import SPLITS, Sample, Split
from harness.data.fields import field_problems
from harness.data.formats import Reading, compile_reading
from harness.data.formats.gemini import GEMINI
from harness.data.ids import doubtful_ids, rounded_id, same_id
from harness.data.limits import gemini_limits
from harness.data.mixture import Named, one_format
from harness.data.problems import Problem, Problems
from harness.data.samples import to_sample
from harness.data.sources import DataFile, load_all
from harness.data.split import assign
from harness.data.where import Condition, compile_where, refuse_unknown


@dataclass(frozen=True, slots=True)
class Dataset:
    """The samples of all splits, what was read and left out, and what was found wrong on the way."""

    samples: tuple[Sample, ...]
    record: DataRecord
    findings: tuple[Finding, ...]

    def split(self, name: Split) -> tuple[Sample, ...]:
        """The samples of one split, in the order of the files."""
        return tuple(sample for sample in self.samples if sample.split == name)

    def without(self, reasons: Mapping[str, str]) -> Dataset:
        """Leave samples out, by id, for a reason each; they are counted as dropped."""
        kept = tuple(sample for sample in self.samples if sample.id not in reasons)
        dropped = Counter(reasons[sample.id] for sample in self.samples if sample.id in reasons)
        record = replace(
            self.record,
            n_samples=_sizes(kept),
            n_dropped=dict(sorted((Counter(self.record.n_dropped) + dropped).items())),
            sha256=_hashes(kept),
        )
        return Dataset(kept, record, self.findings)


class _Intake:
    """The one place where a row is let go: every loss is a problem and a count, the same time."""

    def __init__(self, *, drop_bad: bool) -> None:
        self.problems = Problems()
        self.n_dropped: Counter[str] = Counter()
        self._drop_bad = drop_bad

    def drop(self, problems: Sequence[Problem]) -> None:
        """One row is lost, for the first of these problems; with drop_bad they do not block."""
        self.n_dropped[problems[0].code] += 1
        for problem in problems:
            soft = self._drop_bad and problem.severity == "fatal"
            self.problems.add(replace(problem, severity="warning") if soft else problem)

    def leave_out(self, setting: str, n: int) -> None:
        """Rows that a setting does not ask for: counted, and no problem."""
        if n:
            self.n_dropped[setting] += n


@dataclass(frozen=True, slots=True)
class Gathered:
    """What the files of a task hold, before it is cut into splits.

    row_format: of all rows, or "unknown". unwanted: origins of rows that `data.train_where` keeps out of training.
    """

    files: tuple[DataFile, ...]
    row_format: str
    samples: tuple[Sample, ...]
    unwanted: frozenset[str]
    n_dropped: Mapping[str, int]
    findings: tuple[Finding, ...]

    @property
    def n_rows(self) -> int:
        """All rows, the lost ones included."""
        return sum(len(file.rows) + len(file.broken) for file in self.files)


def read(task: TaskSpec, folder: Path, *, drop_bad: bool) -> Dataset:
    """Read the files of a task, relative to `folder`, and report everything that is wrong with them at once.

    A row with a problem never becomes a sample: it is counted in `record.n_dropped`, and the finding is fatal, or with
    `drop_bad` a warning. So is a row that `data.where` does not take, which is no problem. Raises HarnessError where
    there was no row to read at all or the [data] table makes no sense, and EnvironmentFault where a file changed while
    it was read.
    """
    gathered = gather(task.data, folder, slices=task.metrics.slices, drop_bad=drop_bad)
    cut = _cut(gathered.samples, task.data)
    # After the cut, so that which rows are tested on does not hang on what is trained on.
    samples = tuple(sample for sample in cut if sample.split != "train" or sample.origin not in gathered.unwanted)
    n_dropped = Counter(gathered.n_dropped)
    n_dropped["data.train_where"] = len(cut) - len(samples)
    return Dataset(samples, _record(gathered, samples, n_dropped), gathered.findings)


def gather(spec: DataSpec, folder: Path, *, slices: Sequence[str] = (), drop_bad: bool) -> Gathered:
    """As `read`, but not yet cut: the rows of `source` all count as train. slices: fields that must stay in sight."""
    reading = compile_reading(spec)
    where = compile_where(spec.where, "data.where")
    train_where = compile_where(spec.train_where, "data.train_where")
    files = load_all(spec, folder)
    intake = _Intake(drop_bad=drop_bad)
    for problem in (problem for file in files for problem in file.about):
        intake.problems.add(problem)
    for problem in (problem for file in files for problem in file.broken):
        intake.drop([problem])
    refuse_unknown((*where, *train_where), (row.fields for file in files for row in file.rows))
    taken = [_take(file, where, intake) for file in files]
    named, row_format = one_format(taken, reading, drop=intake.drop)
    samples = _unique(_samples(named, reading, slices, intake), intake)
    for problem in (*doubtful_ids(samples), *field_problems(named, row_format, reading, slices)):
        intake.problems.add(problem)
    if row_format == GEMINI.name:
        for file in files:
            own = [sample for sample in samples if sample.origin.rpartition(":")[0] == file.name]
            for problem in gemini_limits(own, name=file.name):
                intake.problems.add(problem)
    unwanted = _unwanted(taken, train_where)
    findings = intake.problems.findings()
    gathered = Gathered(files, row_format, samples, unwanted, intake.n_dropped, findings)
    if gathered.n_rows == 0:
        _refuse_nothing(findings)
    return gathered


def _take(file: DataFile, where: Sequence[Condition], intake: _Intake) -> DataFile:
    """The file with the rows that meet all conditions; the others are counted. E-EMPTY where none does."""
    if not where:
        return file
    rows = tuple(row for row in file.rows if all(condition.holds(row.fields) for condition in where))
    if file.rows and not rows:
        raise _nothing_left(f"none of the {len(file.rows):,} rows of {file.name!r}", "data.where")
    intake.leave_out("data.where", len(file.rows) - len(rows))
    return replace(file, rows=rows)


def _unwanted(files: Sequence[DataFile], where: Sequence[Condition]) -> frozenset[str]:
    """Origins of the training rows that do not meet all conditions. E-EMPTY where that is every one."""
    rows = [(file, row) for file in files if file.split == "train" for row in file.rows] if where else []
    unmet = [(file, row) for file, row in rows if not all(condition.holds(row.fields) for condition in where)]
    if rows and len(unmet) == len(rows):
        raise _nothing_left(f"none of the {len(rows):,} training rows", "data.train_where")
    return frozenset(f"{file.name}:{row.line}" for file, row in unmet)


def _nothing_left(what: str, setting: str) -> HarnessError:
    return HarnessError(f"{what} meets {setting}", fix=f"ask for less in {setting}", code="E-EMPTY")


def _samples(named: Sequence[Named], reading: Reading, slices: Sequence[str], intake: _Intake) -> list[Sample]:
    spec = reading.spec
    keep = frozenset(slices) | ({spec.group} if spec.group else frozenset[str]())
    samples: list[Sample] = []
    for file, row, name in named:
        found = to_sample(row, name, reading, name=file.name, split=file.split, prefix=file.prefix, keep=keep)
        if isinstance(found, Sample):
            samples.append(found)
        else:
            intake.drop(found)
        rounded = rounded_id(row.fields.get(spec.id), f"{file.name}:{row.line}")
        if rounded is not None:
            intake.problems.add(rounded)
    return samples


def _unique(samples: Iterable[Sample], intake: _Intake) -> tuple[Sample, ...]:
    first: dict[str, Sample] = {}
    for sample in samples:
        earlier = first.setdefault(sample.id, sample)
        if earlier is not sample:
            intake.drop([same_id(sample, earlier)])
    return tuple(first.values())


def _cut(samples: tuple[Sample, ...], spec: DataSpec) -> tuple[Sample, ...]:
    """Cut `source` into all splits, or validation from train where it has no file of its own."""
    shares: dict[Split, float] = {"validation": spec.split.validation}
    if spec.source is not None:
        shares = {"test": spec.split.test, "validation": spec.split.validation}
    elif spec.validation is not None:
        return samples
    whole = [sample for sample in samples if sample.split == "train"]
    splits = assign(whole, shares, seed=spec.split.seed)
    cut = [replace(sample, split=split) for sample, split in zip(whole, splits, strict=True)]
    rest = [sample for sample in samples if sample.split != "train"]
    return tuple(sample for split in SPLITS for sample in (*cut, *rest) if sample.split == split)


def _refuse_nothing(findings: Sequence[Finding]) -> None:
    fatal = [finding for finding in findings if finding.severity == "fatal"]
    first = fatal[0]
    raise HarnessError(
        f"no data could be read: {first.examples[0]}",
        fix=first.fix,
        code=first.code,
        details=[example for finding in fatal for example in finding.examples][1:],
    )


def _record(gathered: Gathered, samples: Sequence[Sample], n_dropped: Mapping[str, int]) -> DataRecord:
    return DataRecord(
        files={file.name: file.sha256 for file in gathered.files if file.sha256},
        n_rows=gathered.n_rows,
        n_samples=_sizes(samples),
        n_dropped={reason: n for reason, n in sorted(n_dropped.items()) if n},
        n_blank_lines=sum(file.n_blank for file in gathered.files),
        format=gathered.row_format,
        sha256=_hashes(samples),
    )


def _sizes(samples: Iterable[Sample]) -> dict[str, int]:
    sizes = Counter(sample.split for sample in samples)
    return {split: sizes[split] for split in SPLITS}


def _hashes(samples: Iterable[Sample]) -> dict[str, str]:
    """Split -> hash of its samples in order: everything that can change a result.

    Not in it: where a row stood, in which format, and in which order its fields.
    """
    digests = {split: hashlib.sha256() for split in SPLITS}
    for sample in samples:
        digests[sample.split].update(sample_bytes(sample) + b"\n")
    return {split: digest.hexdigest() for split, digest in digests.items()}


def sample_bytes(sample: Sample) -> bytes:
    """One sample's whole content but for its origin, the same however the row was written."""
    content = {key: value for key, value in asdict(sample).items() if key != "origin"}
    return json.dumps(content, sort_keys=True, ensure_ascii=False).encode()
