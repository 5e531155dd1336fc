"""Unsloth: LoRA with its kernels for one NVIDIA GPU, in a process of its own, whose environment may be another one."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import BaseModel, Field, JsonValue, model_validator

from harness.core.errors import EnvironmentFault, HarnessError
from harness.core.protocols import CheckpointSink, Progress, Trainer, TrainPlan
from harness.core.types import Checkpoint, TokenRow
from harness.data.display import quote
from harness.models.rotary import switches_at
from trainers.batches import micro_batches, rows_of_step
from trainers.given import GivenSpec, checkpoint_of, copy_files, look_at, measured
from trainers.settings import TuningSpec, checkpoint_steps, learning_rate, plan, steps_per_epoch, total_steps

if TYPE_CHECKING:
    from harness.models.loading import LoadedModel

_CHILD = Path(__file__).with_name("unsloth_child.py")
_FACTS, _STATE = "training.json", "training.safetensors"


class UnslothSpec(TuningSpec):
    """Settings of `unsloth`: those of `lora`, as far as Unsloth has them, and where it is installed."""

    rank: int = Field(16, ge=1, description="width of the added matrices")
    alpha: float = Field(32, gt=0, description="strength of the update, divided by rank")
    dropout: float = Field(0.0, ge=0, lt=1, description="of the added matrices' input; Unsloth is fastest without")
    targets: Literal["auto"] | tuple[str, ...] = Field(
        "auto", description="names of layers; auto: all linear layers but the output"
    )
    rslora: bool = Field(False, description="divide alpha by the root of the rank, not by the rank (rsLoRA)")
    python: str | None = Field(None, description="interpreter of an environment with Unsloth; left out: this one")

    @model_validator(mode="after")
    def _has_what_is_asked(self) -> Self:
        for name in ("neftune", "kernels", "dtype"):
            if getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"trainer=unsloth has no {name}")
        return self


class UnslothTrainer:
    """`harness.core.protocols.Trainer`; checkpoints are adapters that peft loads."""

    spec_type: type[BaseModel] = UnslothSpec
    backends = ("hf", "vllm")

    def settle(
        self, rows: Sequence[TokenRow], spec: BaseModel, model: Mapping[str, JsonValue]
    ) -> tuple[BaseModel, tuple[str, ...]]:
        """As it is. E-INSTALL where Unsloth is not installed, E-CONFLICT for a base in bits that it does not have."""
        assert isinstance(spec, UnslothSpec)
        _require_installed(spec)
        if model.get("quantization") == "int8":
            raise _no_such_bits()
        return spec, ()

    def plan(self, rows: Sequence[TokenRow], spec: BaseModel) -> TrainPlan:
        """Steps, tokens and checkpoints."""
        assert isinstance(spec, UnslothSpec)
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
        """Train an adapter in a child process; figures of validation are measured here, on the loaded model."""
        from trainers.loop import Job, check_rows
        from trainers.tuned import loaded_model

        assert isinstance(spec, UnslothSpec)
        loaded = loaded_model(model)
        _require_gpu(loaded)
        if loaded.quantization == "int8":
            raise _no_such_bits()
        check_rows(Job(loaded, tuple(train_rows), tuple(validation_rows), spec, sink, progress))
        return _trained(loaded, train_rows, validation_rows, spec, sink, progress)


trainer: Trainer = UnslothTrainer()


@dataclass(frozen=True, slots=True)
class Said:
    """One line of the child: the step it has done, the mean loss since the last checkpoint, a checkpoint's place."""

    step: int
    loss: float
    folder: Path | None


