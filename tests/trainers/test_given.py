"""`given` takes what was trained elsewhere and `none` takes nothing: what cannot be evaluated is refused by name."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from harness.backends.hf import HFBackend
from harness.backends.hf import backend as hf_kind
from harness.backends.openai import HostedModel
from harness.core.errors import EnvironmentFault, HarnessError
from harness.core.specs import BackendSpec, ModelSpec
from harness.core.types import Checkpoint
from harness.store.checkpoints import Checkpoints
from tests.models.fixtures import FolderSink, open_backend, sha256, silent, some_rows, weights_file
from tests.models.zoo import NAMES
from trainers import full, given, lora, none

ROWS, VALIDATION = some_rows(8), some_rows(4, seed=1)
LORA = lora.LoraSpec(epochs=2, batch_rows=4, rank=4, alpha=8, lr=1e-2)


def trained(folder: Path, sink_folder: Path, spec: lora.LoraSpec | full.FullSpec = LORA) -> Checkpoint:
    kind = lora.trainer if isinstance(spec, lora.LoraSpec) else full.trainer
    sink = Checkpoints(sink_folder, "key")
    return list(kind.train(open_backend(folder).model, ROWS, VALIDATION, spec, sink, silent))[-1]


@pytest.fixture(scope="module")
def adapter(zoo: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """The last checkpoint of a run, as the store writes it."""
    return trained(zoo["llama3"], tmp_path_factory.mktemp("run"))


@pytest.fixture
def foreign(adapter: Checkpoint, tmp_path: Path) -> Path:
    """An adapter as peft alone leaves it: weights and configuration."""
    folder = tmp_path / "foreign"
    folder.mkdir()
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        shutil.copyfile(adapter.folder / name, folder / name)
    return folder


def identity(folder: Path) -> dict[str, object]:
    return dict(hf_kind.identify(ModelSpec(name=str(folder)), BackendSpec()))


def settle(path: Path, base: Path) -> tuple[given.GivenSpec, tuple[str, ...]]:
    spec, reasons = given.trainer.settle(ROWS, given.GivenSpec(path=str(path)), identity(base))  # type: ignore[arg-type]
    assert isinstance(spec, given.GivenSpec)
    return spec, reasons


def take(backend: HFBackend, sink: FolderSink, path: Path, n: int = 4) -> list[Checkpoint]:
    spec = given.GivenSpec(path=str(path))
    return list(given.trainer.train(backend.model, ROWS, VALIDATION[:n], spec, sink, silent))


def refused(path: Path, base: Path) -> HarnessError:
    with pytest.raises(HarnessError) as caught:
        settle(path, base)
    assert caught.value.code == "E-ADAPTER"
    return caught.value


def test_a_checkpoint_of_a_run_keeps_its_bytes_step_and_figures(
    zoo: dict[str, Path], adapter: Checkpoint, tmp_path: Path
):
    backend = open_backend(zoo["llama3"])
    (found,) = take(backend, FolderSink(tmp_path), adapter.folder)
    assert found.folder == tmp_path / "step-000004"
    assert (found.step, found.epoch, found.sha256) == (4, 2.0, adapter.sha256)
    assert (found.train_loss, found.train_accuracy) == (adapter.train_loss, adapter.train_accuracy)
    # Measured anew, by the trainer's own formula.
    assert found.validation_loss == pytest.approx(adapter.validation_loss, rel=1e-5)
    assert found.validation_accuracy == adapter.validation_accuracy
    assert sorted(file.name for file in found.folder.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
        "base.json",
    ]
    assert backend.prove(found, [(20, 21)]) == backend.prove(adapter, [(20, 21)])


def test_settling_pins_the_files_and_says_what_is_known_of_the_base(zoo: dict[str, Path], adapter: Checkpoint):
    spec, reasons = settle(adapter.folder, zoo["llama3"])
    assert "it was trained on this very base model" in reasons
    assert given.trainer.plan(ROWS, spec).checkpoint_steps == (4,)
    changed = spec.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(HarnessError, match=r"hash to .*, not to '000000000000"):
        given.trainer.settle(ROWS, changed, {})


def test_an_adapter_changed_after_it_was_settled_is_not_taken(zoo: dict[str, Path], foreign: Path, tmp_path: Path):
    spec, _ = settle(foreign, zoo["llama3"])
    config = foreign / "adapter_config.json"
    config.write_text(config.read_text().replace('"lora_alpha": 8', '"lora_alpha": 80'))
    sink = FolderSink(tmp_path / "sink")
    with pytest.raises(HarnessError, match="E-ADAPTER"):
        list(given.trainer.train(open_backend(zoo["llama3"]).model, ROWS, VALIDATION, spec, sink, silent))
    assert not sink.saved()


def test_a_foreign_adapter_has_step_1_and_no_training_figures(zoo: dict[str, Path], foreign: Path, tmp_path: Path):
    (found,) = take(open_backend(zoo["llama3"]), FolderSink(tmp_path / "sink"), foreign)
    assert (found.step, found.train_loss, found.train_accuracy) == (1, None, None)
    assert found.validation_loss is not None
    (_, reason) = settle(foreign, zoo["llama3"])[1]
    assert "cannot be proven" in reason
    assert str(zoo["llama3"])[:40] in reason


def test_the_store_keeps_figures_that_are_unknown(zoo: dict[str, Path], foreign: Path, tmp_path: Path):
    sink = Checkpoints(tmp_path / "run", "key")
    spec = given.GivenSpec(path=str(foreign))
    model = open_backend(zoo["llama3"]).model
    (found,) = given.trainer.train(model, ROWS, [], spec, sink, silent)
    assert (found.train_loss, found.validation_loss) == (None, None)
    assert list(given.trainer.train(model, ROWS, [], spec, sink, silent)) == [found] == list(sink.saved())


def test_transformers_trainer_state_gives_the_step(zoo: dict[str, Path], foreign: Path, tmp_path: Path):
    (foreign / "trainer_state.json").write_text(json.dumps({"global_step": 120, "epoch": 2.5}))
    (found,) = take(open_backend(zoo["llama3"]), FolderSink(tmp_path / "sink"), foreign)
    assert (found.name, found.epoch) == ("step-000120", 2.5)
    for wrong in ('{"global_step": "<script>"}', '{"global_step": -3}', "[", '{"epoch": NaN, "global_step": 2}'):
        (foreign / "trainer_state.json").write_text(wrong)
        assert given.look_at(given.GivenSpec(path=str(foreign))).origin == given.Origin()


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
def test_a_manifest_of_other_files_is_not_believed(adapter: Checkpoint, foreign: Path, name: str):
    manifest = json.loads((adapter.folder / "MANIFEST.json").read_text())
    (foreign / "MANIFEST.json").write_text(json.dumps(manifest))
    assert given.look_at(given.GivenSpec(path=str(foreign))).origin.step == 4
    manifest["files"][name] = "0" * 64
    (foreign / "MANIFEST.json").write_text(json.dumps(manifest))
    assert given.look_at(given.GivenSpec(path=str(foreign))).origin == given.Origin()


def test_the_same_matrices_with_another_alpha_are_another_checkpoint(
    zoo: dict[str, Path], foreign: Path, tmp_path: Path
):
    (one,) = take(open_backend(zoo["llama3"]), FolderSink(tmp_path / "one"), foreign)
    config = foreign / "adapter_config.json"
    assert '"lora_alpha": 8' in config.read_text()
    config.write_text(config.read_text().replace('"lora_alpha": 8', '"lora_alpha": 80'))
    (two,) = take(open_backend(zoo["llama3"]), FolderSink(tmp_path / "two"), foreign)
    (again,) = take(open_backend(zoo["llama3"]), FolderSink(tmp_path / "again"), foreign)
    # Completions are cached by this hash.
    assert one.sha256 != two.sha256 == again.sha256
    assert one.validation_loss != two.validation_loss


@pytest.mark.parametrize("name", NAMES)
def test_adapters_written_by_peft_itself_are_taken(zoo: dict[str, Path], tmp_path: Path, name: str):
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(zoo[name], attn_implementation="eager")
    targets = open_backend(zoo[name]).model.switch.linear_layers
    config = LoraConfig(
        r=2, target_modules=list(targets), init_lora_weights="gaussian", task_type="CAUSAL_LM", use_dora=True
    )
    torch.manual_seed(0)
    theirs = get_peft_model(model, config).eval()
    with torch.no_grad():
        for key, parameter in theirs.named_parameters():
            if "lora_B" in key:
                parameter.normal_(std=0.1)
    theirs.save_pretrained(tmp_path / "peft")
    backend = open_backend(zoo[name])
    (found,) = take(backend, FolderSink(tmp_path / "sink"), tmp_path / "peft")
    backend.model.switch.activate(found)
    ids = torch.tensor([[20, 21, 22, 23]])
    with torch.no_grad():
        assert torch.allclose(theirs(ids).logits, backend.model.model(ids).logits, atol=1e-4)
    plain = AutoModelForCausalLM.from_pretrained(zoo[name], attn_implementation="eager")
    with torch.no_grad():
        again = PeftModel.from_pretrained(plain, found.folder).eval()
        assert torch.equal(theirs(ids).logits, again(ids).logits)


@pytest.mark.parametrize("name", ["llama3", "qwen2", "gpt2"])
def test_a_tuned_model_is_taken_whole(zoo: dict[str, Path], tmp_path: Path, name: str):
    spec = full.FullSpec(epochs=1, batch_rows=4, lr=1e-2)
    tuned = trained(zoo[name], tmp_path / "run", spec)
    backend = open_backend(zoo[name])
    assert "must have the same layers" in settle(tuned.folder, zoo[name])[1][1]
    (found,) = take(backend, FolderSink(tmp_path / "sink"), tuned.folder)
    assert (found.kind, found.sha256, found.step) == ("full", tuned.sha256, tuned.step)
    assert not (found.folder / "MANIFEST.json").exists()
    assert found.validation_loss == pytest.approx(tuned.validation_loss, rel=1e-5)
    assert backend.prove(found, [(20, 21)]).max_logit_change > 1e-4


@pytest.fixture
def tuned(zoo: dict[str, Path], tmp_path: Path) -> Path:
    """A tuned model as other programs leave it, with the base's own description."""
    return trained(zoo["llama3"], tmp_path / "run", full.FullSpec(epochs=1, batch_rows=4, lr=1e-2)).folder


def edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


@pytest.mark.parametrize(
    ("file", "changes", "said"),
    [
        ("config.json", {"rms_norm_eps": 0.5}, "rms_norm_eps is 0.5"),
        ("config.json", {"hidden_act": "relu"}, "hidden_act is 'relu'"),
        ("tokenizer.json", {"normalizer": {"type": "Lowercase"}}, "tokenizer.json is another"),
        ("tokenizer_config.json", {"chat_template": "{{ messages[0].content }}"}, "chat template is another"),
    ],
)
def test_a_tuned_model_with_another_description_is_not_run_as_the_base(
    zoo: dict[str, Path], tuned: Path, tmp_path: Path, file: str, changes: dict[str, object], said: str
):
    """Weights of another epsilon, activation or tokenizer fit the layers, and would be scored as something else."""
    if "chat_template" in changes:
        (tuned / "chat_template.jinja").unlink(missing_ok=True)
    edit(tuned / file, **changes)
    sink = FolderSink(tmp_path / "sink")
    with pytest.raises(HarnessError, match="not a tuned version") as caught:
        take(open_backend(zoo["llama3"]), sink, tuned)
    assert caught.value.code == "E-ADAPTER"
    assert said in caught.value.what
    assert "model=FOLDER trainer=none" in caught.value.fix
    assert not sink.saved()


