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
from harness.data.ids import doubtful_ids, rounded_id, same_id
from harness.data.mixture import Shaped, one_shape
from harness.data.problems import Problem, Problems
from harness.data.samples import stem, to_sample
from harness.data.shapes import Reading, compile_reading
from harness.data.sources import DataFile, load_all
from harness.data.split import assign


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


def read(task: TaskSpec, folder: Path, *, drop_bad: bool) -> Dataset:
    """Read the files of a task, relative to `folder`, and report everything that is wrong with them at once.

    A row with a problem never becomes a sample: it is counted in `record.n_dropped`, and the finding is fatal, or with
    `drop_bad` a warning. Raises HarnessError where there was no row to read at all or the [data] table makes no sense,
    and EnvironmentFault where a file changed while it was read.
    """
    reading = compile_reading(task.data)
    files = load_all(task.data, folder)
    intake = _Intake(drop_bad=drop_bad)
    for problem in (problem for file in files for problem in file.about):
        intake.problems.add(problem)
    for problem in (problem for file in files for problem in file.broken):
        intake.drop([problem])
    shaped, shape = one_shape(files, reading, drop=intake.drop)
    samples = _unique(_samples(shaped, reading, files, task, intake), intake)
    for problem in (*doubtful_ids(samples), *field_problems(shaped, shape, reading, task)):
        intake.problems.add(problem)
    samples = _cut(samples, task.data)
    findings = intake.problems.findings()
    n_rows = sum(len(file.rows) + len(file.broken) for file in files)
    if n_rows == 0:
        _refuse_nothing(findings)
    return Dataset(samples, _record(files, samples, intake.n_dropped, shape), findings)


def _samples(
    shaped: Sequence[Shaped], reading: Reading, files: Sequence[DataFile], task: TaskSpec, intake: _Intake
) -> list[Sample]:
    stems = _stems(files)
    keep = frozenset(task.metrics.slices) | ({task.data.group} if task.data.group else frozenset[str]())
    samples: list[Sample] = []
    for file, row, shape in shaped:
        found = to_sample(row, shape, reading, name=file.name, split=file.split, stem=stems[file.name], keep=keep)
        if isinstance(found, Sample):
            samples.append(found)
        else:
            intake.drop(found)
        rounded = rounded_id(row.fields.get(task.data.id), f"{file.name}:{row.line}")
        if rounded is not None:
            intake.problems.add(rounded)
    return samples


def _stems(files: Sequence[DataFile]) -> dict[str, str]:
    """What generated ids begin with: the file's stem, or the split where two files share one."""
    names = [stem(file.name) for file in files]
    distinct = len(set(names)) == len(names)
    return {file.name: stem(file.name) if distinct else file.split for file in files}


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


def _record(
    files: Sequence[DataFile], samples: Sequence[Sample], n_dropped: Mapping[str, int], shape: str
) -> DataRecord:
    return DataRecord(
        files={file.name: file.sha256 for file in files if file.sha256},
        n_rows=sum(len(file.rows) + len(file.broken) for file in files),
        n_samples=_sizes(samples),
        n_dropped=dict(sorted(n_dropped.items())),
        n_blank_lines=sum(file.n_blank for file in files),
        shape=shape,
        sha256=_hashes(samples),
    )


def _sizes(samples: Iterable[Sample]) -> dict[str, int]:
    sizes = Counter(sample.split for sample in samples)
    return {split: sizes[split] for split in SPLITS}


def _hashes(samples: Iterable[Sample]) -> dict[str, str]:
    """Split -> hash of its samples in order: everything that can change a result, so not where a row stood."""
    digests = {split: hashlib.sha256() for split in SPLITS}
    for sample in samples:
        content = {key: value for key, value in asdict(sample).items() if key != "origin"}
        digests[sample.split].update(json.dumps(content, sort_keys=True, ensure_ascii=False).encode() + b"\n")
    return {split: digest.hexdigest() for split, digest in digests.items()}