def _trained(
    loaded: LoadedModel,
    train_rows: Sequence[TokenRow],
    validation_rows: Sequence[TokenRow],
    spec: UnslothSpec,
    sink: CheckpointSink,
    progress: Progress,
) -> Iterator[Checkpoint]:
    total = total_steps(len(train_rows), spec)
    saved = tuple(sink.saved())
    yield from saved
    if saved and saved[-1].step >= total:
        return
    fingerprint = _fingerprint(loaded, train_rows, spec)
    state = _state(sink.state(saved[-1]), fingerprint) if saved else None
    with tempfile.TemporaryDirectory(prefix="unsloth-") as scratch:
        folder = Path(scratch)
        job = job_of(loaded, train_rows, spec, folder, saved[-1].step if saved else 0, state)
        for said in _child(job, spec, folder):
            progress(said.step, total, f"loss {said.loss:.3f}")
            if not math.isfinite(said.loss):
                raise EnvironmentFault(
                    f"step {said.step} has a loss of {said.loss:g}",
                    fix="a smaller trainer.lr or a longer trainer.warmup",
                    code="E-NONFINITE-LOSS",
                )
            if said.folder is not None:
                epoch = said.step / steps_per_epoch(len(train_rows), spec)
                yield _saved(loaded, validation_rows, said, epoch, fingerprint, sink)


def _saved(
    loaded: LoadedModel, rows: Sequence[TokenRow], said: Said, epoch: float, fingerprint: str, sink: CheckpointSink
) -> Checkpoint:
    """The child's adapter, looked through and measured as one from anywhere else."""
    assert said.folder is not None
    given = look_at(GivenSpec(path=str(said.folder)))
    found = replace(checkpoint_of(given), step=said.step, epoch=epoch, train_loss=said.loss, train_accuracy=None)

    def write_state(folder: Path) -> None:
        shutil.copyfile(given.folder / _STATE, folder / _STATE)
        facts = json.dumps({"step": said.step, "fingerprint": fingerprint})
        (folder / _FACTS).write_text(facts, encoding="utf-8")

    return sink.save(measured(loaded, found, rows), partial(copy_files, given), write_state)


def job_of(
    loaded: LoadedModel, rows: Sequence[TokenRow], spec: UnslothSpec, out: Path, done: int, state: Path | None
) -> dict[str, JsonValue]:
    """All that the child needs to know: the same rows in the same steps and batches as `lora` has them."""
    total = total_steps(len(rows), spec)
    place = {row.id: i for i, row in enumerate(rows)}
    steps: list[JsonValue] = []
    switch = switches_at(loaded.model)
    for step in range(1, total + 1):
        chosen = [rows[i] for i in rows_of_step(step, len(rows), spec.batch_rows, spec.seed)]
        batches: list[JsonValue] = [
            [place[row.id] for row in batch] for batch in micro_batches(chosen, spec.tokens_per_batch, switch)
        ]
        steps.append({"lr": learning_rate(step, total, spec), "batches": batches})
    targets = loaded.switch.linear_layers if spec.targets == "auto" else spec.targets
    return {
        "model": str(loaded.folder),
        "longest": max(len(row.ids) for row in rows),
        "dtype": str(loaded.dtype).removeprefix("torch."),
        "load_in_4bit": loaded.quantization == "nf4",
        "gradient_checkpointing": spec.gradient_checkpointing is not False,
        "rank": spec.rank,
        "alpha": spec.alpha,
        "dropout": spec.dropout,
        "targets": list(targets),
        "rslora": spec.rslora,
        "seed": spec.seed,
        "clip": spec.clip,
        "weight_decay": spec.weight_decay,
        "ids": [list(row.ids) for row in rows],
        "loss": [list(row.loss) for row in rows],
        "steps": steps,
        "checkpoints": list(checkpoint_steps(len(rows), spec)),
        "out": str(out),
        "done": done,
        "state": None if state is None else str(state),
    }


def _child(job: Mapping[str, JsonValue], spec: UnslothSpec, folder: Path) -> Iterator[Said]:
    """What the child says; behind each checkpoint it waits until the next is asked for.

    It ends with this generator, and what it has started ends with it.
    """
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    # A script's own folder comes first where it looks for modules, and beside this one lies another `unsloth`.
    script = Path(shutil.copyfile(_CHILD, folder / "train.py"))
    log = folder / "unsloth.log"
    reading, writing = os.pipe()
    with log.open("wb") as stream, os.fdopen(reading, encoding="utf-8", errors="replace") as lines:
        child = subprocess.Popen(  # noqa: S603
            [_interpreter(spec), str(script), str(folder / "job.json"), str(writing)],
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=subprocess.STDOUT,
            pass_fds=(writing,),
            start_new_session=True,
        )
        os.close(writing)
        ending = threading.Thread(target=_end_with, args=(child,), daemon=True)
        ending.start()
        try:
            for line in lines:
                said = _parsed(line, folder)
                yield said
                if said.folder is not None and child.stdin is not None:
                    # Where it has died meanwhile, its last words are read below.
                    with suppress(BrokenPipeError):
                        child.stdin.write(b"\n")
                        child.stdin.flush()
            if child.wait() != 0:
                raise _failed(log)
        finally:
            if child.poll() is None:
                _kill_group(child)
            ending.join()
            if child.stdin is not None:
                with suppress(BrokenPipeError):
                    child.stdin.close()


