"""LoRA layers as one operation: what peft's own layers give, which are the reference here."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from harness.models import fused
from harness.models.fused import fused_adapters
from tests.models.fixtures import open_backend, some_rows

IDS = torch.tensor([row.ids[:8] for row in some_rows(3, longest=40, seed=2)])


def adapted(folder: Path, dtype: str = "float32", **options: object) -> nn.Module:
    """A model with an adapter whose B is not zero, so that every part of a layer shows."""
    base = open_backend(folder, dtype=dtype).model.model
    torch.manual_seed(3)
    settings = {"r": 4, "lora_alpha": 6, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **options}
    model = get_peft_model(base, LoraConfig(**settings))  # type: ignore[arg-type]
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    return model


def result(model: nn.Module, *, half: bool = False) -> tuple[Tensor, Tensor]:
    """Logits, and the gradient of a sum that weighs each of them differently."""
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
        logits = model(input_ids=IDS).logits.float()
    (logits * torch.linspace(-1, 1, logits.numel()).view_as(logits)).sum().backward()
    return logits.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


# qwen2 has biases; gpt2's layers are no nn.Linear and stay peft's; dora is a kind of its own.
@pytest.mark.parametrize(
    ("name", "options"),
    [("llama3", {}), ("qwen2", {}), ("gpt2", {"fan_in_fan_out": True}), ("llama3", {"use_dora": True})],
    ids=["llama3", "qwen2", "gpt2", "dora"],
)
def test_outputs_and_gradients_are_those_of_peft(zoo: dict[str, Path], name: str, options: dict[str, object]):
    model = adapted(zoo[name], **options)
    logits, gradient = result(model)
    with fused_adapters(model):
        ours, our_gradient = result(model)
    assert torch.allclose(ours, logits, atol=1e-5 * float(logits.abs().max()))
    assert float((our_gradient - gradient).norm()) < 1e-5 * float(gradient.norm())


def test_bfloat16_is_as_close_as_bfloat16_is(zoo: dict[str, Path]):
    reference = result(adapted(zoo["llama3"]))[1]
    model = adapted(zoo["llama3"], "bfloat16")
    theirs = result(model, half=True)[1]
    with fused_adapters(model):
        ours = result(model, half=True)[1]
    error = [float((gradient - reference).norm() / reference.norm()) for gradient in (theirs, ours)]
    assert error[1] < 1.5 * error[0] < 0.2


def test_dropout_multiplies_the_adapters_input_by_one_mask_forward_and_backward(
    zoo: dict[str, Path], monkeypatch: pytest.MonkeyPatch
):
    layer = next(m for m in adapted(zoo["llama3"], lora_dropout=0.25).modules() if type(m) is fused.Linear)
    masks = []
    kept = fused._kept

    def noted(x_NI: Tensor, p: float) -> tuple[Tensor, float]:
        masks.append(kept(x_NI, p))
        return masks[-1]

    monkeypatch.setattr(fused, "_kept", noted)
    x = torch.randn(5, 7, layer.in_features, requires_grad=True)
    with fused_adapters(layer):
        y = layer(x)
        y.sin().sum().backward()
    found = x.grad
    assert found is not None
    ((mask, keep),) = masks
    down, up, scale = layer.lora_A["default"].weight, layer.lora_B["default"].weight, layer.scaling["default"]
    gradients = [down.grad, up.grad]
    x.grad = down.grad = up.grad = None
    dropped = x * mask.view_as(x) / keep
    expected = layer.base_layer(x) + scale * (dropped @ down.T) @ up.T
    expected.sin().sum().backward()
    assert torch.allclose(y, expected, atol=1e-5)
    for ours, theirs in zip((found, *gradients), (x.grad, down.grad, up.grad), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("p", [0.05, 0.5, 0.9])
def test_dropout_keeps_the_share_asked_for_and_every_place_alike(p: float):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        mask, keep = fused._kept(torch.empty(1001, 1000), p)
    assert keep == pytest.approx(1 - p, abs=1e-5)
    # Six standard deviations of a binomial count, over all and for each of the four elements that share a number.
    for part in (mask, *(mask.flatten()[i::4] for i in range(4))):
        assert float(part.float().mean()) == pytest.approx(keep, abs=6 * (p * (1 - p) / part.numel()) ** 0.5)


def test_without_training_there_is_no_dropout(zoo: dict[str, Path]):
    model = adapted(zoo["llama3"], lora_dropout=0.5).eval()
    expected = result(model)[0]
    with fused_adapters(model):
        assert torch.allclose(result(model)[0], expected, atol=1e-5 * float(expected.abs().max()))


def test_layers_are_pefts_own_again_afterwards(zoo: dict[str, Path]):
    model = adapted(zoo["llama3"])
    layers = [module for module in model.modules() if type(module) is fused.Linear]
    assert layers
    with fused_adapters(model):
        assert all("forward" in vars(layer) for layer in layers)
    assert not any("forward" in vars(layer) for layer in layers)
    with pytest.raises(KeyError), fused_adapters(model):
        raise KeyError("anything")
    assert not any("forward" in vars(layer) for layer in layers)


def test_adapters_that_are_off_stay_off(zoo: dict[str, Path]):
    model = adapted(zoo["llama3"])
    with model.disable_adapter(), fused_adapters(model), torch.no_grad():
        found = model(input_ids=IDS).logits
    with torch.no_grad():
        base = open_backend(zoo["llama3"]).model.model(input_ids=IDS).logits
    assert torch.allclose(found, base, atol=1e-5)
