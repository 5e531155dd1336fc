"""Adapters as vLLM takes them: checked before it sees them, and numbered so that no number is ever used twice.

vLLM finds what it has kept of an adapter (weights, and prompts in its prefix cache) by number and by name. A number
that came back for other weights would bring their answers back too.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from pathlib import Path

from harness.core.types import Checkpoint
from harness.models.adapters import adapter_fault, read_tensors, verify_hash
from harness.models.files import ADAPTER_WEIGHTS
from harness.models.lora_files import Base, is_of, read_config
from harness.models.vllm.limits import RANKS, require_adapter

# Across engines of this process, so that no two adapters ever share one.
_NUMBERS = count(1)


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter that may be put on: its name (the hash of its bytes), number and folder, rank and tensors."""

    name: str
    number: int
    folder: Path
    rank: int
    n_keys: int


class Adapters:
    """The adapters of one base model, each checked once."""

    def __init__(self, base: Base) -> None:
        self._base = base
        self._known: dict[str, Adapter] = {}

    def of(self, checkpoint: Checkpoint) -> Adapter:
        """The adapter of a checkpoint.

        EnvironmentFault E-ADAPTER if its weights are not what was recorded, not of this base, not finite or without
        effect; HarnessError E-BACKEND for one that vLLM cannot compute.
        """
        verify_hash(checkpoint, ADAPTER_WEIGHTS)
        if checkpoint.sha256 not in self._known:
            self._known[checkpoint.sha256] = self._checked(checkpoint)
        return self._known[checkpoint.sha256]

    def _checked(self, checkpoint: Checkpoint) -> Adapter:
        if not is_of(checkpoint, self._base):
            raise adapter_fault(checkpoint, "it was trained on another base model")
        config = read_config(checkpoint)
        require_adapter(f"checkpoint {checkpoint.name}", config.r, dora=config.use_dora)
        tensors = read_tensors(checkpoint.folder / ADAPTER_WEIGHTS, checkpoint)
        if not any(bool(tensor.any()) for name, tensor in tensors.items() if ".lora_B." in name):
            raise adapter_fault(checkpoint, "adapter has no effect: all its B matrices are zero")
        return Adapter(checkpoint.sha256, next(_NUMBERS), checkpoint.folder, config.r, len(tensors))


def room_for(rank: int) -> int:
    """The smallest rank that vLLM makes room for and that holds `rank`.

    >>> room_for(4), room_for(16), room_for(17)
    (8, 16, 32)
    """
    return next(size for size in RANKS if size >= rank)
