"""Other kernels in training: on for the gradient of one model, and gone before anything else is computed."""

from __future__ import annotations

from pathlib import Path
from types import MethodType

import pytest
import torch
from torch import Tensor, nn
from transformers.models.llama import modeling_llama

from harness.core.errors import EnvironmentFault, HarnessError
from tests.models.fixtures import FolderSink, open_backend, silent, some_rows
from trainers import auto, lora
from trainers.kernels import changes, patched

IDS = torch.tensor([[11, 12, 13, 14]])
WITH_LIGER = lora.LoraSpec(kernels="liger", epochs=1, batch_rows=4, rank=2)


def as_liger_does(model: nn.Module) -> None:
    """The three ways of liger_kernel.transformers.monkey_patch (0.8.5), with results that differ on purpose."""

    def doubled(self: nn.Module, states: Tensor) -> Tensor:
        return type(self).forward(self, states) * self.offset  # type: ignore[no-any-return, operator]

    modeling_llama.LlamaRMSNorm = nn.LayerNorm
    modeling_llama.apply_rotary_pos_emb = lambda query, key, cos, sin, **_: (query, key)
    for layer in model.modules():
        if type(layer).__name__ == "LlamaRMSNorm":
            layer.offset = 2.0  # type: ignore[assignment]
            layer.forward = MethodType(doubled, layer)  # type: ignore[method-assign]


def logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model(IDS).logits  # type: ignore[no-any-return]


def test_kernels_are_on_within_and_off_before_and_after(zoo: dict[str, Path]):
    model, other = (open_backend(zoo["llama3"]).model.model for _ in range(2))
    before = logits(model)
    names = dict(vars(modeling_llama))
    patches = changes(model, as_liger_does)
    assert torch.equal(logits(model), before)
    assert dict(vars(modeling_llama)) == names
    with patched(patches):
        assert not torch.allclose(logits(model), before)
    assert torch.equal(logits(model), before)
    with pytest.raises(KeyError), patched(patches):
        raise KeyError("anything")
    assert torch.equal(logits(model), before)
    assert dict(vars(modeling_llama)) == names
    assert not any("forward" in vars(layer) for layer in model.modules())
    assert torch.equal(logits(other), before)


def test_an_architecture_without_kernels_is_refused(zoo: dict[str, Path]):
    with pytest.raises(HarnessError, match="no kernels for GPT2LMHeadModel") as caught:
        changes(open_backend(zoo["gpt2"]).model.model, lambda model: None)
    assert caught.value.code == "E-CONFLICT"


@pytest.mark.parametrize("kind", [lora.trainer, auto.trainer])
def test_a_missing_package_is_named_before_anything_is_loaded(kind: object, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("trainers.settings.find_spec", lambda name: None)
    spec = WITH_LIGER if kind is lora.trainer else auto.AutoSpec(kernels="liger")
    with pytest.raises(HarnessError, match="needs liger-kernel") as caught:
        kind.settle(some_rows(4), spec, {})  # type: ignore[attr-defined]
    assert caught.value.code == "E-INSTALL"


def test_on_a_cpu_the_device_is_named(zoo: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("trainers.settings.find_spec", lambda name: object())
    backend = open_backend(zoo["llama3"])
    with pytest.raises(EnvironmentFault, match="the model is on cpu") as caught:
        list(lora.trainer.train(backend.model, some_rows(4), [], WITH_LIGER, FolderSink(tmp_path), silent))
    assert caught.value.code == "E-DEVICE"
    assert not backend.model.model.training
