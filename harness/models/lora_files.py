"""Adapters as files: written so that plain peft loads them, the same bytes every time, and read without trust."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from peft import LoraConfig
from pydantic import JsonValue
from safetensors.torch import save_file
from torch import Tensor

from harness.core.errors import EnvironmentFault
from harness.core.types import Checkpoint
from harness.models.files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, BASE_RECORD

# What may differ from peft's defaults; anything else changes what an adapter computes in ways not proven here.
_USED = ("r", "lora_alpha", "lora_dropout", "target_modules", "use_rslora", "use_dora", "fan_in_fan_out")
# Where a training began does not matter once it is over, unless it began by changing the base's own weights.
_HARMLESS_BEGINNINGS = (True, False, "gaussian", "orthogonal")
_IGNORED = frozenset(
    {"peft_version", "base_model_name_or_path", "task_type", "inference_mode", "peft_type", "revision"}
)


@dataclass(frozen=True, slots=True)
class Base:
    """The model that adapters are put on: its name as it was asked for, and what identifies its bytes."""

    name: str
    identity: Mapping[str, JsonValue]


def write_adapter(folder: Path, tensors: Mapping[str, Tensor], config: LoraConfig, base: Base) -> None:
    """Write weights, configuration and the base they belong to."""
    copies = {name: tensors[name].detach().cpu().contiguous().clone() for name in sorted(tensors)}
    save_file(copies, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    described = {**config.to_dict(), "base_model_name_or_path": base.name, "inference_mode": True}
    for file, value in ((ADAPTER_CONFIG, described), (BASE_RECORD, dict(base.identity))):
        text = json.dumps(value, default=_plain, indent=2, sort_keys=True)
        (folder / file).write_text(text + "\n", encoding="utf-8")


def is_of(checkpoint: Checkpoint, base: Base) -> bool:
    """Whether an adapter was trained on this base; an adapter from elsewhere that does not say is believed."""
    record = checkpoint.folder / BASE_RECORD
    if not record.is_file():
        return True
    try:
        return bool(json.loads(record.read_text(encoding="utf-8")) == dict(base.identity))
    except ValueError:
        return False


def read_config(checkpoint: Checkpoint) -> LoraConfig:
    """The configuration of a checkpoint's adapter, for inference; E-ADAPTER if it is not plain LoRA."""
    try:
        found = json.loads((checkpoint.folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        defaults = json.loads(json.dumps(LoraConfig().to_dict(), default=_plain))
        return _plain_lora(found, defaults)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as err:
        raise EnvironmentFault(
            f"checkpoint {checkpoint.name} cannot be used: {ADAPTER_CONFIG}: {err}",
            fix="take the checkpoint from an intact copy; only plain LoRA adapters are read",
            code="E-ADAPTER",
        ) from err


def _plain_lora(found: dict[str, JsonValue], defaults: dict[str, JsonValue]) -> LoraConfig:
    if found["peft_type"] != "LORA":
        raise ValueError(f"peft_type is {found['peft_type']!r}, not LORA")
    for key, value in found.items():
        if key == "init_lora_weights" and value in _HARMLESS_BEGINNINGS:
            continue
        if key not in _USED and key not in _IGNORED and value and value != defaults.get(key):
            raise ValueError(f"{key} = {value!r} is not supported")
    used = {key: found[key] for key in _USED if key in found}
    return LoraConfig(**used, task_type="CAUSAL_LM", inference_mode=True)


def _plain(value: object) -> JsonValue:
    """Sets in one order, whatever the process's hash seed; enums by value."""
    if isinstance(value, set | frozenset):
        return sorted(value)
    if isinstance(value, Enum):
        return str(value.value)
    return str(value)
