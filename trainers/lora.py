"""LoRA: trains small matrices beside the model's linear layers and leaves the model itself as it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, Self

from pydantic import BaseModel, Field, JsonValue, model_validator

from harness.core.protocols import CheckpointSink, Progress, Trainer, TrainPlan
from harness.core.types import Checkpoint, TokenRow
from trainers.settings import PortionSpec, TuningSpec, plan, require_kernels


class AdapterSpec(PortionSpec):
    """Where the added matrices are, and how they act."""

    dropout: float = Field(0.05, ge=0, lt=1, description="of the added matrices' input, in training only")
    targets: Literal["auto"] | tuple[str, ...] = Field(
        "auto", description="names of layers; auto: all linear layers but the output"
    )
    rslora: bool = Field(False, description="divide alpha by the root of the rank, not by the rank (rsLoRA)")
    dora: bool = Field(False, description="train the length of each output's weights apart from the direction (DoRA)")

    @model_validator(mode="after")
    def _decays_only_the_update(self) -> Self:
        if self.dora and self.weight_decay:
            # Matrices pulled to zero leave the base; magnitudes pulled to zero leave nothing.
            raise ValueError("weight_decay would pull DoRA's magnitudes, the lengths of the base's weights, to zero")
        return self


class LoraSpec(TuningSpec, AdapterSpec):
    """Settings of `lora`, after Hu et al. 2021; the update is scaled by alpha / rank.

    rslora: scaled by alpha / sqrt(rank) instead, so that a larger rank does not learn more slowly (Kalajdzievski
    2023). dora: magnitude and direction apart (Liu et al. 2024), slower; the two can be had together.
    """

    rank: int = Field(16, ge=1, description="width of the added matrices")
    alpha: float = Field(32, gt=0, description="strength of the update, divided by rank")


class LoraTrainer:
    """`harness.core.protocols.Trainer`; checkpoints are adapters that peft loads."""

    spec_type: type[BaseModel] = LoraSpec
    backends = ("hf", "vllm")

    def settle(
        self, rows: Sequence[TokenRow], spec: BaseModel, model: Mapping[str, JsonValue]
    ) -> tuple[BaseModel, tuple[str, ...]]:
        """As it is: nothing depends on the data or the model. E-INSTALL where a package is missing."""
        assert isinstance(spec, LoraSpec)
        require_kernels(spec)
        return spec, ()

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
