"""What every trainer promises: the same bytes, however often it was interrupted, at the steps its plan names."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeAlias, cast

from pydantic import BaseModel, JsonValue

from harness.core.protocols import Trainer, TrainPlan
from harness.core.types import Checkpoint, TokenRow
from harness.store.checkpoints import Checkpoints
from harness.testing.promises import ConformanceError, raised, require, shown
from harness.testing.samples import token_rows

_KEY = "conformance"

# Checkpoint name -> file name -> sha256.
Hashes: TypeAlias = dict[str, dict[str, str]]


@dataclass(frozen=True)
class _Trial:
    """A trainer with everything to train on, and a folder for its checkpoints."""

    trainer: Trainer
    open_model: Callable[[], object]
    train_rows: tuple[TokenRow, ...]
    validation_rows: tuple[TokenRow, ...]
    spec: BaseModel
    folder: Path


def check_trainer(
    trainer: Trainer,
    *,
    open_model: Callable[[], object],
    folder: Path,
    settings: Mapping[str, JsonValue] | None = None,
    model_identity: Mapping[str, JsonValue] | None = None,
    train_rows: Sequence[TokenRow] | None = None,
    validation_rows: Sequence[TokenRow] | None = None,
) -> None:
    """ConformanceError unless the trainer keeps every promise on these rows.

    open_model: gives a freshly loaded base model, as the backend's `model` is. folder: an empty one for checkpoints.
    settings: the trainer's own; choose them so that there are at least two checkpoints, or resuming is not tried.
    """
    _is_described(trainer)
    rows = tuple(token_rows(12) if train_rows is None else train_rows)
    others = tuple(token_rows(4, first=100) if validation_rows is None else validation_rows)
    asked = trainer.spec_type.model_validate(dict(settings or {}))
    spec = _settles(trainer, rows, asked, dict(model_identity or {}))
    trial = _Trial(trainer, open_model, rows, others, spec, folder)
    plan = _plans(trial)
    if not plan.checkpoint_steps:
        _trains_nothing_it_did_not_plan(trial)
        return
    whole = _whole(trial, plan)
    _gives_the_same_bytes(trial, whole)
    if len(plan.checkpoint_steps) > 1:
        _resumes_to_the_same_bytes(trial, whole)
    _repeats_what_is_finished(trial, whole)


def _is_described(trainer: Trainer) -> None:
    kind = trainer.spec_type
    require(
        isinstance(kind, type) and issubclass(kind, BaseModel), "spec_type is a pydantic model of settings", shown(kind)
    )
    backends = trainer.backends
    named = isinstance(backends, tuple) and all(isinstance(name, str) for name in backends)
    require(named, "backends is a tuple of names of backends, empty for any", shown(backends))


def _settles(
    trainer: Trainer, rows: Sequence[TokenRow], asked: BaseModel, identity: Mapping[str, JsonValue]
) -> BaseModel:
    before = asked.model_dump(mode="json")
    spec, reasons = trainer.settle(rows, asked, identity)
    promise = "settle gives settings of the trainer's own type and a tuple of reasons"
    require(isinstance(spec, trainer.spec_type), promise, f"settings are {shown(spec)}")
    told = isinstance(reasons, tuple) and all(isinstance(reason, str) for reason in reasons)
    require(told, promise, f"reasons are {shown(reasons)}")
    again = trainer.settle(rows, asked, identity)
    require((spec, reasons) == again, "settle decides the same every time", f"{shown(spec)}, then {shown(again[0])}")
    after = asked.model_dump(mode="json")
    require(before == after, "settle leaves the settings it is given alone", f"{shown(before)}, then {shown(after)}")
    return spec


def _plans(trial: _Trial) -> TrainPlan:
    plan = trial.trainer.plan(trial.train_rows, trial.spec)
    require(plan == trial.trainer.plan(trial.train_rows, trial.spec), "plan counts the same every time", shown(plan))
    n = len(trial.train_rows)
    require(plan.n_rows == n, "plan counts the rows it is given", f"{plan.n_rows} of {n} rows")
    steps = plan.checkpoint_steps
    rising = all(before < after for before, after in pairwise((0, *steps)))
    require(rising, "the plan's checkpoint steps rise", shown(steps))
    last = not steps or plan.n_steps == 0 or steps[-1] == plan.n_steps
    require(last, "the last checkpoint is at the last step", f"checkpoints {steps}, {plan.n_steps} steps")
    return plan


def _train(trial: _Trial, name: str, *, limit: int | None = None) -> list[Checkpoint]:
    """The checkpoints of a training that is closed after `limit` of them; its sink is the folder `name`."""
    sink = Checkpoints(trial.folder / name, _KEY)
    before = (trial.train_rows, trial.validation_rows)
    given = (list(trial.train_rows), list(trial.validation_rows))

    def progress(done: int, total: int, figure: str) -> None:
        require(0 <= done <= total, "progress is at most the whole", f"{done} of {total}, {figure!r}")

    training = trial.trainer.train(trial.open_model(), *given, trial.spec, sink, progress)
    found: list[Checkpoint] = []
    with closing(cast(Generator[Checkpoint, None, None], training)):
        for checkpoint in training:
            found.append(_durable(checkpoint, sink))
            if len(found) == limit:
                break
    same = (tuple(given[0]), tuple(given[1])) == before
    require(same, "the rows keep their order and content", f"{shown(before[0][0])} ... then {shown(given[0][:1])}")
    return found


def _durable(checkpoint: Checkpoint, sink: Checkpoints) -> Checkpoint:
    stored = {each.sha256 for each in sink.finished()}
    promise = "a checkpoint is yielded as the sink gave it, once it is durable"
    example = f"{checkpoint.name} in {checkpoint.folder}: not among what was saved"
    require(bool(checkpoint.sha256) and checkpoint.sha256 in stored and checkpoint.folder.is_dir(), promise, example)
    figures = {
        "train_loss": checkpoint.train_loss,
        "train_accuracy": checkpoint.train_accuracy,
        "validation_loss": checkpoint.validation_loss,
        "validation_accuracy": checkpoint.validation_accuracy,
    }
    for name, figure in figures.items():
        finite = figure is None or math.isfinite(figure)
        require(finite, "losses and accuracies are numbers, or None", f"{checkpoint.name}: {name} is {figure}")
    return checkpoint


def _whole(trial: _Trial, plan: TrainPlan) -> Hashes:
    found = _train(trial, "whole")
    steps = tuple(checkpoint.step for checkpoint in found)
    promise = "checkpoints come at the steps that plan names"
    require(steps == plan.checkpoint_steps, promise, f"plan {plan.checkpoint_steps}, trained {steps}")
    return _hashes(found)


def _gives_the_same_bytes(trial: _Trial, whole: Hashes) -> None:
    again = _hashes(_train(trial, "again"))
    _same(whole, again, "the same settings, rows and model give the same bytes")


def _resumes_to_the_same_bytes(trial: _Trial, whole: Hashes) -> None:
    """Closed after the first checkpoint, then begun again with the same sink."""
    promise = "training that was interrupted gives the same bytes once it is resumed"
    try:
        _train(trial, "interrupted", limit=1)
        resumed = _hashes(_train(trial, "interrupted"))
    except ConformanceError:
        raise
    except Exception as err:
        raise ConformanceError(promise, raised(err)) from err
    _same(whole, resumed, promise)


def _repeats_what_is_finished(trial: _Trial, whole: Hashes) -> None:
    """A finished training is asked once more: nothing may be written again."""
    files = sorted((trial.folder / "whole").rglob("*"))
    times = [file.stat().st_ctime_ns for file in files if file.is_file()]
    found = _hashes(_train(trial, "whole"))
    _same(whole, found, "finished training yields what is there")
    after = [file.stat().st_ctime_ns for file in files if file.is_file()]
    require(times == after, "finished training writes nothing", "files of saved checkpoints were written again")


def _trains_nothing_it_did_not_plan(trial: _Trial) -> None:
    found = [checkpoint.name for checkpoint in _train(trial, "whole")]
    require(found == [], "a plan without checkpoints trains none", f"plan names none, trained {found}")


def _hashes(checkpoints: Sequence[Checkpoint]) -> Hashes:
    return {
        checkpoint.name: {
            file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(checkpoint.folder.iterdir())
        }
        for checkpoint in checkpoints
    }


def _same(expected: Hashes, found: Hashes, promise: str) -> None:
    names = f"{', '.join(expected)}, then {', '.join(found)}"
    require(list(expected) == list(found), promise, f"checkpoints {names}")
    for name, files in expected.items():
        for file in sorted(files.keys() | found[name].keys()):
            require(files.get(file) == found[name].get(file), promise, f"{name}/{file} differs")
