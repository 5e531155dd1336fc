"""vLLM itself: token for token what transformers says, base and adapters side by side, and proofs that can fail."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from harness.backends.hf import HFBackend
from harness.backends.vllm import VLLMBackend, backend
from harness.core.errors import EnvironmentFault, HarnessError
from harness.core.judging import LabelScores
from harness.core.specs import BackendSpec, ModelSpec
from harness.core.types import Checkpoint, Completion, Failure, Request, Sampling
from harness.models.vllm import engine
from harness.models.vllm.engine import Question, VLLMEngine
from harness.testing import check_backend
from tests.models.fixtures import FolderSink, open_backend, sha256, silent, some_rows, weights_file
from trainers import full, lora

pytestmark = pytest.mark.skipif(find_spec("vllm") is None, reason="vLLM is not installed")

OPTIONS = {"kv_cache_gib": 0.25}
GREEDY = Sampling(12)


@pytest.fixture(autouse=True)
def no_setting_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's cache size would come before the option's."""
    monkeypatch.delenv("VLLM_CPU_KVCACHE_SPACE", raising=False)


def write_llama(zoo_folder: Path, folder: Path) -> Path:
    """A Llama with heads of 32 numbers, the smallest that vLLM computes, and the tokenizer of a zoo's folder."""
    from transformers import LlamaConfig, LlamaForCausalLM

    shutil.copytree(zoo_folder, folder)
    n_ids = json.loads((folder / "config.json").read_text())["vocab_size"]
    config = LlamaConfig(
        vocab_size=n_ids,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=32,
        max_position_embeddings=256,
        initializer_range=0.3,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(zoo: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(zoo["llama3"], tmp_path_factory.mktemp("vllm") / "llama")


@pytest.fixture(scope="module")
def hf(folder: Path) -> HFBackend:
    return open_backend(folder)


@pytest.fixture(scope="module")
def adapters(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Checkpoint]:
    """Six checkpoints of one training."""
    spec = lora.LoraSpec(epochs=3, batch_rows=4, rank=4, lr=3e-2, checkpoint_every=1)
    sink = FolderSink(tmp_path_factory.mktemp("adapters"))
    return list(lora.trainer.train(open_backend(folder).model, some_rows(8), [], spec, sink, silent))


@pytest.fixture(scope="module")
def vllm(folder: Path) -> Iterator[VLLMBackend]:
    """One backend for all tests that need no engine of their own."""
    opened = open_vllm(folder)
    yield opened
    opened.close()


def open_vllm(folder: Path, **options: object) -> VLLMBackend:
    spec = BackendSpec.model_validate({"options": {**OPTIONS, **options}})
    return backend.create(ModelSpec(name=str(folder), device="cpu"), spec, thinking=False)


def asked(
    *checkpoints: Checkpoint | None, sampling: Sampling = GREEDY, stop_ids: tuple[int, ...] = ()
) -> list[Request]:
    """The same prompts for each, one after the other."""
    return [
        Request(f"{row.id} {number}", row.ids, sampling, stop_ids, checkpoint)
        for row in some_rows(12, seed=5)
        for number, checkpoint in enumerate(checkpoints)
    ]


def spoiled(checkpoint: Checkpoint, folder: Path, change: Callable[[dict[str, Tensor]], None]) -> Checkpoint:
    """A copy of a checkpoint with other weights and their right hash."""
    shutil.copytree(checkpoint.folder, folder)
    tensors = load_file(weights_file(folder))
    change(tensors)
    save_file(tensors, weights_file(folder))
    return replace(checkpoint, folder=folder, sha256=sha256(weights_file(folder)))


def test_it_keeps_every_promise_of_a_backend(folder: Path, adapters: list[Checkpoint]):
    check_backend(
        backend,
        model=ModelSpec(name=str(folder), device="cpu"),
        options=BackendSpec(options=dict(OPTIONS)),
        checkpoint=adapters[-1],
    )


def test_base_and_adapters_interleaved_say_token_for_token_what_transformers_says(
    vllm: VLLMBackend, hf: HFBackend, adapters: list[Checkpoint]
):
    """Two adapters between requests of the base, in one batch (reliability S19): each as it is alone."""
    one, other = adapters[2], adapters[5]
    mixed = asked(None, one, None, other, one, None)
    expected = dict(hf.generate(mixed))
    assert dict(vllm.generate(mixed)) == expected
    texts = [{expected[r.id].text for r in mixed if r.checkpoint == c} for c in (None, one, other)]  # type: ignore[union-attr]
    assert texts[0] != texts[1] != texts[2] != texts[0]
    for checkpoint in (None, one, None, other, None):
        alone = asked(checkpoint)
        assert dict(vllm.generate(alone)) == dict(hf.generate(alone))


@pytest.mark.parametrize("most", [1, 2, 6])
def test_full_slots_leave_the_base_alone(
    folder: Path, hf: HFBackend, adapters: list[Checkpoint], most: int, monkeypatch: pytest.MonkeyPatch
):
    """vLLM's kernels for CPUs give the base in a mixed batch what the last slot holds."""
    mixed = asked(None, *adapters)
    opened = open_vllm(folder, max_loras=most)
    try:
        assert dict(opened.generate(mixed)) == dict(hf.generate(mixed))
        assert dict(opened.generate(mixed[::-1])) == dict(hf.generate(mixed))
    finally:
        opened.close()


def test_stop_strings_end_tokens_and_lengths_end_answers_as_they_do_in_transformers(vllm: VLLMBackend, hf: HFBackend):
    free = dict(hf.generate(asked(None)))
    requests = []
    for request in asked(None):
        whole = free[request.id]
        assert isinstance(whole, Completion)
        middle = whole.text[len(whole.text) // 2 :][:2]
        ends = tuple(hf.tokenizer.encode(whole.text, special=False))[3:4]
        requests += [
            replace(request, id=f"{request.id} string", sampling=replace(request.sampling, stop=("never", middle))),
            replace(request, id=f"{request.id} token", stop_ids=ends),
            replace(request, id=f"{request.id} both", stop_ids=ends, sampling=Sampling(9, stop=(middle,))),
            replace(request, id=f"{request.id} length", sampling=Sampling(1)),
        ]
    found = dict(vllm.generate(requests))
    assert found == dict(hf.generate(requests))
    reasons = {outcome.finish_reason for outcome in found.values() if isinstance(outcome, Completion)}
    assert reasons == {"stop", "length"}


def test_repetition_penalty_and_narrow_sampling_are_those_of_transformers(vllm: VLLMBackend, hf: HFBackend):
    for sampling in (
        Sampling(12, repetition_penalty=1.7),
        Sampling(12, temperature=1.0, top_k=1),
        Sampling(12, temperature=2.0, top_p=1e-9),
    ):
        assert dict(vllm.generate(asked(None, sampling=sampling))) == dict(hf.generate(asked(None, sampling=sampling)))


def test_seeds_give_different_draws_and_the_same_seed_the_same(vllm: VLLMBackend):
    def drawn(seed: int) -> dict[str, object]:
        return dict(vllm.generate(asked(None, sampling=Sampling(12, temperature=1.5, seed=seed))))

    assert drawn(-1) == drawn(-1)
    assert drawn(1) != drawn(2)


def test_drawn_tokens_have_the_probabilities_that_transformers_gives_them(vllm: VLLMBackend, hf: HFBackend):
    """Of 600 draws of one token after one prompt, each of the likeliest comes as often as its probability says."""
    (prompt,) = some_rows(1, seed=5)
    requests = [Request(str(n), prompt.ids, Sampling(1, temperature=1.0, seed=n), ()) for n in range(600)]
    with torch.no_grad():
        logits = hf.model.model(torch.tensor([prompt.ids])).logits[0, -1]  # type: ignore[operator]
    shares = logits.double().softmax(-1)
    texts = [outcome.text for _, outcome in vllm.generate(requests) if isinstance(outcome, Completion)]
    from harness.models.endings import continuation_text

    for token in shares.topk(3).indices.tolist():
        share, n = float(shares[token]), texts.count(continuation_text(hf.tokenizer, prompt.ids, [token]))
        assert abs(n / 600 - share) < 4 * (share * (1 - share) / 600) ** 0.5 + 1e-9


def test_label_scores_are_those_of_transformers(vllm: VLLMBackend, hf: HFBackend, adapters: list[Checkpoint]):
    """Labels of one token, of two with a shared beginning, and more than vLLM tells in one place."""
    labels = [(20,), (21, 30), (21, 31), (22, 5, 6), *((token,) for token in range(40, 200))]
    requests = asked(None, adapters[2], adapters[5])
    found, expected = dict(vllm.label_scores(requests, labels)), dict(hf.label_scores(requests, labels))
    assert found.keys() == expected.keys()
    for name, scores in expected.items():
        theirs = found[name]
        assert isinstance(scores, LabelScores)
        assert isinstance(theirs, LabelScores)
        np.testing.assert_allclose(theirs.log_probs, scores.log_probs, rtol=0, atol=1e-4)


def test_hidden_states_are_those_of_transformers(vllm: VLLMBackend, hf: HFBackend, adapters: list[Checkpoint]):
    requests = asked(None, adapters[2])
    found, expected = dict(vllm.hidden(requests)), dict(hf.hidden(requests))
    for name, state in expected.items():
        assert not isinstance(state, Failure)
        np.testing.assert_array_equal(found[name], state)


def test_a_proof_says_how_far_the_log_probabilities_move(vllm: VLLMBackend, hf: HFBackend, adapters: list[Checkpoint]):
    probes = [request.ids for request in asked(None)][:4]
    proof = vllm.prove(adapters[5], probes)
    largest = 0.0
    with torch.no_grad():
        for ids in probes:
            inputs = torch.tensor([ids])
            hf.model.switch.activate(None)
            before = hf.model.model(inputs).logits[0, -1].log_softmax(-1)  # type: ignore[operator]
            hf.model.switch.activate(adapters[5])
            after = hf.model.model(inputs).logits[0, -1].log_softmax(-1)  # type: ignore[operator]
            hf.model.switch.activate(None)
            top = before.topk(20).indices
            largest = max(largest, float((after - before)[top].abs().max()))
    assert proof.max_logit_change == pytest.approx(largest, abs=1e-4)
    assert proof.n_keys == len(load_file(weights_file(adapters[5].folder)))


def test_an_adapter_without_effect_is_no_adapter(vllm: VLLMBackend, adapters: list[Checkpoint], tmp_path: Path):
    def zero(tensors: dict[str, Tensor]) -> None:
        for name in tensors:
            if ".lora_B." in name:
                tensors[name] = torch.zeros_like(tensors[name])

    with pytest.raises(EnvironmentFault, match="all its B matrices are zero") as caught:
        vllm.prove(spoiled(adapters[0], tmp_path / "zero", zero), [(20, 21, 22)])
    assert caught.value.code == "E-ADAPTER"


def test_a_proof_fails_where_the_engine_drops_the_adapter(
    vllm: VLLMBackend, adapters: list[Checkpoint], monkeypatch: pytest.MonkeyPatch
):
    """Reliability S18: it loads, and every request goes to the base."""
    add = VLLMEngine.add
    monkeypatch.setattr(VLLMEngine, "add", lambda self, name, q: add(self, name, replace(q, adapter=None)))
    with pytest.raises(EnvironmentFault, match="has no effect in vLLM") as caught:
        vllm.prove(adapters[5], [request.ids for request in asked(None)][:4])
    assert caught.value.code == "E-ADAPTER"


def test_a_proof_fails_where_the_engine_gives_the_base_an_adapter(
    vllm: VLLMBackend, adapters: list[Checkpoint], monkeypatch: pytest.MonkeyPatch
):
    """Reliability S19, as vLLM's own kernels for CPUs do it once all slots are taken."""
    probes = [request.ids for request in asked(None)][:4]
    vllm.prove(adapters[5], probes)
    other = vllm._adapters.of(adapters[2])
    add = VLLMEngine.add

    def polluted(self: VLLMEngine, name: str, question: Question) -> None:
        add(self, name, replace(question, adapter=question.adapter or other))

    monkeypatch.setattr(VLLMEngine, "add", polluted)
    with pytest.raises(EnvironmentFault, match="mixes its requests up") as caught:
        vllm.prove(adapters[5], probes)
    assert caught.value.code == "E-ADAPTER"


def test_changed_bytes_are_refused_before_anything_is_answered(
    vllm: VLLMBackend, adapters: list[Checkpoint], tmp_path: Path
):
    damaged = shutil.copytree(adapters[1].folder, tmp_path / "damaged")
    weights = weights_file(damaged)
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(EnvironmentFault, match="sha256") as caught:
        next(vllm.generate(asked(None, replace(adapters[1], folder=damaged))))
    assert caught.value.code == "E-ADAPTER"


def test_dora_is_refused_with_what_to_do(vllm: VLLMBackend, folder: Path, tmp_path: Path):
    spec = lora.LoraSpec(epochs=1, batch_rows=4, rank=4, lr=3e-2, dora=True)
    (checkpoint, *_) = lora.trainer.train(
        open_backend(folder).model, some_rows(4), [], spec, FolderSink(tmp_path), silent
    )
    with pytest.raises(HarnessError, match="DoRA") as caught:
        list(vllm.generate(asked(None, checkpoint)))
    assert (caught.value.code, "backend=hf" in caught.value.fix) == ("E-BACKEND", True)


def test_rank_stabilised_adapters_and_larger_ranks_are_computed(
    vllm: VLLMBackend, hf: HFBackend, folder: Path, tmp_path: Path
):
    spec = lora.LoraSpec(epochs=1, batch_rows=4, rank=12, lr=3e-2, rslora=True)
    (checkpoint, *_) = lora.trainer.train(
        open_backend(folder).model, some_rows(4), [], spec, FolderSink(tmp_path), silent
    )
    requests = asked(None, checkpoint)
    assert dict(vllm.generate(requests)) == dict(hf.generate(requests))


def test_fully_tuned_models_have_engines_of_their_own(
    folder: Path, hf: HFBackend, adapters: list[Checkpoint], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    spec = full.FullSpec(epochs=2, batch_rows=4, lr=1e-2)
    tuned = list(full.trainer.train(open_backend(folder).model, some_rows(8), [], spec, FolderSink(tmp_path), silent))
    started: list[Path] = []
    start = engine._start
    monkeypatch.setattr(engine, "_start", lambda s: started.append(s.folder) or start(s))
    opened = open_vllm(folder)
    try:
        requests = asked(None, tuned[0], adapters[3], tuned[-1])
        assert dict(opened.generate(requests)) == dict(hf.generate(requests))
        assert sorted(started) == sorted([folder, tuned[0].folder, tuned[-1].folder])
        proof = opened.prove(tuned[-1], [request.ids for request in asked(None)][:2])
        assert (proof.sha256, proof.max_logit_change > 0) == (tuned[-1].sha256, True)
    finally:
        opened.close()


def test_this_process_is_left_as_it_was(folder: Path):
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    expected = random.random(), float(np.random.rand()), float(torch.rand(()))
    random.seed(1)
    np.random.seed(1)
    torch.manual_seed(1)
    before, threads = torch.set_num_threads, torch.get_num_threads()
    names = ("OMP_NUM_THREADS", "VLLM_ENABLE_V1_MULTIPROCESSING", "VLLM_LOGGING_LEVEL", "VLLM_NO_USAGE_STATS")
    environment = [os.environ.get(name) for name in names]
    torch.set_num_threads(2)
    try:
        opened = open_vllm(folder)
        list(opened.generate(asked(None)))
        opened.close()
        assert (torch.set_num_threads, torch.get_num_threads()) == (before, 2)
        assert [os.environ.get(name) for name in names] == environment
    finally:
        torch.set_num_threads(threads)
    assert (random.random(), float(np.random.rand()), float(torch.rand(()))) == expected


def test_nothing_is_said_on_the_terminal(folder: Path):
    """Seen from outside, as a user does: importing, starting, answering, ending."""
    code = (
        "from harness.backends.vllm import backend; from harness.core.specs import *; from harness.core.types import *;"
        f"b = backend.create(ModelSpec(name={str(folder)!r}), BackendSpec(options={OPTIONS}), thinking=False);"
        "print([o.n_tokens for _, o in b.generate([Request('r', (20, 21), Sampling(3, stop=('zz',)), ())])]); b.close()"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (found.stdout, found.stderr) == ("[3]\n", "")


def test_answers_that_nobody_waits_for_are_given_up(vllm: VLLMBackend, hf: HFBackend):
    answers = vllm.generate(asked(None, sampling=Sampling(100)))
    next(answers)
    answers.close()  # type: ignore[attr-defined]
    assert dict(vllm.generate(asked(None))) == dict(hf.generate(asked(None)))


def test_two_models_take_turns_in_one_process(folder: Path, hf: HFBackend):
    """Such as the run's own and a judge's."""
    opened = [open_vllm(folder), open_vllm(folder)]
    try:
        for each in (*opened, *opened):
            assert dict(each.generate(asked(None))) == dict(hf.generate(asked(None)))
    finally:
        for each in opened:
            each.close()


def test_too_little_memory_is_one_sentence_with_what_to_do(folder: Path):
    opened = open_vllm(folder, kv_cache_gib=1e-6)
    with pytest.raises(EnvironmentFault) as caught:
        list(opened.generate(asked(None)))
    assert caught.value.code == "E-OOM"
    assert "backend.options.kv_cache_gib" in caught.value.fix
    assert "\n" not in caught.value.what


def test_a_model_that_vllm_cannot_compute_is_one_sentence_with_what_to_do(zoo: dict[str, Path]):
    """Heads of 8 numbers: vLLM notices at the first step."""
    opened = open_vllm(zoo["llama3"])
    try:
        for _ in range(2):
            with pytest.raises(EnvironmentFault, match="head_dim=8") as caught:
                list(opened.generate(asked(None)))
            assert (caught.value.code, caught.value.fix) == ("E-ENGINE", "backend=hf")
    finally:
        opened.close()


def test_an_architecture_without_adapters_in_vllm_is_one_sentence(zoo: dict[str, Path], tmp_path: Path):
    """GPT-2 has no LoRA layers there."""
    spec = lora.LoraSpec(epochs=1, batch_rows=4, rank=4, lr=3e-2)
    (checkpoint, *_) = lora.trainer.train(
        open_backend(zoo["gpt2"]).model, some_rows(4), [], spec, FolderSink(tmp_path), silent
    )
    opened = open_vllm(zoo["gpt2"])
    with pytest.raises(EnvironmentFault) as caught:
        list(opened.generate(asked(None, checkpoint)))
    assert (caught.value.code, caught.value.fix) == ("E-ENGINE", "backend=hf")


def test_a_shorter_context_is_kept(folder: Path):
    opened = open_vllm(folder, max_model_len=32)
    fits, long = Request("fits", (7,) * 26, Sampling(6), ()), Request("long", (7,) * 27, Sampling(6), ())
    try:
        found = dict(opened.generate([long, fits]))
    finally:
        opened.close()
    assert found["long"] == Failure("prompt", "too long for the context")
    assert isinstance(found["fits"], Completion)
    assert found["fits"].n_tokens == 6
