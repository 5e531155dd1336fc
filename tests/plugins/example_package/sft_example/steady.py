"""A trainer for the fake backend that gains the same skill with every checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from pydantic import BaseModel, Field, JsonValue

from harness.backends.fake import WEIGHTS
from harness.core.protocols import CheckpointSink, Progress, TrainPlan
from harness.core.specs import Spec
from harness.core.types import Checkpoint, TokenRow


class SteadySpec(Spec):
    """Settings of `steady`."""

    checkpoints: int = Field(2, ge=1, description="how often the skill grows")
    gain: float = Field(0.3, gt=0, le=1, description="what each checkpoint adds")


class SteadyTrainer:
    """One step a row, so many checkpoints."""

    spec_type: type[BaseModel] = SteadySpec
    backends = ("fake",)

    def settle(
        self, rows: Sequence[TokenRow], spec: BaseModel, model: Mapping[str, JsonValue]
    ) -> tuple[BaseModel, tuple[str, ...]]:
        """Nothing depends on the data."""
        return spec, ()

    def plan(self, rows: Sequence[TokenRow], spec: BaseModel) -> TrainPlan:
        """As many passes as checkpoints."""
        assert isinstance(spec, SteadySpec)
        n, passes = len(rows), spec.checkpoints
        return TrainPlan(
            n_rows=n,
            n_steps=n * passes,
            n_tokens=passes * sum(len(row.ids) for row in rows),
            n_target_tokens=passes * sum(row.n_targets for row in rows),
            checkpoint_steps=tuple(n * (done + 1) for done in range(passes)),
        )

    def train(
        self,
        model: object,
        train_rows: Sequence[TokenRow],
        validation_rows: Sequence[TokenRow],
        spec: BaseModel,
        sink: CheckpointSink,
        progress: Progress,
    ) -> Iterator[Checkpoint]:
        """Those that are saved, then the others."""
        assert isinstance(spec, SteadySpec)
        plan, saved = self.plan(train_rows, spec), list(sink.saved())
        yield from saved
        for done in range(len(saved) + 1, spec.checkpoints + 1):
            step, skill = plan.checkpoint_steps[done - 1], min(1.0, done * spec.gain)
            progress(step, plan.n_steps, f"skill {skill:.2f}")
            point = Checkpoint(step, float(done), Path(), "adapter", "", 1 - skill, skill, None, None)
            yield sink.save(point, partial(_write, skill), partial(_write, skill))


trainer = SteadyTrainer()


def _write(skill: float, folder: Path) -> None:
    (folder / WEIGHTS).write_text(json.dumps({"skill": skill}))
