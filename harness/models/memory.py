"""Running out of memory: how it looks on each device, and what can be given back."""

from __future__ import annotations

import gc

import torch

# What PyTorch's CPU allocator says in an ordinary RuntimeError (c10/core/impl/alloc_cpu.cpp).
_CPU_SIGNS = ("DefaultCPUAllocator: can't allocate memory", "DefaultCPUAllocator: not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this error means that there was not enough memory, on a GPU or the CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _CPU_SIGNS)


def free_memory() -> None:
    """Give back what failed work has left behind."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
