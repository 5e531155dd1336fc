"""The task as it was asked for: a folder with task.toml, or a file of rows; and the preset below either."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import cast

from pydantic import JsonValue

from harness.catalogue import TASK_FILE, find_task, read_toml
from harness.config.mistakes import all_at_once
from harness.config.words import TASK_SECTIONS, Nested, known_fields, leaves, overlay
from harness.core.errors import HarnessError
from harness.data.display import escape
from harness.scaffold import Proposal, preset, propose

_FILES = ("data.source", "data.train", "data.validation", "data.test")
_SHOWN = ("data.prompt", "data.reference", "data.format", "metrics.primary", "metrics.slices")


@dataclass(frozen=True, slots=True)
class AskedTask:
    """A task before anything typed is laid over it.

    document: TaskSpec's keys, nested. trainer: its [trainer] table. typed: the words that are left to lay over both.
    origins: "task.data.prompt" or "trainer.lr" -> which layer it came from. notes: for people.
    """

    document: Nested
    trainer: Nested
    folder: Path
    typed: Mapping[str, str]
    origins: dict[str, str]
    notes: tuple[str, ...]


def asked_task(typed: Mapping[str, str], words: Sequence[str]) -> AskedTask:
    """The task that the words name; HarnessError where they name none, or two."""
    rest = {key: text for key, text in typed.items() if key not in ("task", "preset")}
    name = typed.get("task")
    if name is None:
        if not any(key in typed for key in _FILES):
            raise HarnessError(
                "no task was named",
                fix="type task=NAME or task=path/to/folder (`harness list tasks` shows the names), "
                "or data=FILE for rows without a task folder",
            )
        return _from_rows(rest, typed.get("preset"))
    if any(word.startswith("data=") for word in words):
        raise HarnessError(
            f"task={name} names its own data, and data= names other data",
            fix=f"leave one of them out; data.source=FILE (relative to the task's folder) puts other rows into {name}",
            code="E-CONFLICT",
        )
    return _from_folder(name, rest, typed.get("preset"))


def _from_folder(name: str, rest: Mapping[str, str], typed_preset: str | None) -> AskedTask:
    folder = find_task(name)
    document = cast(Nested, dict(read_toml(folder / TASK_FILE)))
    document.setdefault("name", folder.resolve().name)
    notes = (*_without_replaced_files(document, rest), *_without_unused_options(document, rest))
    own_preset = document.pop("preset", None)
    trainer = document.pop("trainer", {})
    if isinstance(trainer, str):
        trainer = {"name": trainer}
    _require_tables({**document, "trainer": trainer})
    assert isinstance(trainer, dict)
    chosen = _preset(typed_preset if typed_preset is not None else own_preset)
    origins = dict.fromkeys(leaves({"task": document, "trainer": trainer}), TASK_FILE)
    return AskedTask(
        document=_layered(chosen, document),
        trainer=trainer,
        folder=folder,
        typed=rest,
        origins={**_preset_origins(chosen), **origins},
        notes=(*notes, *(chosen.notes if chosen else ())),
    )


def _without_replaced_files(document: Nested, typed: Mapping[str, str]) -> tuple[str, ...]:
    """Take out the files that typed ones stand in place of, and say so: rows are one file to be cut, or one a split."""
    data = document.get("data")
    if not isinstance(data, dict):
        return ()
    one, *splits = _FILES
    named = {key for key in _FILES if typed.get(key, "null") != "null"}
    replaced = splits if named == {one} else [one] if named and one not in named else []
    gone = [key for key in replaced if data.pop(key.removeprefix("data."), None) is not None]
    return (f"{', '.join(gone)} of {TASK_FILE} not used: other files were typed",) if gone else ()


def _without_unused_options(document: Nested, typed: Mapping[str, str]) -> Iterator[str]:
    """Take out the options of the task's metrics that typed ones stand in place of, and say so."""
    metrics = document.get("metrics")
    if not isinstance(metrics, dict) or not isinstance(options := metrics.get("options"), dict):
        return
    fields = dict(known_fields())
    replaced: list[JsonValue] = []
    measured: list[JsonValue] = []
    for key in ("primary", "report"):
        own, text = metrics.get(key), typed.get(f"metrics.{key}")
        values = own
        if text is not None:
            with suppress(ValueError):  # what cannot be read is reported where all typed words are
                values = fields[f"metrics.{key}"].read(text)
        measured += values if isinstance(values, list) else [values]
        replaced += [] if text is None else own if isinstance(own, list) else [own]
    for name in [name for name in options if name in replaced and name not in measured]:
        del options[name]
        yield f"metrics.options.{name} of {TASK_FILE} not used: other metrics were typed"


