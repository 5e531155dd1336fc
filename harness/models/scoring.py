"""How likely each of a few labels is to come next, and what a model makes of a prompt inside, without generating.

A request becomes a row of tokens or a few: its prompt, with all but the last token of each label behind it. What rows
begin with alike, such as the rubric of a judge, is computed once where the model allows it.
Axes: M chosen positions, V vocabulary, H hidden.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor

from harness.core.errors import HarnessError
from harness.core.judging import LabelScores
from harness.core.types import Failure, FloatArray, Request
from harness.models.forward import logits_at, padded, states_at
from harness.models.loading import LoadedModel
from harness.models.tree import attending_trees, computes_trees, n_shared, tree_inputs, tree_of

Labels = Sequence[tuple[int, ...]]
# A place where something is read off: its row, and the position in it.
Place = tuple[int, int]

# Rows whose logits are turned into probabilities at once: a vocabulary can have 250,000 tokens.
_AT_ONCE = 64
# Attention alone works on padded places, which makes them cheap beside the nodes of a tree.
_PLACES_PER_NODE = 4
# Batching shows in the seventh decimal.
_DECIMALS = 6


def batches(
    requests: Sequence[Request], labels: Labels, tokens_per_batch: int, *, as_tree: bool, switch: int | None = None
) -> Iterator[list[Request]]:
    """Requests of one checkpoint, those with much in common together, their tokens under the budget.

    as_tree: what is shared counts once, and padding a quarter. A request larger than the budget travels alone.
    switch: requests with longer rows than that, their labels behind them, are not with those without (`rotary`).
    """
    n_rows, behind = len(_endings(labels)), sum(map(len, _endings(labels)))
    batch: list[Request] = []
    n_nodes = width = 0
    for request in sorted(requests, key=lambda request: _order(request, as_tree=as_tree)):
        same = bool(batch) and batch[-1].checkpoint == request.checkpoint
        if switch is not None and batch:
            same = same and len({len(each.ids) + _longest(labels) > switch for each in (batch[-1], request)}) == 1
        n_new = len(request.ids) + behind - (n_shared(batch[-1].ids, request.ids) if same else 0)
        longest = max(width, len(request.ids) + _longest(labels))
        n_places = longest * n_rows * (len(batch) + 1)
        size = max(n_nodes + n_new, n_places / _PLACES_PER_NODE) if as_tree else n_places
        if batch and (not same or size > tokens_per_batch):
            yield batch
            batch, n_nodes, longest = [], 0, len(request.ids) + _longest(labels)
            n_new = len(request.ids) + behind
        batch.append(request)
        n_nodes, width = n_nodes + n_new, longest
    if batch:
        yield batch


def computes_shared(loaded: LoadedModel, requests: Sequence[Request], labels: Labels) -> bool:
    """Whether the model may compute what these requests share once."""
    longest = max(len(request.ids) for request in requests) + _longest(labels)
    return computes_trees(loaded.model, loaded.device, longest)


def score_labels(
    loaded: LoadedModel, batch: Sequence[Request], labels: Labels, *, as_tree: bool
) -> list[LabelScores | Failure]:
    """Log-probabilities of the labels behind each prompt, rounded; of a label of several tokens, their sum."""
    endings = _endings(labels)
    contexts = sorted({label[:n] for label in labels for n in range(len(label))})
    row_of = {context: _row_with(context, endings) for context in contexts}
    rows = [(*request.ids, *ending) for request in batch for ending in endings]
    places = [
        (i * len(endings) + row_of[context], len(request.ids) + len(context) - 1)
        for i, request in enumerate(batch)
        for context in contexts
    ]
    with torch.no_grad():
        index_M, inputs = _laid_out(loaded, rows, places, as_tree=as_tree)
        with attending_trees(loaded.model) if as_tree else nullcontext():
            logits_MV, _ = logits_at(loaded.model, index_M, **inputs)
        asked = [(contexts.index(label[:n]), label[n]) for label in labels for n in range(len(label))]
        found = _log_probs(logits_MV, len(contexts), asked)
    return [_scores(values, labels) for values in found]


def last_states(loaded: LoadedModel, batch: Sequence[Request], *, as_tree: bool) -> list[FloatArray]:
    """What the output layer is given at each prompt's last token, (H,) as float32 has it; E-BACKEND without one."""
    places = [(i, len(request.ids) - 1) for i, request in enumerate(batch)]
    with torch.no_grad():
        index_M, inputs = _laid_out(loaded, [request.ids for request in batch], places, as_tree=as_tree)
        with attending_trees(loaded.model) if as_tree else nullcontext():
            states_MH = states_at(loaded.model, index_M, **inputs)
    if states_MH is None:
        raise HarnessError(
            f"{loaded.name} has no output layer whose input could be read",
            fix="use a judge that reads label probabilities, or another model",
            code="E-BACKEND",
        )
    return list(states_MH.float().cpu().numpy().astype(np.float64))


