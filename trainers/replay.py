"""Uses the checkpoints of a recorded run again instead of training; belongs to backend=replay."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from pydantic import BaseModel, JsonValue

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


def _read(folder: Path) -> Checkpoint:
    figures = json.loads((folder / "MANIFEST.json").read_bytes())["checkpoint"]
    return Checkpoint(folder=folder, **figures)


def _copy(source: Path, target: Path) -> None:
    for file in source.iterdir():
        if file.name != "MANIFEST.json":
            shutil.copyfile(file, target / file.name)
