"""A trainer for the fake backend: its "weights" are one number, learnt without torch; for tests."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import cast

from pydantic import BaseModel, Field, JsonValue

from harness.backends.fake import WEIGHTS, read_skill
from harness.core.protocols import CheckpointSink, Progress, TrainPlan
from harness.core.specs import Spec
from harness.core.types import Checkpoint, TokenRow


class FakeTrainerSpec(Spec):
    """Settings of the fake trainer."""

    epochs: int = Field(3, ge=1)
    batch_rows: int = Field(16, ge=1)
    lr: float = Field(0.3, gt=0, description="how fast the skill grows")
    seed: int = 0


class FakeTrainer:
    """One checkpoint an epoch; the skill saturates, with a little noise that depends on the rows."""

    spec_type = FakeTrainerSpec
    backends = ("fake",)

    def settle(
        self, rows: Sequence[TokenRow], spec: BaseModel, model: Mapping[str, JsonValue]
    ) -> tuple[BaseModel, tuple[str, ...]]:
        """As it is: nothing depends on the rows."""
        return spec, ()

    def plan(self, rows: Sequence[TokenRow], spec: Spec) -> TrainPlan:
        """What it would do."""
        settings = cast(FakeTrainerSpec, spec)
        per_epoch = math.ceil(len(rows) / settings.batch_rows)
        return TrainPlan(
            n_rows=len(rows),
            n_steps=per_epoch * settings.epochs,
            n_tokens=sum(len(row.ids) for row in rows) * settings.epochs,
            n_target_tokens=sum(row.n_targets for row in rows) * settings.epochs,
            checkpoint_steps=tuple(per_epoch * (epoch + 1) for epoch in range(settings.epochs)),
        )

    def train(
        self,
        model: object,
        train_rows: Sequence[TokenRow],
        validation_rows: Sequence[TokenRow],
        spec: Spec,
        sink: CheckpointSink,
        progress: Progress,
    ) -> Iterator[Checkpoint]:
        """Yield what is saved, then go on from there."""
        settings = cast(FakeTrainerSpec, spec)
        plan = self.plan(train_rows, spec)
        saved = list(sink.saved())
        yield from saved
        skill = read_skill(sink.state(saved[-1])) if saved else 0.0
        for epoch, step in enumerate(plan.checkpoint_steps, start=1):
            if epoch <= len(saved):
                continue
            skill += settings.lr * (0.7 - skill) + 0.02 * (_noise(train_rows, epoch, settings.seed) - 0.5)
            progress(step, plan.n_steps, f"loss {1 - skill:.3f}")
            yield sink.save(_checkpoint(step, epoch, skill), partial(_write, skill), partial(_write, skill))


trainer = FakeTrainer()


def _checkpoint(step: int, epoch: int, skill: float) -> Checkpoint:
    return Checkpoint(
        step=step,
        epoch=float(epoch),
        folder=Path(),
        kind="adapter",
        sha256="",
        train_loss=1 - skill,
        train_accuracy=skill,
        validation_loss=1.1 - skill,
        validation_accuracy=0.9 * skill,
    )


def _write(skill: float, folder: Path) -> None:
    (folder / WEIGHTS).write_text(json.dumps({"skill": skill}))


def _noise(rows: Sequence[TokenRow], epoch: int, seed: int) -> float:
    digest = hashlib.sha256(json.dumps([epoch, seed, [row.ids for row in rows]]).encode()).digest()
    return digest[0] / 255
