"""Uses the checkpoints of a recorded run again instead of training; belongs to backend=replay."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from pydantic import BaseModel, JsonValue, TypeAdapter, ValidationError

from harness.backends.replay import damaged
from harness.core.protocols import CheckpointSink, Progress, TrainPlan
from harness.core.specs import Spec
from harness.core.types import Checkpoint, TokenRow


class ReplayTrainerSpec(Spec):
    """Nothing to set: everything was decided when the run was recorded."""


class ReplayTrainer:
    """Yields the recorded checkpoints in their order."""

    spec_type = ReplayTrainerSpec
    backends = ("replay",)

    def settle(
        self, rows: Sequence[TokenRow], spec: BaseModel, model: Mapping[str, JsonValue]
    ) -> tuple[BaseModel, tuple[str, ...]]:
        """As it is: everything was decided when the run was recorded."""
        return spec, ()

    def plan(self, rows: Sequence[TokenRow], spec: Spec) -> TrainPlan:
        """Nothing is trained."""
        return TrainPlan(n_rows=len(rows), n_steps=0, n_tokens=0, n_target_tokens=0, checkpoint_steps=())

    def train(
        self,
        model: object,
        train_rows: Sequence[TokenRow],
        validation_rows: Sequence[TokenRow],
        spec: Spec,
        sink: CheckpointSink,
        progress: Progress,
    ) -> Iterator[Checkpoint]:
        """Copy each recorded checkpoint that is not saved yet. model: the recording's folder."""
        assert isinstance(model, Path)
        saved = {checkpoint.step: checkpoint for checkpoint in sink.saved()}
        folders = sorted((model / "checkpoints").glob("step-*[0-9]"))
        for n_done, folder in enumerate(folders, start=1):
            recorded = _read(folder)
            progress(n_done, len(folders), "")
            yield saved.get(recorded.step) or sink.save(recorded, partial(_copy, folder), lambda _: None)


trainer = ReplayTrainer()


class _Manifest(BaseModel):
    """What the store writes beside a checkpoint's files; the folder is wherever it is now."""

    files: dict[str, str]
    checkpoint: dict[str, JsonValue]


def _read(folder: Path) -> Checkpoint:
    """The checkpoint of a recorded folder; E-CORRUPT where its manifest is none or its files are others."""
    file = folder / "MANIFEST.json"
    try:
        manifest = _Manifest.model_validate_json(file.read_bytes())
        checkpoint = TypeAdapter(Checkpoint).validate_python({**manifest.checkpoint, "folder": folder})
        others = [name for name, digest in manifest.files.items() if _sha256(folder / name) != digest]
    except ValidationError as err:
        raise damaged(str(file), err.errors()[0]["msg"]) from err
    except OSError as err:
        raise damaged(str(err.filename or file), err.strerror or "it cannot be read") from err
    if others:
        raise damaged(str(folder / others[0]), "its bytes are not those that were recorded")
    return checkpoint


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _copy(source: Path, target: Path) -> None:
    for file in source.iterdir():
        if file.name != "MANIFEST.json":
            shutil.copyfile(file, target / file.name)
