"""One base in memory: what is switched on is what was asked for, and weights that cannot be trusted never are."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from harness.backends.hf import HFBackend
from harness.core.errors import EnvironmentFault
from harness.core.types import Checkpoint, Request, Sampling
from tests.models.fixtures import FolderSink, open_backend, sha256, silent, some_rows, weights_file
from trainers import full, lora

PROBES = [(20, 21, 22), (30, 31)]


@pytest.fixture(scope="module")
def adapters(zoo: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> list[Checkpoint]:
    """Six checkpoints of one adapter training."""
    spec = lora.LoraSpec(epochs=3, batch_rows=4, rank=4, lr=3e-2, checkpoint_every=1)
    sink = FolderSink(tmp_path_factory.mktemp("adapters"))
    return list(lora.trainer.train(open_backend(zoo["llama3"]).model, some_rows(8), [], spec, sink, silent))


@pytest.fixture(scope="module")
def tuned(zoo: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """A fully tuned checkpoint."""
    spec = full.FullSpec(epochs=2, batch_rows=4, lr=1e-2)
    sink = FolderSink(tmp_path_factory.mktemp("full"))
    return list(full.trainer.train(open_backend(zoo["llama3"]).model, some_rows(8), [], spec, sink, silent))[-1]


def asked(checkpoint: Checkpoint | None) -> list[Request]:
    return [Request(row.id, row.ids, Sampling(8), (), checkpoint) for row in some_rows(3, seed=5)]


def spoiled(checkpoint: Checkpoint, folder: Path, change: Callable[[dict[str, Tensor]], None]) -> Checkpoint:
    """A copy of a checkpoint with other weights and their right hash."""
    shutil.copytree(checkpoint.folder, folder)
    tensors = load_file(weights_file(folder))
    change(tensors)
    save_file(tensors, weights_file(folder))
    return replace(checkpoint, folder=folder, sha256=sha256(weights_file(folder)))


def fault(hf: HFBackend, checkpoint: Checkpoint) -> str:
    before = dict(hf.generate(asked(None)))
    with pytest.raises(EnvironmentFault) as caught:
        hf.prove(checkpoint, PROBES)
    assert caught.value.code == "E-ADAPTER"
    assert dict(hf.generate(asked(None))) == before
    return caught.value.what


def test_each_checkpoint_answers_as_it_does_alone_in_any_order(
    zoo: dict[str, Path], adapters: list[Checkpoint], tuned: Checkpoint
):
    everything = [None, *adapters, tuned]
    alone = [dict(open_backend(zoo["llama3"]).generate(asked(checkpoint))) for checkpoint in everything]
    assert alone[0] != alone[-1] != alone[-2] != alone[0]
    hf = open_backend(zoo["llama3"])
    for i in (0, 6, 7, 1, 0, 7, 2, 3, 4, 5, 6, 1, 0, 7, 0):
        assert dict(hf.generate(asked(everything[i]))) == alone[i]


def test_requests_of_several_checkpoints_can_be_mixed(
    zoo: dict[str, Path], adapters: list[Checkpoint], tuned: Checkpoint
):
    hf = open_backend(zoo["llama3"])
    sides: dict[str, Checkpoint | None] = {"base": None, "adapter": adapters[-1], "full": tuned}
    mixed = [replace(r, id=f"{name}/{r.id}") for name, c in sides.items() for r in asked(c)]
    found = dict(hf.generate(mixed[::2] + mixed[1::2]))
    for name, checkpoint in sides.items():
        for request_id, outcome in hf.generate(asked(checkpoint)):
            assert found[f"{name}/{request_id}"] == outcome


def test_few_adapters_stay_in_memory_and_none_is_ever_in_training_mode(
    zoo: dict[str, Path], adapters: list[Checkpoint]
):
    hf = open_backend(zoo["llama3"])
    for checkpoint in adapters:
        hf.model.switch.activate(checkpoint)
        assert not any(module.training for module in hf.model.model.modules())
        assert not any(parameter.requires_grad for parameter in hf.model.model.parameters())
    names = {name for name, _ in hf.model.model.named_modules() if "checkpoint-" in name}
    assert len({name.rpartition(".")[2] for name in names}) == 3


def test_proof_measures_the_change_and_counts_the_weights(
    zoo: dict[str, Path], adapters: list[Checkpoint], tuned: Checkpoint
):
    hf = open_backend(zoo["llama3"])
    proof = hf.prove(adapters[-1], PROBES)
    assert proof.sha256 == adapters[-1].sha256
    assert proof.n_keys == len(load_file(weights_file(adapters[-1].folder))) == 2 * 7 * 2
    ids = torch.tensor([PROBES[1]])
    with torch.no_grad():
        base = hf.model.model(ids).logits
        hf.model.switch.activate(adapters[-1])
        change = (hf.model.model(ids).logits - base).abs().max()
    assert proof.max_logit_change >= float(change) - 1e-6 > 0
    assert hf.prove(tuned, PROBES).max_logit_change > 0


def test_weights_other_than_recorded_are_refused(zoo: dict[str, Path], adapters: list[Checkpoint]):
    hf = open_backend(zoo["llama3"])
    assert "recorded was 00000000" in fault(hf, replace(adapters[0], sha256="0" * 64))
    assert "is missing" in fault(hf, replace(adapters[0], folder=Path("/nowhere"), sha256="1" * 64))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda t: t.pop(min(t)), "1 weights are missing, such as 'base_model.model.model.layers.0.mlp.down_proj"),
        (lambda t: t.update(surplus=torch.ones(2)), "1 weights are unknown, such as 'surplus'"),
        (lambda t: t.update({max(t): torch.ones(9, 9)}), r"has shape \(9, 9\), not"),
        (lambda t: t.update({min(t): torch.ones(4, 9)}), r"has shape \(4, 9\), not"),
        (lambda t: t.update({min(t): torch.ones(9, 9)}), r"r = 4, and .* has shape \(9, 9\)"),
        (lambda t: t[min(t)].fill_(float("nan")), "not finite"),
        (lambda t: t[max(t)].view(-1)[0].fill_(float("inf")), "not finite"),
        (lambda t: [v.zero_() for k, v in t.items() if "lora_B" in k], "adapter has no effect"),
        (lambda t: [v.zero_() for k, v in t.items() if "lora_A" in k], "adapter has no effect"),
    ],
    ids=["missing", "surplus", "shape", "input", "rank", "nan", "inf", "zero B", "zero A"],
)
def test_weights_that_do_not_fit_or_do_nothing_are_refused(
    zoo: dict[str, Path],
    adapters: list[Checkpoint],
    tmp_path: Path,
    change: Callable[[dict[str, Tensor]], None],
    reason: str,
):
    hf = open_backend(zoo["llama3"])
    bad = spoiled(adapters[-1], tmp_path / "bad", change)
    assert re.search(reason, fault(hf, bad))


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"r": 8}, "r = 8, and 'base_model.model.model.layers.0.mlp.down_proj.lora_A.weight' has shape (4, 64)"),
        ({"r": 10**9}, "r = 1000000000 is no rank from 1 to 4096"),
        ({"r": 4.5}, "r = 4.5 is no rank"),
        ({"target_modules": [["q_proj"]]}, "target_modules are no names of layers"),
        ({"target_modules": None}, "target_modules are no names of layers"),
        ({"target_modules": ["q_proj"]}, "weights are unknown"),
        ({"target_modules": ["query_key_value"]}, "its layers are not those of this model"),
        ({"use_dora": True}, "14 weights are missing, such as 'base_model.model.model.layers.0.mlp.down_proj.lora_mag"),
        ({"use_qalora": True}, "use_qalora = True is not supported"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"peft_type": "IA3"}, "not LORA"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_configurations_that_do_not_fit_are_refused(
    zoo: dict[str, Path], adapters: list[Checkpoint], tmp_path: Path, config: dict[str, object], reason: str
):
    assert reason in fault(open_backend(zoo["llama3"]), rewritten(adapters[-1], tmp_path / "bad", config))


def rewritten(checkpoint: Checkpoint, folder: Path, config: dict[str, object]) -> Checkpoint:
    """A copy of a checkpoint with other settings."""
    copy = spoiled(checkpoint, folder, lambda tensors: None)
    file = copy.folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **config}))
    return copy


def test_an_adapter_saved_by_peft_without_a_task_is_read(zoo: dict[str, Path], tmp_path: Path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(zoo["llama3"])
    tuned = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj"], init_lora_weights=False))
    tuned.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "adapter_config.json").read_text())["auto_mapping"]
    found = Checkpoint(1, 1.0, tmp_path, "adapter", sha256(weights_file(tmp_path)), None, None, None, None)
    hf = open_backend(zoo["llama3"])
    proof = hf.prove(found, PROBES)
    with torch.no_grad():
        after, before = (m(torch.tensor([PROBES[0]])).logits for m in (tuned, hf.model.model))
    assert proof.max_logit_change >= float((after - before).abs().max()) - 1e-4 > 0


def test_layers_given_as_a_pattern_are_those_that_the_weights_are_for(
    zoo: dict[str, Path], adapters: list[Checkpoint], tmp_path: Path
):
    """A pattern is never matched: this one would take longer than the universe has."""
    hf = open_backend(zoo["llama3"])
    expected = dict(hf.generate(asked(adapters[-1])))
    copy = rewritten(adapters[-1], tmp_path / "pattern", {"target_modules": "(([a-z.0-9_]+)+)+!"})
    again = open_backend(zoo["llama3"])
    assert dict(again.generate(asked(copy))) == expected
    assert again.prove(copy, PROBES).n_keys == hf.prove(adapters[-1], PROBES).n_keys


@pytest.mark.parametrize("spoilt", [0, 1])
def test_a_proof_whose_logits_are_not_all_finite_is_none(
    zoo: dict[str, Path], adapters: list[Checkpoint], monkeypatch: pytest.MonkeyPatch, spoilt: int
):
    """Of two probes, one gives nan: the largest of all would hide it where it comes second."""
    from harness.models import running

    usual = running._logits

    def some(loaded: object, ids: tuple[int, ...]) -> Tensor:
        found = usual(loaded, ids)  # type: ignore[arg-type]
        return found * float("nan") if ids == PROBES[spoilt] else found

    monkeypatch.setattr(running, "_logits", some)
    with pytest.raises(EnvironmentFault, match="logits of 2 prompts are not finite") as caught:
        open_backend(zoo["llama3"]).prove(adapters[0], PROBES)
    assert caught.value.code == "E-ADAPTER"


def test_adapter_of_another_model_is_refused(zoo: dict[str, Path], adapters: list[Checkpoint], tmp_path: Path):
    # Mistral's layers have the same names and shapes: only the record of the base tells them apart.
    assert "trained on another base model" in fault(open_backend(zoo["mistral"]), adapters[-1])
    (Path(shutil.copytree(adapters[-1].folder, tmp_path / "foreign")) / "base.json").unlink()
    foreign = replace(adapters[-1], folder=tmp_path / "foreign")
    assert open_backend(zoo["mistral"]).prove(foreign, PROBES).max_logit_change > 0
    assert "its layers are not those" in fault(open_backend(zoo["gpt2"]), foreign)


def test_full_checkpoint_of_another_shape_or_with_nothing_learnt_is_refused(zoo: dict[str, Path], tuned: Checkpoint):
    hf = open_backend(zoo["llama3"])
    other = replace(tuned, folder=zoo["llama2"], sha256=sha256(weights_file(zoo["llama2"])))
    assert "has shape" in fault(hf, other)
    same = replace(tuned, folder=zoo["llama3"], sha256=sha256(weights_file(zoo["llama3"])))
    assert "adapter has no effect" in fault(hf, same)


def test_truncated_adapter_is_refused(zoo: dict[str, Path], adapters: list[Checkpoint], tmp_path: Path):
    folder = Path(shutil.copytree(adapters[0].folder, tmp_path / "cut"))
    weights_file(folder).write_bytes(weights_file(folder).read_bytes()[:-8])
    cut = replace(adapters[0], folder=folder, sha256=sha256(weights_file(folder)))
    assert "cannot be read" in fault(open_backend(zoo["llama3"]), cut)
