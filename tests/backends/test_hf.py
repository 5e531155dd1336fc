"""Generation with transformers: what a request gets depends on the request alone, and every ending is known."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from harness.backends.hf import HFBackend, backend
from harness.core.specs import BackendSpec, ModelSpec
from harness.core.types import Completion, Failure, Outcome, Request, Sampling
from harness.models.batching import Pool
from harness.models.cache import Cache, writes_in_place
from harness.models.endings import continuation_text
from harness.models.running import Engine
from tests.models.fixtures import open_backend, some_rows
from tests.models.zoo import NAMES

GREEDY = Sampling(8)
DRAWN = Sampling(8, temperature=0.8, top_p=0.9, seed=3)


def requests(n: int, sampling: Sampling = GREEDY, stop_ids: tuple[int, ...] = ()) -> list[Request]:
    return [Request(row.id, row.ids, sampling, stop_ids) for row in some_rows(n, longest=40)]


def one(hf: HFBackend, request: Request) -> Outcome:
    ((_, outcome),) = hf.generate([request])
    return outcome


def completed(hf: HFBackend, asked: Sequence[Request], n_rows: int) -> Iterator[tuple[str, Outcome]]:
    """Outcomes with so many rows at once, the others joining as rows end, where the model lets them."""
    width = max(len(request.ids) + request.sampling.max_tokens for request in asked)
    in_place = writes_in_place(hf.model.model, hf.model.device, width)
    return Engine(hf.model, hf.tokenizer, in_place=in_place).complete(Pool(tuple(asked), 0, n_rows, width))


def completion(hf: HFBackend, request: Request) -> Completion:
    found = one(hf, request)
    assert isinstance(found, Completion)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_greedy_tokens_are_those_of_transformers_generate(zoo: dict[str, Path], name: str):
    hf = open_backend(zoo[name])
    for request in requests(4):
        theirs = hf.model.model.generate(  # type: ignore[operator]
            torch.tensor([request.ids]), max_new_tokens=8, do_sample=False, eos_token_id=None, pad_token_id=0
        )
        ids = theirs[0, len(request.ids) :].tolist()
        assert completion(hf, request).text == continuation_text(hf.tokenizer, request.ids, ids)


@pytest.mark.parametrize("name", ["llama3", "mistral", "gemma2", "gpt2"])
@pytest.mark.parametrize("sampling", [GREEDY, DRAWN], ids=["greedy", "drawn"])
def test_outputs_do_not_depend_on_batch_size_or_order(zoo: dict[str, Path], name: str, sampling: Sampling):
    hf = open_backend(zoo[name])
    asked = requests(32, sampling)
    alone = {request.id: one(hf, request) for request in asked}
    for size in (2, 3, 7, 32):
        for order in (asked[::-1], random.Random(size).sample(asked, len(asked))):
            for start in range(0, len(order), size):
                batch = order[start : start + size]
                assert dict(completed(hf, batch, size)) == {request.id: alone[request.id] for request in batch}
            assert dict(completed(hf, order, size)) == alone


def test_rows_that_stop_early_leave_the_others_alone(zoo: dict[str, Path]):
    hf = open_backend(zoo["llama3"])
    asked = [replace(r, sampling=Sampling(1 + 5 * (i % 4))) for i, r in enumerate(requests(16))]
    assert dict(hf.generate(asked)) == {request.id: one(hf, request) for request in asked}


def test_end_token_stops_and_is_not_in_the_text(zoo: dict[str, Path]):
    hf = open_backend(zoo["llama3"])
    (request,) = requests(1)
    free = next_ids(hf, request, 6)
    stopped = completion(hf, replace(request, stop_ids=(free[3],)))
    first = free.index(free[3])
    assert stopped == Completion(hf.tokenizer.decode(free[:first], skip_special=False), "stop", first + 1)


def test_length_is_a_reason_and_max_tokens_is_obeyed(zoo: dict[str, Path]):
    hf = open_backend(zoo["gpt2"])
    for n in (1, 2, 5):
        found = completion(hf, replace(requests(1)[0], sampling=Sampling(n)))
        assert (found.finish_reason, found.n_tokens) == ("length", n)


@pytest.mark.parametrize(
    ("text", "stops", "expected"),
    [
        ("yes\nno", ("\n",), "yes"),
        ("a cat sat on the mat", ("sat on",), "a cat "),
        ("one word: yes", ("word: y", "e w"), "on"),
        ("snow 🙂 white", ("🙂",), "snow "),
        ("caf\u00e9 fox", ("\u00e9",), "caf"),
        ("###end", ("##",), ""),
    ],
    ids=["token", "across tokens", "two stops", "multi-byte", "accent", "at once"],
)
@pytest.mark.parametrize("name", ["llama2", "llama3"])
def test_stop_string_cuts_the_text(
    zoo: dict[str, Path], monkeypatch: pytest.MonkeyPatch, name: str, text: str, stops: tuple[str, ...], expected: str
):
    hf = open_backend(zoo[name])
    prompt, ids = spelled(hf, text)
    script(monkeypatch, ids)
    request = Request("r", prompt, Sampling(len(ids) + 5, stop=stops), ())
    found = completion(hf, request)
    assert (found.text, found.finish_reason) == (expected, "stop")
    assert found.n_tokens <= len(ids)


def test_stop_string_that_never_comes_does_nothing(zoo: dict[str, Path], monkeypatch: pytest.MonkeyPatch):
    hf = open_backend(zoo["llama3"])
    prompt, ids = spelled(hf, "yes and no")
    script(monkeypatch, ids)
    found = completion(hf, Request("r", prompt, Sampling(len(ids), stop=("maybe",)), ()))
    assert found == Completion("yes and no", "length", len(ids))


def test_blank_at_the_beginning_of_an_answer_is_kept(zoo: dict[str, Path], monkeypatch: pytest.MonkeyPatch):
    hf = open_backend(zoo["llama2"])
    prompt, ids = spelled(hf, " Yes")
    script(monkeypatch, ids)
    assert completion(hf, Request("r", prompt, Sampling(len(ids)), ())).text == " Yes"


def test_control_tokens_inside_an_answer_are_shown(zoo: dict[str, Path], monkeypatch: pytest.MonkeyPatch):
    hf = open_backend(zoo["llama3"])
    prompt, ids = spelled(hf, "yes")
    header = hf.tokenizer.encode("<|start_header_id|>", special=True)
    script(monkeypatch, [*ids, *header])
    found = completion(hf, Request("r", prompt, Sampling(len(ids) + 1), ()))
    assert found.text == "yes<|start_header_id|>"


def test_prompt_without_room_for_its_answer_fails_alone(zoo: dict[str, Path]):
    hf = open_backend(zoo["llama3"])
    fits = Request("fits", (7,) * 250, Sampling(6), ())
    found = dict(hf.generate([replace(fits, id="long", sampling=Sampling(7)), fits, replace(fits, id="none", ids=())]))
    assert found["long"] == Failure("prompt", "too long for the context")
    assert found["none"] == Failure("prompt", "an empty prompt cannot be completed")
    assert isinstance(found["fits"], Completion)
    assert found["fits"].n_tokens == 6


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA"), MemoryError()], ids=["gpu", "cpu"])
@pytest.mark.parametrize("limit", [4, 2, 1, 0])
def test_fewer_rows_run_at_once_until_they_fit(
    zoo: dict[str, Path], monkeypatch: pytest.MonkeyPatch, limit: int, error: Exception
):
    hf = open_backend(zoo["llama3"])
    asked = [replace(request, sampling=Sampling(2 + 3 * (i % 3))) for i, request in enumerate(requests(9))]
    expected = dict(hf.generate(asked))
    usual = Cache.join

    def narrow(cache: Cache, prompts: Sequence[tuple[int, ...]]) -> Tensor:
        if len(cache) + len(prompts) > limit:
            raise error
        return usual(cache, prompts)

    monkeypatch.setattr(Cache, "join", narrow)
    found = list(hf.generate(asked))
    assert len(found) == len(asked)
    assert dict(found) == (expected if limit else dict.fromkeys(expected, Failure("generate", "out of memory")))


def test_what_was_answered_before_memory_ran_out_is_not_answered_again(
    zoo: dict[str, Path], monkeypatch: pytest.MonkeyPatch
):
    hf = open_backend(zoo["llama3"], tokens_per_batch=150)
    asked = [replace(request, sampling=Sampling(1 + 7 * (i % 2))) for i, request in enumerate(requests(12))]
    expected = dict(hf.generate(asked))
    usual, steps = Cache.step, iter(range(1000))

    def once(cache: Cache, tokens: Sequence[int]) -> Tensor:
        if next(steps) == 9:
            raise MemoryError
        return usual(cache, tokens)

    monkeypatch.setattr(Cache, "step", once)
    found = list(hf.generate(asked))
    assert len(found) == len(asked)
    assert dict(found) == expected
    assert next(steps) > 10


def test_other_errors_are_not_taken_for_lack_of_memory(zoo: dict[str, Path], monkeypatch: pytest.MonkeyPatch):
    hf = open_backend(zoo["llama3"])
    one(hf, requests(1)[0])

    def broken(*_: object) -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(Cache, "join", broken)
    with pytest.raises(RuntimeError, match="mat1"):
        list(hf.generate(requests(1)))


def test_seeds_give_different_draws_and_the_same_seed_the_same(zoo: dict[str, Path]):
    hf = open_backend(zoo["llama3"])
    (request,) = requests(1)

    def drawn(seed: int) -> Outcome:
        return one(hf, replace(request, sampling=Sampling(12, temperature=1.5, seed=seed)))

    assert drawn(1) == drawn(1)
    assert len({drawn(seed) for seed in range(5)}) > 1


def test_narrow_sampling_is_greedy(zoo: dict[str, Path]):
    hf = open_backend(zoo["llama3"])
    for request in requests(3):
        greedy = one(hf, request)
        for narrow in (Sampling(8, temperature=1.0, top_k=1), Sampling(8, temperature=2.0, top_p=1e-9)):
            assert one(hf, replace(request, sampling=narrow)) == greedy


def test_repetition_penalty_is_that_of_transformers(zoo: dict[str, Path]):
    hf = open_backend(zoo["gpt2"])
    for request in requests(3):
        theirs = hf.model.model.generate(  # type: ignore[operator]
            torch.tensor([request.ids]),
            max_new_tokens=8,
            do_sample=False,
            repetition_penalty=1.7,
            eos_token_id=None,
            pad_token_id=0,
        )
        ours = completion(hf, replace(request, sampling=Sampling(8, repetition_penalty=1.7)))
        assert ours.text == hf.tokenizer.decode(theirs[0, len(request.ids) :].tolist(), skip_special=False)


def test_generation_settings_of_the_folder_are_ignored(zoo: dict[str, Path], tmp_path: Path):
    import json
    import shutil

    folder = Path(shutil.copytree(zoo["llama3"], tmp_path / "opinionated"))
    settings = {"temperature": 0.9, "do_sample": True, "repetition_penalty": 3.0, "max_new_tokens": 1}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    assert dict(open_backend(folder).generate(requests(3))) == dict(open_backend(zoo["llama3"]).generate(requests(3)))


def test_tokenizer_context_and_identity_of_the_model_need_no_torch(zoo: dict[str, Path]):
    code = (
        "import sys; from harness.backends.hf import backend; from harness.core.specs import *;"
        f"m = ModelSpec(name={str(zoo['llama3'])!r}); backend.identify(m, BackendSpec());"
        "b = backend.create(m, BackendSpec(), thinking=False);"
        "b.tokenizer.encode('a', special=False); assert b.context_length == 256; print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


def test_identity_says_what_produced_the_text_and_not_where(zoo: dict[str, Path]):
    hf = open_backend(zoo["llama3"])
    identity = hf.identity
    assert identity["dtype"] == "float32"
    assert identity["device"] == "cpu"
    assert identity["model"] == backend.identify(ModelSpec(name=str(zoo["llama3"])), BackendSpec())
    assert str(zoo["llama3"].parent) not in str(identity)


def spelled(hf: HFBackend, text: str) -> tuple[tuple[int, ...], list[int]]:
    """A prompt, and the ids of `text` as they continue it."""
    context = hf.tokenizer.encode("a\n", special=False)
    whole = hf.tokenizer.encode("a\n" + text, special=False)
    assert whole[: len(context)] == context
    return tuple(context), whole[len(context) :]


def script(monkeypatch: pytest.MonkeyPatch, ids: list[int]) -> None:
    """Make every model say these ids."""
    places = iter([*ids, *[ids[-1]] * 50])
    scripted: Callable[..., list[int]] = lambda logits, rows: [next(places) for _ in rows]  # noqa: E731
    monkeypatch.setattr("harness.models.decoding._choose", scripted)


def next_ids(hf: HFBackend, request: Request, n: int) -> list[int]:
    """Greedy ids by transformers' own loop."""
    found = hf.model.model.generate(  # type: ignore[operator]
        torch.tensor([request.ids]), max_new_tokens=n, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    ids: list[int] = found[0, len(request.ids) :].tolist()
    return ids
