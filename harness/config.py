"""Command-line words and task.toml become one typed RunSpec, or one error that names every mistake.

Three layers, the later wins: defaults of the specs, the task's task.toml, the words typed (`dotted.key=value`).
Words are parsed by the field's type: `prompting.system=no` stays a string and `trainer.lr=1e-4` is a float.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast, get_args, get_origin

from pydantic import BaseModel, JsonValue, ValidationError
from pydantic_core import ErrorDetails

from harness import registry
from harness.catalogue import TASK_FILE, find_task, read_toml
from harness.core.errors import HarnessError
from harness.core.protocols import Trainer
from harness.core.specs import RunSpec, TaskSpec

Nested = dict[str, JsonValue]
M = TypeVar("M", bound=BaseModel)

# What people type, and what it is called here.
ALIASES = {
    "lr": "trainer.lr",
    "learning_rate": "trainer.lr",
    "trainer.learning_rate": "trainer.lr",
    "epochs": "trainer.epochs",
    "rank": "trainer.rank",
    "trainer.r": "trainer.rank",
    "batch_size": "trainer.batch_rows",
    "trainer.batch_size": "trainer.batch_rows",
    "max_new_tokens": "generation.max_tokens",
    "max_tokens": "generation.max_tokens",
    "temperature": "generation.temperature",
    "shots": "prompting.shots",
    "metric": "metrics.primary",
    "system": "prompting.system",
    "template": "model.template",
    "patience": "select.patience",
}
_TASK_SECTIONS = ("data", "prompting", "generation", "metrics")
# A word that names the thing itself: model=X is model.name=X.
_NAMES = {"model": "model.name", "backend": "backend.name", "trainer": "trainer.name"}
_OWN_KEYS = ("task", "out")
_SETTABLE = ("model", "backend", "select", "seed", "n_resamples")


@dataclass(frozen=True, slots=True)
class Settings:
    """A resolved run: the spec, its trainer with typed settings, where the task and the runs are, what was typed."""

    spec: RunSpec
    trainer: Trainer
    trainer_spec: BaseModel
    task_folder: Path
    out: Path
    words: tuple[str, ...]
    origins: Mapping[str, str]
    notes: tuple[str, ...]


def resolve(words: Sequence[str], *, drop_bad: bool = False) -> Settings:
    """Words like `task=headlines trainer.lr=1e-4` as typed settings; HarnessError lists every mistake at once."""
    typed = _split(words)
    task_name = typed.pop("task", None)
    out = Path(typed.pop("out", "runs"))
    if task_name is None:
        raise HarnessError(
            "no task was named", fix="type task=NAME or task=path/to/folder; `harness list tasks` shows the names"
        )
    folder = find_task(task_name)
    document = cast(Nested, dict(read_toml(folder / TASK_FILE)))
    document.setdefault("name", folder.resolve().name)
    task_trainer = document.pop("trainer", {})
    if isinstance(task_trainer, str):
        task_trainer = {"name": task_trainer}
    _require_tables({**document, "trainer": task_trainer})
    assert isinstance(task_trainer, dict)
    # The task's [trainer] settings were chosen for one trainer; another one starts from its own defaults.
    intended = str(task_trainer.pop("name", "lora"))
    named = typed.pop("trainer.name", None)
    trainer_name = named or intended
    notes = []
    if trainer_name != intended and task_trainer:
        notes.append(f"[trainer] of {TASK_FILE} is for {intended}: {', '.join(sorted(task_trainer))} not used")
        task_trainer = {}
    trainer = cast(Trainer, registry.load("trainers", trainer_name))
    fields = dict(_known_fields(trainer.spec_type))

    run: Nested = {"task": document, "trainer": task_trainer, "trainer_name": trainer_name}
    run["drop_bad"] = drop_bad
    origins = dict.fromkeys(_leaves({"task": document, "trainer": task_trainer}), TASK_FILE)
    if named is not None:
        origins["trainer_name"] = f"typed: trainer={named}"
    mistakes = _overlay(run, typed, fields, origins)
    trainer_values = cast(Nested, run.pop("trainer"))
    if "seed" in trainer.spec_type.model_fields:
        trainer_values.setdefault("seed", run.get("seed", 0))
        origins.setdefault("trainer.seed", origins.get("seed", "default"))
    trainer_spec = _validated(trainer.spec_type, trainer_values, "trainer.", origins, mistakes)
    spec = _validated(RunSpec, run, "", origins, mistakes)
    if mistakes or spec is None or trainer_spec is None:
        raise _mistakes(mistakes)
    spec = spec.model_copy(update={"trainer": trainer_spec.model_dump(mode="json")})
    return Settings(spec, trainer, trainer_spec, folder, out, tuple(words), _all_origins(spec, origins), tuple(notes))


def task_schema() -> Nested:
    """The JSON schema of task.toml, for editors; [trainer] as the lora trainer has it."""
    schema = TaskSpec.model_json_schema()
    lora = cast(Trainer, registry.load("trainers", "lora")).spec_type.model_json_schema()
    name: Nested = {"type": "string", "default": "lora", "description": "the trainer these settings are for"}
    lora["properties"] = {"name": name, **lora["properties"]}
    schema["properties"]["trainer"] = lora
    schema["required"] = [key for key in schema["required"] if key != "name"]
    return schema


def _require_tables(document: Nested) -> None:
    wrong = [key for key in (*_TASK_SECTIONS, "trainer") if not isinstance(document.get(key, {}), dict)]
    if wrong:
        raise HarnessError(
            f"{wrong[0]} in {TASK_FILE} must be a table",
            fix=f"write [{wrong[0]}] on a line of its own, and its settings below it",
            code="E-OPTION",
        )


@dataclass(frozen=True, slots=True)
class _Field:
    """A settable key: where its value goes in the nested document, and how its text is read."""

    path: tuple[str, ...]
    annotation: object

    @property
    def is_open(self) -> bool:
        return get_origin(self.annotation) is dict

    def read(self, text: str) -> JsonValue:
        """Text as a value of this field's kind; scalars are left to the schema, which knows their type."""
        arguments = get_args(self.annotation)
        if text == "null" and type(None) in arguments:
            return None
        if get_origin(self.annotation) is tuple or any(get_origin(a) is tuple for a in arguments):
            parts = json.loads(text) if text.startswith("[") else text.split(",") if text else []
            return cast(JsonValue, parts)
        return _as_json(text) if self.is_open else text


