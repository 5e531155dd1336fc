"""LoRA whose epochs, learning rate and rank follow from how many rows there are, how long they are and the model.

The table is the published best practice for one hosted family of models, which names no sizes: multipliers over that
service's defaults. Here they multiply the defaults of `lora`; what the table leaves open is chosen below and said in
every reason. It is a place to begin, not an optimum.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, Field, JsonValue

from harness.core.protocols import CheckpointSink, Progress, Trainer, TrainPlan
from harness.core.types import Checkpoint, TokenRow
from trainers.lora import AdapterSpec, LoraSpec
from trainers.lora import trainer as lora
from trainers.settings import require_kernels

DEFAULT = LoraSpec()
FEW_ROWS, SHORT_TOKENS = 1000, 500
# The table gives larger models with much data x1 to x5; here x5 up to 1,000 rows and x1 from 10,000, by the logarithm.
MANY_ROWS, MOST = 10_000, 5.0
ALPHA_PER_RANK = DEFAULT.alpha / DEFAULT.rank
# Too few steps teach nothing at any rate, and nobody wants to wait for the table's ten epochs over a million rows.
MIN_STEPS, MAX_STEPS, MOST_EPOCHS = 50, 20_000, 20.0
# Below this no model is known to be in the hosted family, or near it.
SMALLEST_HOSTED = 1e9


class AutoSpec(AdapterSpec):
    """Settings of `auto`: those of `lora`; what is left out of the first four is decided."""

    epochs: float | None = Field(None, gt=0, description="passes over the training rows; left out: decided")
    lr: float | None = Field(None, gt=0, description="highest learning rate; left out: decided")
    rank: int | None = Field(None, ge=1, description="width of the added matrices; left out: decided")
    alpha: float | None = Field(None, gt=0, description="strength of the update; left out: twice the rank")
    larger_from: float = Field(1e10, gt=0, description="parameters from which a model counts as larger")


@dataclass(frozen=True, slots=True)
class Situation:
    """What the table is entered with. n_parameters: None where the model does not say."""

    n_rows: int
    mean_tokens: float
    n_parameters: int | None
    larger_from: float

    @property
    def is_few(self) -> bool:
        """Little data in the table's sense: few rows, and short ones."""
        return self.n_rows < FEW_ROWS and self.mean_tokens < SHORT_TOKENS

    @property
    def is_larger(self) -> bool:
        """Whether the model is in the table's column of larger models."""
        return self.n_parameters is not None and self.n_parameters >= self.larger_from

    def __str__(self) -> str:
        return f"{self._data} on {self._model}"

    @property
    def _data(self) -> str:
        count, mean = f"{self.n_rows:,} rows", f"{self.mean_tokens:,.0f} tokens on average"
        limits = f"fewer than {FEW_ROWS:,} rows and under {SHORT_TOKENS} tokens"
        return f"{count} with {mean} ({limits if self.is_few else f'not both {limits}'})"

    @property
    def _model(self) -> str:
        limit = f"{in_words(self.larger_from)} parameters"
        if self.n_parameters is None:
            return f"a model of unknown size, taken as a smaller one (under {limit})"
        size = "larger" if self.is_larger else "smaller"
        side = "from" if self.is_larger else "under"
        return f"a {size} model ({in_words(self.n_parameters)} parameters, {side} {limit})"


@dataclass(frozen=True, slots=True)
class Advice:
    """One cell of the table. epochs: None for the default. is_range: whether the multiplier is one of several."""

    epochs: float | None
    multiplier: float
    rank: int
    is_range: bool = False


def advice(situation: Situation) -> Advice:
    """The table's cell.

    >>> advice(Situation(n_rows=640, mean_tokens=88, n_parameters=70_000_000_000, larger_from=1e10))
    Advice(epochs=20.0, multiplier=10.0, rank=4, is_range=False)
    """
    if situation.is_few:
        return Advice(20.0 if situation.is_larger else None, 10.0, 4)
    if situation.is_larger:
        return Advice(10.0, _between(situation.n_rows), 4, is_range=True)
    return Advice(None, 1.0, 8)


class AutoTrainer:
    """`harness.core.protocols.Trainer`; once it has settled, `lora` does the rest."""

    spec_type: type[BaseModel] = AutoSpec
    backends = lora.backends

    def settle(
        self, rows: Sequence[TokenRow], spec: BaseModel, model: Mapping[str, JsonValue]
    ) -> tuple[BaseModel, tuple[str, ...]]:
        """Nothing left open, and a sentence for every setting that was decided or kept."""
        assert isinstance(spec, AutoSpec)
        require_kernels(spec)
        situation = situation_of(rows, model, spec.larger_from)
        found = advice(situation)
        epochs, why_epochs = _epochs(spec, situation, found)
        lr, why_lr = _lr(spec, found)
        rank, why_rank = _rank(spec, found)
        alpha, why_alpha = _alpha(spec, rank)
        settled = spec.model_copy(update={"epochs": epochs, "lr": lr, "rank": rank, "alpha": alpha})
        return settled, (why_epochs, why_lr, why_rank, why_alpha, *_doubts(situation))

    def plan(self, rows: Sequence[TokenRow], spec: BaseModel) -> TrainPlan:
        """Steps, tokens and checkpoints of settled settings."""
        return lora.plan(rows, as_lora(spec))

    def train(
        self,
        model: object,
        train_rows: Sequence[TokenRow],
        validation_rows: Sequence[TokenRow],
        spec: BaseModel,
        sink: CheckpointSink,
        progress: Progress,
    ) -> Iterator[Checkpoint]:
        """What `lora` trains with the settled settings."""
        return lora.train(model, train_rows, validation_rows, as_lora(spec), sink, progress)