def _end_with(child: subprocess.Popen[bytes]) -> None:
    """Once the child has ended, end what it has started: a process that holds the pipe open would be waited for."""
    child.wait()
    _kill_group(child)


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)


def _parsed(line: str, folder: Path) -> Said:
    """One line of the child. Its checkpoints lie in the folder it was given, whatever it says; E-UNSLOTH if broken."""
    try:
        found = json.loads(line)
        step = int(found["step"])
        return Said(step, float(found["loss"]), folder / str(step) if "folder" in found else None)
    except (ValueError, LookupError, TypeError, OverflowError) as err:
        raise EnvironmentFault(
            f"Unsloth's process said what is not a step: {quote(line.strip(), 200)}",
            fix="type the same command again, which goes on from the last checkpoint, or trainer=lora",
            code="E-UNSLOTH",
        ) from err


def _failed(log: Path) -> EnvironmentFault:
    said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    memory = any("out of memory" in line.lower() for line in said[-40:])
    return EnvironmentFault(
        f"Unsloth ended with an error: {quote(said[-1] if said else 'it said nothing', 300)}",
        fix="a smaller trainer.tokens_per_batch" if memory else "trainer=lora, or mend Unsloth's environment",
        code="E-OOM" if memory else "E-UNSLOTH",
        details=[quote(line, 200) for line in said[-5:-1]],
    )


def _state(folder: Path, fingerprint: str) -> Path:
    """The folder of a training state, if it is of this training; E-DRIFT or E-CORRUPT if not."""
    try:
        written_for = json.loads((folder / _FACTS).read_text(encoding="utf-8"))["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise EnvironmentFault(
            f"the training state in {str(folder)!r} cannot be read: {err}",
            fix="start a new run, or delete this run's checkpoints to train it again",
            code="E-CORRUPT",
        ) from err
    if written_for != fingerprint:
        raise EnvironmentFault(
            f"the training state in {str(folder)!r} was written with other settings, data, model or versions",
            fix="start a new run, or delete this run's checkpoints to train it again",
            code="E-DRIFT",
        )
    return folder


def _fingerprint(loaded: LoadedModel, rows: Sequence[TokenRow], spec: UnslothSpec) -> str:
    from trainers.state import fingerprint_of

    # Where Unsloth is installed decides nothing.
    return fingerprint_of(loaded, rows, spec.model_copy(update={"python": None}))


def _interpreter(spec: UnslothSpec) -> str:
    return sys.executable if spec.python is None else str(Path(spec.python).expanduser())


def _require_installed(spec: UnslothSpec) -> None:
    if spec.python is None and find_spec("unsloth") is None:
        raise HarnessError(
            "trainer=unsloth needs Unsloth, which is not installed here",
            fix="install it in an environment of its own (pip install unsloth), and trainer.python=its interpreter",
            code="E-INSTALL",
        )
    if spec.python is not None and not Path(spec.python).expanduser().is_file():
        raise HarnessError(
            f"there is no interpreter {quote(spec.python, 200)}",
            fix="trainer.python=the python of an environment with Unsloth, such as ~/unsloth/bin/python",
            code="E-INSTALL",
        )


def _require_gpu(loaded: LoadedModel) -> None:
    if loaded.device.type != "cuda":
        raise EnvironmentFault(
            f"Unsloth trains on an NVIDIA GPU, and the model is on {loaded.device}",
            fix="trainer=lora, or model.device=cuda",
            code="E-DEVICE",
        )


def _no_such_bits() -> HarnessError:
    return HarnessError(
        "Unsloth has no base in int8 that is the same in every arm",
        fix="model.quantization=nf4 or none, or trainer=lora",
        code="E-CONFLICT",
    )
