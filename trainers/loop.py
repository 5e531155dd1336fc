"""The training loop: for every step its rows, their gradient, one update; at every checkpoint figures and files.

Resuming gives the same bytes on a CPU because each step depends on the weights, the moments, the seed and its number,
and on nothing else. Generating between two checkpoints changes nothing, for the same reason.
Axes: B rows, T positions, N positions with loss.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from harness.core.errors import EnvironmentFault, HarnessError
from harness.core.protocols import CheckpointSink, Progress
from harness.core.types import Checkpoint, TokenRow
from harness.models.forward import logits_at, padded
from harness.models.fused import fused_adapters
from harness.models.loading import LoadedModel
from harness.models.loss import Projection, projection_of, states_before, summed_loss
from harness.models.memory import free_memory, is_out_of_memory
from harness.models.rotary import switches_at
from harness.models.tree import attending_trees, computes_trees, tree_inputs, tree_of
from trainers.batches import micro_batches, rows_of_step
from trainers.kernels import patched, patches_of
from trainers.settings import TuningSpec, checkpoint_steps, learning_rate, steps_per_epoch, total_steps
from trainers.state import fingerprint_of, read_state, write_state
from trainers.tuned import Tuned, set_gradient_checkpointing

_LOG = logging.getLogger(__name__)
_SMALLER = "a smaller model, or model.quantization=nf4; trainer=lora takes less memory than trainer=full"


@dataclass(frozen=True, slots=True)
class Job:
    """What to train on what, and where checkpoints and progress go."""

    loaded: LoadedModel
    train_rows: tuple[TokenRow, ...]
    validation_rows: tuple[TokenRow, ...]
    spec: TuningSpec
    sink: CheckpointSink
    progress: Progress


@dataclass(frozen=True, slots=True)
class Figures:
    """Sums over completion tokens; nan figures where there were none."""

    loss: float = 0.0
    n_correct: int = 0
    n_targets: int = 0

    def __add__(self, other: Figures) -> Figures:
        return Figures(self.loss + other.loss, self.n_correct + other.n_correct, self.n_targets + other.n_targets)

    @property
    def mean_loss(self) -> float:
        """Mean cross-entropy of a completion token, in nats."""
        return self.loss / self.n_targets if self.n_targets else math.nan

    @property
    def accuracy(self) -> float:
        """Fraction of completion tokens that were the likeliest."""
        return self.n_correct / self.n_targets if self.n_targets else math.nan


def train(job: Job, start: Callable[[], Tuned]) -> Iterator[Checkpoint]:
    """Yield the checkpoints that the sink has, then train on from the last and yield each new one.

    EnvironmentFault E-NONFINITE-LOSS, E-OOM or E-BASE-CHANGED stop it with all checkpoints so far intact.
    """
    total = total_steps(len(job.train_rows), job.spec)
    check_rows(job)
    done = tuple(job.sink.saved())
    yield from done
    if done and done[-1].step >= total:
        return
    with enough_memory("when training began", _SMALLER):
        tuned = start()
    try:
        with enough_memory("when training began", _SMALLER):
            loop = _Loop(job, tuned, done[-1] if done else None, total)
        yield from loop.run()
    finally:
        tuned.close()


def check_rows(job: Job) -> None:
    """Refuse, before the first step, rows that teach nothing (E-MASK) or that the model cannot read (E-TOOLONG)."""
    rows = (*job.train_rows, *job.validation_rows)
    empty = [row.id for row in rows if row.n_targets == 0 or row.loss[0]]
    if empty:
        raise HarnessError(
            f"{len(empty)} rows have no token to learn from, so their loss would be 0",
            fix="their completions are empty or masked; look at one with harness show",
            code="E-MASK",
            details=[f"row {row_id!r}" for row_id in empty[:5]],
        )
    limit = job.loaded.context_length
    long = [f"row {row.id!r} has {len(row.ids)} tokens" for row in rows if len(row.ids) > limit]
    if long:
        raise HarnessError(
            f"{len(long)} rows are longer than the model's context of {limit} tokens",
            fix="shorten or leave out these rows; nothing is cut silently",
            code="E-TOOLONG",
            details=long[:5],
        )


class _Loop:
    """One training, from a checkpoint or the beginning to its end."""

    def __init__(self, job: Job, tuned: Tuned, last: Checkpoint | None, total: int) -> None:
        self._job = job
        self._tuned = tuned
        self._total = total
        self._parameters = tuned.parameters()
        if not self._parameters:
            raise EnvironmentFault("there is nothing to train", fix="trainer.targets=auto", code="E-NOTRAIN")
        self._optimizer = torch.optim.AdamW(
            self._parameters.values(), lr=job.spec.lr, weight_decay=job.spec.weight_decay, fused=True
        )
        self._accelerator = Accelerator(cpu=job.loaded.device.type == "cpu", mixed_precision="no")
        longest = max(len(row.ids) for row in (*job.train_rows, *job.validation_rows))
        self._patches = patches_of(tuned.model, job.loaded.device, job.spec)
        with patched(self._patches):
            self._as_tree = computes_trees(tuned.model, job.loaded.device, longest)
            self._projection = projection_of(tuned.model, job.loaded.device)
        self._fingerprint = fingerprint_of(job.loaded, job.train_rows, job.spec)
        self._last = last
        self._step = self._restored(last)

    def run(self) -> Iterator[Checkpoint]:
        """Train, and yield a checkpoint at each of its steps."""
        wanted = frozenset(checkpoint_steps(len(self._job.train_rows), self._job.spec))
        figures = Figures()
        while self._step < self._total:
            self._step += 1
            with enough_memory(f"updating the weights in step {self._step}", _SMALLER):
                figures += self._train_step()
            self._job.progress(self._step, self._total, f"loss {figures.mean_loss:.3f}")
            if self._step in wanted:
                with enough_memory(f"keeping the checkpoint of step {self._step}", _SMALLER):
                    checkpoint = self._save(figures)
                yield checkpoint
                figures = Figures()
                self._tuned.resume()

    def _restored(self, last: Checkpoint | None) -> int:
        if last is None:
            return 0
        return read_state(self._job.sink.state(last), self._fingerprint, self._parameters, self._optimizer)

    def _train_step(self) -> Figures:
        spec = self._job.spec
        chosen = rows_of_step(self._step, len(self._job.train_rows), spec.batch_rows, spec.seed)
        rows = [self._job.train_rows[i] for i in chosen]
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate(self._step, self._total, spec)
        figures = self._gradient(rows)
        norm = self._accelerator.clip_grad_norm_(self._parameters.values(), spec.clip)
        if not math.isfinite(figures.loss) or norm is None or not math.isfinite(float(norm)):
            raise self._not_finite(figures)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        return figures

    def _gradient(self, rows: Sequence[TokenRow]) -> Figures:
        """Of one step; from the first on that memory does not suffice for, with gradient checkpointing if it may."""
        while True:
            try:
                with _seeded(self._job.spec.seed, self._step, self._job.loaded.device):
                    return self._accumulated(rows, self._accelerator.backward)
            except (MemoryError, RuntimeError) as err:
                if not is_out_of_memory(err):
                    raise
            # Outside of the except clause: its traceback would keep the failed batch's tensors alive.
            self._optimizer.zero_grad(set_to_none=True)
            free_memory()
            if not self._can_save_memory():
                raise self._out_of_memory()
            set_gradient_checkpointing(self._tuned.model, on=True)
            _LOG.warning("memory ran out in step %d: on with gradient checkpointing, which is slower", self._step)

    def _can_save_memory(self) -> bool:
        """Whether gradient checkpointing may be and is not yet on."""
        model = self._tuned.model
        allowed = self._job.spec.gradient_checkpointing == "auto"
        known = bool(getattr(model, "supports_gradient_checkpointing", False))
        return allowed and known and not getattr(model, "is_gradient_checkpointing", False)

    def _out_of_memory(self) -> EnvironmentFault:
        saves = "" if self._job.spec.gradient_checkpointing else "; trainer.gradient_checkpointing=auto saves more"
        return _memory_ran_out(f"in step {self._step} {self._in_batches()}", self._smaller_batches() + saves)

    def _in_batches(self) -> str:
        return f"with {self._job.spec.tokens_per_batch} tokens in a batch"

    def _smaller_batches(self) -> str:
        # Never made smaller silently: what was asked for is what is recorded.
        half = max(1, self._job.spec.tokens_per_batch // 2)
        return f"trainer.tokens_per_batch={half} gives the same result in less memory"

    def _accumulated(self, rows: Sequence[TokenRow], backward: Callable[[Tensor], None] | None) -> Figures:
        with patched(self._patches):
            return accumulate(
                self._tuned.model,
                rows,
                self._job.spec.tokens_per_batch,
                device=self._job.loaded.device,
                precision=precision(self._job.loaded, self._job.spec),
                as_tree=self._as_tree,
                backward=backward,
                projection=self._projection,
            )

    def _save(self, figures: Figures) -> Checkpoint:
        self._tuned.check()
        validation = self._validate()
        checkpoint = Checkpoint(
            step=self._step,
            epoch=self._step / steps_per_epoch(len(self._job.train_rows), self._job.spec),
            folder=Path(),
            kind=self._tuned.kind,
            sha256="",
            train_loss=figures.mean_loss,
            train_accuracy=figures.accuracy,
            validation_loss=validation.mean_loss if validation.n_targets else None,
            validation_accuracy=validation.accuracy if validation.n_targets else None,
        )
        self._last = self._job.sink.save(checkpoint, weights=self._tuned.write, state=self._write_state)
        return self._last

    def _write_state(self, folder: Path) -> None:
        write_state(folder, self._step, self._fingerprint, self._parameters, self._optimizer)

    def _validate(self) -> Figures:
        self._tuned.model.eval()
        when = f"validating step {self._step} {self._in_batches()}"
        with enough_memory(when, self._smaller_batches()), torch.no_grad():
            return self._accumulated(self._job.validation_rows, None)

    def _not_finite(self, figures: Figures) -> EnvironmentFault:
        kept = f"the checkpoint of step {self._last.step} is kept" if self._last else "there is no checkpoint yet"
        return EnvironmentFault(
            f"step {self._step} has a loss of {figures.mean_loss:g} and a gradient that is not finite; {kept}",
            fix="a smaller trainer.lr or a longer trainer.warmup; look for broken rows with harness check",
            code="E-NONFINITE-LOSS",
        )


@contextmanager
def enough_memory(when: str, fix: str) -> Iterator[None]:
    """Around what cannot be done again in less memory: E-OOM where there is not enough."""
    try:
        yield
    except (MemoryError, RuntimeError) as err:
        if not is_out_of_memory(err):
            raise
        raise _memory_ran_out(when, fix) from err


def _memory_ran_out(when: str, fix: str) -> EnvironmentFault:
    return EnvironmentFault(f"memory ran out {when}", fix=fix, code="E-OOM")


def accumulate(
    model: nn.Module,
    rows: Sequence[TokenRow],
    tokens_per_batch: int,
    *,
    device: torch.device,
    precision: AbstractContextManager[object],
    as_tree: bool,
    backward: Callable[[Tensor], None] | None,
    projection: Projection | None = None,
) -> Figures:
    """Figures of the rows, and with `backward` the gradient of their mean loss over completion tokens.

    Each token weighs the same however the rows are cut into batches: sums are divided by the tokens of all rows.
    as_tree: compute what rows have in common once; for models that `computes_trees`. projection: as `projection_of` has
    found it; without, logits are computed whole.
    """
    n_targets = sum(row.n_targets for row in rows)
    look = look_on_tree if as_tree else look_padded
    found: list[tuple[Tensor, Tensor, int]] = []
    # Around the backward pass too: with gradient checkpointing, it computes attention again.
    with fused_adapters(model), attending_trees(model) if as_tree else nullcontext():
        for batch in micro_batches(rows, tokens_per_batch, switches_at(model)):
            with precision:
                loss, n_correct = losses(model, look(batch, device), projection)
            if backward is not None:
                backward(loss / n_targets)
            found.append((loss.detach(), n_correct, sum(row.n_targets for row in batch)))
    # Read only now: while a GPU computes a batch, the next one is laid out.
    return sum((Figures(float(loss), int(n_correct), n) for loss, n_correct, n in found), Figures())


@dataclass(frozen=True, slots=True)
class Look:
    """What a model is called with, at which flat positions of it a token with loss comes next (N,), and those (N,)."""

    inputs: Mapping[str, object]
    before_N: Tensor
    targets_N: Tensor


def look_padded(rows: Sequence[TokenRow], device: torch.device) -> Look:
    """Each row by itself, padded to the longest."""
    ids_BT, mask_BT, positions_BT = padded([row.ids for row in rows], device, side="right")
    width = ids_BT.shape[1]
    places = [i * width + t for i, row in enumerate(rows) for t, counts in enumerate(row.loss) if counts]
    index_N = torch.tensor(places, device=device)
    inputs = {"input_ids": ids_BT, "attention_mask": mask_BT, "position_ids": positions_BT, "use_cache": False}
    return Look(inputs, index_N - 1, ids_BT.reshape(-1)[index_N])


def look_on_tree(rows: Sequence[TokenRow], device: torch.device) -> Look:
    """What rows begin with alike once; for use within `attending_trees(model)`."""
    tree = tree_of([row.ids for row in rows], device)
    places = [(i, t) for i, row in enumerate(rows) for t, counts in enumerate(row.loss) if counts]
    before_N = torch.tensor([tree.nodes[i][t - 1] for i, t in places], device=device)
    targets_N = torch.tensor([rows[i].ids[t] for i, t in places], device=device)
    return Look(tree_inputs(tree), before_N, targets_N)


def losses(model: nn.Module, look: Look, projection: Projection | None) -> tuple[Tensor, Tensor]:
    """Cross-entropy in nats summed over the tokens with loss, and how many of them were likeliest."""
    if projection is not None:
        states_NH = states_before(model, projection, look.before_N, **look.inputs)
        return summed_loss(projection, states_NH, look.targets_N)
    logits_NV, _ = logits_at(model, look.before_N, **look.inputs)
    n_correct = (logits_NV.argmax(-1) == look.targets_N).sum()
    return cross_entropy(logits_NV.float(), look.targets_N, reduction="sum"), n_correct


def precision(loaded: LoadedModel, spec: TuningSpec) -> AbstractContextManager[object]:
    """The number format of matrix products: float32, or bfloat16 with float32 weights in training.

    E-DTYPE for a float16 model: without loss scaling its gradients vanish, and bfloat16 needs none.
    """
    if loaded.dtype == torch.float16:
        raise HarnessError("float16 models are not tuned", fix="model.dtype=bfloat16 or float32", code="E-DTYPE")
    halved = spec.dtype == "bfloat16" or (spec.dtype == "auto" and loaded.dtype == torch.bfloat16)
    return torch.autocast(loaded.device.type, torch.bfloat16) if halved else nullcontext()


@contextmanager
def _seeded(seed: int, step: int, device: torch.device) -> Iterator[None]:
    """A stretch of random numbers that depends on (seed, step) alone; the process's own are left as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed((seed << 32) + step)
        yield
