"""Full tuning: trains every weight of the model; needs the memory of five models in float32."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pydantic import BaseModel, Field, JsonValue

from harness.core.errors import HarnessError
from harness.core.protocols import CheckpointSink, Progress, Trainer, TrainPlan
from harness.core.types import Checkpoint, TokenRow
from trainers.settings import TuningSpec, plan, require_kernels


class FullSpec(TuningSpec):
    """Settings of `full`.

    A float32 copy of the model is trained, whatever the base is loaded in, so that small updates are not rounded
    away; checkpoints are written in the base's dtype. Memory: base, copy, gradients and two moments.
    """

    lr: float = Field(2e-5, gt=0, description="highest learning rate")


class FullTrainer:
    """`harness.core.protocols.Trainer`; checkpoints are whole models that transformers loads."""

    spec_type: type[BaseModel] = FullSpec
    backends = ("hf", "vllm")

    def settle(
        self, rows: Sequence[TokenRow], spec: BaseModel, model: Mapping[str, JsonValue]
    ) -> tuple[BaseModel, tuple[str, ...]]:
        """As it is; E-CONFLICT for a quantised model, whose bits no gradient changes, E-INSTALL without a package."""
        assert isinstance(spec, FullSpec)
        require_kernels(spec)
        if "quantization" in model:
            raise quantized()
        return spec, ()

    def plan(self, rows: Sequence[TokenRow], spec: BaseModel) -> TrainPlan:
        """Steps, tokens and checkpoints."""
        assert isinstance(spec, FullSpec)
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
        """Train a copy of a `harness.models.loading.LoadedModel`."""
        from trainers.loop import Job, train
        from trainers.tuned import TunedModel, loaded_model

        assert isinstance(spec, FullSpec)
        loaded = loaded_model(model)
        if loaded.quantization != "none":
            raise quantized()
        job = Job(loaded, tuple(train_rows), tuple(validation_rows), spec, sink, progress)
        return train(job, lambda: TunedModel(loaded, spec))


def quantized() -> HarnessError:
    """The error for weights that cannot be trained."""
    return HarnessError(
        "full tuning changes every weight, and those of a quantised model cannot be changed",
        fix="trainer=lora, or model.quantization=none",
        code="E-CONFLICT",
    )


trainer: Trainer = FullTrainer()
