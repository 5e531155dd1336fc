"""The trainer suite: the harness's trainers pass it, and each promise's check notices a trainer that breaks it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import BaseModel

from harness import registry
from harness.core.protocols import BackendKind, CheckpointSink, Progress, Trainer, TrainPlan
from harness.core.specs import BackendSpec, ModelSpec
from harness.core.types import Checkpoint, TokenRow
from harness.testing import ConformanceError, check_trainer
from trainers.fake import FakeTrainer, FakeTrainerSpec

FEW = {"epochs": 2, "batch_rows": 6, "warmup": 0}


def demo_model() -> object:
    kind = cast(BackendKind, registry.load("backends", "hf"))
    return kind.create(ModelSpec(device="cpu"), BackendSpec(), thinking=False).model


@pytest.mark.parametrize(
    ("name", "settings"),
    [("lora", {**FEW, "rank": 2}), ("full", {**FEW, "checkpoint_every": 2}), ("auto", {**FEW, "rank": 2})],
)
def test_trainers_of_real_models_keep_every_promise(name: str, settings: dict[str, Any], tmp_path: Path) -> None:
    trainer = cast(Trainer, registry.load("trainers", name))
    check_trainer(trainer, open_model=demo_model, folder=tmp_path, settings=settings)


@pytest.mark.parametrize("name", ["fake", "none"])
def test_trainers_without_a_model_keep_every_promise(name: str, tmp_path: Path) -> None:
    check_trainer(cast(Trainer, registry.load("trainers", name)), open_model=object, folder=tmp_path)


def check_broken(trainer: object, folder: Path) -> None:
    check_trainer(cast(Trainer, trainer), open_model=object, folder=folder, settings={"batch_rows": 6})


class NoSettings(FakeTrainer):
    spec_type = dict  # type: ignore[assignment]


class Homeless(FakeTrainer):
    backends = "fake"  # type: ignore[assignment]


class Undecided(FakeTrainer):
    counter = itertools.count(1)

    def settle(self, rows: Sequence[TokenRow], spec: Any, model: Mapping[str, Any]) -> Any:
        return spec.model_copy(update={"epochs": next(self.counter)}), ()


class Reasonless(FakeTrainer):
    def settle(self, rows: Sequence[TokenRow], spec: Any, model: Mapping[str, Any]) -> Any:
        return spec, None


class OtherSettings(FakeTrainer):
    def settle(self, rows: Sequence[TokenRow], spec: Any, model: Mapping[str, Any]) -> Any:
        return {"epochs": 1}, ()


class Planless(FakeTrainer):
    """Plans the first checkpoint only."""

    def plan(self, rows: Sequence[TokenRow], spec: Any) -> TrainPlan:
        plan = super().plan(rows, spec)
        return replace(plan, checkpoint_steps=plan.checkpoint_steps[:1])


class Miscounting(FakeTrainer):
    def plan(self, rows: Sequence[TokenRow], spec: Any) -> TrainPlan:
        return replace(super().plan(rows, spec), n_rows=1)


class Falling(FakeTrainer):
    def plan(self, rows: Sequence[TokenRow], spec: Any) -> TrainPlan:
        plan = super().plan(rows, spec)
        return replace(plan, checkpoint_steps=plan.checkpoint_steps[::-1])


class Training(FakeTrainer):
    """What the next ones change about training; `train` of a sound trainer as a plain iterator."""

    def train(
        self,
        model: object,
        train_rows: Sequence[TokenRow],
        validation_rows: Sequence[TokenRow],
        spec: Any,
        sink: CheckpointSink,
        progress: Progress,
    ) -> Iterator[Checkpoint]:
        self.before(cast(list[TokenRow], train_rows), progress)
        for checkpoint in self.go_on(train_rows, spec, sink):
            yield self.after(checkpoint)

    def before(self, rows: list[TokenRow], progress: Progress) -> None:
        """Nothing."""

    def after(self, checkpoint: Checkpoint) -> Checkpoint:
        return checkpoint

    def go_on(self, rows: Sequence[TokenRow], spec: Any, sink: CheckpointSink) -> Iterator[Checkpoint]:
        yield from super().train(object(), rows, (), spec, sink, lambda *_: None)


class Elsewhere(Training):
    """Its checkpoints were trained before, as those of `given`: no step is planned."""

    backends = ()  # type: ignore[assignment]

    def plan(self, rows: Sequence[TokenRow], spec: Any) -> TrainPlan:
        return replace(super().plan(rows, spec), n_steps=0)


def test_a_trainer_may_bring_checkpoints_without_steps_and_take_any_backend(tmp_path: Path) -> None:
    check_trainer(cast(Trainer, Elsewhere()), open_model=object, folder=tmp_path)


class EndsEarly(Training):
    def go_on(self, rows: Sequence[TokenRow], spec: Any, sink: CheckpointSink) -> Iterator[Checkpoint]:
        yield from itertools.islice(super().go_on(rows, spec, sink), 2)


class Reordering(Training):
    def before(self, rows: list[TokenRow], progress: Progress) -> None:
        rows.sort(key=lambda row: -len(row.ids))


class Overdone(Training):
    def before(self, rows: list[TokenRow], progress: Progress) -> None:
        progress(8, 7, "loss 1.0")


class Imagined(Training):
    """Yields what the sink never saw."""

    def after(self, checkpoint: Checkpoint) -> Checkpoint:
        return replace(checkpoint, sha256="")


class Diverged(Training):
    def after(self, checkpoint: Checkpoint) -> Checkpoint:
        return replace(checkpoint, train_loss=float("nan"))


class Weights(Training):
    """Saves what `content` says, at every planned step that is not saved yet."""

    def go_on(self, rows: Sequence[TokenRow], spec: Any, sink: CheckpointSink) -> Iterator[Checkpoint]:
        saved = list(sink.saved())
        yield from saved
        for step in self.plan(rows, spec).checkpoint_steps[len(saved) :]:
            yield self.save(step, self.content(step, resumed=bool(saved)), sink)

    def content(self, step: int, *, resumed: bool) -> str:
        return str(step)

    def save(self, step: int, content: str, sink: CheckpointSink) -> Checkpoint:
        checkpoint = Checkpoint(step, float(step), Path(), "adapter", "", 0.5, 0.5, None, None)
        return sink.save(checkpoint, partial(self.write, content), partial(self.write, content))

    @staticmethod
    def write(content: str, folder: Path) -> None:
        (folder / "adapter_model.safetensors").write_text(content)


class Random(Weights):
    counter = itertools.count()

    def content(self, step: int, *, resumed: bool) -> str:
        return f"{step} {next(self.counter)}"


class Amnesiac(Weights):
    """Trains on from nothing after an interruption."""

    def content(self, step: int, *, resumed: bool) -> str:
        return f"{step} {resumed}"


class Restarting(Weights):
    """Saves everything again, whatever there is."""

    def go_on(self, rows: Sequence[TokenRow], spec: Any, sink: CheckpointSink) -> Iterator[Checkpoint]:
        for step in self.plan(rows, spec).checkpoint_steps:
            yield self.save(step, str(step), sink)


class Unresumable(Weights):
    def content(self, step: int, *, resumed: bool) -> str:
        if resumed:
            raise KeyError("optimizer")
        return str(step)


class Busy(Training):
    """Plans nothing and trains all the same."""

    def plan(self, rows: Sequence[TokenRow], spec: BaseModel) -> TrainPlan:
        return TrainPlan(len(rows), 0, 0, 0, ())

    def go_on(self, rows: Sequence[TokenRow], spec: Any, sink: CheckpointSink) -> Iterator[Checkpoint]:
        yield Weights().save(1, "1", sink)


BROKEN = [
    (NoSettings, "spec_type"),
    (Homeless, "backends is a tuple"),
    (Undecided, "decides the same"),
    (Reasonless, "tuple of reasons"),
    (OtherSettings, "trainer's own type"),
    (Miscounting, "counts the rows"),
    (Falling, "steps rise"),
    (Planless, "last checkpoint is at the last step"),
    (EndsEarly, "steps that plan names"),
    (Reordering, "rows keep their order"),
    (Overdone, "progress is at most"),
    (Imagined, "once it is durable"),
    (Diverged, "are numbers"),
    (Random, "model give the same bytes"),
    (Amnesiac, "once it is resumed"),
    (Unresumable, "once it is resumed"),
    (Restarting, "finished training writes nothing"),
    (Busy, "without checkpoints trains none"),
]


@pytest.mark.parametrize("sound", [FakeTrainer, Training, Weights])
def test_the_trainers_that_the_broken_ones_are_made_from_are_sound(sound: type[FakeTrainer], tmp_path: Path) -> None:
    check_broken(sound(), tmp_path)


@pytest.mark.parametrize(("broken", "promise"), BROKEN, ids=[kind.__name__ for kind, _ in BROKEN])
def test_a_broken_promise_is_named_with_an_example(broken: type[FakeTrainer], promise: str, tmp_path: Path) -> None:
    with pytest.raises(ConformanceError, match=promise) as caught:
        check_broken(broken(), tmp_path)
    assert caught.value.example


def test_settings_that_are_changed_in_place_are_noticed(tmp_path: Path) -> None:
    class Loose(FakeTrainerSpec):
        model_config = {"frozen": False}  # noqa: RUF012

    class Meddling(FakeTrainer):
        spec_type = Loose

        def settle(self, rows: Sequence[TokenRow], spec: Any, model: Mapping[str, Any]) -> Any:
            spec.epochs = 1
            return spec, ()

    with pytest.raises(ConformanceError, match="leaves the settings it is given alone"):
        check_broken(Meddling(), tmp_path)
