"""Attention of rows whose keys and values are written in place, and of the prefix that they share.

Of a prefix there is one copy: the queries of all rows meet it in one matrix product, and its part of each softmax is
put together with that of the row's own tokens exactly.
Axes: B rows, N new tokens, T positions of new tokens in a row, W places of a row, P prefix, H heads of keys, G heads of
queries for each of them, F = H * G, Q queries, D head size, X anything.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from harness.models.attention import attending_by

_ATTENTION = "rows_written_in_place"
# Scores of prompts against a prefix, in float32, that may be in memory at once.
_SCORES_AT_ONCE = 1 << 26
# Keys and values of one attention layer.
KeysValues = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Prefix:
    """What rows begin with, and the keys and values of it (H, P, D) that one set of weights gives."""

    ids: tuple[int, ...]
    layers: dict[nn.Module, KeysValues] = field(default_factory=dict)


class Attending(Protocol):
    """What attention does in one run of the model: (1, N, H * G, D) from queries, keys and values (1, heads, N, D)."""

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor: ...


@dataclass(frozen=True, slots=True)
class Beginning:
    """The prefix itself, as one row."""

    prefix: Prefix

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        self.prefix.layers[module] = (key[0].contiguous(), value[0].contiguous())
        return _usual(module, (query, key, value), None, scaling)


@dataclass(frozen=True, slots=True)
class Joining:
    """New rows behind the prefix. places: (B, T) the node at each; owners: (N,) one of a node's places.

    Where there is padding, places have a node of the row's own. shape: rows and width of what is kept. start: where the
    new rows begin in it.
    """

    prefix: Prefix
    layers: dict[nn.Module, KeysValues]
    shape: tuple[int, int]
    start: int
    places: Tensor
    owners: Tensor

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        spread = [states[0].transpose(0, 1)[self.places].transpose(1, 2) for states in (query, key, value)]
        self._keep(module, *spread[1:])
        before = self.prefix.layers.get(module)
        n_scores = query.shape[1] * self.places.numel() * (len(self.prefix.ids) + self.places.shape[1])
        if before is not None and n_scores <= _SCORES_AT_ONCE:
            own = [self._at_nodes(states) for states in _part(*self._causal(spread, scaling))]
            return _merged(_prefix_part(query, before, scaling), own, dtype=query.dtype)
        found_BTFD = _usual(module, *_behind(before, spread), scaling)
        return found_BTFD.flatten(0, 1)[self.owners][None]

    def _keep(self, module: nn.Module, key_BHTD: Tensor, value_BHTD: Tensor) -> None:
        n, heads, width, _ = key_BHTD.shape
        if module not in self.layers:
            rows, most = self.shape
            new = (each.new_zeros(rows, heads, most, each.shape[-1]) for each in (key_BHTD, value_BHTD))
            self.layers[module] = (next(new), next(new))
        for kept, states in zip(self.layers[module], (key_BHTD, value_BHTD), strict=True):
            kept[self.start : self.start + n, :, :width] = states
            # What another row left here could be infinite, and is hidden by a weight of zero only.
            kept[self.start : self.start + n, :, width:] = 0

    def _causal(self, spread: Sequence[Tensor], scaling: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Queries (B, H, 1, G * T, D), keys and values of their own rows, and what hides the tokens to come."""
        query_BFTD, key_BHTD, value_BHTD = spread
        heads, width = key_BHTD.shape[1:3]
        query = _grouped(query_BFTD * scaling, heads).flatten(2, 3)
        bias_TT = torch.full((width, width), float("-inf"), device=query.device).triu(1)
        return query, key_BHTD, value_BHTD, bias_TT.repeat(query.shape[2] // width, 1)

    def _at_nodes(self, states: Tensor) -> Tensor:
        """(B, H, G * T, X) to (H, G, N, X)."""
        n_rows, heads, _, size = states.shape
        width = self.places.shape[1]
        by_place = states.view(n_rows, heads, -1, width, size).permute(1, 2, 0, 3, 4)
        return by_place.flatten(2, 3)[:, :, self.owners]


@dataclass(frozen=True, slots=True)
class Stepping:
    """One new token for every row. places: (B,) where it goes; bias: (B, 1, 1, W) hides what is no token of the row."""

    prefix: Prefix
    layers: dict[nn.Module, KeysValues]
    rows: Tensor
    places: Tensor
    bias: Tensor

    def attend(self, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        n, width = len(self.rows), self.bias.shape[-1]
        for kept, states in zip(self.layers[module], (key, value), strict=True):
            kept[self.rows, :, self.places] = states[0].transpose(0, 1)
        key_BHWD, value_BHWD = (kept[:n, :, :width] for kept in self.layers[module])
        query_BHGD = _grouped(query * scaling, key.shape[1])[0].permute(2, 0, 1, 3)
        own = [states.permute(1, 2, 0, 3) for states in _part(query_BHGD, key_BHWD, value_BHWD, self.bias)]
        before = self.prefix.layers.get(module)
        parts = [own] if before is None else [_prefix_part(query, before, scaling), own]
        return _merged(*parts, dtype=query.dtype)


# Of some keys, for each query: its largest score; the sum of exp(score - largest); the mean of the values by these.
Part = Sequence[Tensor]


def _part(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Part:
    scores = (query @ key.mT).float()
    if bias is not None:
        scores += bias
    top = scores.amax(-1, keepdim=True)
    weights = scores.sub_(top).exp_()
    total = weights.sum(-1, keepdim=True)
    # Divided before they are rounded: a sum of many values is too large for float16, a mean of them never is.
    return top, total, weights.div_(total).to(value.dtype) @ value


def _prefix_part(query_1FND: Tensor, before: KeysValues, scaling: float) -> Part:
    """What all queries find in the prefix, (H, G, N, X)."""
    query_HGND = _grouped(query_1FND * scaling, before[0].shape[0])[0]
    shape = query_HGND.shape[:3]
    return [states.view(*shape, -1) for states in _part(query_HGND.flatten(1, 2), *before, None)]


def _merged(*parts: Part, dtype: torch.dtype) -> Tensor:
    """Attention over the keys of one part or two (H, G, N, X), as (1, N, H * G, D)."""
    (top, total, found_HGND), *others = parts
    for other_top, other_total, other_values in others:
        highest = torch.maximum(top, other_top)
        share, other_share = (top - highest).exp_() * total, (other_top - highest).exp_() * other_total
        top, total = highest, share + other_share
        found_HGND = found_HGND * (share / total) + other_values * (other_share / total)
    return found_HGND.to(dtype).flatten(0, 1).transpose(0, 1)[None]


def _behind(before: KeysValues | None, spread: Sequence[Tensor]) -> tuple[Sequence[Tensor], Tensor | None]:
    """Queries, keys and values of rows with a copy of the prefix before each, and the mask that this needs."""
    if before is None:
        return spread, None
    query_BFTD, key_BHTD, value_BHTD = spread
    copies = [states.expand(len(query_BFTD), *states.shape) for states in before]
    width = key_BHTD.shape[2]
    key, value = (torch.cat(pair, 2) for pair in zip(copies, (key_BHTD, value_BHTD), strict=True))
    mask = torch.ones(width, key.shape[2], dtype=torch.bool, device=key.device).tril(key.shape[2] - width)
    return (query_BFTD, key, value), mask[None, None]


def _usual(module: nn.Module, states: Sequence[Tensor], mask: Tensor | None, scaling: float) -> Tensor:
    """transformers' own SDPA, (B, T, H * G, D); without a mask, each token looks back only."""
    found: Tensor = sdpa_attention_forward(module, *states, mask, scaling=scaling, is_causal=True)[0]
    return found


def _grouped(query_BFXD: Tensor, heads: int) -> Tensor:
    """Queries (B, H, G, X, D), by the head of keys that they look at."""
    n_rows, _, n_queries, size = query_BFXD.shape
    return query_BFXD.reshape(n_rows, heads, -1, n_queries, size)


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    rows: Attending,
    scaling: float | None = None,
    **options: object,
) -> tuple[Tensor, None]:
    return rows.attend(module, query, key, value, query.shape[-1] ** -0.5 if scaling is None else scaling), None


def attending_in_place(model: nn.Module) -> AbstractContextManager[None]:
    """The model's attention takes `rows`; it is as it was afterwards."""
    return attending_by(model, _ATTENTION, _attend)
