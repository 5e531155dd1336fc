"""A model's size is read from its files' headers, and is what torch counts once the model is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.core.specs import BackendSpec, ModelSpec
from harness.models.location import DEMO_FOLDER, parameter_count
from tests.models.fixtures import open_backend
from tests.models.zoo import NAMES


@pytest.mark.parametrize("name", NAMES)
def test_counted_is_what_torch_counts_tied_weights_once(zoo: dict[str, Path], name: str):
    model = open_backend(zoo[name]).model.model
    assert parameter_count(zoo[name]) == sum(parameter.numel() for parameter in model.parameters())


def test_weights_in_several_files_are_all_counted_and_strangers_are_not(zoo: dict[str, Path], tmp_path: Path):
    tensors = load_file(zoo["llama3"] / "model.safetensors")
    (tmp_path / "config.json").write_text((zoo["llama3"] / "config.json").read_text())
    names = sorted(tensors)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, held in shards.items():
        save_file({name: tensors[name].to(torch.bfloat16) for name in held}, tmp_path / file)
    save_file({"other": torch.ones(1000)}, tmp_path / "consolidated.safetensors")
    weight_map = {name: file for file, held in shards.items() for name in held}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert parameter_count(tmp_path) == parameter_count(zoo["llama3"])


def test_masks_do_not_count_and_packed_weights_are_not_guessed_at(tmp_path: Path):
    (tmp_path / "config.json").write_text("{}")
    save_file({"w": torch.ones(3, 5), "mask": torch.ones(7, dtype=torch.uint8)}, tmp_path / "model.safetensors")
    assert parameter_count(tmp_path) == 15
    (tmp_path / "config.json").write_text('{"quantization_config": {"bits": 4}}')
    assert parameter_count(tmp_path) is None


def test_identity_has_the_size_and_the_adapters_record_of_its_base_does_not(zoo: dict[str, Path]):
    from harness.backends.hf import backend

    identity = backend.identify(ModelSpec(name=str(zoo["llama3"])), BackendSpec())
    assert identity["parameters"] == parameter_count(zoo["llama3"])
    assert "parameters" not in open_backend(zoo["llama3"]).model.identity
    assert parameter_count(DEMO_FOLDER) == 2_164_416
