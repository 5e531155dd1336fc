"""Names of the files that hold a checkpoint; no torch, so that a wrong folder is noticed within seconds."""

from __future__ import annotations

# Both as plain peft and plain transformers name them.
ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
FULL_WEIGHTS = "model.safetensors"
# Beside the weights, because peft warns of keys it does not know: which base model they were trained on.
BASE_RECORD = "base.json"
