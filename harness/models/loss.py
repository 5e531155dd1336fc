"""The loss of a causal language model without its logits: memory does not grow with the vocabulary.

What the output layer is given is multiplied with it a few positions at a time; loss and gradient of these are computed
at once, and their logits forgotten. Where nothing but the states needs a gradient, that is all that is kept.
Axes: N positions, C positions of a portion, H hidden, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn.functional import linear

from harness.models.forward import CausalLM, choosing

# Bytes of the float32 logits of a portion. On a CPU they then stay in its cache; a GPU wants larger products.
_PORTION = {"cpu": 2**23, "cuda": 2**28}
# Two logits that show what a model makes of small ones and of the largest.
_SMALL, _LARGE = 2.0**-10, 2.0**27
# Of the largest: what float32 leaves of a few operations.
_CLOSE = 1e-6
# Any short row.
_TRIED = (3, 4, 5, 6)


@dataclass(frozen=True, slots=True)
class Projection:
    """A plain output layer, and what the model makes of its results x: cap * tanh(scale * x / cap), or scale * x."""

    head: nn.Linear
    scale: float = 1.0
    cap: float | None = None


def projection_of(model: nn.Module, device: torch.device) -> Projection | None:
    """How the model projects, tried and not looked up; None where it does something else than a `Projection` does.

    Known logits are given to it in the place of its output layer's, and what it returns for them is compared. So scales
    (Granite, Cohere, muP) and soft caps (Gemma 2) are found by whatever name an architecture has for them.
    """
    head = cast(CausalLM, model).get_output_embeddings()
    if type(head) is not nn.Linear or "forward" in vars(head):
        return None
    was_training = model.training
    model.eval()
    try:
        return _fitted(model, head, device)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, RuntimeError):
        # Whatever an architecture of its own makes of this, its own logits remain.
        return None
    finally:
        model.train(was_training)


def _fitted(model: nn.Module, head: nn.Linear, device: torch.device) -> Projection | None:
    given = torch.linspace(-200, 200, 2 * len(_TRIED) * head.out_features, device=device)
    given_NV = given[torch.randperm(len(given), generator=torch.Generator().manual_seed(0)).to(device)]
    given_NV = given_NV[: len(_TRIED) * head.out_features].view(len(_TRIED), -1)
    given_NV[0, 0], given_NV[0, 1] = _SMALL, _LARGE
    with torch.no_grad(), _answering(head, given_NV):
        ids_BT = torch.tensor([_TRIED], device=device)
        found_NV = cast(CausalLM, model)(input_ids=ids_BT, use_cache=False).logits
    if found_NV.shape != (1, *given_NV.shape) or found_NV.dtype != torch.float32:
        return None
    small, large = float(found_NV[0, 0, 0]), float(found_NV[0, 0, 1])
    scale = small / _SMALL
    linear_at_large = math.isclose(large, scale * _LARGE, rel_tol=_CLOSE)
    fitted = Projection(head, 1.0 if scale == 1 else scale, None if linear_at_large else large)
    expected_NV = _finished(given_NV.clone(), fitted)
    # The largest itself has been looked at, and would hide what the others do.
    found_NV[0, 0, 1] = expected_NV[0, 1] = 0
    close = _CLOSE * float(expected_NV.abs().max())
    return fitted if bool((found_NV[0] - expected_NV).abs().max() <= close) else None


@contextmanager
def _answering(head: nn.Module, answer_NV: Tensor | None) -> Iterator[None]:
    """The output layer gives this, or (None) its own input back."""
    head.forward = lambda states: states if answer_NV is None else answer_NV[None]
    try:
        yield
    finally:
        del head.forward


def states_before(model: nn.Module, projection: Projection, index_N: Tensor, **inputs: object) -> Tensor:
    """What the output layer would be given (N, H) at flat positions of the (B, T) input; nothing is projected."""
    with _answering(projection.head, None), choosing(projection.head, index_N) as seen:
        cast(CausalLM, model)(**inputs)
    return seen[0]


def summed_loss(projection: Projection, states_NH: Tensor, targets_N: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy in nats summed over positions, in float32, and at how many positions the target was likeliest.

    Within autocast, products are computed in its number format, as the output layer's would be.
    """
    head, kind = projection.head, states_NH.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else states_NH.dtype
    found: tuple[Tensor, Tensor] = _SummedLoss.apply(  # type: ignore[no-untyped-call]
        states_NH.to(dtype), head.weight, head.bias, targets_N, projection, torch.is_grad_enabled()
    )
    return found


