"""What a backend asks of a loaded model: complete requests, and prove that a checkpoint is on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TypeVar

import torch

from harness.core.errors import EnvironmentFault
from harness.core.protocols import AdapterProof, Tokenizer
from harness.core.types import Checkpoint, Failure, Outcome, Request
from harness.models.batching import Pool
from harness.models.cache import Cache, computed_prefix
from harness.models.decoding import Decoding, Rows
from harness.models.forward import logits_at, padded
from harness.models.fused import fused_adapters
from harness.models.in_place import Prefix, attending_in_place
from harness.models.loading import LoadedModel
from harness.models.memory import free_memory, is_out_of_memory
from harness.models.padded_cache import PaddedCache

T = TypeVar("T")
# Below this, two passes over the same weights could differ by rounding alone.
_EPSILON = 1e-6


class Engine:
    """Completes pools of requests on a loaded model, within one call of a backend.

    in_place: whether the model's rows are written in place. Keeps the last prefix, with the weights that it is of.
    """

    def __init__(self, loaded: LoadedModel, tokenizer: Tokenizer, *, in_place: bool) -> None:
        self._loaded, self._tokenizer, self._in_place = loaded, tokenizer, in_place
        self._prefix: tuple[str | None, Prefix] | None = None

    def complete(self, pool: Pool) -> Iterator[tuple[str, Outcome]]:
        """(request id, outcome) for every request; where memory runs out, with half the rows at once.

        A request that does not fit into memory even alone fails. Its checkpoint is on while a pool is worked at, not
        between what is yielded; the caller switches back to the base.
        """
        left, n_rows = list(pool.requests), pool.n_rows
        while left:
            done: set[int] = set()
            try:
                for place, outcome in self._decoded(pool, left, n_rows):
                    done.add(place)
                    yield left[place].id, outcome
                return
            except (MemoryError, RuntimeError) as err:
                if not is_out_of_memory(err):
                    raise
            # Outside of the except clause: its traceback would keep the failed rows' tensors alive.
            self._prefix = None
            free_memory()
            left = [request for place, request in enumerate(left) if place not in done]
            if n_rows == 1:
                yield left.pop(0).id, Failure("generate", "out of memory")
            n_rows = max(1, min(n_rows, len(left)) // 2)

    def _decoded(self, pool: Pool, requests: Sequence[Request], n_rows: int) -> Iterator[tuple[int, Outcome]]:
        """(place among the requests, outcome); the model is as it should be whenever it computes."""
        checkpoint = requests[0].checkpoint
        with self._ready(checkpoint):
            rows = self._rows(pool, min(n_rows, len(requests)))
        decoding = Decoding(rows, self._tokenizer, requests, n_rows)
        while decoding.unfinished:
            with self._ready(checkpoint):
                found = decoding.advance()
            yield from found

    @contextmanager
    def _ready(self, checkpoint: Checkpoint | None) -> Iterator[None]:
        model = self._loaded.model
        self._loaded.switch.activate(checkpoint)
        with torch.no_grad(), fused_adapters(model), attending_in_place(model) if self._in_place else nullcontext():
            yield

    def _rows(self, pool: Pool, n_rows: int) -> Rows:
        model, device = self._loaded.model, self._loaded.device
        if not self._in_place:
            return PaddedCache(model, device)
        prefix = self._prefix_of(pool.requests[0], pool.n_prefix)
        return Cache(model, prefix, n_rows, pool.width, device)

    def _prefix_of(self, request: Request, n_tokens: int) -> Prefix:
        ids, weights = request.ids[:n_tokens], request.checkpoint.sha256 if request.checkpoint else None
        if self._prefix is not None and (self._prefix[0], self._prefix[1].ids) == (weights, ids):
            return self._prefix[1]
        # Only one is kept: the old one's memory is free before the new one needs its own.
        self._prefix = None
        prefix = computed_prefix(self._loaded.model, ids, self._loaded.device)
        self._prefix = (weights, prefix)
        return prefix


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
    changes = [float((b - a).abs().max()) for b, a in zip(before, after, strict=True)]
    change = max(changes, default=0.0)
    if not all(map(math.isfinite, changes)):
        raise EnvironmentFault(
            f"the logits of {len(changes)} prompts are not finite by the base or by checkpoint {checkpoint.name}",
            fix="model.dtype=float32 or bfloat16; else train with a smaller trainer.lr",
            code="E-ADAPTER",
        )
    if change <= _EPSILON:
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
