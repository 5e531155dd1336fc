"""Liger's kernels for norms, rotary positions and gated layers, while a model is trained and at no other time.

Liger changes an architecture for the whole process. Here what it changes is noted and taken back, and put on around the
gradient and the validation loss of the one model that is trained: the answers of baselines, checkpoints and judges are
computed as they were before.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from harness.core.errors import EnvironmentFault, HarnessError
from trainers.settings import TuningSpec, require_kernels

_ABSENT = object()


@dataclass(frozen=True, slots=True)
class Patch:
    """A name that means something else in one place: a layer's own attributes, or an architecture's module."""

    place: MutableMapping[str, object]
    name: str
    value: object


def patches_of(model: nn.Module, device: torch.device, spec: TuningSpec) -> tuple[Patch, ...]:
    """What `trainer.kernels` changes in the model, none of it put on.

    E-INSTALL without the package, E-DEVICE without a GPU, E-CONFLICT for an architecture that it has no kernels for.
    """
    require_kernels(spec)
    if spec.kernels == "none":
        return ()
    if device.type != "cuda":
        raise EnvironmentFault(
            f"Liger's kernels run on a GPU, and the model is on {device}",
            fix="trainer.kernels=none, or model.device=cuda",
            code="E-DEVICE",
        )
    return changes(model, _apply_liger)


def changes(model: nn.Module, apply: Callable[[nn.Module], None]) -> tuple[Patch, ...]:
    """What a function changes in a model's layers and its architecture's module, taken back; E-CONFLICT if nothing."""
    places: list[MutableMapping[str, object]] = [vars(layer) for layer in model.modules()]
    places.append(vars(sys.modules[type(model).__module__]))
    before = [dict(place) for place in places]
    try:
        apply(model)
        found = tuple(
            Patch(place, name, value)
            for place, was in zip(places, before, strict=True)
            for name, value in place.items()
            if was.get(name, _ABSENT) is not value
        )
    finally:
        for place, was in zip(places, before, strict=True):
            for name in [name for name in place if name not in was]:
                del place[name]
            place.update(was)
    if not any(patch.name == "forward" for patch in found):
        raise HarnessError(
            f"Liger has no kernels for {type(model).__name__}", fix="trainer.kernels=none", code="E-CONFLICT"
        )
    return found


@contextmanager
def patched(patches: Sequence[Patch]) -> Iterator[None]:
    """With the patches on; around the backward pass too."""
    before = [patch.place.get(patch.name, _ABSENT) for patch in patches]
    for patch in patches:
        patch.place[patch.name] = patch.value
    try:
        yield
    finally:
        for patch, was in zip(patches, before, strict=True):
            if was is _ABSENT:
                del patch.place[patch.name]
            else:
                patch.place[patch.name] = was


def _apply_liger(model: nn.Module) -> None:
    from liger_kernel.transformers import _apply_liger_kernel_to_instance

    # The loss is computed in portions already, and needs the output layer as it is.
    _apply_liger_kernel_to_instance(model=model, cross_entropy=False, fused_linear_cross_entropy=False)
