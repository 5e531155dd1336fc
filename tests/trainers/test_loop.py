"""Training: what is learnt from, the same bytes however often it is interrupted, and when it stops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from pydantic import BaseModel

from harness.backends.hf import HFBackend
from harness.core.errors import EnvironmentFault, HarnessError
from harness.core.types import Checkpoint, Request, Sampling, TokenRow
from harness.models.forward import padded
from harness.models.tree import computes_trees
from tests.models.fixtures import FolderSink, open_backend, sha256, silent, some_rows, weights_file
from tests.models.zoo import NAMES
from tests.trainers.reference import predictions
from trainers import full, lora
from trainers.loop import accumulate, losses

CPU = torch.device("cpu")
ROWS, VALIDATION = some_rows(11), some_rows(4, seed=1)
LORA = lora.LoraSpec(epochs=2, batch_rows=4, rank=4, alpha=8, dropout=0.1, lr=3e-3, warmup=0.3, checkpoint_every=2)
FULL = full.FullSpec(epochs=2, batch_rows=4, lr=1e-3, warmup=0.3, checkpoint_every=3, weight_decay=0.01)


def train(
    backend: HFBackend, sink: FolderSink, spec: BaseModel = LORA, rows: Sequence[TokenRow] = ROWS, limit: int = 10**6
) -> list[Checkpoint]:
    """Checkpoints of a training that is closed after `limit` of them."""
    kind = lora.trainer if isinstance(spec, lora.LoraSpec) else full.trainer
    running = kind.train(backend.model, rows, VALIDATION, spec, sink, silent)
    found = []
    for checkpoint in running:
        found.append(checkpoint)
        if len(found) == limit:
            running.close()  # type: ignore[attr-defined]
            break
    return found


def hashes(checkpoints: Sequence[Checkpoint]) -> list[str]:
    return [checkpoint.sha256 for checkpoint in checkpoints]


def prompts(n: int = 3, checkpoint: Checkpoint | None = None) -> list[Request]:
    return [Request(row.id, row.ids, Sampling(6), (), checkpoint) for row in some_rows(n, seed=3)]


@pytest.mark.parametrize("name", NAMES)
def test_loss_at_labelled_positions_equals_transformers_own_loss(zoo: dict[str, Path], name: str):
    model = open_backend(zoo[name]).model.model
    rows = some_rows(5)
    logits, targets = predictions(model, rows)
    ours = torch.nn.functional.cross_entropy(logits, targets)

    ids, mask, positions = padded([row.ids for row in rows], CPU, side="right")
    labels = torch.full_like(ids, -100)
    for i, row in enumerate(rows):
        for t, counts in enumerate(row.loss):
            labels[i, t] = row.ids[t] if counts else -100
    theirs = model(input_ids=ids, attention_mask=mask, position_ids=positions, labels=labels).loss
    assert float(ours) == pytest.approx(float(theirs), rel=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_gradient_does_not_depend_on_how_a_step_is_cut_into_batches_or_computed(zoo: dict[str, Path], name: str):
    backend = open_backend(zoo[name])
    model = backend.model.model.requires_grad_(True)
    rows = beginning_alike(some_rows(12))

    def gradient(tokens_per_batch: int, *, as_tree: bool = False) -> torch.Tensor:
        model.zero_grad()
        options = {"device": CPU, "precision": nullcontext(), "backward": lambda loss: loss.backward()}
        accumulate(model, rows, tokens_per_batch, as_tree=as_tree, **options)  # type: ignore[arg-type]
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    whole, others = gradient(10**6), [gradient(70), gradient(1)]
    if computes_trees(model, CPU, max(len(row.ids) for row in rows)):
        others += [gradient(10**6, as_tree=True), gradient(70, as_tree=True)]
    for other in others:
        assert float(torch.nn.functional.cosine_similarity(whole, other, dim=0)) > 1 - 1e-6
        assert float(other.norm() / whole.norm()) == pytest.approx(1, abs=1e-5)


def beginning_alike(rows: Sequence[TokenRow]) -> list[TokenRow]:
    """The rows behind one instruction of 5 tokens; every other one is also repeated with another end."""
    found = []
    for i, row in enumerate(rows):
        both = (row, replace(row, ids=(*row.ids[:-1], 11))) if i % 2 else (row,)
        found += [TokenRow(r.id, (7, 9, 8, 6, 5, *r.ids), (False,) * 5 + r.loss) for r in both]
    return found


@pytest.mark.parametrize("name", ["llama3", "gpt2"])
@pytest.mark.parametrize("spec", [LORA, FULL], ids=["lora", "full"])
def test_training_interrupted_after_any_checkpoint_gives_the_same_bytes(
    zoo: dict[str, Path], tmp_path: Path, name: str, spec: BaseModel
):
    whole = train(open_backend(zoo[name]), FolderSink(tmp_path / "whole"), spec)
    assert len(whole) == len(set(hashes(whole))) > 1
    for stop in range(1, len(whole)):
        sink = FolderSink(tmp_path / f"stop-{stop}")
        train(open_backend(zoo[name]), sink, spec, limit=stop)
        resumed = train(open_backend(zoo[name]), sink, spec)
        assert [replace(c, folder=Path()) for c in resumed] == [replace(c, folder=Path()) for c in whole]
        for file in ("training.safetensors", "training.json"):
            folders = (tmp_path / "whole", tmp_path / f"stop-{stop}")
            states = [folder / f"{whole[-1].name}.state" / file for folder in folders]
            assert sha256(states[0]) == sha256(states[1])


def test_training_killed_between_checkpoints_repeats_those_steps_exactly(zoo: dict[str, Path], tmp_path: Path):
    whole = train(open_backend(zoo["llama3"]), FolderSink(tmp_path / "whole"))
    for step in range(1, 7):
        sink = FolderSink(tmp_path / f"killed-{step}")

        def die(done: int, total: int, figure: str, step: int = step) -> None:
            if done == step:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            list(lora.trainer.train(open_backend(zoo["llama3"]).model, ROWS, VALIDATION, LORA, sink, die))
        assert hashes(train(open_backend(zoo["llama3"]), sink)) == hashes(whole)


@pytest.mark.parametrize("spec", [LORA, FULL], ids=["lora", "full"])
def test_generating_between_checkpoints_does_not_change_what_is_trained(
    zoo: dict[str, Path], tmp_path: Path, spec: BaseModel
):
    quiet = train(open_backend(zoo["llama3"]), FolderSink(tmp_path / "quiet"), spec)
    backend, sink, seen = open_backend(zoo["llama3"]), FolderSink(tmp_path / "busy"), []
    before = dict(backend.generate(prompts()))
    kind = lora.trainer if spec is LORA else full.trainer
    for checkpoint in kind.train(backend.model, ROWS, VALIDATION, spec, sink, silent):
        seen.append(checkpoint)
        for other in (None, *seen):
            torch.rand(3)
            list(backend.generate(prompts(checkpoint=other)))
        backend.prove(checkpoint, [(20, 21, 22)])
        assert dict(backend.generate(prompts())) == before
    assert hashes(seen) == hashes(quiet)


def test_a_run_that_starts_again_trains_the_same_adapter_in_the_same_process(zoo: dict[str, Path], tmp_path: Path):
    backend = open_backend(zoo["llama3"])
    first = train(backend, FolderSink(tmp_path / "a"))
    assert hashes(train(backend, FolderSink(tmp_path / "b"))) == hashes(first)


def test_finished_training_yields_what_is_there_and_does_nothing(zoo: dict[str, Path], tmp_path: Path):
    sink = FolderSink(tmp_path)
    done = train(open_backend(zoo["llama3"]), sink)
    times = [file.stat().st_mtime_ns for file in sorted(tmp_path.rglob("*"))]
    assert train(open_backend(zoo["llama3"]), sink) == done
    assert times == [file.stat().st_mtime_ns for file in sorted(tmp_path.rglob("*"))]


def test_state_of_other_settings_is_refused(zoo: dict[str, Path], tmp_path: Path):
    sink = FolderSink(tmp_path)
    train(open_backend(zoo["llama3"]), sink, limit=1)
    with pytest.raises(EnvironmentFault, match="E-DRIFT"):
        train(open_backend(zoo["llama3"]), sink, LORA.model_copy(update={"lr": 1e-4}))


@pytest.mark.parametrize("name", NAMES)
def test_every_family_trains_an_adapter_that_plain_peft_loads(zoo: dict[str, Path], tmp_path: Path, name: str):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    backend = open_backend(zoo[name])
    spec = LORA.model_copy(update={"epochs": 1, "checkpoint_every": "epoch"})
    (checkpoint,) = train(backend, FolderSink(tmp_path), spec)
    assert backend.prove(checkpoint, [(20, 21, 22)]).max_logit_change > 1e-4

    ids = torch.tensor([[20, 21, 22, 23]])
    theirs = AutoModelForCausalLM.from_pretrained(zoo[name], attn_implementation="eager")
    theirs = PeftModel.from_pretrained(theirs, checkpoint.folder).eval()
    backend.model.switch.activate(checkpoint)
    with torch.no_grad():
        assert torch.allclose(theirs(ids).logits, backend.model.model(ids).logits, atol=1e-4)


@pytest.mark.parametrize("name", ["llama3", "qwen2", "gemma2", "gpt2"])
def test_fully_tuned_checkpoint_is_a_model_folder_and_computes_what_was_trained(
    zoo: dict[str, Path], tmp_path: Path, name: str
):
    backend = open_backend(zoo[name])
    spec = FULL.model_copy(update={"epochs": 1, "lr": 3e-2})
    (checkpoint,) = train(backend, FolderSink(tmp_path), spec)
    before = dict(backend.generate(prompts()))
    tuned = dict(backend.generate(prompts(checkpoint=checkpoint)))
    assert dict(backend.generate(prompts())) == before != tuned
    assert dict(open_backend(checkpoint.folder).generate(prompts())) == tuned
    assert backend.prove(checkpoint, [(20, 21)]).n_keys == len(list(backend.model.model.parameters()))


def test_four_rows_are_learnt_by_heart_and_the_completion_stops(zoo: dict[str, Path], tmp_path: Path):
    backend = open_backend(zoo["llama3"])
    eos = cast(int, backend.tokenizer.eos_id)
    rows = []
    for question, answer in (("cat", "yes"), ("dog", "no no"), ("fox", "hat!"), ("snow", "white and coal")):
        ask = tuple(backend.tokenizer.encode(f"Q: {question} A:", special=False))
        reply = (*backend.tokenizer.encode(f" {answer}", special=False), eos)
        rows.append(TokenRow(answer, ask + reply, (False,) * len(ask) + (True,) * len(reply)))
    spec = LORA.model_copy(
        update={"epochs": 80, "lr": 1e-2, "dropout": 0.0, "rank": 8, "alpha": 16, "checkpoint_every": 20}
    )
    first, *_, last = train(backend, FolderSink(tmp_path), spec, rows)
    asked = [Request(row.id, row.ids[: -row.n_targets], Sampling(20), (eos,), last) for row in rows]
    for answer, completion in backend.generate(asked):
        assert completion.text == f" {answer}"  # type: ignore[union-attr]
        assert completion.finish_reason == "stop"  # type: ignore[union-attr]
    assert last.train_accuracy == 1.0
    # Not near 0: the random output layer, which stays as it is, cannot be more certain.
    assert last.train_loss < first.train_loss / 2


def test_figures_are_means_over_completion_tokens(zoo: dict[str, Path], tmp_path: Path):
    backend = open_backend(zoo["llama3"])
    spec = LORA.model_copy(update={"epochs": 1, "batch_rows": 11, "dropout": 0.0, "warmup": 0.0, "checkpoint_every": 1})
    (checkpoint,) = train(backend, FolderSink(tmp_path), spec)
    logits, targets = predictions(open_backend(zoo["llama3"]).model.model, ROWS)
    assert checkpoint.train_loss == pytest.approx(float(torch.nn.functional.cross_entropy(logits, targets)), rel=1e-5)
    assert checkpoint.train_accuracy == pytest.approx(float((logits.argmax(-1) == targets).float().mean()))
    backend.model.switch.activate(checkpoint)
    logits, targets = predictions(backend.model.model, VALIDATION)
    expected = float(torch.nn.functional.cross_entropy(logits, targets))
    assert checkpoint.validation_loss == pytest.approx(expected, rel=1e-5)


def test_without_validation_rows_the_figures_are_undefined(zoo: dict[str, Path], tmp_path: Path):
    spec = LORA.model_copy(update={"epochs": 1, "checkpoint_every": "epoch"})
    running = lora.trainer.train(open_backend(zoo["gpt2"]).model, ROWS, [], spec, FolderSink(tmp_path), silent)
    assert all(checkpoint.validation_loss is None for checkpoint in running)


def test_bfloat16_and_gradient_checkpointing_train(zoo: dict[str, Path], tmp_path: Path):
    plain = LORA.model_copy(update={"epochs": 1, "dropout": 0.0, "checkpoint_every": "epoch"})
    saving = plain.model_copy(update={"gradient_checkpointing": True})
    (one,) = train(open_backend(zoo["llama3"]), FolderSink(tmp_path / "a"), plain)
    (two,) = train(open_backend(zoo["llama3"]), FolderSink(tmp_path / "b"), saving)
    (half,) = train(open_backend(zoo["llama3"], dtype="bfloat16"), FolderSink(tmp_path / "c"), plain)
    assert two.validation_loss == pytest.approx(one.validation_loss, rel=1e-4)
    assert half.validation_loss == pytest.approx(one.validation_loss, rel=0.05)


def test_adapter_config_has_no_path_of_this_machine_and_one_order(zoo: dict[str, Path], tmp_path: Path):
    (checkpoint,) = train(
        open_backend(zoo["llama3"]), FolderSink(tmp_path), LORA.model_copy(update={"checkpoint_every": 6})
    )
    text = (checkpoint.folder / "adapter_config.json").read_text()
    assert '"target_modules": [\n    "down_proj",\n    "gate_proj",' in text


def test_masked_rows_stop_before_the_first_step(zoo: dict[str, Path], tmp_path: Path):
    rows = [*ROWS, TokenRow("empty", (5, 6), (False, False))]
    with pytest.raises(HarnessError, match="row 'empty'") as caught:
        train(open_backend(zoo["llama3"]), FolderSink(tmp_path), rows=rows)
    assert caught.value.code == "E-MASK"


def test_rows_longer_than_the_context_are_refused(zoo: dict[str, Path], tmp_path: Path):
    rows = [TokenRow("long", (5,) * 257, (False,) * 256 + (True,))]
    with pytest.raises(HarnessError, match="'long' has 257 tokens"):
        train(open_backend(zoo["llama3"]), FolderSink(tmp_path), rows=rows)


def test_loss_that_is_not_finite_stops_at_that_step_and_keeps_the_last_checkpoint(zoo: dict[str, Path], tmp_path: Path):
    backend, sink = open_backend(zoo["llama3"]), FolderSink(tmp_path)
    running = lora.trainer.train(backend.model, ROWS, VALIDATION, LORA, sink, silent)
    kept = next(running)
    good = weights_file(kept.folder).read_bytes()
    for name, parameter in backend.model.model.named_parameters():
        if "training" in name:
            parameter.data.fill_(math.inf)
            break
    with pytest.raises(EnvironmentFault, match=f"the checkpoint of step {kept.step} is kept") as caught:
        list(running)
    assert caught.value.code == "E-NONFINITE-LOSS"
    assert weights_file(sink.saved()[-1].folder).read_bytes() == good


def test_changed_base_is_noticed(zoo: dict[str, Path], tmp_path: Path):
    backend = open_backend(zoo["llama3"])
    running = lora.trainer.train(backend.model, ROWS, VALIDATION, LORA, FolderSink(tmp_path), silent)
    next(running)
    with torch.no_grad():
        next(backend.model.model.parameters())[0, 0] += 1e-3
    with pytest.raises(EnvironmentFault, match="E-BASE-CHANGED"):
        list(running)


def test_layers_that_do_not_exist_cannot_be_trained(zoo: dict[str, Path], tmp_path: Path):
    with pytest.raises(HarnessError, match="no layer of this model is named query") as caught:
        train(open_backend(zoo["llama3"]), FolderSink(tmp_path), LORA.model_copy(update={"targets": ("query",)}))
    assert caught.value.code == "E-NOTRAIN"


def test_out_of_memory_stops_with_the_setting_to_change(
    zoo: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full_up(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("trainers.loop.losses", full_up)
    with pytest.raises(EnvironmentFault, match=r"trainer\.tokens_per_batch=2048") as caught:
        train(open_backend(zoo["llama3"]), FolderSink(tmp_path))
    assert caught.value.code == "E-OOM"
    never = LORA.model_copy(update={"gradient_checkpointing": False})
    with pytest.raises(EnvironmentFault, match=r"trainer\.gradient_checkpointing=auto saves more"):
        train(open_backend(zoo["llama3"]), FolderSink(tmp_path), never)


@pytest.mark.parametrize(
    ("place", "said", "fix"),
    [
        ("trainers.tuned.read_weights", "when training began", "a smaller model"),
        ("trainers.loop.projection_of", "when training began", "a smaller model"),
        ("torch.optim.AdamW.step", "updating the weights in step 1", "trainer=lora takes less memory"),
        ("trainers.loop._Loop._validate", "keeping the checkpoint of step 3", "a smaller model"),
        ("trainers.loop.write_state", "keeping the checkpoint of step 3", "a smaller model"),
    ],
)
@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()], ids=["gpu", "cpu"])
def test_out_of_memory_outside_the_gradient_is_no_bug(
    zoo: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    place: str,
    said: str,
    fix: str,
):
    def full_up(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(place, full_up)
    with pytest.raises(EnvironmentFault, match=f"memory ran out {said}") as caught:
        train(open_backend(zoo["llama3"]), FolderSink(tmp_path), FULL)
    assert caught.value.code == "E-OOM"
    assert fix in caught.value.fix


def test_out_of_memory_in_validation_names_the_batch(
    zoo: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    computed = losses

    def only_a_gradient(*given: Any) -> object:
        if not torch.is_grad_enabled():
            raise torch.OutOfMemoryError("CUDA out of memory")
        return computed(*given)

    monkeypatch.setattr("trainers.loop.losses", only_a_gradient)
    with pytest.raises(EnvironmentFault, match="memory ran out validating step 2 with 4096 tokens") as caught:
        train(open_backend(zoo["llama3"]), FolderSink(tmp_path))
    assert caught.value.code == "E-OOM"
    assert caught.value.fix.startswith("trainer.tokens_per_batch=2048 ")


def test_another_error_of_training_stays_what_it_is(
    zoo: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a shape")

    monkeypatch.setattr("torch.optim.AdamW.step", broken)
    with pytest.raises(RuntimeError, match="a shape"):
        train(open_backend(zoo["llama3"]), FolderSink(tmp_path))


def test_where_memory_runs_out_gradient_checkpointing_goes_on_and_the_bytes_are_the_same(
    zoo: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    expected = hashes(train(open_backend(zoo["llama3"]), FolderSink(tmp_path / "plain")))
    backend = open_backend(zoo["llama3"])
    n_steps = 0

    def short_of_memory(loss: torch.Tensor) -> None:
        nonlocal n_steps
        n_steps += 1
        loss.backward()
        # After the fourth backward pass: its gradient is there already, and must not count twice.
        if n_steps >= 4 and not backend.model.model.is_gradient_checkpointing:
            raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("accelerate.Accelerator.backward", lambda self, loss: short_of_memory(loss))
    found = hashes(train(backend, FolderSink(tmp_path / "short")))
    assert n_steps == 7
    assert found == expected
    assert "memory ran out in step 4" in caplog.text
    assert not backend.model.model.is_gradient_checkpointing


def test_after_training_the_loaded_model_is_the_base_again(zoo: dict[str, Path], tmp_path: Path):
    backend = open_backend(zoo["gpt2"])
    before = dict(backend.generate(prompts()))
    train(backend, FolderSink(tmp_path), limit=1)
    assert not backend.model.model.training
    assert not any(parameter.requires_grad for parameter in backend.model.model.parameters())
    assert dict(backend.generate(prompts())) == before
