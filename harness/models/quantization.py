"""Base models kept in 4 or 8 bits a weight (QLoRA, Dettmers et al. 2023), the same bits in every arm of a run."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

import torch
from torch import nn
from transformers import BitsAndBytesConfig

from harness.core.errors import HarnessError

Quantization = Literal["none", "nf4", "int8"]


def quantized_by(kind: Quantization, dtype: torch.dtype, config: object) -> BitsAndBytesConfig | None:
    """What transformers is told, or None; E-INSTALL without bitsandbytes, E-CONFLICT for weights that are quantised.

    nf4: with the scales quantised again, and products in the model's dtype. int8: bitsandbytes' own defaults.
    """
    if kind == "none":
        return None
    if getattr(config, "quantization_config", None):
        raise HarnessError(
            "this model's weights are quantised already", fix="model.quantization=none", code="E-CONFLICT"
        )
    if find_spec("bitsandbytes") is None:
        raise HarnessError(
            f"model.quantization={kind} needs bitsandbytes, which is not installed",
            fix='pip install "sft-harness[qlora]" -c constraints.txt, or model.quantization=none',
            code="E-INSTALL",
        )
    if kind == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )


def keep_bits(model: nn.Module) -> None:
    """Never write the weights anew.

    On CPUs with products of bfloat16, bitsandbytes 0.50 stores a layer's weights in another order and with coarser
    scales when it is first evaluated: the base would be another from then on, and adapters would get no gradient.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]
