"""The files a task names: found, read, hashed and told apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from harness.core.errors import EnvironmentFault, HarnessError
from harness.core.specs import DataSpec
from harness.core.types import SPLITS, Split
from harness.data.csv import read_csv
from harness.data.files import Lines
from harness.data.jsonl import read_jsonl
from harness.data.problems import Problem
from harness.data.rows import Blank, Row

_DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file as it was read. name: as people know it, never an absolute path.

    broken: problems of single rows, each a row that is lost. about: problems of the file as a whole.
    sha256 is empty where the file could not be read to its end.
    """

    name: str
    split: Split
    rows: tuple[Row, ...] = ()
    broken: tuple[Problem, ...] = ()
    about: tuple[Problem, ...] = ()
    n_blank: int = 0
    sha256: str = ""


def load_all(spec: DataSpec, folder: Path) -> tuple[DataFile, ...]:
    """Read every file of the task once. `source` counts as train until it is cut."""
    named: list[tuple[Split, str]] = [("train", spec.source)] if spec.source is not None else _named(spec)
    loaded: list[DataFile] = []
    for split, path in named:
        name = _display_name(path, split, {file.name for file in loaded})
        loaded.append(_apart(_load(folder / path, name, split, spec), loaded))
    return tuple(loaded)


def _named(spec: DataSpec) -> list[tuple[Split, str]]:
    paths = {"train": spec.train, "validation": spec.validation, "test": spec.test}
    return [(split, path) for split in SPLITS if (path := paths[split]) is not None]


def _display_name(path: str, split: Split, taken: set[str]) -> str:
    """The path as the task writes it; of an absolute one, which would tell of the machine, only the file's name."""
    pure = PurePath(path)
    name = pure.name if pure.is_absolute() else pure.as_posix()
    return f"{split}/{name}" if name in taken else name


def _load(path: Path, name: str, split: Split, spec: DataSpec) -> DataFile:
    rows: list[Row] = []
    broken: list[Problem] = []
    n_blank = 0
    lines = Lines(path, name, limit=spec.max_record_bytes)
    try:
        for item in _reader(lines):
            if isinstance(item, Row):
                rows.append(item)
            elif isinstance(item, Problem):
                broken.append(item)
            else:
                n_blank += 1
    except EnvironmentFault:
        raise
    except OSError as error:
        raise EnvironmentFault(
            f"reading {name!r} failed: {error.strerror}", fix="check the disk, then run again", code="E-READ"
        ) from error
    except HarnessError as error:
        return DataFile(name, split, about=(Problem.at(name, error),))
    about = tuple(_about(lines, split, is_empty=not rows and not broken))
    return DataFile(name, split, tuple(rows), tuple(broken), about, n_blank, lines.sha256)


def _reader(lines: Lines) -> Iterator[Row | Blank | Problem]:
    delimiter = _DELIMITERS.get(lines.path.suffix.lower())
    return read_jsonl(lines) if delimiter is None else read_csv(lines, delimiter=delimiter)


def _about(lines: Lines, split: Split, *, is_empty: bool) -> Iterator[Problem]:
    if lines.has_bom:
        yield Problem(
            f"{lines.name}:1",
            "E-BOM",
            "the file begins with a byte order mark, which was skipped",
            "save it as UTF-8 without BOM",
            severity="warning",
        )
    if is_empty:
        yield Problem(lines.name, "E-EMPTY", f"the file for {split} has no rows", "name another file, or fill this one")


def _apart(file: DataFile, earlier: list[DataFile]) -> DataFile:
    """Without its rows and with E-SAMEFILE where the same bytes were already read for another split."""
    twin = next((other for other in earlier if other.sha256 == file.sha256 and other.rows), None)
    if twin is None or not file.rows:
        return file
    same = Problem(
        file.name,
        "E-SAMEFILE",
        f"{file.split} and {twin.split} are the same data ({twin.name}): nothing could be concluded",
        "give each split its own rows, or name one file as source and let it be cut",
    )
    return DataFile(file.name, file.split, about=(*file.about, same), sha256=file.sha256)
