"""What is needed to train on as if nothing had happened: weights and moments as safetensors, the rest as JSON.

Random numbers need no state: they are drawn from the seed and the step alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from harness.core.errors import EnvironmentFault
from harness.core.types import TokenRow
from harness.models.loading import LoadedModel
from trainers.settings import TuningSpec

_TENSORS = "training.safetensors"
_FACTS = "training.json"
_MOMENTS = ("exp_avg", "exp_avg_sq")


def write_state(
    folder: Path, step: int, fingerprint: str, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.AdamW
) -> None:
    """Write the state after a step; the same state gives the same bytes."""
    tensors: dict[str, Tensor] = {}
    for name, parameter in sorted(parameters.items()):
        tensors[f"weight/{name}"] = _copy(parameter)
        for moment in _MOMENTS:
            tensors[f"{moment}/{name}"] = _copy(optimizer.state[parameter][moment])
    save_file(tensors, folder / _TENSORS)
    (folder / _FACTS).write_text(json.dumps({"step": step, "fingerprint": fingerprint}), encoding="utf-8")


def read_state(
    folder: Path, fingerprint: str, parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.AdamW
) -> int:
    """Put the state back into weights and optimiser, and return its step.

    E-DRIFT if it was written for other settings, data or model; E-CORRUPT if it is not whole.
    """
    try:
        facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        tensors = load_file(folder / _TENSORS)
        step, written_for = int(facts["step"]), facts["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise _unusable(folder, f"cannot be read: {err}", "E-CORRUPT") from err
    if written_for != fingerprint:
        raise _unusable(folder, "was written with other settings, data, model or versions", "E-DRIFT")
    if {f"weight/{name}" for name in parameters} != {name for name in tensors if name.startswith("weight/")}:
        raise _unusable(folder, "does not have the weights of this model", "E-CORRUPT")
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[f"weight/{name}"])
            moments = {moment: tensors[f"{moment}/{name}"].to(parameter.device) for moment in _MOMENTS}
            count = torch.tensor(float(step), device=parameter.device)
            optimizer.state[parameter] = {"step": count, **moments}
    return step


def fingerprint_of(loaded: LoadedModel, rows: Sequence[TokenRow], spec: TuningSpec) -> str:
    """Hash of everything that decides what training gives, the machine aside."""
    digest = hashlib.sha256()
    facts = [spec.model_dump(mode="json"), dict(loaded.identity), str(loaded.dtype), torch.__version__]
    digest.update(json.dumps(facts, sort_keys=True).encode())
    for row in rows:
        digest.update(repr((row.ids, row.loss)).encode())
    return digest.hexdigest()


def _copy(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous().clone()


def _unusable(folder: Path, why: str, code: str) -> EnvironmentFault:
    return EnvironmentFault(
        f"the training state in {str(folder)!r} {why}",
        fix="start a new run, or delete this run's checkpoints to train it again",
        code=code,
    )