trainer: Trainer = AutoTrainer()


def as_lora(spec: BaseModel) -> LoraSpec:
    """Settled settings as `lora` takes them; ValueError where something was left open."""
    assert isinstance(spec, AutoSpec)
    return LoraSpec.model_validate(spec.model_dump(exclude={"larger_from"}))


def situation_of(rows: Sequence[TokenRow], model: Mapping[str, JsonValue], larger_from: float) -> Situation:
    """The rows counted and the model's size looked up, where its identity has one."""
    mean = sum(len(row.ids) for row in rows) / len(rows) if rows else 0.0
    found = model.get("parameters")
    return Situation(len(rows), mean, found if isinstance(found, int) else None, larger_from)


def in_words(count: float) -> str:
    """A number of parameters as people say it.

    >>> [in_words(n) for n in (950, 2_213_504, 7_600_000_000, 1e10)]
    ['950', '2.2 M', '7.6 B', '10 B']
    """
    for size, letter in ((1e9, "B"), (1e6, "M")):
        if count >= size:
            return f"{count / size:.3g} {letter}" if count >= 100 * size else f"{count / size:.2g} {letter}"
    return f"{count:,.0f}"


def _between(n_rows: int) -> float:
    """From MOST at FEW_ROWS to 1 at MANY_ROWS, straight over the logarithm, to one decimal."""
    share = math.log(max(n_rows, FEW_ROWS) / FEW_ROWS) / math.log(MANY_ROWS / FEW_ROWS)
    return round(MOST - (MOST - 1) * min(1.0, share), 1)


def _epochs(spec: AutoSpec, situation: Situation, found: Advice) -> tuple[float, str]:
    if spec.epochs is not None:
        return spec.epochs, _kept("epochs", spec.epochs)
    wanted = found.epochs or DEFAULT.epochs
    name = "the table's number" if found.epochs else "the default"
    bounded, why = _bounded(wanted, max(1, math.ceil(situation.n_rows / spec.batch_rows)))
    return bounded, f"epochs {bounded:g}: {name} for {situation}{f', {why}' if why else ''}"


def _bounded(epochs: float, per_epoch: int) -> tuple[float, str]:
    """Epochs that give a sane number of optimiser steps, and what was changed for it."""
    if epochs * per_epoch < MIN_STEPS and epochs < MOST_EPOCHS:
        more = min(MOST_EPOCHS, float(math.ceil(MIN_STEPS / per_epoch)))
        return more, f"raised from {epochs:g}, which gives only {_steps(epochs, per_epoch)} optimiser steps"
    fewest = min(epochs, DEFAULT.epochs)
    if epochs * per_epoch > MAX_STEPS and epochs > fewest:
        fewer = max(fewest, float(MAX_STEPS // per_epoch))
        return fewer, f"lowered from {epochs:g}, which gives {_steps(epochs, per_epoch)} optimiser steps"
    return epochs, ""


def _steps(epochs: float, per_epoch: int) -> str:
    return f"{epochs * per_epoch:,.0f}"


def _lr(spec: AutoSpec, found: Advice) -> tuple[float, str]:
    if spec.lr is not None:
        return spec.lr, _kept("lr", spec.lr)
    rate = float(f"{DEFAULT.lr * found.multiplier:.2g}")
    source = "the table's multiplier for these"
    if found.is_range:
        source = f"of the table's x1 to x{MOST:g}; x{MOST:g} is used up to {FEW_ROWS:,} rows, x1 from {MANY_ROWS:,}"
    return rate, f"lr {rate:g}: {found.multiplier:g} times the default of {DEFAULT.lr:g}, {source}"


def _rank(spec: AutoSpec, found: Advice) -> tuple[int, str]:
    if spec.rank is not None:
        return spec.rank, _kept("rank", spec.rank)
    return found.rank, f"rank {found.rank}: the table's for these"


def _alpha(spec: AutoSpec, rank: int) -> tuple[float, str]:
    if spec.alpha is not None:
        return spec.alpha, _kept("alpha", spec.alpha)
    alpha = ALPHA_PER_RANK * rank
    return alpha, f"alpha {alpha:g}: {ALPHA_PER_RANK:g} times the rank, as in the defaults"


def _kept(name: str, value: float) -> str:
    return f"{name} {value:g}: kept as it was set"


def _doubts(situation: Situation) -> tuple[str, ...]:
    """What the reader should know of how far the table reaches."""
    n_parameters = situation.n_parameters
    if n_parameters is not None and n_parameters < SMALLEST_HOSTED:
        return (
            "the table was published for one family of hosted models, all far larger than "
            f"{in_words(n_parameters)} parameters: try other learning rates too",
        )
    return ("the table was published for one family of hosted models; for this one it is a place to begin",)
