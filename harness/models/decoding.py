"""The decode loop: one batch of prompts, left-padded, until every row has stopped.

Rows that have finished leave the batch, so long answers do not pay for short ones. The loop is the harness's own
because every parameter must be explicit, rows must not influence each other, and finish reasons must be known.
Axes: B rows still running, T positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from harness.core.protocols import Tokenizer
from harness.core.types import Completion, FinishReason, Request
from harness.models.forward import logits_at, padded
from harness.models.sampling import choose, generator, is_plain_greedy


class _Cache(Protocol):
    def batch_select_indices(self, indices: Tensor) -> None: ...


@dataclass(slots=True)
class _Row:
    """One request on its way."""

    place: int
    request: Request
    rng: np.random.Generator
    ids: list[int] = field(default_factory=list)
    text: str = ""
    reason: FinishReason | None = None


def decode_batch(
    model: nn.Module, tokenizer: Tokenizer, requests: Sequence[Request], device: torch.device
) -> list[Completion]:
    """Completions of the requests, in their order. The model must be in eval mode with the right weights on."""
    rows = [_Row(place, request, generator(request)) for place, request in enumerate(requests)]
    finished: list[Completion | None] = [None] * len(rows)
    with torch.no_grad():
        running, state = rows, _Prefill(model, [request.ids for request in requests], device)
        while running:
            for row, token in zip(running, _choose(state.logits_BV, running), strict=True):
                _append(row, token, tokenizer)
            for row in running:
                if row.reason is not None:
                    finished[row.place] = Completion(row.text, row.reason, len(row.ids))
            keep = [i for i, row in enumerate(running) if row.reason is None]
            if keep:
                state.step(keep, [running[i].ids[-1] for i in keep])
            running = [running[i] for i in keep]
    return [completion for completion in finished if completion is not None]


class _Prefill:
    """The model's state for the rows still running: mask, positions, cache and the logits of the last token."""

    def __init__(self, model: nn.Module, prompts: list[tuple[int, ...]], device: torch.device) -> None:
        self._model = model
        self._device = device
        ids_BT, self._mask_BT, positions_BT = padded(prompts, device, side="left")
        self._positions_B = positions_BT[:, -1]
        width = ids_BT.shape[1]
        last_B = torch.arange(1, len(prompts) + 1, device=device) * width - 1
        self._forward(ids_BT, positions_BT, last_B, None)

    def step(self, keep: list[int], tokens: list[int]) -> None:
        """Go on with the rows `keep`, giving each its next token."""
        if len(keep) < len(self._mask_BT):
            index = torch.tensor(keep, device=self._device)
            cast(_Cache, self._cache).batch_select_indices(index)
            self._mask_BT, self._positions_B = self._mask_BT[index], self._positions_B[index]
        self._mask_BT = torch.cat([self._mask_BT, self._mask_BT.new_ones(len(keep), 1)], dim=1)
        self._positions_B = self._positions_B + 1
        ids_B1 = torch.tensor(tokens, device=self._device)[:, None]
        self._forward(ids_B1, self._positions_B[:, None], torch.arange(len(keep), device=self._device), self._cache)

    def _forward(self, ids_BT: Tensor, positions_BT: Tensor, last_B: Tensor, cache: object) -> None:
        self.logits_BV, self._cache = logits_at(
            self._model,
            last_B,
            input_ids=ids_BT,
            attention_mask=self._mask_BT,
            position_ids=positions_BT,
            past_key_values=cache,
            use_cache=True,
        )


def _choose(logits_BV: Tensor, rows: Sequence[_Row]) -> list[int]:
    if all(is_plain_greedy(row.request.sampling) for row in rows):
        found: list[int] = logits_BV.argmax(-1).tolist()
        return found
    return [
        choose(logits_V, [*row.request.ids, *row.ids], row.request.sampling, row.rng)
        for logits_V, row in zip(logits_BV, rows, strict=True)
    ]


def _append(row: _Row, token: int, tokenizer: Tokenizer) -> None:
    """Add a token, and find out whether the row has ended: by an end token, a stop string or its length."""
    row.ids.append(token)
    sampling = row.request.sampling

    def text_of(ids: Sequence[int]) -> str:
        return continuation_text(tokenizer, row.request.ids, ids)

    if token in row.request.stop_ids:
        row.text, row.reason = text_of(row.ids[:-1]), "stop"
    elif sampling.stop and (text := _cut(row.ids, sampling.stop, text_of)) is not None:
        row.text, row.reason = text, "stop"
    elif len(row.ids) >= sampling.max_tokens:
        row.text, row.reason = text_of(row.ids), "length"


def continuation_text(tokenizer: Tokenizer, prompt: Sequence[int], ids: Sequence[int]) -> str:
    """What `ids` say behind a prompt: decoders of SentencePiece vocabularies drop a blank that begins a text.

    Control tokens in the middle of an answer are shown, not hidden: they mean that something is wrong.
    """
    before = tokenizer.decode(prompt[-1:], skip_special=False)
    whole = tokenizer.decode([*prompt[-1:], *ids], skip_special=False)
    # A prompt that ends inside a character has no text of its own there.
    return whole.removeprefix(before) if whole.startswith(before) else tokenizer.decode(ids, skip_special=False)


def _cut(ids: list[int], stops: Sequence[str], text_of: Callable[[Sequence[int]], str]) -> str | None:
    """The text before the first stop string, once there is one.

    Only the tail is looked at until a stop string shows: its newest token must belong to it, and each token
    holds at least one byte. Bytes of an unfinished character decode to a replacement mark and never match.
    """
    tail = max(len(stop.encode()) for stop in stops) + 8
    if not any(stop in text_of(ids[-tail:]) for stop in stops):
        return None
    text = text_of(ids)
    found = [place for stop in stops if (place := text.find(stop)) >= 0]
    return text[: min(found)] if found else None
