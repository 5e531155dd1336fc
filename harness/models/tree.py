"""Rows as one tree: what several rows begin with is computed once, and only attention sees padding.

Every distinct beginning of a row is a node. All layers but attention work on tokens one by one, so they get the N nodes
as one long row; attention gets its queries, keys and values spread over (B, T) places, and its results are read off at
one place of each node. Where attention takes rows of unequal length (on a GPU), they follow each other there without
padding, P places in all: packing whose blocks share what they begin with. A node's hidden state depends on the tokens
before it and on nothing else, so logits and gradients are those of the rows computed one by one, up to rounding.
Dropout is drawn once for a node.
Axes: B rows, T positions of the longest, P places without padding, N nodes, M chosen nodes, H heads, D head size, V
vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward

from harness.models.attention import attended, attending_by, by_products, is_plain, packs, varlen
from harness.models.forward import logits_at, padded
from harness.models.rotary import switches_at

_ATTENTION = "rows_as_a_tree"
# Transformers' names for how far back attention reaches. It is kept there by a mask, and a tree has none.
_WINDOWS = ("sliding_window", "attention_chunk_size", "window_size")
# As shares of the largest logit: some ten times what rounding does to them.
_CLOSE = {torch.float32: 1e-4, torch.bfloat16: 0.1, torch.float16: 0.02}
# Short rows that share a beginning, and the same with other tokens in the first row's end: nothing else may change.
_TRIED = ((3, 4, 5, 6, 7, 8), (3, 4, 5, 9), (6, 5))
_OTHERWISE = ((3, 4, 5, 7, 8, 6), *_TRIED[1:])


@dataclass(frozen=True, slots=True)
class Tree:
    """Rows as nodes, numbered so that a node comes after those before it in its row.

    ids, depths: (N,) token and position of a node. nodes: of each row, in the order given. places: (B, T) the node at
    each place, 0 where there is padding. owners: (N,) the place, of the B x T, from which a node's attention is read.
    packed: (P,) the node at each place of the rows one after the other. bounds: (B + 1,) where rows begin and the last
    ends. packed_owners: (N,) as owners, of the P.
    """

    ids: Tensor
    depths: Tensor
    nodes: tuple[tuple[int, ...], ...]
    places: Tensor
    owners: Tensor
    packed: Tensor
    bounds: Tensor
    packed_owners: Tensor


def tree_of(rows: Sequence[Sequence[int]], device: torch.device) -> Tree:
    """The tree of some rows, none of them empty.

    >>> tree = tree_of([(7, 8, 9), (7, 8), (7, 5)], torch.device("cpu"))
    >>> tree.nodes, tree.ids.tolist(), tree.owners.tolist()
    (((0, 2, 3), (0, 2), (0, 1)), [7, 5, 8, 9], [0, 1, 4, 8])
    """
    width = max(len(row) for row in rows)
    places_BT = torch.zeros(len(rows), width, dtype=torch.long)
    nodes: list[tuple[int, ...]] = [()] * len(rows)
    ids: list[int] = []
    depths: list[int] = []
    owners: list[int] = []
    packed: list[int] = []
    packed_owners: list[int] = []
    bounds = [0]
    before: Sequence[int] = ()
    known: tuple[int, ...] = ()
    # In this order a row shares most with the one before it.
    for place, i in enumerate(sorted(range(len(rows)), key=lambda i: tuple(rows[i]))):
        row = rows[i]
        shared = n_shared(before, row)
        fresh = range(len(ids), len(ids) + len(row) - shared)
        ids += row[shared:]
        depths += range(shared, len(row))
        owners += range(place * width + shared, place * width + len(row))
        before, known = row, (*known[:shared], *fresh)
        packed_owners += range(bounds[-1] + shared, bounds[-1] + len(row))
        packed += known
        bounds.append(len(packed))
        nodes[i] = known
        places_BT[place, : len(row)] = torch.tensor(known)
    facts = (torch.tensor(values, device=device) for values in (ids, depths, owners, packed, packed_owners))
    ids_N, depths_N, owners_N, packed_P, packed_owners_N = facts
    bounds_B1 = torch.tensor(bounds, dtype=torch.int32, device=device)
    return Tree(ids_N, depths_N, tuple(nodes), places_BT.to(device), owners_N, packed_P, bounds_B1, packed_owners_N)


def tree_logits(model: nn.Module, tree: Tree, chosen_M: Tensor) -> Tensor:
    """Logits (M, V) at nodes; within `attending_trees(model)`, as must be the backward pass."""
    return logits_at(model, chosen_M, **tree_inputs(tree))[0]


def tree_inputs(tree: Tree) -> dict[str, object]:
    """What a model is called with to compute a tree, within `attending_trees(model)`."""
    return {"input_ids": tree.ids[None], "position_ids": tree.depths[None], "use_cache": False, "tree": tree}


def attending_trees(model: nn.Module) -> AbstractContextManager[None]:
    """The model's attention takes a tree; it is as it was afterwards."""
    return attending_by(model, _ATTENTION, _attend)