def _order(request: Request, *, as_tree: bool) -> tuple[object, ...]:
    """By checkpoint; then by what the prompt begins with, or the longest first: memory runs out early or not at all."""
    checkpoint = request.checkpoint
    which = ("", "") if checkpoint is None else (checkpoint.name, checkpoint.sha256)
    return (which, request.ids) if as_tree else (which, -len(request.ids))


def _endings(labels: Labels) -> list[tuple[int, ...]]:
    """What has to stand behind a prompt to see every token of every label: no more than is needed."""
    wanted = {label[:-1] for label in labels} or {()}
    return sorted(one for one in wanted if not any(other != one and other[: len(one)] == one for other in wanted))


def _row_with(context: tuple[int, ...], endings: Sequence[tuple[int, ...]]) -> int:
    return next(row for row, ending in enumerate(endings) if ending[: len(context)] == context)


def _longest(labels: Labels) -> int:
    return max(map(len, _endings(labels)))


def _laid_out(
    loaded: LoadedModel, rows: list[tuple[int, ...]], places: Sequence[Place], *, as_tree: bool
) -> tuple[Tensor, dict[str, object]]:
    """Where in the model's flat input the places are, and the input."""
    if as_tree:
        tree = tree_of(rows, loaded.device)
        nodes = [tree.nodes[row][position] for row, position in places]
        return torch.tensor(nodes, device=loaded.device), tree_inputs(tree)
    # To the right: a model that keeps a state, such as Mamba, would carry padding on the left along.
    ids_BT, mask_BT, positions_BT = padded(rows, loaded.device, side="right")
    index_M = torch.tensor([row * ids_BT.shape[1] + position for row, position in places], device=loaded.device)
    inputs = {"input_ids": ids_BT, "attention_mask": mask_BT, "position_ids": positions_BT, "use_cache": False}
    return index_M, inputs


def _log_probs(logits_MV: Tensor, n_contexts: int, asked: Sequence[Place]) -> list[list[float]]:
    """Of each request, the log-probabilities of (context, token) pairs over the whole vocabulary.

    In float64: float32 would lose the sixth decimal of improbable labels.
    """
    contexts, tokens = (list(each) for each in zip(*asked, strict=True))
    found: list[list[float]] = []
    for part in torch.split(logits_MV, max(1, _AT_ONCE // n_contexts) * n_contexts):
        log_probs = part.double().log_softmax(-1).view(-1, n_contexts, part.shape[-1])
        found += log_probs[:, contexts, tokens].tolist()
    return found


def _scores(values: Sequence[float], labels: Labels) -> LabelScores | Failure:
    """Sums over the tokens of each label."""
    if not all(map(math.isfinite, values)):
        return Failure("judge", "log-probabilities are not finite")
    ends = np.cumsum([len(label) for label in labels])
    sums = (math.fsum(values[end - len(label) : end]) for label, end in zip(labels, ends, strict=True))
    # Adding 0.0 makes zero of minus zero, which would be written otherwise.
    return LabelScores(tuple(round(total, _DECIMALS) + 0.0 for total in sums))
