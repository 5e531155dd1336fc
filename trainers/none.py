"""Trains nothing: baselines only, to measure what prompts alone can do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pydantic import BaseModel, JsonValue

from harness.core.protocols import CheckpointSink, Progress, Trainer, TrainPlan
from harness.core.specs import Spec
from harness.core.types import Checkpoint, TokenRow


class NoTrainerSpec(Spec):
    """Nothing to set."""


class NoTrainer:
    """`harness.core.protocols.Trainer` without checkpoints, as its plan says."""

    spec_type: type[BaseModel] = NoTrainerSpec
    backends: tuple[str, ...] = ()

    def settle(
        self, rows: Sequence[TokenRow], spec: BaseModel, model: Mapping[str, JsonValue]
    ) -> tuple[BaseModel, tuple[str, ...]]:
        """As it is: there is nothing to decide."""
        return spec, ()

    def plan(self, rows: Sequence[TokenRow], spec: BaseModel) -> TrainPlan:
        """No step, no token, no checkpoint."""
        return TrainPlan(n_rows=len(rows), n_steps=0, n_tokens=0, n_target_tokens=0, checkpoint_steps=())

    def train(
        self,
        model: object,
        train_rows: Sequence[TokenRow],
        validation_rows: Sequence[TokenRow],
        spec: BaseModel,
        sink: CheckpointSink,
        progress: Progress,
    ) -> Iterator[Checkpoint]:
        """Nothing; `model` is not looked at."""
        yield from ()


trainer: Trainer = NoTrainer()