def test_bookkeeping_of_a_tuned_model_may_differ(zoo: dict[str, Path], tuned: Path, tmp_path: Path):
    edit(tuned / "config.json", transformers_version="4.0.0", use_cache=False, torch_dtype="bfloat16", pad_token_id=0)
    edit(tuned / "tokenizer.json", truncation={"max_length": 7, "direction": "Right", "strategy": "LongestFirst",
                                               "stride": 0})  # fmt: skip
    assert take(open_backend(zoo["llama3"]), FolderSink(tmp_path / "sink"), tuned)


def test_a_file_in_place_of_a_folder_is_called_one(zoo: dict[str, Path], foreign: Path):
    error = refused(weights_file(foreign), zoo["llama3"])
    assert "is a file, not a folder" not in refused(foreign.parent / "gone", zoo["llama3"]).what
    assert "it is a file, not a folder" in error.what
    assert "adapter=" in error.fix


def test_folders_without_an_adapter_are_refused_with_a_way_on(zoo: dict[str, Path], foreign: Path, tmp_path: Path):
    assert "there is no such folder" in refused(tmp_path / "nowhere", zoo["llama3"]).what
    empty = tmp_path / "empty"
    empty.mkdir()
    error = refused(empty, zoo["llama3"])
    assert "holds neither adapter_config.json nor config.json" in error.what
    assert "trainer.path=" in error.fix
    (foreign / "adapter_model.safetensors").rename(foreign / "adapter_model.bin")
    assert "pickled" in refused(foreign, zoo["llama3"]).what


