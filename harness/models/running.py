"""What a backend asks of a loaded model: complete a batch, and prove that a checkpoint is on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from harness.core.errors import EnvironmentFault
from harness.core.protocols import AdapterProof, Tokenizer
from harness.core.types import Checkpoint, Failure, Outcome, Request
from harness.models.decoding import decode_batch
from harness.models.forward import logits_at, padded
from harness.models.loading import LoadedModel
from harness.models.memory import free_memory, is_out_of_memory

T = TypeVar("T")
# Below this, two passes over the same weights could differ by rounding alone.
_EPSILON = 1e-6


def complete(loaded: LoadedModel, tokenizer: Tokenizer, batch: Sequence[Request]) -> list[Outcome]:
    """Outcomes of a batch of one checkpoint; a request that does not fit into memory even alone fails."""
    return computed(loaded, batch, lambda part: decode_batch(loaded.model, tokenizer, part, loaded.device))


def computed(
    loaded: LoadedModel, batch: Sequence[Request], compute: Callable[[Sequence[Request]], Sequence[T]]
) -> list[T | Failure]:
    """What `compute` makes of a batch of one checkpoint; in halves where memory runs out, down to single requests.

    The checkpoint stays on, for the next batch is likely to need it; the caller switches back to the base.
    """
    try:
        loaded.switch.activate(batch[0].checkpoint)
        return [*compute(batch)]
    except (MemoryError, RuntimeError) as err:
        if not is_out_of_memory(err):
            raise
    # Outside of the except clause: its traceback would keep the failed batch's tensors alive.
    free_memory()
    if len(batch) == 1:
        return [Failure("generate", "out of memory")]
    half = len(batch) // 2
    return [*computed(loaded, batch[:half], compute), *computed(loaded, batch[half:], compute)]


def prove(loaded: LoadedModel, checkpoint: Checkpoint, probes: Sequence[tuple[int, ...]]) -> AdapterProof:
    """Compare logits with and without the checkpoint; E-ADAPTER unless they differ and are finite."""
    try:
        before = _probe(loaded, None, probes)
        after = _probe(loaded, checkpoint, probes)
        n_keys = loaded.switch.n_keys(checkpoint)
    finally:
        loaded.switch.activate(None)
    change = max((float((b - a).abs().max()) for b, a in zip(before, after, strict=True)), default=0.0)
    if not _EPSILON < change < float("inf"):
        raise EnvironmentFault(
            f"adapter has no effect: checkpoint {checkpoint.name} changes the logits of {len(before)} prompts "
            f"by at most {change:g}",
            fix="train longer or with a larger trainer.lr; else the checkpoint is not for this model",
            code="E-ADAPTER",
        )
    return AdapterProof(checkpoint.sha256, change, n_keys)


def device_kind(loaded: LoadedModel) -> str:
    """`cpu`, or the GPU's model name."""
    return "cpu" if loaded.device.type == "cpu" else torch.cuda.get_device_name(loaded.device)


def n_threads(loaded: LoadedModel) -> int | None:
    """CPU threads, where they can change a sum's last digit."""
    return torch.get_num_threads() if loaded.device.type == "cpu" else None


def set_threads(n: int) -> None:
    """CPU threads of this process."""
    torch.set_num_threads(n)


def _probe(loaded: LoadedModel, checkpoint: Checkpoint | None, probes: Sequence[tuple[int, ...]]) -> list[torch.Tensor]:
    loaded.switch.activate(checkpoint)
    with torch.no_grad():
        return [_logits(loaded, ids) for ids in probes if ids]


def _logits(loaded: LoadedModel, ids: tuple[int, ...]) -> torch.Tensor:
    ids_BT, mask_BT, positions_BT = padded([ids], loaded.device, side="left")
    inputs = {"input_ids": ids_BT, "attention_mask": mask_BT, "position_ids": positions_BT, "use_cache": False}
    index_N = torch.arange(len(ids), device=loaded.device)
    return logits_at(loaded.model, index_N, **inputs)[0].float()