class _SummedLoss(torch.autograd.Function):
    """Loss and count of a portion after the other; what backward needs is computed on the way."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        states_NH: Tensor,
        weight_VH: Tensor,
        bias_V: Tensor | None,
        targets_N: Tensor,
        projection: Projection,
        wanted: bool,
    ) -> tuple[Tensor, Tensor]:
        needed = tuple(wanted and needs for needs in ctx.needs_input_grad[:3])  # type: ignore[attr-defined]
        gradients = [
            torch.zeros_like(tensor) if needs and tensor is not None else None
            for tensor, needs in zip((states_NH, weight_VH, bias_V), needed, strict=True)
        ]
        losses_N = torch.empty(len(states_NH), device=states_NH.device)
        n_correct = torch.zeros((), dtype=torch.long, device=states_NH.device)
        with torch.autocast(states_NH.device.type, enabled=False):
            weight_VH = weight_VH.to(states_NH.dtype)
            bias_V = bias_V if bias_V is None else bias_V.to(states_NH.dtype)
            for part in _portions(len(states_NH), len(weight_VH), states_NH.device):
                raw_CV = linear(states_NH[part], weight_VH, bias_V).float()
                n_correct += _take(raw_CV, targets_N[part], projection, losses_N[part], slope=any(needed))
                if any(needed):
                    _add(gradients, raw_CV.to(states_NH.dtype), states_NH[part], weight_VH, part)
        ctx.save_for_backward(*gradients)  # type: ignore[arg-type]
        ctx.mark_non_differentiable(n_correct)
        return losses_N.sum(), n_correct

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        gradients = ctx.saved_tensors  # type: ignore[attr-defined]
        return (*(each if each is None else each * grad.to(each.dtype) for each in gradients), None, None, None)


def _portions(n_positions: int, n_words: int, device: torch.device) -> Iterator[slice]:
    size = max(1, _PORTION.get(device.type, _PORTION["cpu"]) // (4 * n_words))
    # Equal ones: a product of a few rows is slow.
    n_parts = -(-n_positions // size)
    bounds = [i * n_positions // max(1, n_parts) for i in range(n_parts + 1)]
    return (slice(start, end) for start, end in pairwise(bounds))


def _take(raw_CV: Tensor, targets_C: Tensor, projection: Projection, losses_C: Tensor, *, slope: bool) -> Tensor:
    """Fill in the losses and count the likeliest targets; with `slope`, leave the losses' gradient in `raw_CV`."""
    _finished(raw_CV, projection)
    capped_CV = raw_CV.clone() if slope and projection.cap is not None else None
    chosen_C1 = targets_C[:, None]
    logit_C1 = raw_CV.gather(1, chosen_C1)
    top_C1, best_C1 = raw_CV.max(-1, keepdim=True)
    total_C1 = raw_CV.sub_(top_C1).exp_().sum(-1, keepdim=True)
    losses_C.copy_((total_C1.log() + top_C1 - logit_C1)[:, 0])
    if slope:
        raw_CV.div_(total_C1).scatter_add_(1, chosen_C1, -torch.ones_like(logit_C1))
        if capped_CV is not None and projection.cap is not None:
            raw_CV.mul_(capped_CV.div_(projection.cap).square_().neg_().add_(1))
        if projection.scale != 1:
            raw_CV.mul_(projection.scale)
    return (best_C1 == chosen_C1).sum()


def _finished(raw_NV: Tensor, projection: Projection) -> Tensor:
    """What the model makes of its output layer's results; in place."""
    if projection.scale != 1:
        raw_NV.mul_(projection.scale)
    if projection.cap is not None:
        raw_NV.div_(projection.cap).tanh_().mul_(projection.cap)
    return raw_NV


def _add(gradients: list[Tensor | None], slope_CV: Tensor, states_CH: Tensor, weight_VH: Tensor, part: slice) -> None:
    """Add what a portion gives to the gradients of states, weight and bias, where they are wanted."""
    for_states_NH, for_weight_VH, for_bias_V = gradients
    if for_states_NH is not None:
        torch.mm(slope_CV, weight_VH, out=for_states_NH[part])
    if for_weight_VH is not None:
        if for_weight_VH.dtype == slope_CV.dtype:
            for_weight_VH.addmm_(slope_CV.T, states_CH)
        else:
            for_weight_VH.add_(slope_CV.T @ states_CH)
    if for_bias_V is not None:
        for_bias_V.add_(slope_CV.sum(0))