def _split(words: Sequence[str]) -> dict[str, str]:
    typed: dict[str, str] = {}
    bare = [word for word in words if "=" not in word]
    if bare:
        raise HarnessError(
            f"{bare[0]!r} is not a setting",
            fix=f"settings are key=value; did you mean task={bare[0]}?",
            code="E-OPTION",
        )
    for word in words:
        key, _, value = word.partition("=")
        key = _NAMES.get(key, key)
        if typed.get(key, value) != value:
            raise HarnessError(
                f"{key} is given twice: {typed[key]!r} and {value!r}", fix="keep one of them", code="E-CONFLICT"
            )
        typed[key] = value
    return typed


def _known_fields(trainer_spec: type[BaseModel]) -> Iterator[tuple[str, _Field]]:
    for key, field in _fields(RunSpec, ()):
        section = key.split(".")
        if section[0] == "task" and section[1] in _TASK_SECTIONS:
            yield ".".join(section[1:]), field
        elif section[0] in _SETTABLE:
            yield key, field
    for key, field in _fields(trainer_spec, ("trainer",)):
        yield key, field


def _fields(model: type[BaseModel], prefix: tuple[str, ...]) -> Iterator[tuple[str, _Field]]:
    for name, info in model.model_fields.items():
        annotation = info.annotation
        path = (*prefix, name)
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from _fields(annotation, path)
        else:
            yield ".".join(path), _Field(path, annotation)


