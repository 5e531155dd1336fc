"""Adapters as files: written so that plain peft loads them, the same bytes every time, and read without trust."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from peft import LoraConfig
from pydantic import JsonValue
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from harness.core.errors import EnvironmentFault
from harness.core.types import Checkpoint
from harness.models.files import ADAPTER_CONFIG, ADAPTER_WEIGHTS, BASE_RECORD

# What may differ from peft's defaults; anything else changes what an adapter computes in ways not proven here.
_USED = ("r", "lora_alpha", "lora_dropout", "target_modules", "use_rslora", "use_dora", "fan_in_fan_out")
# Where a training began does not matter once it is over, unless it began by changing the base's own weights.
_HARMLESS_BEGINNINGS = (True, False, "gaussian", "orthogonal")
# auto_mapping: the base's class, which peft notes where no task_type was given; nothing is imported by it here.
_IGNORED = frozenset(
    {"peft_version", "base_model_name_or_path", "task_type", "inference_mode", "peft_type", "revision", "auto_mapping"}
)
# Wider than any adapter that is of use: layers of this rank are made before their weights are looked at.
_LARGEST_RANK = 4096
_PREFIX, _MATRIX = "base_model.model.", ".lora_A."


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
    """The configuration of a checkpoint's adapter, for inference.

    E-ADAPTER if it is not plain LoRA, or of another rank than its weights. Layers that it describes by a pattern are
    taken from the weights' names instead: a stranger's regular expression can take forever.
    """
    try:
        found = json.loads((checkpoint.folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
        defaults = json.loads(json.dumps(LoraConfig().to_dict(), default=_plain))
        shapes = _shapes(checkpoint.folder / ADAPTER_WEIGHTS)
        _require_rank(found.get("r", defaults["r"]), shapes)
        found["target_modules"] = _targets(found.get("target_modules"), shapes)
        return _plain_lora(found, defaults)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, SafetensorError) as err:
        raise EnvironmentFault(
            f"checkpoint {checkpoint.name} cannot be used: {ADAPTER_CONFIG}: {err}",
            fix="take the checkpoint from an intact copy; only plain LoRA adapters are read",
            code="E-ADAPTER",
        ) from err


def _shapes(file: Path) -> dict[str, list[int]]:
    """Of the matrices that layers' inputs go through, (rank, ...); no weight is read."""
    with safe_open(file, framework="numpy") as tensors:
        return {name: tensors.get_slice(name).get_shape() for name in tensors.keys() if _MATRIX in name}  # noqa: SIM118


def _require_rank(rank: JsonValue, shapes: Mapping[str, list[int]]) -> None:
    if not isinstance(rank, int) or not 0 < rank <= _LARGEST_RANK:
        raise ValueError(f"r = {rank!r} is no rank from 1 to {_LARGEST_RANK}")
    for name, shape in shapes.items():
        if shape[:1] != [rank]:
            raise ValueError(f"r = {rank}, and {name!r} has shape {tuple(shape)}")


def _targets(asked: JsonValue, names: Iterable[str]) -> list[str]:
    """Names of layers, or ends of them."""
    if isinstance(asked, str):
        return sorted({name.removeprefix(_PREFIX).partition(_MATRIX)[0] for name in names})
    if not isinstance(asked, list) or not all(isinstance(name, str) and name for name in asked):
        raise ValueError("target_modules are no names of layers")
    return [str(name) for name in asked]


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
