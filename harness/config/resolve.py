"""The layers of a run's settings in their order; the later wins, and every value remembers where it came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pydantic import BaseModel

from harness import registry
from harness.backends.choice import choose
from harness.catalogue import TASK_FILE
from harness.config.mistakes import all_at_once, validated
from harness.config.task import AskedTask, asked_task
from harness.config.words import Nested, known_fields, leaves, overlay, split_words
from harness.core.errors import HarnessError
from harness.core.protocols import Trainer
from harness.core.specs import BackendSpec, RunSpec, TaskSpec
from harness.data.display import quote
from harness.models.location import local_folder
from harness.scaffold import preset

# In place of a backend's name: whichever does best here.
AUTO = "auto"


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
    typed = split_words(words)
    out = _out(typed.pop("out", "runs"))
    named = typed.pop("trainer.name", None)
    asked = asked_task(typed, words)
    trainer_name, trainer_settings, notes = _trainer_settings(asked, named)
    trainer = cast(Trainer, registry.load("trainers", trainer_name, folder=asked.folder))

    run: Nested = {"task": asked.document, "trainer": trainer_settings, "trainer_name": trainer_name}
    run["drop_bad"] = drop_bad
    origins = dict(asked.origins)
    if named is not None:
        origins["trainer_name"] = f"typed: trainer={named}"
    mistakes = overlay(run, asked.typed, dict(known_fields(trainer.spec_type)), origins)
    trainer_values = cast(Nested, run.pop("trainer"))
    if "seed" in trainer.spec_type.model_fields:
        trainer_values.setdefault("seed", run.get("seed", 0))
        origins.setdefault("trainer.seed", origins.get("seed", "default"))
    trainer_spec = validated(trainer.spec_type, trainer_values, "trainer.", origins, mistakes)
    spec = validated(RunSpec, run, "", origins, mistakes)
    if mistakes or spec is None or trainer_spec is None:
        raise all_at_once(mistakes)
    backend, why = _backend(spec)
    if why:
        origins["backend.name"] = f"auto: {why}"
        notes = (*notes, f"backend=auto is {backend.name} here: {why}")
    spec = spec.model_copy(update={"trainer": trainer_spec.model_dump(mode="json"), "backend": backend})
    all_notes = (*asked.notes, *notes)
    return Settings(
        spec, trainer, trainer_spec, asked.folder, out, tuple(words), _all_origins(spec, origins), all_notes
    )


def task_schema() -> Nested:
    """The JSON schema of task.toml, for editors; [trainer] as the lora trainer has it."""
    schema = TaskSpec.model_json_schema()
    lora = cast(Trainer, registry.load("trainers", "lora")).spec_type.model_json_schema()
    name: Nested = {"type": "string", "default": "lora", "description": "the trainer these settings are for"}
    lora["properties"] = {"name": name, **lora["properties"]}
    schema["properties"]["trainer"] = lora
    described = "settings that belong to a kind of task; what stands in this file wins"
    schema["properties"]["preset"] = {"type": "string", "enum": list(preset.names()), "description": described}
    schema["required"] = [key for key in schema["required"] if key not in ("name", "metrics")]
    return schema


def _out(text: str) -> Path:
    """The folder of the runs; E-OPTION where no folder can be there."""
    if not text or "\0" in text:
        raise HarnessError("out= names no folder", fix="type out=FOLDER, or leave it out for runs", code="E-OPTION")
    path = Path(text)
    try:
        nearest = next((place for place in (path, *path.parents) if place.exists()), Path())
        reason = "" if nearest.is_dir() else f"{quote(str(nearest))} is a file"
    except (OSError, ValueError) as err:
        reason = str(getattr(err, "strerror", err))
    if reason:
        raise HarnessError(
            f"out={quote(text)} cannot be a folder: {reason}", fix="name another one: out=FOLDER", code="E-OPTION"
        )
    return path


def _trainer_settings(asked: AskedTask, named: str | None) -> tuple[str, Nested, tuple[str, ...]]:
    """Name and settings of the trainer, and a note where the task's own settings are not used.

    The task's [trainer] settings were chosen for one trainer; another one starts from its own defaults.
    E-CONFLICT for an interpreter, which is a program that a task, perhaps from elsewhere, would have run.
    """
    settings = dict(asked.trainer)
    intended = str(settings.pop("name", "lora"))
    if named is None or named == intended or not settings:
        if "python" in settings:
            raise HarnessError(
                f"[trainer] of {TASK_FILE} names an interpreter, which would be run: {quote(str(settings['python']))}",
                fix="take python out of it, and type trainer.python=... on the command line if you trust that program",
                code="E-CONFLICT",
            )
        return named or intended, settings, ()
    note = f"[trainer] of {TASK_FILE} is for {intended}: {', '.join(sorted(settings))} not used"
    return named, {}, (note,)


def _backend(spec: RunSpec) -> tuple[BackendSpec, str]:
    """The backend by its own name, so that the same engine is the same run; and why it was chosen, if it was."""
    if spec.backend.name != AUTO:
        return spec.backend, ""
    choice = choose(spec.model, local_folder(spec.model))
    return spec.backend.model_copy(update={"name": choice.name}), choice.reason


def _all_origins(spec: RunSpec, origins: Mapping[str, str]) -> Mapping[str, str]:
    """Every leaf of the spec with where its value came from."""
    document = cast(Nested, spec.model_dump(mode="json"))
    return {key.removeprefix("task."): origins.get(key, "default") for key in leaves(document)}
