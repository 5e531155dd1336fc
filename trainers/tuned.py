"""What is being trained: an adapter on the loaded model, or a copy of the whole model.

Both answer the same few questions of the loop, so that the loop does not know which it trains.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Literal, Protocol

import torch
from peft import LoraConfig
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from harness.core.errors import EnvironmentFault, HarnessError
from harness.models.files import FULL_WEIGHTS
from harness.models.loading import LoadedModel
from harness.models.location import model_files
from harness.models.weights import quietly, read_weights
from trainers.lora import LoraSpec
from trainers.noise import add_noise
from trainers.settings import TuningSpec

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_PART = 2**20


class Tuned(Protocol):
    """A model in training."""

    kind: Literal["adapter", "full"]
    model: nn.Module

    def parameters(self) -> dict[str, nn.Parameter]:
        """What the optimiser changes, by name, always in the same order."""
        ...

    def resume(self) -> None:
        """Ready to train, whatever the loaded model was used for meanwhile."""
        ...

    def write(self, folder: Path) -> None:
        """The weights as other programs load them."""
        ...

    def check(self) -> None:
        """EnvironmentFault E-BASE-CHANGED if what must not change has changed."""
        ...

    def close(self) -> None:
        """Leave the loaded model as it was found."""
        ...


class TunedAdapter:
    """A LoRA adapter, injected into the loaded model itself."""

    kind: Literal["adapter", "full"] = "adapter"

    def __init__(self, loaded: LoadedModel, spec: LoraSpec) -> None:
        self.model = loaded.model
        self._switch = loaded.switch
        self._checksum = checksum(loaded.switch.base_tensors())
        self._name = _start(loaded, spec)
        self._quieten = add_noise(self.model, spec.neftune)
        set_gradient_checkpointing(self.model, on=spec.gradient_checkpointing is True)

    def parameters(self) -> dict[str, nn.Parameter]:
        """The adapter's matrices."""
        mark = f".{self._name}."
        return {name.replace(mark, "."): p for name, p in self.model.named_parameters() if mark in name}

    def resume(self) -> None:
        """The adapter on, with gradients and dropout."""
        self._switch.resume_training(self._name)

    def write(self, folder: Path) -> None:
        """adapter_model.safetensors and adapter_config.json."""
        self._switch.write_training(self._name, folder)

    def check(self) -> None:
        """The base must not have been trained along."""
        if checksum(self._switch.base_tensors()) != self._checksum:
            raise EnvironmentFault(
                "the base model's weights changed while an adapter was trained",
                fix="type the same command again; if it happens again, please report it",
                code="E-BASE-CHANGED",
            )

    def close(self) -> None:
        """Take the adapter, and what was added for training, out of the model."""
        self._quieten()
        set_gradient_checkpointing(self.model, on=False)
        self._switch.stop_training(self._name)


class TunedModel:
    """A float32 copy of the whole model; the loaded one is not touched."""

    kind: Literal["adapter", "full"] = "full"

    def __init__(self, loaded: LoadedModel, spec: TuningSpec) -> None:
        self._loaded = loaded
        self.model = read_weights(loaded.folder, torch.float32).to(loaded.device)
        self.model.requires_grad_(True)
        add_noise(self.model, spec.neftune)
        set_gradient_checkpointing(self.model, on=spec.gradient_checkpointing is True)
        self.resume()

    def parameters(self) -> dict[str, nn.Parameter]:
        """All weights; tied ones once."""
        return dict(self.model.named_parameters())

    def resume(self) -> None:
        """With dropout, if the model has any, and noise, if it was asked for."""
        self.model.train()

    def write(self, folder: Path) -> None:
        """model.safetensors with config and tokenizer, in the dtype the base is evaluated in."""
        converted: dict[int, Tensor] = {}
        for tensor in self.model.state_dict().values():
            # By address, so that tied weights stay tied.
            converted.setdefault(
                tensor.data_ptr(), tensor.to(self._loaded.dtype) if tensor.is_floating_point() else tensor
            )
        state = {name: converted[tensor.data_ptr()] for name, tensor in self.model.state_dict().items()}
        with quietly():
            self.model.save_pretrained(folder, state_dict=state, max_shard_size="1000GB")  # type: ignore[operator]
        if not (folder / FULL_WEIGHTS).is_file():
            raise EnvironmentFault("the model was not written to one file", fix="please report it", code="E-CORRUPT")
        _write_dtype(folder / "config.json", self._loaded.dtype)
        for file in model_files(self._loaded.folder):
            if not (folder / file.name).exists() and not file.name.startswith("model"):
                shutil.copyfile(file, folder / file.name)

    def check(self) -> None:
        """Nothing must stay as it was."""

    def close(self) -> None:
        """The copy goes with this object."""


def loaded_model(model: object) -> LoadedModel:
    """The model a backend offers, if it is one that can be trained here."""
    if isinstance(model, LoadedModel):
        return model
    raise HarnessError("this backend's model cannot be tuned", fix="use backend=hf for tuning", code="E-CONFLICT")


def checksum(tensors: dict[str, Tensor]) -> int:
    """A sum over the bits of all tensors: not a hash, but as fast as memory, and it notices any training step."""
    total = 0
    for tensor in tensors.values():
        bits = tensor.contiguous().view(-1).view(_INTEGERS[tensor.element_size()])
        # In parts, for a sum in more bits than its terms have copies them.
        found = sum(int(part.sum(dtype=torch.int64).item()) for part in torch.split(bits, _PART))
        total = (31 * total + found) % 2**63
    return total


def _start(loaded: LoadedModel, spec: LoraSpec) -> str:
    """Add the adapter; E-NOTRAIN if no layer has the names asked for."""
    loaded.switch.activate(None)
    targets = list(loaded.switch.linear_layers) if spec.targets == "auto" else list(spec.targets)
    config = LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha,
        lora_dropout=spec.dropout,
        use_rslora=spec.rslora,
        use_dora=spec.dora,
        target_modules=targets,
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in loaded.model.modules()),
        task_type="CAUSAL_LM",
    )
    try:
        return loaded.switch.start_training(config, spec.seed)
    except ValueError as err:
        raise EnvironmentFault(
            f"there is nothing to train: no layer of this model is named {', '.join(targets) or '(none)'}",
            fix="trainer.targets=auto, or names of linear layers of this architecture",
            code="E-NOTRAIN",
        ) from err


def set_gradient_checkpointing(model: nn.Module, *, on: bool) -> None:
    """Compute a layer's inside again in the backward pass instead of keeping it, or not."""
    if on:
        model.gradient_checkpointing_enable({"use_reentrant": False})  # type: ignore[operator]
    elif getattr(model, "is_gradient_checkpointing", False):
        model.gradient_checkpointing_disable()  # type: ignore[operator]


def _write_dtype(file: Path, dtype: torch.dtype) -> None:
    """The dtype of the weights, not of the copy they were trained in."""
    config = {**json.loads(file.read_text(encoding="utf-8")), "dtype": str(dtype).removeprefix("torch.")}
    file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
