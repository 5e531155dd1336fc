"""LoRA layers computed in fewer passes over memory than peft's, with the same result up to rounding.

peft computes base(x) + scale * B(A(dropout(x))) operation by operation and keeps what each of them needs for the
backward pass; here the layer is one operation that keeps its input, the rank-wide product and one byte a dropped-out
element. The weights stay where peft has them.
Axes: N tokens, I inputs, O outputs, R rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from peft.tuners.lora import Linear
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

# Dropout is decided by 16 random bits an element.
_BITS = 1 << 16


@contextmanager
def fused_adapters(model: nn.Module) -> Iterator[None]:
    """LoRA layers of the model compute as one operation, where they are of the plain kind; around backward too."""
    layers = [module for module in model.modules() if type(module) is Linear and _is_plain(module)]
    for layer in layers:
        layer.forward = partial(_forward, layer, layer.forward)
    try:
        yield
    finally:
        for layer in layers:
            del layer.forward


def _is_plain(layer: Linear) -> bool:
    """A frozen linear layer with one adapter of the original kind switched on, and nothing beside it."""
    active = [name for name in layer.active_adapters if name in layer.lora_A]
    if len(active) != 1 or layer.disable_adapters or layer.merged or active[0] in layer.lora_variant:
        return False
    base, down, up = layer.base_layer, layer.lora_A[active[0]], layer.lora_B[active[0]]
    return (
        type(base) is nn.Linear
        and not base.weight.requires_grad
        and (base.bias is None or not base.bias.requires_grad)
        and type(down) is type(up) is nn.Linear
        and down.bias is None
        and up.bias is None
        and type(layer.lora_dropout[active[0]]) in (nn.Dropout, nn.Identity)
    )


def _forward(layer: Linear, usual: Callable[..., Tensor], x: Tensor, *args: object, **kwargs: object) -> Tensor:
    base = layer.base_layer
    autocast = torch.is_autocast_enabled(x.device.type)
    dtype = torch.get_autocast_dtype(x.device.type) if autocast else x.dtype
    (name,) = (name for name in layer.active_adapters if name in layer.lora_A)
    down, up, scale = layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name]
    # Without autocast nothing may be rounded that peft does not round, such as float32 adapters on a bfloat16 model.
    if args or kwargs or base.weight.dtype != dtype or (not autocast and down.dtype != dtype):
        return usual(x, *args, **kwargs)
    dropout = layer.lora_dropout[name]
    kept_NI, keep = None, 1.0
    if isinstance(dropout, nn.Dropout) and dropout.p > 0 and layer.training:
        kept_NI, keep = _kept(x.reshape(-1, x.shape[-1]), dropout.p)
    if kept_NI is None and not (autocast or torch.is_grad_enabled()):
        return _answer(x, base, down, up, scale)
    y: Tensor = _LoraLinear.apply(x, base.weight, base.bias, down, up, scale / keep, kept_NI)  # type: ignore[no-untyped-call]
    return y


def _answer(x: Tensor, base: nn.Linear, down_RI: Tensor, up_OR: Tensor, scale: float) -> Tensor:
    """The layer without gradients or dropout, in one copy of its output."""
    x_NI = x.reshape(-1, x.shape[-1])
    y_NO = torch.nn.functional.linear(x_NI, base.weight, base.bias)
    return y_NO.addmm_(x_NI @ down_RI.T, up_OR.T, alpha=scale).view(*x.shape[:-1], -1)


def _kept(x_NI: Tensor, p: float) -> tuple[Tensor, float]:
    """Which elements dropout keeps, and the share of them that it keeps in the mean: 1 - p to 16 bits.

    Four elements to a random number: on a CPU, drawing one for each takes longer than a matrix product.
    """
    dropped = round(p * _BITS)
    numbers = torch.empty(-(-x_NI.numel() // 4), dtype=torch.int64, device=x_NI.device)
    bits = numbers.random_(-(2**63), None).view(torch.int16)[: x_NI.numel()]
    return (bits >= dropped - _BITS // 2).view(x_NI.shape), 1 - dropped / _BITS


class _LoraLinear(torch.autograd.Function):
    """y = x W' + b + scale * (kept * x) A' B', with gradients for x, A and B."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: Tensor,
        weight_OI: Tensor,
        bias_O: Tensor | None,
        down_RI: Tensor,
        up_OR: Tensor,
        scale: float,
        kept_NI: Tensor | None,
    ) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            x_NI = x.reshape(-1, x.shape[-1]).to(weight_OI.dtype)
            y_NO = torch.nn.functional.linear(x_NI, weight_OI, bias_O)
            narrow_NR = _dropped(x_NI, kept_NI) @ down_RI.to(x_NI.dtype).T
            y_NO.addmm_(narrow_NR, up_OR.to(x_NI.dtype).T, alpha=scale)
        ctx.save_for_backward(x_NI, weight_OI, down_RI, up_OR, narrow_NR, kept_NI)  # type: ignore[arg-type]
        ctx.scale, ctx.shape, ctx.dtype = scale, x.shape, x.dtype  # type: ignore[attr-defined]
        return y_NO.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
        x_NI, weight_OI, down_RI, up_OR, narrow_NR, kept_NI = ctx.saved_tensors  # type: ignore[attr-defined]
        scale, shape = ctx.scale, ctx.shape  # type: ignore[attr-defined]
        with torch.autocast(grad.device.type, enabled=False):
            grad_NO = grad.reshape(-1, grad.shape[-1])
            grad_NR = (grad_NO @ up_OR.to(grad_NO.dtype)).mul_(scale)
            grad_up = (grad_NO.T @ narrow_NR).mul_(scale)
            grad_down = grad_NR.T @ _dropped(x_NI, kept_NI)
            grad_x = None
            if ctx.needs_input_grad[0]:  # type: ignore[attr-defined]
                grad_x = grad_NO @ weight_OI
                if kept_NI is None:
                    grad_x.addmm_(grad_NR, down_RI.to(grad_NR.dtype))
                else:
                    grad_x.addcmul_(grad_NR @ down_RI.to(grad_NR.dtype), kept_NI)
                grad_x = grad_x.view(shape).to(ctx.dtype)  # type: ignore[attr-defined]
        return grad_x, None, None, grad_down.to(down_RI.dtype), grad_up.to(up_OR.dtype), None, None


def _dropped(x_NI: Tensor, kept_NI: Tensor | None) -> Tensor:
    return x_NI if kept_NI is None else x_NI * kept_NI
