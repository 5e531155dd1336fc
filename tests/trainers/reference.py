"""Logits by the model's own forward on padded rows: what the loop's figures are compared with."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from harness.core.types import TokenRow
from harness.models.forward import logits_at
from trainers.loop import look_padded


def predictions(model: nn.Module, rows: Sequence[TokenRow]) -> tuple[Tensor, Tensor]:
    """Logits (N, V) where a token with loss comes next, and those tokens (N,)."""
    look = look_padded(rows, torch.device("cpu"))
    return logits_at(model, look.before_N, **look.inputs)[0], look.targets_N