def test_names_of_folders_and_bases_are_shown_escaped(zoo: dict[str, Path], foreign: Path, tmp_path: Path):
    assert "\x1b" not in str(refused(tmp_path / "\x1b[31mred", zoo["llama3"]))
    config = json.loads((foreign / "adapter_config.json").read_text())
    (foreign / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": "\x1b[2Jx"}))
    assert "\x1b" not in " ".join(settle(foreign, zoo["llama3"])[1])


def test_weights_cut_short_are_refused(zoo: dict[str, Path], foreign: Path):
    weights = weights_file(foreign)
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(HarnessError, match="E-SAFETENSORS"):
        settle(foreign, zoo["llama3"])


def test_an_adapter_of_another_base_is_refused(zoo: dict[str, Path], adapter: Checkpoint):
    assert "trained on another base model" in refused(adapter.folder, zoo["mistral"]).what


def test_an_adapter_that_does_not_fit_names_its_weights_and_leaves_the_base_on(
    zoo: dict[str, Path], foreign: Path, tmp_path: Path
):
    backend, sink = open_backend(zoo["llama3"]), FolderSink(tmp_path / "sink")
    ids = torch.tensor([[20, 21, 22]])
    before = backend.model.model(ids).logits
    tensors = load_file(weights_file(foreign))
    first = min(tensors)
    save_file({**tensors, first: torch.ones(9, 9)}, weights_file(foreign))
    with pytest.raises(EnvironmentFault) as caught:
        take(backend, sink, foreign)
    assert caught.value.code == "E-ADAPTER"
    assert "does not fit this model" in caught.value.what
    assert first in caught.value.what
    assert "(9, 9)" in caught.value.what
    assert not caught.value.resumable
    assert not sink.saved()
    assert torch.equal(backend.model.model(ids).logits, before)


def test_an_adapter_of_another_architecture_does_not_fit(zoo: dict[str, Path], foreign: Path, tmp_path: Path):
    with pytest.raises(EnvironmentFault, match="does not fit this model"):
        take(open_backend(zoo["gpt2"]), FolderSink(tmp_path / "sink"), foreign)


def test_given_needs_a_path():
    with pytest.raises(ValidationError, match="path"):
        given.GivenSpec.model_validate({})


def test_none_plans_and_yields_nothing_and_looks_at_no_model(tmp_path: Path):
    spec = none.NoTrainerSpec()
    plan = none.trainer.plan(ROWS, spec)
    assert (plan.n_rows, plan.n_steps, plan.checkpoint_steps) == (8, 0, ())
    assert none.trainer.settle(ROWS, spec, {}) == (spec, ())
    assert not list(none.trainer.train(None, ROWS, VALIDATION, spec, FolderSink(tmp_path), silent))
    assert not list(tmp_path.iterdir())


def test_weights_are_copied_unchanged_and_recorded_with_their_hash(zoo: dict[str, Path], foreign: Path, tmp_path: Path):
    (found,) = take(open_backend(zoo["llama3"]), FolderSink(tmp_path / "sink"), foreign)
    before, after = load_file(foreign / "adapter_model.safetensors"), load_file(weights_file(found.folder))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert found.sha256 == sha256(weights_file(found.folder))


def test_a_servers_adapter_is_recorded_by_the_bytes_that_are_here(
    zoo: dict[str, Path], adapter: Checkpoint, tmp_path: Path
):
    settled, reasons = given.trainer.settle(
        [], given.GivenSpec(path=str(adapter.folder)), {"server": "http://localhost", "model": "m"}
    )
    assert "nobody here can tell" in reasons[1]
    sink = FolderSink(tmp_path)
    (found,) = given.trainer.train(HostedModel(), [], some_rows(2), settled, sink, silent)
    assert (found.sha256, found.step) == (adapter.sha256, adapter.step)
    assert sha256(found.folder / "adapter_model.safetensors") == adapter.sha256


def test_a_server_has_no_room_for_a_whole_model(zoo: dict[str, Path], tuned: Path, tmp_path: Path):
    spec = given.GivenSpec(path=str(tuned))
    with pytest.raises(HarnessError, match="serve it under a name of its own") as before:
        given.trainer.settle([], spec, {"server": "http://localhost"})
    with pytest.raises(HarnessError, match="serve it under a name of its own") as err:
        list(given.trainer.train(HostedModel(), [], [], spec, FolderSink(tmp_path), silent))
    assert before.value.code == err.value.code == "E-CONFLICT"


def test_a_tuned_model_on_a_quantised_base_is_refused_before_anything_is_loaded(zoo: dict[str, Path], tuned: Path):
    with pytest.raises(HarnessError, match=r"model\.quantization=none") as err:
        given.trainer.settle([], given.GivenSpec(path=str(tuned)), {"quantization": "nf4"})
    assert err.value.code == "E-CONFLICT"


def test_memory_that_does_not_suffice_to_measure_is_named(
    zoo: dict[str, Path], adapter: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full_up(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("trainers.loop.losses", full_up)
    spec, _ = settle(adapter.folder, zoo["llama3"])
    backend = open_backend(zoo["llama3"])
    with pytest.raises(EnvironmentFault, match="memory ran out measuring the checkpoint") as err:
        list(given.trainer.train(backend.model, [], VALIDATION, spec, FolderSink(tmp_path), silent))
    assert err.value.code == "E-OOM"