def _overlay(run: Nested, typed: Mapping[str, str], fields: Mapping[str, _Field], origins: dict[str, str]) -> list[str]:
    mistakes = []
    for key, text in typed.items():
        found = _find(key, fields)
        if found is None:
            mistakes.append(f"unknown setting {key!r}. {_suggestion(key, tuple(fields))}")
            continue
        field, rest = found
        try:
            _put(run, (*field.path, *rest), _as_json(text) if rest else field.read(text))
        except ValueError as err:
            mistakes.append(f"{key}={text}: {err}")
        origins[".".join((*field.path, *rest))] = f"typed: {key}={text}"
    return mistakes


def _find(key: str, fields: Mapping[str, _Field]) -> tuple[_Field, tuple[str, ...]] | None:
    """The field of a key, and what follows it where the field is an open table (metrics.options.rouge_l.stem)."""
    if key in fields:
        return fields[key], ()
    parts = key.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        field = fields.get(".".join(parts[:cut]))
        if field is not None and field.is_open:
            return field, tuple(parts[cut:])
    return None


def _suggestion(key: str, known: Sequence[str]) -> str:
    if key in ALIASES:
        return f"Did you mean {ALIASES[key]}?"
    last = key.rpartition(".")[2]
    by_last = [name for name in known if name.rpartition(".")[2] == last]
    close = by_last or difflib.get_close_matches(key, (*known, *_OWN_KEYS, *_NAMES), n=2, cutoff=0.6)
    close = close or [k for k in known if difflib.SequenceMatcher(None, k.rpartition(".")[2], last).ratio() > 0.75][:2]
    return f"Did you mean {' or '.join(close)}?" if close else "`harness run --help` lists the sections"


def _put(document: Nested, path: Sequence[str], value: JsonValue) -> None:
    for part in path[:-1]:
        inner = document.setdefault(part, {})
        if not isinstance(inner, dict):
            raise ValueError(f"{part} is {inner!r}, which has no settings of its own")
        document = inner
    document[path[-1]] = value


def _as_json(text: str) -> JsonValue:
    """The value of an open table, whose types nobody knows: JSON where it is JSON, else the text itself."""
    try:
        return cast(JsonValue, json.loads(text))
    except ValueError:
        return text


def _validated(
    model: type[M], values: Nested, prefix: str, origins: Mapping[str, str], mistakes: list[str]
) -> M | None:
    try:
        return model.model_validate(values)
    except ValidationError as err:
        mistakes.extend(_mistake(detail, prefix, model, origins) for detail in err.errors())
        return None


def _mistake(detail: ErrorDetails, prefix: str, model: type[BaseModel], origins: Mapping[str, str]) -> str:
    full = prefix + ".".join(str(part) for part in detail["loc"])
    shown = full.removeprefix("task.")
    origin = origins.get(full, next((o for key, o in origins.items() if key.startswith(full)), TASK_FILE))
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        known = [key.removeprefix("task.") for key, _ in _fields(model, tuple(prefix.split(".")[:-1]))]
        return f"unknown setting {shown!r} ({origin}). {_suggestion(shown, known)}"
    if isinstance(detail["input"], dict):
        return f"{shown}: {message}"
    if detail["type"] == "missing":
        return f"{shown} is missing from {TASK_FILE}"
    return f"{shown}: {message} (got {detail['input']!r:.60} from {origin})"


def _mistakes(mistakes: Sequence[str]) -> HarnessError:
    count = "one setting is wrong" if len(mistakes) == 1 else f"{len(mistakes)} settings are wrong"
    return HarnessError(count, fix="correct them and type the command again", code="E-OPTION", details=mistakes)


def _leaves(document: Mapping[str, JsonValue], prefix: str = "") -> Iterator[str]:
    for key, value in document.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _all_origins(spec: RunSpec, origins: Mapping[str, str]) -> Mapping[str, str]:
    """Every leaf of the spec with where its value came from."""
    document = cast(Nested, spec.model_dump(mode="json"))
    return {key.removeprefix("task."): origins.get(key, "default") for key in _leaves(document)}
