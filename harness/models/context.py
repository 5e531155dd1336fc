"""How long a text a model can see, and where that is written; read from config.json without torch."""

from __future__ import annotations

from pathlib import Path

from pydantic import JsonValue

from harness.core.errors import HarnessError
from harness.models.safety import read_json

# What architectures call it: Llama and most others, GPT-2, MPT and Falcon's ancestors.
_NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "n_ctx", "max_sequence_length", "seq_length")


def context_length(folder: Path, claimed: int | None) -> tuple[int, str]:
    """Most tokens of a prompt and its completion, and the source of that number; E-CONTEXT if there is none.

    claimed: the tokenizer's own limit, believed only where the model says nothing.
    """
    config = read_json(folder / "config.json")
    for part in _text_parts(config):
        for name in _NAMES:
            value = part.get(name)
            if isinstance(value, int) and value > 0:
                return value, f"{name} in config.json"
    if claimed is not None:
        return claimed, "model_max_length in tokenizer_config.json"
    raise HarnessError(
        "the model folder does not say how long a text may be",
        fix="add max_position_embeddings to its config.json",
        code="E-CONTEXT",
    )


def _text_parts(config: JsonValue) -> list[dict[str, JsonValue]]:
    """The configuration of the text decoder in models that have several parts, then the whole."""
    if not isinstance(config, dict):
        return []
    inner = config.get("text_config")
    return [inner, config] if isinstance(inner, dict) else [config]
