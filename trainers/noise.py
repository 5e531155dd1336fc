"""Noise on a model's embeddings while it is trained, so that it learns the answers less by heart (NEFTune).

Jain et al. 2023, algorithm 1: each embedded row of L tokens and d dimensions gets uniform noise in [-1, 1], times
alpha / sqrt(L d). Where a model scales its embeddings afterwards (Gemma), the noise is scaled along; a beginning
that rows share is computed once, and gets one draw.
Axes: B rows, T positions, D dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn


def add_noise(model: nn.Module, alpha: float) -> Callable[[], None]:
    """Noise from now on, in training mode only; the function returned takes it away. alpha 0 adds nothing."""
    if alpha == 0:
        return lambda: None
    noise = _Noise(alpha)
    embeddings: nn.Module = model.get_input_embeddings()  # type: ignore[operator]
    # The part below the output layer, which is called whether or not the whole model is.
    decoder: nn.Module = model.base_model  # type: ignore[assignment]
    handles = (
        decoder.register_forward_pre_hook(noise.look, with_kwargs=True),
        embeddings.register_forward_hook(noise.add),
    )

    def take_away() -> None:
        for handle in handles:
            handle.remove()

    return take_away


class _Noise:
    """Two hooks: one sees where the rows are, the other has their embeddings."""

    def __init__(self, alpha: float) -> None:
        self._alpha = alpha
        self._positions_BT: Tensor | None = None

    def look(self, module: nn.Module, arguments: tuple[object, ...], inputs: Mapping[str, object]) -> None:
        """Remember the positions of this forward pass."""
        positions = inputs.get("position_ids")
        self._positions_BT = positions if isinstance(positions, Tensor) else None

    def add(self, module: nn.Module, arguments: tuple[Tensor, ...], embedded_BTD: Tensor) -> Tensor | None:
        """The embeddings with noise in training; as they are (None) otherwise."""
        if not module.training:
            return None
        if self._positions_BT is None:
            raise RuntimeError("rows cannot be told apart without position ids")
        size_BT1 = row_lengths(self._positions_BT).unsqueeze(-1).mul(embedded_BTD.shape[-1]).sqrt()
        noise_BTD = torch.empty_like(embedded_BTD, dtype=torch.float32).uniform_(-1, 1)
        return embedded_BTD + (self._alpha / size_BT1 * noise_BTD).to(embedded_BTD.dtype)


def row_lengths(positions_BT: Tensor) -> Tensor:
    """For each place the length of the row it belongs to (B, T): one more than where a run of positions ends.

    So that rows which follow each other in a sequence have lengths of their own, and padding adds none. A beginning
    that several rows share and that stands there once has the length of the first of them.

    >>> row_lengths(torch.tensor([[0, 1, 2, 0, 1, 1]])).tolist()
    [[3.0, 3.0, 3.0, 2.0, 2.0, 2.0]]
    """
    breaks_BT = positions_BT.diff(prepend=positions_BT[:, :1] - 1) != 1
    run_BT = breaks_BT.cumsum(-1)
    n_rows, width = positions_BT.shape
    last_BR = positions_BT.new_zeros(n_rows, width).scatter_reduce(1, run_BT, positions_BT, "amax")
    return last_BR.gather(1, run_BT).add(1).float()
