"""Logits only where they are needed: the projection to the vocabulary is often the dearest part of a short row.

Axes: B rows, T positions, H hidden, N chosen positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, cast

import torch
from torch import Tensor, nn


class CausalLM(Protocol):
    """What is used of a transformers causal language model."""

    training: bool

    def __call__(self, **inputs: object) -> Output: ...
    def get_output_embeddings(self) -> nn.Module | None: ...
    def get_input_embeddings(self) -> nn.Embedding: ...


class Output(Protocol):
    """What a causal language model returns."""

    logits: Tensor
    past_key_values: object


def padded(rows: list[tuple[int, ...]], device: torch.device, *, side: str) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids, attention mask and position ids (B, T) of rows of unequal length.

    Padding is known by position, never by id: an end token that also serves as padding stays an end token.
    """
    width = max(len(row) for row in rows)
    ids_BT = torch.zeros(len(rows), width, dtype=torch.long)
    mask_BT = torch.zeros(len(rows), width, dtype=torch.long)
    for i, row in enumerate(rows):
        span = slice(width - len(row), width) if side == "left" else slice(0, len(row))
        ids_BT[i, span] = torch.tensor(row, dtype=torch.long)
        mask_BT[i, span] = 1
    positions_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)
    return ids_BT.to(device), mask_BT.to(device), positions_BT.to(device)


def logits_at(model: nn.Module, index_N: Tensor, **inputs: object) -> tuple[Tensor, object]:
    """Logits (N, V) at flat positions `index_N` of the (B, T) input, and the model's cache.

    The model runs its own forward, so scaling and soft-capping of logits are as it defines them; only its
    projection is told to look at fewer rows.
    """
    causal = cast(CausalLM, model)
    with choosing(causal.get_output_embeddings(), index_N):
        output = causal(**inputs)
    logits = output.logits
    if logits.ndim != 2:
        # A model that projects by other means than its output layer.
        logits = logits.reshape(-1, logits.shape[-1])[index_N]
    return logits, output.past_key_values


def states_at(model: nn.Module, index_N: Tensor, **inputs: object) -> Tensor | None:
    """What the model's output layer is given (N, H) at flat positions `index_N`; None where it has no such layer."""
    causal = cast(CausalLM, model)
    with choosing(causal.get_output_embeddings(), index_N) as seen:
        causal(**inputs)
    return seen[0] if seen else None


@contextmanager
def choosing(head: nn.Module | None, index_N: Tensor) -> Iterator[list[Tensor]]:
    """The output layer gets the chosen rows only; they are left in the list."""
    seen: list[Tensor] = []
    if head is None:
        yield seen
        return

    def choose(_: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden = arguments[0]
        # To 2-D first: a projection of a non-contiguous slice is a slow batched product.
        seen.append(hidden.reshape(-1, hidden.shape[-1]).index_select(0, index_N))
        return (seen[-1], *arguments[1:])

    handle = head.register_forward_pre_hook(choose)
    try:
        yield seen
    finally:
        handle.remove()
