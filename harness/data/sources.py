"""The files and data sets a task names: found, read, hashed and told apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TypeAlias

from pydantic import JsonValue

from harness.core.errors import EnvironmentFault, HarnessError
from harness.core.specs import DataSpec
from harness.core.types import SPLITS, Split
from harness.data.csv import read_csv
from harness.data.files import Lines, Whole
from harness.data.hub import PREFIX, HubRows, parse_source
from harness.data.json_text import read_json
from harness.data.jsonl import read_jsonl
from harness.data.problems import Problem
from harness.data.rows import Blank, Row
from harness.data.tables import read_parquet

DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
Origin: TypeAlias = Lines | Whole | HubRows
Item: TypeAlias = Row | Blank | Problem


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file, or one split of a data set on the Hub, as it was read. name: never an absolute path.

    prefix: what the ids of rows without one begin with. broken: problems of single rows, each a row that is
    lost. about: problems of the file as a whole.
    sha256 is empty where the file could not be read to its end; of the Hub it names the commit and the rows' hash.
    """

    name: str
    split: Split
    rows: tuple[Row, ...] = ()
    broken: tuple[Problem, ...] = ()
    about: tuple[Problem, ...] = ()
    n_blank: int = 0
    sha256: str = ""
    prefix: str = "row"


def load_all(spec: DataSpec, folder: Path) -> tuple[DataFile, ...]:
    """Read every file of the task once. `source` counts as train until it is cut."""
    named: list[tuple[Split, str]] = [("train", spec.source)] if spec.source is not None else _named(spec)
    loaded: list[DataFile] = []
    for split, path in named:
        origin = _origin(path, split, folder, {file.name for file in loaded}, spec.max_record_bytes)
        file = _apart(_load(origin, split), loaded)
        # Not the file's name: the same rows keep their ids where they are moved, or written in another format.
        loaded.append(replace(file, prefix="row" if spec.source is not None else split))
    return tuple(loaded)


def _named(spec: DataSpec) -> list[tuple[Split, str]]:
    paths = {"train": spec.train, "validation": spec.validation, "test": spec.test}
    return [(split, path) for split in SPLITS if (path := paths[split]) is not None]


def _display_name(path: str, split: Split, taken: set[str]) -> str:
    """The path as the task writes it; of an absolute one, which would tell of the machine, only the file's name."""
    pure = PurePath(path)
    name = pure.name if pure.is_absolute() else pure.as_posix()
    return f"{split}/{name}" if name in taken else name


def _origin(path: str, split: Split, folder: Path, taken: set[str], limit: int) -> Origin:
    if path.startswith(PREFIX):
        return HubRows(parse_source(path, split), limit=limit)
    name = _display_name(path, split, taken)
    kind = Whole if PurePath(path).suffix.lower() in (".json", ".parquet") else Lines
    return kind(folder / path, name, limit=limit)


def _load(origin: Origin, split: Split) -> DataFile:
    name = origin.name
    rows: list[Row] = []
    broken: list[Problem] = []
    noticed: list[Problem] = []
    n_blank = 0
    try:
        for item in _items(origin):
            if isinstance(item, Row):
                rows.append(Row(item.line, _present(item.fields), len(rows) + len(broken) + 1))
            elif isinstance(item, Blank):
                n_blank += 1
            else:
                (broken if item.severity == "fatal" else noticed).append(item)
    except EnvironmentFault:
        raise
    except OSError as error:
        raise EnvironmentFault(
            f"reading {name!r} failed: {error.strerror}", fix="check the disk, then run again", code="E-READ"
        ) from error
    except HarnessError as error:
        return DataFile(name, split, about=(Problem.at(name, error),))
    about = (*noticed, *_about(origin, split, is_empty=not rows and not broken))
    return DataFile(name, split, tuple(rows), tuple(broken), about, n_blank, origin.sha256)


def _present(fields: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """The fields that are not null: a table cannot tell those from absent ones, so no reader does."""
    return {name: value for name, value in fields.items() if value is not None}


def _items(origin: Origin) -> Iterator[Item]:
    """The reader for a file's suffix: anything unknown is read as JSON Lines, which says what it is instead."""
    if isinstance(origin, HubRows):
        return iter(origin)
    suffix = origin.path.suffix.lower()
    if isinstance(origin, Whole):
        return read_parquet(origin) if suffix == ".parquet" else read_json(origin)
    delimiter = DELIMITERS.get(suffix)
    return read_jsonl(origin) if delimiter is None else read_csv(origin, delimiter=delimiter)


def _about(origin: Origin, split: Split, *, is_empty: bool) -> Iterator[Problem]:
    if origin.has_bom:
        yield Problem(
            f"{origin.name}:1",
            "E-BOM",
            "the file begins with a byte order mark, which was skipped",
            "save it as UTF-8 without BOM",
            severity="warning",
        )
    if is_empty:
        yield Problem(
            origin.name, "E-EMPTY", f"the file for {split} has no rows", "name another file, or fill this one"
        )


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