def computes_trees(model: nn.Module, device: torch.device, longest: int) -> bool:
    """Whether this model's logits on a tree are those on padded rows, and one row's leave another's as they are.

    longest: tokens of the longest row; no layer may see fewer back (Mistral's window), and none may compute a call
    otherwise for it (Phi-3's longrope). The rest is tried on short rows.
    Not so for models with a state beside attention (Mamba, LFM 2), nor for those whose attention is their own or caps
    its scores. That rows leave each other alone is required bit for bit, for what leaks may be small; this leaves out
    mixtures of experts too, whose products change their shape with the tokens around.
    """
    config = getattr(model, "config", None)
    if getattr(config, "_attn_implementation", None) != "sdpa" or longest > _sight(config):
        return False
    if (switch := switches_at(model)) is not None and longest > switch:
        return False
    if getattr(model, "is_loaded_in_8bit", False):
        # Its layers compute a column in full if any token of the batch is large there; short rows seldom have one.
        return False
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), attending_trees(model):
            found, other = _row_logits(model, _TRIED, device), _row_logits(model, _OTHERWISE, device)
        with torch.no_grad():
            expected_MV = _padded_logits(model, _TRIED, device)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, RuntimeError):
        # Whatever an architecture of its own makes of this, the padded way remains.
        return False
    finally:
        model.train(was_training)
    close = _CLOSE.get(expected_MV.dtype, 1e-4) * expected_MV.abs().max()
    alone = all(torch.equal(a, b) for a, b in zip(found[1:], other[1:], strict=True))
    return alone and bool((torch.cat(found) - expected_MV).abs().max() <= close)


def _sight(config: object) -> float:
    """How many tokens back every layer sees."""
    parts = (config, config.get_text_config()) if hasattr(config, "get_text_config") else (config,)
    found = (getattr(part, name, None) for part in parts for name in _WINDOWS)
    return min((size for size in found if isinstance(size, int)), default=math.inf)


def _row_logits(model: nn.Module, rows: Sequence[tuple[int, ...]], device: torch.device) -> list[Tensor]:
    """Logits at every token of each row, on a tree."""
    tree = tree_of(rows, device)
    chosen_M = torch.tensor([node for nodes in tree.nodes for node in nodes], device=device)
    return list(torch.split(tree_logits(model, tree, chosen_M), [len(row) for row in rows]))


def _padded_logits(model: nn.Module, rows: Sequence[tuple[int, ...]], device: torch.device) -> Tensor:
    ids_BT, mask_BT, positions_BT = padded(list(rows), device, side="right")
    places_M = mask_BT.flatten().nonzero()[:, 0]
    inputs = {"input_ids": ids_BT, "attention_mask": mask_BT, "position_ids": positions_BT, "use_cache": False}
    return logits_at(model, places_M, **inputs)[0]


def _attend(
    module: nn.Module,
    query_1HND: Tensor,
    key_1HND: Tensor,
    value_1HND: Tensor,
    attention_mask: Tensor | None,
    *,
    tree: Tree,
    **options: object,
) -> tuple[Tensor, None]:
    """As the model's attention would, row by row."""
    states = (query_1HND, key_1HND, value_1HND)
    if is_plain(module, options):
        scale = _scale(options, query_1HND)
        if packs(query_1HND):
            return attend_packed(*states, tree, scale), None
        if by_products(query_1HND, tree.places.shape[1]):
            groups = query_1HND.shape[1] // key_1HND.shape[1]
            query, key, value = (_spread(each, tree.places) for each in states)
            found = attended(query, repeat_kv(key, groups), repeat_kv(value, groups), scale)
            return _read_off(found.transpose(1, 2), tree), None
    # Right padding needs no mask, since nothing real comes after it.
    found_BTHD, _ = sdpa_attention_forward(module, *(_spread(each, tree.places) for each in states), None, **options)
    return _read_off(found_BTHD, tree), None


def _scale(options: Mapping[str, object], query: Tensor) -> float:
    """What scores are multiplied by."""
    scale = options.get("scaling")
    return scale if isinstance(scale, float) else query.shape[-1] ** -0.5


def _read_off(found_BTHD: Tensor, tree: Tree) -> Tensor:
    """Attention's results (1, N, H, D) at nodes."""
    n_rows, width, heads, size = found_BTHD.shape
    flat = found_BTHD.reshape(n_rows * width, heads * size)
    return embedding(tree.owners, flat).view(1, -1, heads, size)


def attend_packed(query_1HND: Tensor, key_1HND: Tensor, value_1HND: Tensor, tree: Tree, scale: float) -> Tensor:
    """Attention (1, N, H, D) of nodes by a kernel for rows of unequal length that follow each other."""
    query, key, value = (_pack(each, tree.packed) for each in (query_1HND, key_1HND, value_1HND))
    longest = tree.places.shape[1]
    found_PHD = varlen(query, key, value, tree.bounds, longest, scale)
    _, heads, size = found_PHD.shape
    return embedding(tree.packed_owners, found_PHD.reshape(-1, heads * size)).view(1, -1, heads, size)


def _pack(states_1HND: Tensor, packed_P: Tensor) -> Tensor:
    """(1, H, N, D) at nodes to (P, H, D) at places; by `embedding` for the reason below."""
    _, heads, _, size = states_1HND.shape
    return embedding(packed_P, states_1HND[0].transpose(0, 1).reshape(-1, heads * size)).view(-1, heads, size)


def _spread(states_1HND: Tensor, places_BT: Tensor) -> Tensor:
    """(1, H, N, D) at nodes to (B, H, T, D) at places.

    By `embedding`, whose backward pass adds up rows in one order and fast; that of an index does neither everywhere.
    """
    _, heads, _, size = states_1HND.shape
    flat_NF = states_1HND[0].transpose(0, 1).reshape(-1, heads * size)
    return embedding(places_BT, flat_NF).view(*places_BT.shape, heads, size).transpose(1, 2)


def n_shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two rows have in common from their start."""
    for n, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return n
    return min(len(one), len(other))
