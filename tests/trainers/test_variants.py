"""rsLoRA, DoRA and noisy embeddings: they compute what was published, resume exactly, and plain peft agrees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from harness.backends.hf import HFBackend
from harness.core.errors import EnvironmentFault
from harness.core.types import Checkpoint, TokenRow
from harness.models.lora_files import read_config
from tests.models.fixtures import FolderSink, open_backend, sha256, silent, some_rows, weights_file
from tests.models.zoo import NAMES
from trainers import full, lora
from trainers.auto import AutoSpec
from trainers.noise import add_noise

ROWS, VALIDATION = some_rows(11), some_rows(4, seed=1)
PLAIN = {"epochs": 2, "batch_rows": 4, "rank": 4, "alpha": 8, "lr": 3e-3, "warmup": 0.3, "checkpoint_every": 2}
VARIANTS = [{"rslora": True}, {"dora": True}, {"dora": True, "rslora": True}, {"neftune": 5.0}]
IDS = ["rslora", "dora", "both", "neftune"]
PROBE = torch.tensor([[20, 21, 22, 23]])


def spec_of(**changes: object) -> lora.LoraSpec:
    return lora.LoraSpec.model_validate({**PLAIN, **changes})


def train(
    backend: HFBackend, sink: FolderSink, spec: lora.LoraSpec | full.FullSpec, limit: int | None = None
) -> list[Checkpoint]:
    kind = lora.trainer if isinstance(spec, lora.LoraSpec) else full.trainer
    found: list[Checkpoint] = []
    running = kind.train(backend.model, ROWS, VALIDATION, spec, sink, silent)
    for checkpoint in running:
        found.append(checkpoint)
        if len(found) == limit:
            running.close()  # type: ignore[attr-defined]
            break
    return found


def figures(checkpoints: Sequence[Checkpoint]) -> list[Checkpoint]:
    return [replace(checkpoint, folder=Path()) for checkpoint in checkpoints]


@pytest.mark.parametrize("variant", VARIANTS[:3], ids=IDS[:3])
@pytest.mark.parametrize("name", NAMES)
def test_plain_peft_loads_and_merges_every_variant(
    zoo: dict[str, Path], tmp_path: Path, name: str, variant: dict[str, object]
):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    backend = open_backend(zoo[name])
    (checkpoint,) = train(backend, FolderSink(tmp_path), spec_of(epochs=1, checkpoint_every="epoch", **variant))
    proof = backend.prove(checkpoint, [(20, 21, 22)])
    assert proof.max_logit_change > 1e-3
    assert proof.n_keys == len(load_file(weights_file(checkpoint.folder)))
    theirs = AutoModelForCausalLM.from_pretrained(zoo[name], attn_implementation="eager")
    theirs = PeftModel.from_pretrained(theirs, checkpoint.folder).eval()
    backend.model.switch.activate(checkpoint)
    with torch.no_grad():
        ours = backend.model.model(PROBE).logits
        assert torch.allclose(theirs(PROBE).logits, ours, atol=1e-4)
        assert torch.allclose(theirs.merge_and_unload()(PROBE).logits, ours, atol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS, ids=IDS)
@pytest.mark.parametrize("name", ["llama3", "gpt2"])
def test_interrupted_training_of_every_variant_gives_the_same_bytes(
    zoo: dict[str, Path], tmp_path: Path, name: str, variant: dict[str, object]
):
    spec = spec_of(**variant)
    whole = train(open_backend(zoo[name]), FolderSink(tmp_path / "whole"), spec)
    assert len({checkpoint.sha256 for checkpoint in whole}) == 3
    for stop in (1, 2):
        sink = FolderSink(tmp_path / f"stop-{stop}")
        train(open_backend(zoo[name]), sink, spec, limit=stop)
        assert figures(train(open_backend(zoo[name]), sink, spec)) == figures(whole)


def by_hand(folder: Path, base: torch.Tensor, layer: str, scale: float) -> torch.Tensor:
    """The weight of a layer with its adapter, (out, in): Hu et al. 2021, eq. 3; Liu et al. 2024, eq. 5 for DoRA."""
    found = {k.removeprefix(f"base_model.model.{layer}."): v for k, v in load_file(weights_file(folder)).items()}
    moved = base + scale * found["lora_B.weight"] @ found["lora_A.weight"]
    if "lora_magnitude_vector" not in found:
        return moved
    return found["lora_magnitude_vector"][:, None] * moved / moved.norm(dim=1, keepdim=True)


@pytest.mark.parametrize(
    ("variant", "scale"),
    [({}, 8 / 4), ({"rslora": True}, 8 / 2), ({"dora": True}, 8 / 4), ({"dora": True, "rslora": True}, 8 / 2)],
    ids=["plain", "rslora", "dora", "both"],
)
def test_layers_compute_what_the_papers_say(
    zoo: dict[str, Path], tmp_path: Path, variant: dict[str, object], scale: float
):
    backend = open_backend(zoo["llama3"])
    checkpoint = train(backend, FolderSink(tmp_path), spec_of(**variant))[-1]
    name = "model.layers.0.self_attn.q_proj"
    base = backend.model.switch.base_tensors()[f"{name}.weight"]
    backend.model.switch.activate(checkpoint)
    entered = torch.randn(5, base.shape[1], generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = backend.model.model.get_submodule(name)(entered)
    expected = by_hand(checkpoint.folder, base, name, scale)
    assert torch.allclose(found, entered @ expected.T, atol=1e-5)
    assert not torch.allclose(found, entered @ base.T, atol=1e-3)


def test_before_the_first_step_dora_computes_the_base(zoo: dict[str, Path]):
    from peft import LoraConfig

    loaded = open_backend(zoo["llama3"]).model
    with torch.no_grad():
        before = loaded.model(PROBE).logits
        loaded.switch.start_training(LoraConfig(r=4, target_modules=["q_proj", "up_proj"], use_dora=True), 0)
        assert torch.allclose(loaded.model(PROBE).logits, before, atol=1e-5)


def test_dora_whose_magnitudes_alone_moved_is_on_and_one_that_did_not_move_is_refused(
    zoo: dict[str, Path], tmp_path: Path
):
    backend = open_backend(zoo["llama3"])
    checkpoint = train(backend, FolderSink(tmp_path / "run"), spec_of(dora=True))[-1]
    tensors = load_file(weights_file(checkpoint.folder))
    for name, tensor in tensors.items():
        if "lora_B" in name:
            tensor.zero_()
    save_file(tensors, weights_file(checkpoint.folder))
    only = replace(checkpoint, sha256=sha256(weights_file(checkpoint.folder)))
    assert backend.prove(only, [(20, 21, 22)]).max_logit_change > 1e-4

    base = backend.model.switch.base_tensors()
    for name in [name for name in tensors if name.endswith(".lora_magnitude_vector")]:
        layer = name.removeprefix("base_model.model.").removesuffix(".lora_magnitude_vector")
        tensors[name] = base[f"{layer}.weight"].norm(dim=1)
    save_file(tensors, weights_file(checkpoint.folder))
    still = replace(checkpoint, sha256=sha256(weights_file(checkpoint.folder)))
    with pytest.raises(EnvironmentFault, match="adapter has no effect"):
        backend.model.switch.activate(still)


def test_dora_of_a_bfloat16_base_resumes_exactly_and_is_on(zoo: dict[str, Path], tmp_path: Path):
    spec = spec_of(dora=True)
    whole = train(open_backend(zoo["llama3"], dtype="bfloat16"), FolderSink(tmp_path / "whole"), spec)
    sink = FolderSink(tmp_path / "stopped")
    train(open_backend(zoo["llama3"], dtype="bfloat16"), sink, spec, limit=1)
    backend = open_backend(zoo["llama3"], dtype="bfloat16")
    assert figures(train(backend, sink, spec)) == figures(whole)
    assert backend.prove(whole[-1], [(20, 21, 22)]).max_logit_change > 1e-3


@pytest.mark.parametrize("kind", [lora.LoraSpec, AutoSpec])
def test_weight_decay_that_would_shrink_the_base_is_refused(kind: type[lora.AdapterSpec]):
    with pytest.raises(ValidationError, match="pull DoRA's magnitudes"):
        kind.model_validate({"dora": True, "weight_decay": 0.01})
    kind.model_validate({"rslora": True, "weight_decay": 0.01})


@pytest.mark.parametrize("name", NAMES)
def test_noise_is_uniform_and_scaled_by_each_rows_own_length(zoo: dict[str, Path], name: str):
    model = open_backend(zoo[name]).model.model
    lengths, alpha = (3, 12, 7), 5.0
    ids = torch.full((3, 12), 20)
    mask = torch.tensor([[1] * n + [0] * (12 - n) for n in lengths])
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    seen: list[torch.Tensor] = []
    clean = model.get_input_embeddings()(ids)
    take_away = add_noise(model, alpha)
    model.get_input_embeddings().register_forward_hook(lambda _, __, output: seen.append(output))

    def embedded(*, training: bool) -> torch.Tensor:
        model.train(training)
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(0)
            model(input_ids=ids, attention_mask=mask, position_ids=positions)
        return seen[-1] - clean

    noise = embedded(training=True)
    for row, length in enumerate(lengths):
        # NEFTune, algorithm 1: uniform in [-1, 1] times alpha / sqrt(L d); such a number's variance is a third.
        bound = alpha / (length * clean.shape[-1]) ** 0.5
        found = noise[row, :length]
        assert 0.9 * bound < float(found.abs().max()) <= bound * 1.0001
        assert float(found.pow(2).mean()) == pytest.approx(bound**2 / 3, rel=0.25)
        assert abs(float(found.mean())) < 0.2 * bound
    assert bool((embedded(training=False) == 0).all())
    take_away()
    assert bool((embedded(training=True) == 0).all())


@pytest.mark.parametrize("plain", [spec_of(dropout=0.0), full.FullSpec(epochs=1, batch_rows=4, lr=1e-3)])
def test_noise_changes_what_is_learnt_and_no_evaluation(
    zoo: dict[str, Path], tmp_path: Path, plain: lora.LoraSpec | full.FullSpec
):
    backend = open_backend(zoo["llama3"])
    noisy = plain.model_copy(update={"neftune": 10.0})
    one = train(backend, FolderSink(tmp_path / "plain"), plain)
    two = train(backend, FolderSink(tmp_path / "noisy"), noisy)
    assert one[-1].sha256 != two[-1].sha256
    assert one[0].train_loss != two[0].train_loss
    # The same weights have the same validation loss, whether or not they were trained with noise.
    backend.model.switch.activate(two[-1])
    assert two[-1].validation_loss == pytest.approx(mean_loss(backend, VALIDATION), rel=1e-5)


def mean_loss(backend: HFBackend, rows: Sequence[TokenRow]) -> float:
    """Cross-entropy of a completion token, row by row."""
    total, n = 0.0, 0
    for row in rows:
        with torch.no_grad():
            logits = backend.model.model(torch.tensor([row.ids])).logits[0].log_softmax(-1)
        for t, counts in enumerate(row.loss):
            if counts:
                total, n = total - float(logits[t - 1, row.ids[t]]), n + 1
    return total / n


def test_after_noisy_training_the_loaded_model_has_no_hooks_left(zoo: dict[str, Path], tmp_path: Path):
    model = open_backend(zoo["llama3"]).model
    before = len(model.model.get_input_embeddings()._forward_hooks), len(model.model.base_model._forward_pre_hooks)
    list(lora.trainer.train(model, ROWS, [], spec_of(neftune=5.0), FolderSink(tmp_path), silent))
    after = len(model.model.get_input_embeddings()._forward_hooks), len(model.model.base_model._forward_pre_hooks)
    assert before == after


def test_how_an_adapter_began_does_not_matter_unless_it_changed_the_base(zoo: dict[str, Path], tmp_path: Path):
    (checkpoint,) = train(open_backend(zoo["llama3"]), FolderSink(tmp_path), spec_of(checkpoint_every=6))
    file = checkpoint.folder / "adapter_config.json"
    text = file.read_text()
    assert '"init_lora_weights": true' in text
    file.write_text(text.replace('"init_lora_weights": true', '"init_lora_weights": "gaussian"'))
    assert read_config(checkpoint).r == 4
    file.write_text(text.replace('"init_lora_weights": true', '"init_lora_weights": "pissa"'))
    with pytest.raises(EnvironmentFault, match="init_lora_weights = 'pissa' is not supported"):
        read_config(checkpoint)
