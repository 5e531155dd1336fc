"""Settings that every trainer of transformers models has, and what follows from them before anything is loaded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Annotated, Literal

from pydantic import Field

from harness.core.errors import HarnessError
from harness.core.protocols import TrainPlan
from harness.core.specs import Spec
from harness.core.types import TokenRow


class PortionSpec(Spec):
    """In what portions, by which schedule, and what keeps it from learning by heart.

    `batch_rows` decides what is learnt from together; `tokens_per_batch` only how much memory that takes.
    """

    batch_rows: int = Field(16, ge=1, description="rows in an optimiser step")
    tokens_per_batch: int = Field(4096, ge=1, description="padded tokens in memory at once; changes no result")
    schedule: Literal["cosine", "linear", "constant"] = Field("cosine", description="learning rate after warm-up")
    warmup: float = Field(0.05, ge=0, lt=1, description="share of the steps in which the learning rate rises")
    weight_decay: float = Field(0.0, ge=0, description="pull of all trained weights towards zero (AdamW)")
    neftune: float = Field(0.0, ge=0, description="noise on the embeddings in training; 0: none, published: 5 to 15")
    clip: float = Field(1.0, gt=0, description="largest norm of the gradient")
    checkpoint_every: Literal["epoch"] | Annotated[int, Field(ge=1)] = Field(
        "epoch", description="epoch, or a number of steps"
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field("auto", description="auto: bfloat16 if the model is in it")
    gradient_checkpointing: Literal["auto"] | bool = Field(
        "auto", description="less memory, a third more time; auto: from when memory runs out; changes no result"
    )
    kernels: Literal["none", "liger"] = Field("none", description="liger: its layers for GPUs, in training only")
    seed: int = Field(0, ge=0, le=2**31 - 1)


class TuningSpec(PortionSpec):
    """How long, how fast, in what portions."""

    epochs: float = Field(3.0, gt=0, description="passes over the training rows")
    lr: float = Field(2e-4, gt=0, description="highest learning rate")


def require_kernels(spec: PortionSpec) -> None:
    """E-INSTALL where the package that has the kernels asked for is not installed."""
    if spec.kernels == "liger" and find_spec("liger_kernel") is None:
        raise HarnessError(
            "trainer.kernels=liger needs liger-kernel, which is not installed",
            fix='pip install "sft-harness[liger]" -c constraints.txt, or trainer.kernels=none',
            code="E-INSTALL",
        )


def steps_per_epoch(n_rows: int, spec: TuningSpec) -> int:
    """Optimiser steps in one pass; the last may have fewer rows."""
    return math.ceil(n_rows / spec.batch_rows)


def total_steps(n_rows: int, spec: TuningSpec) -> int:
    """Optimiser steps of the whole training, at least one; E-STEPS if there are no rows, or only warm-up."""
    total = max(1, round(spec.epochs * steps_per_epoch(n_rows, spec)))
    if n_rows == 0 or warmup_steps(total, spec) >= total:
        raise HarnessError(
            f"{n_rows} rows in steps of {spec.batch_rows} give {total if n_rows else 0} steps, "
            f"of which {warmup_steps(total, spec)} are warm-up",
            fix="more training rows or trainer.epochs, a smaller trainer.batch_rows or trainer.warmup",
            code="E-STEPS",
        )
    return total


def warmup_steps(total: int, spec: TuningSpec) -> int:
    """Steps in which the learning rate rises."""
    return round(spec.warmup * total)


def learning_rate(step: int, total: int, spec: TuningSpec) -> float:
    """The learning rate of a step, counted from 1.

    >>> [learning_rate(step, 4, TuningSpec(lr=1.0, warmup=0.5, schedule="linear")) for step in (1, 2, 3, 4)]
    [0.5, 1.0, 1.0, 0.5]
    """
    rising = warmup_steps(total, spec)
    if step <= rising:
        return spec.lr * step / rising
    done = (step - 1 - rising) / (total - rising)
    if spec.schedule == "cosine":
        return spec.lr * 0.5 * (1 + math.cos(math.pi * done))
    return spec.lr * (1 - done) if spec.schedule == "linear" else spec.lr


def checkpoint_steps(n_rows: int, spec: TuningSpec) -> tuple[int, ...]:
    """Steps after which a checkpoint is kept; the last step always is one.

    >>> checkpoint_steps(40, TuningSpec(epochs=2.5, batch_rows=16))
    (3, 6, 8)
    """
    total = total_steps(n_rows, spec)
    every = steps_per_epoch(n_rows, spec) if spec.checkpoint_every == "epoch" else spec.checkpoint_every
    return (*range(every, total, every), total)


def plan(rows: Sequence[TokenRow], spec: TuningSpec) -> TrainPlan:
    """What training on these rows will cost; tokens are counted over all epochs, padding aside."""
    total = total_steps(len(rows), spec)
    passes = total / steps_per_epoch(len(rows), spec)
    return TrainPlan(
        n_rows=len(rows),
        n_steps=total,
        n_tokens=round(passes * sum(len(row.ids) for row in rows)),
        n_target_tokens=round(passes * sum(row.n_targets for row in rows)),
        checkpoint_steps=checkpoint_steps(len(rows), spec),
    )
