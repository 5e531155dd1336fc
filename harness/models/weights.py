"""Reading a transformers model from a checked folder: configuration first, then safetensors, nothing else."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging as hf_logging

from harness.core.errors import HarnessError
from harness.models.quantization import Quantization, keep_bits, quantized_by
from harness.models.tokenizer import offline


def read_weights(
    folder: Path,
    dtype: torch.dtype,
    config: object | None = None,
    *,
    quantization: Quantization = "none",
    device: torch.device | None = None,
) -> nn.Module:
    """A frozen model in eval mode from a folder's safetensors; every tensor must be there and used.

    device: where a quantised model's weights go; others stay on the CPU.
    """
    config = config if config is not None else read_model_config(folder)
    quantized = quantized_by(quantization, dtype, config)
    place = {} if quantized is None else {"quantization_config": quantized, "device_map": {"": device or "cpu"}}
    with offline(), quietly():
        try:
            model, info = AutoModelForCausalLM.from_pretrained(
                folder,
                config=config,
                dtype=dtype,
                attn_implementation=_attention(config),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
                **place,
            )
        except (ValueError, KeyError, OSError, RuntimeError, ImportError) as err:
            raise _unloadable(folder, str(err)) from err
    missing = sorted(info["missing_keys"])
    if missing:
        raise _unloadable(folder, f"{len(missing)} weights are missing, such as {missing[0]!r}")
    loaded: nn.Module = model
    keep_bits(loaded)
    return loaded.requires_grad_(False).eval()


def read_model_config(folder: Path) -> object:
    """The configuration in a folder; E-MODEL if transformers does not know the architecture."""
    try:
        with offline():
            found: object = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ValueError, KeyError, OSError, TypeError) as err:
        raise _unloadable(folder, str(err)) from err
    return found


def _attention(config: object) -> str:
    """SDPA, except for models that cap attention scores (Gemma 2): transformers' SDPA path drops the cap silently."""
    text_config = config.get_text_config() if hasattr(config, "get_text_config") else config
    return "eager" if getattr(text_config, "attn_logit_softcapping", None) else "sdpa"


def _unloadable(folder: Path, why: str) -> HarnessError:
    first = next((line.strip() for line in why.splitlines() if line.strip()), "no reason given")
    return HarnessError(
        f"the model in {str(folder)!r} cannot be loaded: {first[:300]}",
        fix="use a causal language model of an architecture that this version of transformers implements",
        code="E-MODEL",
    )


@contextmanager
def quietly() -> Iterator[None]:
    """Without transformers' progress bars and load report: what matters of it is raised as an error."""
    had_bars, level = hf_logging.is_progress_bar_enabled(), logging.getLogger("transformers").level
    hf_logging.disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.getLogger("transformers").setLevel(level)
        if had_bars:
            hf_logging.enable_progress_bar()
