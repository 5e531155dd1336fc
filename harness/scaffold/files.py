"""Which files make a task: those that were named, and those that plainly belong to them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TypeVar

from pydantic import JsonValue, ValidationError

from harness.core.errors import HarnessError
from harness.core.specs import DataSpec, Spec
from harness.core.types import SPLITS
from harness.data.display import quote
from harness.data.sources import load_all
from harness.scaffold.proposal import Choice
from harness.store.places import is_file, is_folder, is_there

S = TypeVar("S", bound=Spec)

_SIBLINGS = {"validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
_TRAIN = re.compile(r"(?<![A-Za-z])(train|training)(?![A-Za-z])")
_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
_WHERE = "source", *SPLITS


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of one file. role: source (to be cut), train, validation or test."""

    role: str
    name: str
    rows: tuple[Mapping[str, JsonValue], ...]


def choose_files(given: Mapping[str, JsonValue], folder: Path) -> tuple[Choice, ...]:
    """The files by role. E-FILE where one does not exist, E-USAGE where none was named.

    One file beside a named test file is the one to train on.
    given: the [data] settings that were typed; paths in them are relative to `folder`.
    """
    named = {role: str(path) for role in _WHERE if (path := given.get(role)) is not None}
    if not named:
        raise HarnessError("no data was named", fix="type data=FILE, or data.train=FILE data.test=FILE")
    if "source" in named and "train" not in named and len(named) > 1:
        named = {"train": named.pop("source"), **named}
    choices = [Choice(f"data.{role}", path, "named") for role, path in named.items()]
    if "source" in named and len(named) == 1:
        choices = _of_source(named["source"], folder)
    elif "train" in named and "source" not in named and "test" not in named:
        choices = _with_siblings(choices, named["train"], folder)
    for choice in choices:
        _require(str(choice.value), folder)
    return tuple(choices)


def load_tables(files: tuple[Choice, ...], given: Mapping[str, JsonValue], folder: Path) -> tuple[Table, ...]:
    """Read the files once; the first thing that is wrong where there is no row at all."""
    paths = {choice.key.removeprefix("data."): choice.value for choice in files}
    limit = given.get("max_record_bytes")
    spec = valid(DataSpec, {**paths, **({} if limit is None else {"max_record_bytes": limit})})
    loaded = load_all(spec, folder)
    roles = ["source"] if "source" in paths else [role for role in SPLITS if role in paths]
    tables = tuple(
        Table(role, file.name, tuple(row.fields for row in file.rows)) for role, file in zip(roles, loaded, strict=True)
    )
    for file in loaded:
        problem = next(iter((*file.about, *file.broken)), None)
        if problem is not None and not file.rows:
            raise HarnessError(f"{problem.where}: {problem.what}", fix=problem.fix, code=problem.code)
    return tables


def valid(kind: type[S], values: Mapping[str, JsonValue]) -> S:
    """The settings as a spec; E-OPTION that lists what is wrong with them."""
    try:
        return kind.model_validate(dict(values))
    except ValidationError as err:
        found = [(".".join(map(str, e["loc"])) or "data", e["msg"].removeprefix("Value error, ")) for e in err.errors()]
        raise HarnessError(
            "the settings of the data do not go together",
            fix="correct them and type the command again",
            code="E-OPTION",
            details=[f"{where}: {what}" for where, what in found],
        ) from err


def is_local(path: str) -> bool:
    """Whether a source is a file here, not a data set on the Hub."""
    return not path.startswith("hf:")


def _of_source(path: str, folder: Path) -> list[Choice]:
    """One file, or where it is a folder or is called train, the files of its splits."""
    place = folder / path
    if is_local(path) and is_folder(place):
        found = [file for suffix in _SUFFIXES if is_file(file := place / f"train{suffix}")]
        if not found:
            raise HarnessError(
                f"the folder {quote(path)} has no train file",
                fix="name a file, or call the files train.jsonl, validation.jsonl and test.jsonl",
                code="E-FILE",
            )
        path = (PurePath(path) / found[0].name).as_posix()
    source = [Choice("data.source", path, "the one file with all rows")]
    if not is_local(path) or not _TRAIN.search(PurePath(path).stem):
        return source
    train = Choice("data.train", path, "called train, with files for the other splits beside it")
    siblings = _with_siblings([train], path, folder)
    return siblings if any(choice.key == "data.test" for choice in siblings) else source


def _with_siblings(choices: list[Choice], train: str, folder: Path) -> list[Choice]:
    """Add validation and test files beside a train file; without a test file it is a source that is cut."""
    taken = {choice.key for choice in choices}
    found = [
        Choice(f"data.{role}", path, f"found beside {quote(PurePath(train).name)}")
        for role, names in _SIBLINGS.items()
        if f"data.{role}" not in taken and (path := _sibling(train, names, folder)) is not None
    ]
    if any(choice.key == "data.test" for choice in found) or "data.validation" in taken:
        return [*choices, *found]
    return [Choice("data.source", train, "no test file was named or found beside it, so this one is cut")]


def _sibling(train: str, names: tuple[str, ...], folder: Path) -> str | None:
    pure = PurePath(train)
    if not is_local(train) or not _TRAIN.search(pure.stem):
        return None
    candidates = [pure.with_name(_TRAIN.sub(name, pure.stem) + pure.suffix) for name in names]
    return next((file.as_posix() for file in candidates if is_file(folder / file)), None)


def _require(path: str, folder: Path) -> None:
    if is_local(path) and not is_there(folder / path):
        raise HarnessError(
            f"data file {quote(path)} does not exist",
            fix="name a file that exists; the path is relative to the folder you are in",
            code="E-FILE",
        )
