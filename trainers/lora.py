"""LoRA: trains small matrices beside the model's linear layers and leaves the model itself as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from pydantic import BaseModel, Field

from harness.core.protocols import CheckpointSink, Progress, Trainer, TrainPlan
from harness.core.types import Checkpoint, TokenRow
from trainers.settings import TuningSpec, plan


class LoraSpec(TuningSpec):
    """Settings of `lora`, after Hu et al. 2021; the update is scaled by alpha / rank."""

    rank: int = Field(16, ge=1, description="width of the added matrices")
    alpha: float = Field(32, gt=0, description="strength of the update, divided by rank")
    dropout: float = Field(0.05, ge=0, lt=1, description="of the added matrices' input, in training only")
    targets: Literal["auto"] | tuple[str, ...] = Field(
        "auto", description="names of layers; auto: all linear layers but the output"
    )


class LoraTrainer:
    """`harness.core.protocols.Trainer`; checkpoints are adapters that peft loads."""

    spec_type: type[BaseModel] = LoraSpec
    backends = ("hf",)

    def plan(self, rows: Sequence[TokenRow], spec: BaseModel) -> TrainPlan:
        """Steps, tokens and checkpoints."""
        assert isinstance(spec, LoraSpec)
        return plan(rows, spec)

    def train(
        self,
        model: object,
        train_rows: Sequence[TokenRow],
        validation_rows: Sequence[TokenRow],
        spec: BaseModel,
        sink: CheckpointSink,
        progress: Progress,
    ) -> Iterator[Checkpoint]:
        """Train an adapter on a `harness.models.loading.LoadedModel`, in place."""
        from trainers.loop import Job, train
        from trainers.tuned import TunedAdapter, loaded_model

        assert isinstance(spec, LoraSpec)
        loaded = loaded_model(model)
        job = Job(loaded, tuple(train_rows), tuple(validation_rows), spec, sink, progress)
        return train(job, lambda: TunedAdapter(loaded, spec))


trainer: Trainer = LoraTrainer()
