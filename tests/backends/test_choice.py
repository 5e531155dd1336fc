"""`backend=auto` takes the engine that was measured to suit, and says why; it never imports what is not there."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from harness.backends import choice
from harness.backends.choice import CPU_COST_OF_BASE, CPU_COST_WITH_ADAPTER, Choice, choose, n_gpus, visible_gpus
from harness.config import resolve
from harness.core.specs import ModelSpec

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results" / "engines.json"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment with vLLM's build for GPUs and one GPU; the folder of its list of models."""
    package = tmp_path / "vllm"
    registry = package / "model_executor" / "models" / "registry.py"
    registry.parent.mkdir(parents=True)
    registry.write_text('MODELS = {"LlamaForCausalLM": ("llama", "LlamaForCausalLM")}\n')
    spec = ModuleSpec("vllm", None, is_package=True)
    spec.submodule_search_locations = [str(package)]
    monkeypatch.setattr(choice, "find_spec", lambda name: spec)
    monkeypatch.setattr(choice, "_is_for_cpus", lambda: False)
    monkeypatch.setattr(choice, "n_gpus", lambda: 1)
    return package


def model_folder(folder: Path, *architectures: str) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"architectures": list(architectures)}))
    return folder


def test_an_nvidia_gpu_and_vllm_mean_vllm(installed: Path):
    assert choose(ModelSpec()) == Choice("vllm", "vLLM is installed and there is an NVIDIA GPU")
    assert choose(ModelSpec(device="cuda:0")).name == "vllm"


def test_without_vllm_it_is_hf_and_torch_is_not_imported():
    code = (
        "import sys, importlib.util as u; find = u.find_spec;"
        "u.find_spec = lambda name, package=None: None if name == 'vllm' else find(name, package);"
        "from harness.backends.choice import choose; from harness.core.specs import ModelSpec;"
        "print(choose(ModelSpec()).name, choose(ModelSpec()).reason, 'torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "hf vLLM is not installed False\n"


@pytest.mark.parametrize("build_for_cpus", [True, False])
def test_on_a_cpu_the_reason_is_what_was_measured(
    installed: Path, monkeypatch: pytest.MonkeyPatch, build_for_cpus: bool
):
    monkeypatch.setattr(choice, "_is_for_cpus", lambda: build_for_cpus)
    found = choose(ModelSpec(device="auto" if build_for_cpus else "cpu"))
    assert found.name == "hf"
    assert f"{CPU_COST_WITH_ADAPTER:g} times as long as hf with an adapter" in found.reason


@pytest.mark.skipif(not RESULTS.is_file(), reason="benchmarks/results/engines.json is not here")
def test_the_figures_are_those_of_the_benchmark():
    ratios = json.loads(RESULTS.read_text())["ratios"]
    for said, name in (
        (CPU_COST_WITH_ADAPTER, "vllm: cost of hf, one adapter"),
        (CPU_COST_OF_BASE, "vllm: cost of hf, base"),
    ):
        assert said == pytest.approx(ratios[name]["cpu"], abs=0.06), name


def test_without_an_nvidia_gpu_it_is_hf(installed: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(choice, "n_gpus", lambda: 0)
    assert choose(ModelSpec()) == Choice("hf", "there is no NVIDIA GPU")


class Driver:
    """The driver's library with two GPUs, whose calls give 0 where they succeed."""

    def __init__(self, *, starts: bool) -> None:
        self.nvmlInit_v2 = lambda: 0 if starts else 9
        self.nvmlShutdown = lambda: 0

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:  # noqa: N802
        count._obj.value = 2
        return 0


@pytest.mark.parametrize(("starts", "visible", "expected"), [(True, None, 2), (False, None, 0), (True, "-1", 0)])
def test_gpus_are_counted_by_the_driver(
    monkeypatch: pytest.MonkeyPatch, starts: bool, visible: str | None, expected: int
):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    monkeypatch.setattr(choice.ctypes, "CDLL", lambda name: Driver(starts=starts))
    assert n_gpus() == expected


@pytest.mark.parametrize(("visible", "expected"), [(None, 4), ("2,3", 2), ("GPU-1f,", 1), ("-1", 0), ("", 0)])
def test_gpus_that_the_environment_leaves_are_counted(
    monkeypatch: pytest.MonkeyPatch, visible: str | None, expected: int
):
    driver = Driver(starts=True)
    monkeypatch.setattr(driver, "nvmlDeviceGetCount_v2", lambda count: setattr(count._obj, "value", 4) or 0)
    monkeypatch.setattr(choice.ctypes, "CDLL", lambda name: driver)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert visible_gpus() == expected


def test_without_a_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch):
    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(choice.ctypes, "CDLL", missing)
    assert n_gpus() == 0


def test_another_gpu_than_the_first_is_for_hf(installed: Path):
    assert choose(ModelSpec(device="cuda:1")) == Choice("hf", "vLLM takes the first GPU it can see, not cuda:1")


def test_a_quantised_base_is_for_hf(installed: Path):
    assert choose(ModelSpec(quantization="nf4")).name == "hf"


def test_a_model_that_vllm_does_not_list_is_for_hf(installed: Path, tmp_path: Path):
    known = model_folder(tmp_path / "known", "LlamaForCausalLM")
    other = model_folder(tmp_path / "other", "OwnForCausalLM")
    assert choose(ModelSpec(), known).name == "vllm"
    assert choose(ModelSpec(), other) == Choice("hf", "vLLM has no OwnForCausalLM")
    assert choose(ModelSpec(), model_folder(tmp_path / "silent")) == Choice("hf", "vLLM has no model of this kind")


def test_auto_looks_into_a_model_that_is_here_and_asks_no_hub(installed: Path, echo_task: Path, tmp_path: Path):
    """A run of a folder, of an embedded model (a Llama) and of one on the Hub, which is not looked for."""
    own = model_folder(tmp_path / "own", "OwnForCausalLM")
    chosen = {
        name: resolve([f"task={echo_task}", f"model={name}", "backend=auto", "trainer=none"]).spec.backend.name
        for name in (str(own), "demo", "nobody/nothing-of-the-kind")
    }
    assert chosen == {str(own): "hf", "demo": "vllm", "nobody/nothing-of-the-kind": "vllm"}