def _from_rows(rest: Mapping[str, str], typed_preset: str | None) -> AskedTask:
    """A task for files of rows; their paths are relative to where the command was typed."""
    chosen = _preset(typed_preset)
    proposal = propose(_typed_data(rest), Path(), metric=rest.get("metrics.primary"), preset=chosen)
    document = proposal.document()
    document["name"] = _name(document)
    typed = {key: text for key, text in rest.items() if key not in _FILES}
    proposed = {key: choice.reason for choice in proposal.choices for key in leaves({choice.key: choice.value})}
    origins = {f"task.{key}": f"proposed: {reason}" for key, reason in proposed.items()}
    kept = [key for key in _FILES if key in rest and rest[key] == proposal.get(key)]
    origins |= {f"task.{key}": f"typed: {key}={rest[key]}" for key in kept}
    return AskedTask(
        document=_layered(chosen, document),
        trainer={},
        folder=Path(),
        typed=typed,
        origins={**_preset_origins(chosen), **origins, "task.name": "proposed: the name of the file"},
        notes=(*_proposed_notes(proposal, typed), *(chosen.notes if chosen else ())),
    )


def _typed_data(rest: Mapping[str, str]) -> Nested:
    """The [data] settings that were typed."""
    scratch: Nested = {}
    typed = {key: text for key, text in rest.items() if key.startswith("data.")}
    if mistakes := overlay(scratch, typed, dict(known_fields()), {}):
        raise all_at_once(mistakes)
    task = cast(Nested, scratch["task"])
    return cast(Nested, task["data"])


def _proposed_notes(proposal: Proposal, typed: Mapping[str, str]) -> Iterator[str]:
    """What was decided about the rows, as lines for people."""
    yield f"{proposal.kind}: {escape(proposal.kind_reason, 300)}"
    for choice in proposal.choices:
        if choice.key in _SHOWN and choice.key not in typed:
            yield f"{choice.key} = {escape(str(choice.value), 200)}: {escape(choice.reason, 300)}"
    for doubt in proposal.doubts:
        yield f"look at this: {escape(doubt, 400)}"


def _name(document: Nested) -> str:
    """A task's name from its file's: letters, digits and . _ - of the stem; of a Hub data set, the part behind /."""
    data = cast(Mapping[str, JsonValue], document["data"])
    path = str(data.get("source") or data.get("train"))
    pure = PurePath(path)
    stem = re.split("[@#]", path)[0].rpartition("/")[2] if path.startswith("hf:") else pure.stem
    # A file of a split is called after its folder, where one was typed.
    stem = pure.parent.name or stem if stem == "train" else stem
    kept = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("._-")
    return kept[:80] or "rows"


def _preset(name: JsonValue) -> preset.Preset | None:
    if name is not None and not isinstance(name, str):
        raise HarnessError(f'preset in {TASK_FILE} must be a name, such as "format"', fix="name one", code="E-OPTION")
    return None if name is None else preset.find(name)


def _preset_origins(chosen: preset.Preset | None) -> dict[str, str]:
    return {} if chosen is None else dict.fromkeys(leaves({"task": chosen.settings}), f"preset {chosen.name}")


def _layered(chosen: preset.Preset | None, document: Nested) -> Nested:
    return document if chosen is None else _merged(chosen.settings, document)


def _merged(below: Nested, above: Nested) -> Nested:
    """Tables key by key, the one above wins; lists are replaced, never joined."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        merged[key] = _merged(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged


def _require_tables(document: Nested) -> None:
    wrong = [key for key in (*TASK_SECTIONS, "trainer") if not isinstance(document.get(key, {}), dict)]
    if wrong:
        raise HarnessError(
            f"{wrong[0]} in {TASK_FILE} must be a table",
            fix=f"write [{wrong[0]}] on a line of its own, and its settings below it",
            code="E-OPTION",
        )
