"""Rows in transformers' own cache, left-padded: for models that cannot be written in place.

Axes: B rows still running, T positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from harness.models.forward import logits_at, padded
from harness.models.rotary import switches_at


class _TheirCache(Protocol):
    def batch_select_indices(self, indices: Tensor) -> None: ...


class PaddedCache:
    """Mask, positions and cache of the rows still running; nobody joins them.

    A row that a model computes otherwise from here on (`rotary`) is computed anew: its keys are no longer of one kind.
    """

    takes_more = False

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        self._model, self._device = model, device
        self._switch = switches_at(model)
        self._rows: list[list[int]] = []

    def join(self, prompts: Sequence[tuple[int, ...]]) -> Tensor:
        """Logits (B, V) behind prompts, which take the place of all rows there were."""
        self._rows = [list(prompt) for prompt in prompts]
        ids_BT, self._mask_BT, positions_BT = padded(list(prompts), self._device, side="left")
        self._positions_B = positions_BT[:, -1]
        last_B = torch.arange(1, len(prompts) + 1, device=self._device) * ids_BT.shape[1] - 1
        return self._forward(ids_BT, positions_BT, last_B, None)

    def step(self, tokens: Sequence[int]) -> Tensor:
        """Logits (B, V) behind the next token of every row."""
        n = len(tokens)
        for row, token in zip(self._rows, tokens, strict=True):
            row.append(token)
        if self._switch is not None and max(map(len, self._rows)) == self._switch + 1:
            return self.join([tuple(row) for row in self._rows])
        self._mask_BT = torch.cat([self._mask_BT, self._mask_BT.new_ones(n, 1)], dim=1)
        self._positions_B = self._positions_B + 1
        ids_B1 = torch.tensor(tokens, device=self._device)[:, None]
        return self._forward(ids_B1, self._positions_B[:, None], torch.arange(n, device=self._device), self._cache)

    def leave(self, gone: Sequence[int]) -> list[int]:
        """Let rows go. Returns which row each place has now."""
        order = sorted(set(range(len(self._mask_BT))) - set(gone))
        self._rows = [self._rows[i] for i in order]
        if order:
            index_B = torch.tensor(order, device=self._device)
            cast(_TheirCache, self._cache).batch_select_indices(index_B)
            self._mask_BT, self._positions_B = self._mask_BT[index_B], self._positions_B[index_B]
        return order

    def _forward(self, ids_BT: Tensor, positions_BT: Tensor, last_B: Tensor, cache: object) -> Tensor:
        logits_BV, self._cache = logits_at(
            self._model,
            last_B,
            input_ids=ids_BT,
            attention_mask=self._mask_BT,
            position_ids=positions_BT,
            past_key_values=cache,
            use_cache=True,
        )
        return logits_BV
