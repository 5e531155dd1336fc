"""What vLLM cannot compute, known without it: so that a run is refused before anything is trained. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from harness.core.errors import HarnessError
from harness.models.safety import read_json

# The ranks that vLLM makes room for.
RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
# Below this vLLM would take another temperature than was asked for.
_COOLEST = 0.01


def require_adapter(what: str, rank: int, *, dora: bool) -> None:
    """HarnessError E-BACKEND for an adapter that vLLM cannot compute."""
    if dora:
        raise HarnessError(
            f"{what} is a DoRA adapter, which vLLM does not compute",
            fix="backend=hf, or train without trainer.dora",
            code="E-BACKEND",
        )
    if rank > RANKS[-1]:
        raise HarnessError(
            f"{what} has rank {rank}; vLLM takes {RANKS[-1]} at most",
            fix="backend=hf, or train with a smaller trainer.rank",
            code="E-BACKEND",
        )


def require_temperature(temperature: float) -> None:
    """HarnessError E-BACKEND for a temperature that vLLM would not take as it is."""
    if 0 < temperature < _COOLEST:
        raise HarnessError(
            f"vLLM has no temperature between 0 and {_COOLEST}; {temperature:g} was asked for",
            fix=f"generation.temperature=0, or {_COOLEST} and more, or backend=hf",
            code="E-BACKEND",
        )


def require_one_rotary(folder: Path, longest: int) -> None:
    """E-BACKEND for a model that vLLM would compute by other rotary factors than it is trained by.

    As soon as texts may be longer than such a model's original context, vLLM takes the factors of long texts for all;
    transformers takes those of short ones for short ones. longest: tokens of the longest text that vLLM is to take.
    """
    config = read_json(folder / "config.json")
    config = config if isinstance(config, dict) else {}
    settings = config.get("rope_parameters") or config.get("rope_scaling")
    if not isinstance(settings, dict) or settings.get("rope_type", settings.get("type")) not in ("longrope", "su"):
        return
    original = settings.get("original_max_position_embeddings") or config.get("original_max_position_embeddings")
    if isinstance(original, int) and longest > original:
        raise HarnessError(
            f"vLLM computes this model otherwise than it is trained where texts may exceed {original} tokens",
            fix=f"backend.options.max_model_len={original}, or backend=hf",
            code="E-BACKEND",
        )
