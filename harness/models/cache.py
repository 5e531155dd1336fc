"""Keys and values of the rows that are being generated: written in place, and what all rows begin with kept once.

The model runs without a cache of transformers' own. Its layers work on tokens one by one, so they get the new tokens of
all rows as one long row; attention finds what came before them here.
Axes: B rows, T positions of new tokens in a row, W places of a row, N new tokens, H heads, D head size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from harness.models.forward import logits_at
from harness.models.in_place import Attending, Beginning, Joining, KeysValues, Prefix, Stepping, attending_in_place
from harness.models.tree import computes_trees, tree_of

# Prompt tokens computed at once: more would take memory and gain nothing.
_TOKENS_AT_ONCE = 2048
# As shares of the largest logit: some ten times what rounding does to them.
_CLOSE = {torch.float32: 1e-4, torch.bfloat16: 0.1, torch.float16: 0.02}
# What a trial begins with, what follows in two rows, in one that joins them, and the tokens of two steps.
_TRIED_PREFIX, _TRIED, _TRIED_LATER, _STEPS = (3, 4, 5), ((6, 7), (8, 6, 5)), (9, 3), (7, 4)


def computed_prefix(model: nn.Module, ids: tuple[int, ...], device: torch.device) -> Prefix:
    """The prefix by the weights that are on; within `attending_in_place(model)`."""
    prefix = Prefix(ids)
    if ids:
        _run(model, ids, range(len(ids)), [len(ids) - 1], Beginning(prefix), device)
    return prefix


class Cache:
    """Places for rows in memory; those running are the first of them. Within `attending_in_place(model)`.

    n_rows: how many there may be. width: how many tokens each may have behind the prefix.
    """

    takes_more = True

    def __init__(self, model: nn.Module, prefix: Prefix, n_rows: int, width: int, device: torch.device) -> None:
        self._model, self._device = model, device
        self._prefix, self._shape = prefix, (n_rows, width)
        self._layers: dict[nn.Module, KeysValues] = {}
        self._lengths: list[int] = []
        self._lengths_B = torch.zeros(n_rows, dtype=torch.long, device=device)
        # Added to the scores of places: nothing where there is a token.
        self._bias_BW = torch.full((n_rows, width), float("-inf"), device=device)

    def __len__(self) -> int:
        """How many rows are running."""
        return len(self._lengths)

    def join(self, prompts: Sequence[tuple[int, ...]]) -> Tensor:
        """Logits (B, V) behind prompts, all of which begin with the prefix; their rows come behind those running."""
        rows = [prompt[len(self._prefix.ids) :] for prompt in prompts]
        found: list[Tensor] = []
        while rows:
            n = _n_at_once([len(row) for row in rows])
            found.append(self._join(rows[:n]))
            rows = rows[n:]
        return torch.cat(found)

    def step(self, tokens: Sequence[int]) -> Tensor:
        """Logits (B, V) behind the next token of every row."""
        n, start = len(tokens), len(self._prefix.ids)
        index_B, lengths_B = torch.arange(n, device=self._device), self._lengths_B[:n]
        self._bias_BW[index_B, lengths_B] = 0
        width = max(self._lengths) + 1
        call = Stepping(self._prefix, self._layers, index_B, lengths_B, self._bias_BW[:n, None, None, :width])
        logits_BV = _run(self._model, tokens, lengths_B + start, index_B, call, self._device)
        self._lengths = [length + 1 for length in self._lengths]
        self._lengths_B[:n] += 1
        return logits_BV

    def leave(self, gone: Sequence[int]) -> list[int]:
        """Let rows go. Returns which row each place has now: the last ones move into the gaps."""
        order = list(range(len(self._lengths)))
        n_left = len(order) - len(gone)
        gaps = [i for i in gone if i < n_left]
        movers = [i for i in order[n_left:] if i not in set(gone)]
        for gap, mover in zip(gaps, movers, strict=True):
            order[gap] = mover
        if gaps:
            self._move(gaps, movers)
        self._lengths = [self._lengths[i] for i in order[:n_left]]
        self._bias_BW[n_left:] = float("-inf")
        return order[:n_left]

    def _move(self, gaps: Sequence[int], movers: Sequence[int]) -> None:
        into, out_of = (torch.tensor(places, device=self._device) for places in (gaps, movers))
        for states_BHWD in (states for layer in self._layers.values() for states in layer):
            states_BHWD[into] = states_BHWD[out_of]
        self._bias_BW[into] = self._bias_BW[out_of]
        self._lengths_B[into] = self._lengths_B[out_of]

    def _join(self, rows: Sequence[tuple[int, ...]]) -> Tensor:
        tree, start = tree_of(rows, self._device), len(self._lengths)
        lengths_B = torch.tensor([len(row) for row in rows])
        width = int(lengths_B.max())
        real_BT = torch.arange(width) < lengths_B[:, None]
        # Padding is hidden by a weight of zero, which hides nothing that is not finite: it is the row's own.
        places_BT = torch.tensor([nodes[:1] for nodes in tree.nodes]).repeat(1, width)
        places_BT[real_BT] = torch.tensor([node for nodes in tree.nodes for node in nodes])
        owners_N = torch.empty(len(tree.ids), dtype=torch.long)
        owners_N[places_BT[real_BT]] = real_BT.flatten().nonzero()[:, 0]
        call = Joining(
            self._prefix, self._layers, self._shape, start, places_BT.to(self._device), owners_N.to(self._device)
        )
        last = [nodes[-1] for nodes in tree.nodes]
        logits_BV = _run(self._model, tree.ids, tree.depths + len(self._prefix.ids), last, call, self._device)
        here = slice(start, start + len(rows))
        self._lengths += [len(row) for row in rows]
        self._lengths_B[here] = lengths_B.to(self._device)
        self._bias_BW[here, :width].masked_fill_(real_BT.to(self._device), 0)
        return logits_BV


def _run(
    model: nn.Module,
    ids: Sequence[int] | Tensor,
    depths: Sequence[int] | Tensor,
    chosen: Sequence[int] | Tensor,
    rows: Attending,
    device: torch.device,
) -> Tensor:
    """Logits at the chosen ones of N tokens, in float32 or what the model has."""
    ids_N, depths_N, chosen_B = (torch.as_tensor(each, device=device) for each in (ids, depths, chosen))
    inputs = {"input_ids": ids_N[None], "position_ids": depths_N[None], "use_cache": False, "rows": rows}
    return logits_at(model, chosen_B, **inputs)[0]


def _n_at_once(lengths: Sequence[int]) -> int:
    """How many of the first rows, padded, are few enough tokens; at least one."""
    most = 0
    for n, length in enumerate(lengths):
        most = max(most, length)
        if n and most * (n + 1) > _TOKENS_AT_ONCE:
            return n
    return len(lengths)


def writes_in_place(model: nn.Module, device: torch.device, longest: int) -> bool:
    """Whether this model's rows can be kept here: it `computes_trees`, and a trial gives the logits of whole rows.

    longest: tokens of the longest row, its answer included.
    """
    if not computes_trees(model, device, longest):
        return False
    try:
        with torch.no_grad():
            found_BV, expected_BV = _tried(model, device)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, RuntimeError):
        # Whatever an architecture of its own makes of this, transformers' cache remains.
        return False
    close = _CLOSE.get(expected_BV.dtype, 1e-4) * expected_BV.abs().max()
    return bool((found_BV - expected_BV).abs().max() <= close)


def _tried(model: nn.Module, device: torch.device) -> tuple[Tensor, Tensor]:
    """Logits behind three rows after joining, leaving and two steps, and the same of each row by itself."""
    rows = [[*_TRIED_PREFIX, *own] for own in (*_TRIED, _TRIED_LATER)]
    with attending_in_place(model):
        cache = Cache(model, computed_prefix(model, _TRIED_PREFIX, device), 3, 5, device)
        cache.join([tuple(rows[0]), (*_TRIED_PREFIX, 2), tuple(rows[1])])
        cache.leave([1])
        cache.step(_STEPS[:1] * 2)
        cache.join([tuple(rows[2])])
        found_BV = cache.step(_STEPS[1:] * 3)
    whole = [[*rows[0], *_STEPS], [*rows[1], *_STEPS], [*rows[2], *_STEPS[1:]]]
    expected = [_whole_row(model, row, device) for row in whole]
    return found_BV, torch.stack(expected)


def _whole_row(model: nn.Module, row: list[int], device: torch.device) -> Tensor:
    ids_1T, last_1 = torch.tensor([row], device=device), torch.tensor([len(row) - 1], device=device)
    return logits_at(model, last_1, input_ids=ids_1T, use_cache=False)[0][0]
