"""The decode loop and what it asks of its rows: who joins when, and with which weights on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from harness.backends.hf import HFBackend
from harness.core.types import Checkpoint, Completion, Failure, Outcome, Request, Sampling
from harness.models import running
from harness.models.cache import Cache
from harness.models.files import ADAPTER_WEIGHTS
from harness.models.in_place import Prefix
from tests.models.fixtures import open_backend, sha256, some_rows

SHOTS = some_rows(1, longest=150, seed=9)[0].ids[:60]
SAMPLINGS = (Sampling(9), Sampling(9, temperature=0.8, top_p=0.9, seed=3), Sampling(3, repetition_penalty=1.5))


def requests(n: int, prefix: tuple[int, ...] = ()) -> list[Request]:
    rows = some_rows(n, longest=40, seed=5)
    return [Request(row.id, (*prefix, *row.ids), SAMPLINGS[i % 3], (i + 50,)) for i, row in enumerate(rows)]


def one_by_one(hf: HFBackend, asked: list[Request]) -> dict[str, Outcome]:
    return {key: outcome for request in asked for key, outcome in hf.generate([request])}


@pytest.fixture(scope="module")
def adapters(zoo: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> list[Checkpoint]:
    """Two adapters that change what the model says."""
    return [adapter(zoo["llama3"], tmp_path_factory.mktemp("adapter"), seed) for seed in (1, 2)]


def adapter(model: Path, folder: Path, seed: int) -> Checkpoint:
    torch.manual_seed(seed)
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    tuned = get_peft_model(AutoModelForCausalLM.from_pretrained(model), config)
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.2)
    tuned.save_pretrained(str(folder))
    return Checkpoint(seed, 1.0, folder, "adapter", sha256(folder / ADAPTER_WEIGHTS), None, None, None, None)


@pytest.mark.parametrize("prefix", [(), SHOTS], ids=["nothing shared", "shared"])
@pytest.mark.parametrize("name", ["llama3", "qwen3", "gpt2", "gemma2"])
def test_rows_that_join_others_get_what_they_get_alone(zoo: dict[str, Path], name: str, prefix: tuple[int, ...]):
    hf = open_backend(zoo[name], tokens_per_batch=400)
    asked = requests(40, prefix)
    assert dict(hf.generate(asked)) == one_by_one(hf, asked)


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=["greedy", "drawn", "penalty"])
@pytest.mark.parametrize("name", ["llama3", "gemma2"])
@pytest.mark.parametrize("ids", [(9, 20, 21), (30, 9, 21, 22, 23)], ids=["from its first token", "later"])
def test_a_row_whose_logits_are_no_numbers_fails_alone(
    zoo: dict[str, Path], name: str, sampling: Sampling, ids: tuple[int, ...]
):
    """As where float16 overflows; the greedy choice among nan would be a token like any other."""
    hf = open_backend(zoo[name])
    asked = [replace(request, sampling=sampling) for request in requests(6)]
    expected = dict(hf.generate(asked))
    embeddings = hf.model.model.get_input_embeddings()  # type: ignore[operator]
    # The model's output layer, where it is the same tensor, stays as it is.
    embeddings.weight = nn.Parameter(embeddings.weight.detach().clone(), requires_grad=False)
    embeddings.weight[9] = torch.nan
    found = dict(hf.generate([*asked[:3], Request("bad", ids, sampling, ()), *asked[3:]]))
    assert found.pop("bad") == Failure("generate", "logits are not finite")
    assert found == expected


def test_a_forbidden_word_is_no_failure(zoo: dict[str, Path]):
    """Models forbid words by a logit of minus infinity."""
    hf = open_backend(zoo["llama3"])
    (request,) = requests(1)
    head = hf.model.model.get_output_embeddings()  # type: ignore[operator]
    words = torch.arange(5)
    handle = head.register_forward_hook(lambda module, given, logits: logits.index_fill(-1, words, -torch.inf))
    try:
        assert isinstance(dict(hf.generate([request]))[request.id], Completion)
    finally:
        handle.remove()


def test_prompts_with_and_without_the_shots_get_what_they_get_alone(zoo: dict[str, Path]):
    hf = open_backend(zoo["llama3"], tokens_per_batch=500)
    asked = [*requests(20, SHOTS), *(replace(r, id=f"bare-{r.id}") for r in requests(20))]
    assert dict(hf.generate(asked)) == one_by_one(hf, asked)


def test_waiting_requests_join_while_others_run(zoo: dict[str, Path], monkeypatch: pytest.MonkeyPatch):
    hf = open_backend(zoo["llama3"])
    running_before: list[int] = []
    usual = Cache.join

    def watched(cache: Cache, prompts: list[tuple[int, ...]]) -> Tensor:
        running_before.append(len(cache))
        return usual(cache, prompts)

    asked = [replace(r, sampling=Sampling(1 + 6 * (i % 2)), stop_ids=()) for i, r in enumerate(requests(24))]
    list(hf.generate(asked[:1]))
    monkeypatch.setattr(Cache, "join", watched)
    monkeypatch.setattr("harness.models.batching._MOST_ROWS", 8)
    list(hf.generate(asked))
    assert running_before[0] == 0
    assert max(running_before) >= 4


def test_a_prefix_is_computed_once_for_all_that_have_it(zoo: dict[str, Path], monkeypatch: pytest.MonkeyPatch):
    hf = open_backend(zoo["llama3"], tokens_per_batch=60 + 100)
    seen: list[tuple[int, ...]] = []
    usual = running.computed_prefix

    def counted(model: nn.Module, ids: tuple[int, ...], device: torch.device) -> Prefix:
        seen.append(ids)
        return usual(model, ids, device)

    monkeypatch.setattr(running, "computed_prefix", counted)
    # So wide and so narrow that they make two pools.
    wide = [replace(r, sampling=replace(r.sampling, max_tokens=50)) for r in requests(4, SHOTS)]
    narrow = [Request(f"narrow-{i}", (*SHOTS, 100 + i), Sampling(2), ()) for i in range(8)]
    asked = [*wide, *narrow]
    found = dict(hf.generate(asked))
    assert seen == [SHOTS]
    assert found == one_by_one(hf, asked)


def test_base_and_adapters_in_turn_on_one_prefix_are_each_what_they_are_alone(
    zoo: dict[str, Path], adapters: list[Checkpoint]
):
    one, other = adapters
    asked = requests(10, SHOTS)
    turns: list[Checkpoint | None] = [None, one, other, one, None]
    alone = {
        checkpoint: dict(open_backend(zoo["llama3"]).generate([replace(r, checkpoint=checkpoint) for r in asked]))
        for checkpoint in (None, one, other)
    }
    assert len({str(found) for found in alone.values()}) == 3
    hf = open_backend(zoo["llama3"])
    for checkpoint in turns:
        assert dict(hf.generate([replace(r, checkpoint=checkpoint) for r in asked])) == alone[checkpoint]
    mixed = [replace(r, id=f"{i}-{r.id}", checkpoint=turns[i]) for i in range(5) for r in asked]
    found = dict(hf.generate(mixed))
    for i, checkpoint in enumerate(turns):
        assert {r.id: found[f"{i}-{r.id}"] for r in asked} == alone[checkpoint]


def test_who_takes_the_answers_may_use_the_model_meanwhile(
    zoo: dict[str, Path], adapters: list[Checkpoint], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("harness.models.batching._MOST_ROWS", 4)
    one, other = adapters
    asked = [replace(r, checkpoint=one) for r in requests(20, SHOTS)]
    expected = dict(open_backend(zoo["llama3"]).generate(asked))
    hf = open_backend(zoo["llama3"])
    found = {}
    for key, outcome in hf.generate(asked):
        found[key] = outcome
        hf.model.switch.activate(other)
        assert hf.model.model.config._attn_implementation == "sdpa"  # type: ignore[union-attr]
    assert found == expected


def test_an_adapter_gives_the_tokens_of_peft(zoo: dict[str, Path], adapters: list[Checkpoint]):
    from peft import PeftModel

    base = AutoModelForCausalLM.from_pretrained(zoo["llama3"])
    theirs = PeftModel.from_pretrained(base, str(adapters[0].folder)).eval()
    hf = open_backend(zoo["llama3"])
    for request in requests(4, SHOTS):
        asked = replace(request, sampling=Sampling(8), stop_ids=(), checkpoint=adapters[0])
        ids = theirs.generate(
            input_ids=torch.tensor([request.ids]), max_new_tokens=8, do_sample=False, eos_token_id=None, pad_token_id=0
        )[0, len(request.ids) :]
        ((_, found),) = hf.generate([asked])
        assert found.text == running_text(hf, request, ids.tolist())  # type: ignore[union-attr]


def running_text(hf: HFBackend, request: Request, ids: list[int]) -> str:
    from harness.models.endings import continuation_text

    return continuation_text(hf.tokenizer, request.ids, ids)


def test_answers_come_as_they_end(zoo: dict[str, Path], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("harness.models.batching._MOST_ROWS", 4)
    hf = open_backend(zoo["llama3"])
    asked = [replace(r, sampling=Sampling(4), stop_ids=()) for r in requests(16)]
    answers: Iterator[tuple[str, Outcome]] = hf.generate(asked)
    next(answers)
    steps = 0
    usual = Cache.step

    def counted(cache: Cache, tokens: list[int]) -> Tensor:
        nonlocal steps
        steps += 1
        return usual(cache, tokens)

    monkeypatch.setattr(Cache, "step", counted)
    assert len(list(answers)) == 15
    assert steps >= 6
