"""Loading a model: every family, one dtype, one device, and no guess where the folder does not say."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from harness.core.errors import HarnessError
from harness.core.specs import ModelSpec
from harness.models.context import context_length
from harness.models.loading import choose_device, choose_dtype, load_model
from harness.models.memory import is_out_of_memory
from harness.models.tokenizer import load_tokenizer
from tests.models.fixtures import open_backend
from tests.models.zoo import NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_family_loads_frozen_in_eval_mode(zoo: dict[str, Path], name: str):
    loaded = open_backend(zoo[name]).model
    assert (loaded.dtype, loaded.device, loaded.context_length) == (torch.float32, torch.device("cpu"), 256)
    assert not loaded.model.training
    assert not any(parameter.requires_grad for parameter in loaded.model.parameters())
    assert "embed_tokens" not in loaded.switch.linear_layers
    assert "lm_head" not in loaded.switch.linear_layers


def test_capped_attention_is_not_lost(zoo: dict[str, Path]):
    """transformers' SDPA path ignores Gemma 2's cap on attention scores."""
    loaded = open_backend(zoo["gemma2"]).model.model
    ids = torch.arange(10, 40)[None]
    with torch.no_grad():
        capped = loaded(ids).logits
        loaded.set_attn_implementation("sdpa")  # type: ignore[operator]
        for layer in loaded.modules():
            if hasattr(layer, "attn_logit_softcapping"):
                layer.attn_logit_softcapping = 1e-3
        assert torch.allclose(capped, loaded(ids).logits, atol=1e-3)
        loaded.set_attn_implementation("eager")  # type: ignore[operator]
        assert not torch.allclose(capped, loaded(ids).logits, atol=1e-3)
    assert open_backend(zoo["gemma2"]).model.model.config._attn_implementation == "eager"  # type: ignore[union-attr]


def test_tokenizer_with_more_ids_than_the_model_has_rows_is_refused(zoo: dict[str, Path], tmp_path: Path):
    tokenizer = load_tokenizer(zoo["llama2"], None, thinking=False)
    with pytest.raises(HarnessError, match=r"ids up to 528, the model only 405 embeddings") as caught:
        load_model(ModelSpec(device="cpu"), zoo["llama3"], tokenizer)
    assert caught.value.code == "E-VOCAB"


def test_missing_weights_are_refused_by_name(zoo: dict[str, Path], tmp_path: Path):
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(zoo["llama3"], tmp_path / "model"))
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(HarnessError, match=r"such as 'model\.layers\.1\.mlp\.up_proj\.weight'"):
        _ = open_backend(folder).model


def test_unknown_architectures_are_refused(zoo: dict[str, Path], tmp_path: Path):
    folder = Path(shutil.copytree(zoo["llama3"], tmp_path / "model"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "evilnet"}))
    with pytest.raises(HarnessError, match=r"E-MODEL|E-TOKENIZER"):
        _ = open_backend(folder).model


def test_context_length_names_its_source_and_is_never_guessed(tmp_path: Path):
    def found(config: object, claimed: int | None = None) -> tuple[int, str]:
        (tmp_path / "config.json").write_text(json.dumps(config))
        return context_length(tmp_path, claimed)

    assert found({"max_position_embeddings": 512}, 10**3) == (512, "max_position_embeddings in config.json")
    assert found({"n_positions": 1024}) == (1024, "n_positions in config.json")
    assert found({"text_config": {"max_position_embeddings": 64}, "max_position_embeddings": 9})[0] == 64
    assert found({}, 77) == (77, "model_max_length in tokenizer_config.json")
    with pytest.raises(HarnessError, match="E-CONTEXT"):
        found({})


def test_dtypes_are_never_exchanged_silently():
    cpu = torch.device("cpu")
    assert choose_dtype("auto", cpu) == torch.float32
    assert choose_dtype("bfloat16", cpu) == torch.bfloat16
    with pytest.raises(HarnessError, match="E-DTYPE"):
        choose_dtype("float16", cpu)


@pytest.mark.parametrize("name", ["cuda:99", "gpu", "mps", "meta"])
def test_devices_that_are_not_there_are_refused(name: str):
    with pytest.raises(HarnessError, match="E-DEVICE"):
        choose_device(name)


def test_lack_of_memory_is_recognised():
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(torch.OutOfMemoryError())
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
