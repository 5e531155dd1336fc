"""QLoRA: the base's bits are the same in every arm and after training, and what needs other bits is refused."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from harness.backends.hf import HFKind
from harness.core.errors import HarnessError
from harness.core.specs import BackendSpec, ModelSpec
from harness.models.loading import LoadedModel
from harness.models.location import DEMO_FOLDER
from harness.models.quantization import quantized_by
from tests.models.fixtures import FolderSink, silent, some_rows
from trainers import full, lora

needs_bitsandbytes = pytest.mark.skipif(find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
PROBE = torch.tensor([[5, 6, 7, 8, 9]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama whose layers are as wide as a block of weights that share a scale (64); the demo model's tokenizer."""
    target = tmp_path_factory.mktemp("model")
    config = LlamaConfig(
        vocab_size=16_384,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=256,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(target)
    for file in DEMO_FOLDER.iterdir():
        if file.name.startswith(("tokenizer", "chat_template")):
            (target / file.name).write_bytes(file.read_bytes())
    return target


def loaded(folder: Path, quantization: str) -> LoadedModel:
    spec = ModelSpec.model_validate({"name": str(folder), "device": "cpu", "quantization": quantization})
    return HFKind().create(spec, BackendSpec(), thinking=False).model


def logits(model: LoadedModel) -> torch.Tensor:
    with torch.no_grad():
        return model.model(PROBE).logits  # type: ignore[no-any-return]


@needs_bitsandbytes
@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_an_adapter_learns_on_a_quantised_base_that_stays_as_it_was(folder: Path, tmp_path: Path, kind: str):
    model = loaded(folder, kind)
    # Evaluated before, as in a run: the baseline comes first.
    before = logits(model)
    bits = {name: tensor.clone() for name, tensor in model.switch.base_tensors().items()}
    exact = logits(loaded(folder, "none"))
    assert 0 < float((before - exact).norm() / exact.norm()) < 0.5
    spec = lora.LoraSpec(epochs=8, batch_rows=8, rank=4, lr=1e-2, warmup=0.0, checkpoint_every=4, dropout=0.0)
    sink = FolderSink(tmp_path)
    first, *_, last = lora.trainer.train(model, some_rows(8), some_rows(8), spec, sink, silent)
    assert last.validation_loss is not None
    assert first.validation_loss is not None
    assert last.validation_loss < first.validation_loss - 0.1
    assert torch.equal(logits(model), before)
    after = model.switch.base_tensors()
    assert all(torch.equal(after[name], tensor) for name, tensor in bits.items())
    # The same adapter on a base in memory anew, and not on one of other bits.
    other = loaded(folder, kind)
    other.switch.activate(last)
    model.switch.activate(last)
    assert torch.equal(logits(other), logits(model))
    with pytest.raises(HarnessError, match="it was trained on another base model"):
        loaded(folder, "none").switch.activate(last)


@needs_bitsandbytes
def test_full_tuning_of_a_quantised_model_is_refused(folder: Path, tmp_path: Path):
    with pytest.raises(HarnessError, match="those of a quantised model cannot be changed") as caught:
        full.trainer.train(
            loaded(folder, "int8"), some_rows(4), some_rows(2), full.FullSpec(), FolderSink(tmp_path), silent
        )
    assert caught.value.code == "E-CONFLICT"


def test_full_tuning_of_a_quantised_model_is_refused_before_anything_is_loaded():
    with pytest.raises(HarnessError, match="trainer=lora") as caught:
        full.trainer.settle(some_rows(4), full.FullSpec(), {"sha256": "0", "quantization": "nf4"})
    assert caught.value.code == "E-CONFLICT"


def test_without_bitsandbytes_the_package_to_install_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("harness.models.quantization.find_spec", lambda name: None)
    with pytest.raises(HarnessError, match="needs bitsandbytes") as caught:
        quantized_by("nf4", torch.float32, LlamaConfig())
    assert caught.value.code == "E-INSTALL"
    assert "sft-harness[qlora]" in caught.value.fix


def test_weights_that_are_quantised_already_are_not_quantised_again():
    config = LlamaConfig()
    config.quantization_config = {"quant_method": "gptq", "bits": 4}
    with pytest.raises(HarnessError, match="quantised already") as caught:
        quantized_by("nf4", torch.float32, config)
    assert caught.value.code == "E-CONFLICT"
