"""Loading a base model: safetensors only, no code from its folder, one dtype and one device, all recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import JsonValue
from torch import nn
from transformers import GenerationConfig

from harness.core.errors import EnvironmentFault, HarnessError
from harness.core.specs import ModelSpec
from harness.models.adapters import Switch
from harness.models.context import context_length
from harness.models.location import model_identity, quantization_identity
from harness.models.lora_files import Base
from harness.models.quantization import Quantization
from harness.models.tokenizer import HFTokenizer
from harness.models.weights import read_model_config, read_weights

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A base model in memory, and the switch that puts checkpoints on it.

    model: the transformers model itself; adapters are injected into it, so calling it always runs what the switch
    has activated. context_source: where the context length was found. identity: of the model's bytes, and what they
    were quantised to.
    """

    name: str
    folder: Path
    model: nn.Module
    switch: Switch
    device: torch.device
    dtype: torch.dtype
    context_length: int
    context_source: str
    identity: Mapping[str, JsonValue]
    quantization: Quantization = "none"


def load_model(spec: ModelSpec, folder: Path, tokenizer: HFTokenizer) -> LoadedModel:
    """The model of a located folder, in eval mode, frozen, its own generation settings ignored.

    HarnessError E-DEVICE, E-DTYPE, E-CONTEXT, E-VOCAB or E-MODEL, the first three before any weight is read.
    """
    config = read_model_config(folder)
    device = choose_device(spec.device)
    dtype = choose_dtype(spec.dtype, device)
    length, source = context_length(folder, tokenizer.max_length)
    model = read_weights(folder, dtype, config, quantization=spec.quantization, device=device)
    _check_vocabulary(model, tokenizer)
    if spec.quantization == "none":
        model.to(device)
    _forget_generation_defaults(model)
    identity = {**model_identity(folder), **quantization_identity(spec)}
    return LoadedModel(
        name=spec.name,
        folder=folder,
        model=model,
        switch=Switch(model, Base(spec.name, identity), dtype),
        device=device,
        dtype=dtype,
        context_length=length,
        context_source=source,
        identity=identity,
        quantization=spec.quantization,
    )


def choose_device(asked: str) -> torch.device:
    """`auto` is the first GPU or the CPU; E-DEVICE for one that is not there."""
    name = ("cuda" if torch.cuda.is_available() else "cpu") if asked == "auto" else asked
    try:
        device = torch.device(name)
    except RuntimeError as err:
        raise HarnessError(
            f"{asked!r} is not a device", fix="model.device=auto, cpu or cuda:0", code="E-DEVICE"
        ) from err
    there = device.type == "cpu" or (device.type == "cuda" and torch.cuda.is_available())
    if not there or (device.index or 0) >= max(1, torch.cuda.device_count()):
        raise EnvironmentFault(f"there is no device {asked!r} here", fix="model.device=auto", code="E-DEVICE")
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


def choose_dtype(asked: str, device: torch.device) -> torch.dtype:
    """`auto` is bfloat16 on a GPU that has it and float32 elsewhere; what was asked for is never exchanged silently."""
    has_bfloat16 = device.type == "cpu" or torch.cuda.is_bf16_supported(including_emulation=False)
    if asked == "auto":
        return torch.bfloat16 if device.type == "cuda" and has_bfloat16 else torch.float32
    if (asked == "bfloat16" and not has_bfloat16) or (asked == "float16" and device.type == "cpu"):
        raise EnvironmentFault(f"{asked} is not supported on {device}", fix="model.dtype=auto", code="E-DTYPE")
    return _DTYPES[asked]


def _check_vocabulary(model: nn.Module, tokenizer: HFTokenizer) -> None:
    embeddings = model.get_input_embeddings()  # type: ignore[operator]
    rows = int(embeddings.weight.shape[0])
    needed = max(tokenizer.n_ids, *(token + 1 for token in tokenizer.special_ids), 0)
    if needed > rows:
        raise HarnessError(
            f"the tokenizer has ids up to {needed - 1}, the model only {rows} embeddings",
            fix="use the tokenizer that belongs to this model; embeddings are never resized silently",
            code="E-VOCAB",
        )


def _forget_generation_defaults(model: nn.Module) -> None:
    """The folder's temperature and penalties are not what was asked for."""
    model.generation_config = GenerationConfig()
