"""How a model gets another attention for a while, and attention of whole rows by other means than transformers' SDPA,
where these are faster and give the same.

Axes: B rows, T positions, P places of rows that follow each other, H heads, D head size.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn.attention import varlen as kernels
from transformers import AttentionInterface

_HALVES = (torch.bfloat16, torch.float16)
# Longest rows, in positions, whose scores are computed whole: up to four times as fast as PyTorch's kernel for CPUs in
# bfloat16 (75 positions; 1.4 times at 256), which gains on it with the length and needs less memory.
_SHORT = 256
# The newest NVIDIA GPU without the kernel for rows of unequal length is Turing, 7.5; its largest head has 256.
_FIRST_GPU, _LARGEST_HEAD = (8, 0), 256
# Arguments that came to PyTorch's kernel one release after the other.
_NEEDED = frozenset({"scale", "window_size", "enable_gqa", "num_splits"})


@contextmanager
def attending_by(model: nn.Module, name: str, attend: Callable[..., tuple[Tensor, None]]) -> Iterator[None]:
    """The model's attention is a function that transformers gets to know by this name; it is as it was afterwards."""
    AttentionInterface.register(name, attend)
    config = model.config
    usual = config._attn_implementation  # type: ignore[union-attr]
    config._attn_implementation = name  # type: ignore[union-attr]
    try:
        yield
    finally:
        config._attn_implementation = usual  # type: ignore[union-attr]


def is_plain(module: nn.Module, options: Mapping[str, object]) -> bool:
    """Whether a layer asks for causal attention without dropout or biases."""
    beside = options.get("dropout") or options.get("position_bias") is not None or options.get("cache") is not None
    causal = options.get("is_causal")
    return not beside and bool(getattr(module, "is_causal", True) if causal is None else causal)


def packs(query_1HND: Tensor) -> bool:
    """Whether rows may follow each other without padding: on a GPU that has the kernel, in half precision."""
    return (
        query_1HND.device.type == "cuda"
        and query_1HND.dtype in _HALVES
        and query_1HND.shape[-1] <= _LARGEST_HEAD
        and torch.cuda.get_device_capability(query_1HND.device) >= _FIRST_GPU
        and inspect.signature(kernels.varlen_attn).parameters.keys() >= _NEEDED
    )


def varlen(
    query_PHD: Tensor, key_PHD: Tensor, value_PHD: Tensor, bounds_B1: Tensor, longest: int, scale: float
) -> Tensor:
    """Causal attention (P, H, D) within each row; key and value may have fewer heads."""
    found = kernels.varlen_attn(
        query_PHD,
        key_PHD,
        value_PHD,
        bounds_B1,
        bounds_B1,
        longest,
        longest,
        scale=scale,
        window_size=(-1, 0),
        enable_gqa=True,
        # Sums are not cut by what the longest row of a batch is: no row depends on its neighbours.
        num_splits=1,
    )
    return cast(Tensor, found)


def by_products(query: Tensor, width: int) -> bool:
    """Whether scores are computed whole."""
    return query.device.type == "cpu" and query.dtype == torch.bfloat16 and width <= _SHORT


def attended(query_BHTD: Tensor, key_BHTD: Tensor, value_BHTD: Tensor, scale: float) -> Tensor:
    """Causal attention (B, H, T, D) as two matrix products with a softmax in float32 between."""
    found: Tensor = _Attended.apply(query_BHTD, key_BHTD, value_BHTD, scale)  # type: ignore[no-untyped-call]
    return found


class _Attended(torch.autograd.Function):
    """Keeps its input and the weights in the input's number format."""

    @staticmethod
    def forward(ctx: FunctionCtx, query_BHTD: Tensor, key_BHTD: Tensor, value_BHTD: Tensor, scale: float) -> Tensor:
        width = query_BHTD.shape[2]
        with torch.autocast(query_BHTD.device.type, enabled=False):
            later_TT = torch.full((width, width), -torch.inf, device=query_BHTD.device).triu_(1)
            scores_BHTT = (query_BHTD @ key_BHTD.transpose(2, 3)).float().mul_(scale).add_(later_TT)
            weights_BHTT = scores_BHTT.softmax(-1).to(query_BHTD.dtype)
            found_BHTD = weights_BHTT @ value_BHTD
        ctx.save_for_backward(query_BHTD, key_BHTD, value_BHTD, weights_BHTT)
        ctx.scale = scale  # type: ignore[attr-defined]
        return found_BHTD

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad_BHTD: Tensor) -> tuple[Tensor | None, ...]:
        query_BHTD, key_BHTD, value_BHTD, weights_BHTT = ctx.saved_tensors  # type: ignore[attr-defined]
        with torch.autocast(grad_BHTD.device.type, enabled=False):
            for_value = weights_BHTT.transpose(2, 3) @ grad_BHTD
            for_weights = (grad_BHTD @ value_BHTD.transpose(2, 3)).float().mul_(weights_BHTT)
            for_weights.sub_(for_weights.sum(-1, keepdim=True).mul(weights_BHTT)).mul_(ctx.scale)  # type: ignore[attr-defined]
            for_scores = for_weights.to(weights_BHTT.dtype)
        return for_scores @ key_BHTD, for_scores.transpose(2, 3) @ query_BHTD, for_value, None
