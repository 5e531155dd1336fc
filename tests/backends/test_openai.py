"""A hosted model as a backend: what it promises, what it asks for, and what it refuses beforehand."""

from __future__ import annotations

import json
import math
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import JsonValue

from harness.backends.openai import HostedTokenizer, OpenAIKind, backend
from harness.core.errors import BackendUnreachable, EnvironmentFault, HarnessError
from harness.core.judging import LabelScores
from harness.core.specs import BackendSpec, ModelSpec, PromptingSpec
from harness.core.types import Checkpoint, Completion, Failure, Message, Request, Sampling
from harness.prompting import Renderer
from harness.testing import check_backend
from tests.backends.remote.server import (
    Model,
    answering,
    ask,
    chats,
    mark_of,
    on_cue,
    opened,
    response,
    saying,
    serving,
)

LABELS = {"1": 0.5, "2": 0.25, "3": 0.125, "yes": 0.0625, "no": 0.03, "not at all": 0.02}


def spec(url: str | None, options: dict[str, JsonValue] | None = None) -> BackendSpec:
    return BackendSpec(name="openai", base_url=url, options=options or {})


def checkpoint(step: int = 40) -> Checkpoint:
    return Checkpoint(step, 1.0, Path("nowhere"), "adapter", "ab" * 32, None, None, None, None)


def label_ids(*labels: str) -> list[tuple[int, ...]]:
    return [tuple(label.encode()) for label in labels]


# What every backend promises.


def test_a_hosted_model_keeps_every_promise_of_a_backend() -> None:
    with serving(answering(Model(labels=LABELS))) as server:
        options = spec(server.url, {"adapters": {"step-000040": "model"}})
        check_backend(OpenAIKind(), model=ModelSpec(name="model"), options=options)


def test_without_log_probabilities_it_keeps_them_too() -> None:
    shares = {"1": 0.4, "2": 0.3, "3": 0.2}

    class Silent(Model):
        def _top(self, asked: Any, is_chat: bool) -> None:
            return None

    with serving(answering(Silent(labels=shares))) as server:
        check_backend(OpenAIKind(), model=ModelSpec(name="model"), options=spec(server.url), labels=label_ids(*shares))


def test_checkpoints_under_names_of_their_own_keep_them_too() -> None:
    with serving(answering(Model(labels=LABELS, adapters=("tuned",)))) as server:
        options = spec(server.url, {"adapters": {"step-000040": "tuned"}})
        check_backend(OpenAIKind(), model=ModelSpec(name="model"), options=options, checkpoint=checkpoint())


# Conversations as bytes.


def test_a_conversation_can_be_read_back_from_its_token_ids() -> None:
    tokenizer = HostedTokenizer()
    turns = (
        (Message("system", "Be brief."), Message("user", "naïve <|user|> ☃\n"), Message("assistant", "")),
        (Message("user", "<|end|>"),),
    )
    for messages in (turns[0] + turns[1], turns[1]):
        text = tokenizer.apply_template(messages, add_generation_prompt=True)
        assert tokenizer.turns(tokenizer.encode(text, special=True)) == messages


def test_plain_text_has_no_turns() -> None:
    tokenizer = HostedTokenizer()
    assert tokenizer.turns(tokenizer.encode("<|harness:user|>", special=False)) is None


@pytest.mark.parametrize("ids", [(257, 65), (257, 65, 259), (65, 257, 259, 258), (257, 65, 258), (257, 259, 258, 65)])
def test_what_is_neither_text_nor_an_open_conversation_is_refused(ids: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"assistant|outside|no end"):
        HostedTokenizer().turns(ids)


def test_the_renderer_learns_the_turns_of_the_hosted_tokenizer() -> None:
    renderer = Renderer(HostedTokenizer(), PromptingSpec())
    assert (renderer.end_id, renderer.skew) == (259, None)


def test_turns_arrive_as_messages_and_text_as_a_prompt() -> None:
    with serving(answering(Model())) as server, opened(server.url) as made:
        tokenizer = made.tokenizer
        turns = [Message("system", "Short."), Message("user", "hi"), Message("assistant", "ho"), Message("user", "hum")]
        ids = tokenizer.encode(tokenizer.apply_template(turns, add_generation_prompt=True), special=True)
        chat = Request("chat", tuple(ids), Sampling(5, seed=3, stop=(".", "!")), ())
        text = Request("text", tuple(tokenizer.encode("Once upon", special=False)), Sampling(5), ())
        list(made.generate([chat, text]))
        by_path = {asked.path: asked.body for asked in server.real}
    wire = by_path["/v1/chat/completions"]
    assert wire["messages"] == [{"role": turn.role, "content": turn.content} for turn in turns]
    assert (wire["max_tokens"], wire["temperature"], wire["top_p"]) == (5, 0, 1)
    assert (wire["seed"], wire["stop"]) == (3, [".", "!"])
    assert "top_k" not in wire
    assert "repetition_penalty" not in wire
    assert by_path["/v1/completions"]["prompt"] == "Once upon"


def test_unusual_decoding_is_sent_only_where_it_is_asked_for() -> None:
    with serving(answering(Model())) as server, opened(server.url) as made:
        ask(made, "q", top_k=5, repetition_penalty=1.1)
        assert (server.real[0].body["top_k"], server.real[0].body["repetition_penalty"]) == (5, 1.1)


def test_a_server_that_refuses_unusual_decoding_stops_the_run_with_the_setting() -> None:
    model = Model(refuses={"top_k": "Unknown parameter: 'top_k'."})
    with serving(answering(model)) as server, opened(server.url) as made, pytest.raises(HarnessError) as caught:
        ask(made, "q", top_k=5)
    assert caught.value.code == "E-CONFLICT"
    assert "generation.top_k" in caught.value.fix


# Settings.


@pytest.mark.parametrize(
    ("url", "code"),
    [
        (None, "E-OPTION"),
        ("localhost:8000", "E-OPTION"),
        ("file:///etc/passwd", "E-OPTION"),
        ("http://", "E-OPTION"),
        ("http://host:99999/v1", "E-OPTION"),
        ("http://me:secret@host/v1", "E-SECRET"),
        ("http://me@host/v1", "E-SECRET"),
        ("https://host/v1?api_key=secret", "E-SECRET"),
        ("http://169.254.169.254/latest", "E-ADDRESS"),
        ("http://[::ffff:169.254.169.254]/v1", "E-ADDRESS"),
        ("http://[fd00:ec2::254]/v1", "E-ADDRESS"),
        ("http://0.0.0.0:8000/v1", "E-ADDRESS"),
        ("http://[::]:8000/v1", "E-ADDRESS"),
    ],
)
def test_addresses_that_cannot_be_meant_are_refused_before_anything(url: str | None, code: str) -> None:
    with pytest.raises(HarnessError) as caught:
        backend.identify(ModelSpec(name="m"), spec(url))
    assert (caught.value.code, caught.value.exit_code) == (code, 2)
    assert "secret" not in str(caught.value)


def test_a_number_that_is_a_metadata_address_is_refused_when_it_is_resolved() -> None:
    number = int.from_bytes(bytes([169, 254, 169, 254]))
    with opened(f"http://{number}:80/v1") as made, pytest.raises(HarnessError) as caught:
        _ = made.identity
    assert caught.value.code == "E-ADDRESS"


def test_a_key_is_not_sent_in_the_clear_to_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with pytest.raises(HarnessError) as caught:
        backend.identify(ModelSpec(name="m"), spec("http://models.example/v1"))
    assert caught.value.code == "E-SECRET"
    monkeypatch.delenv("OPENAI_API_KEY")
    assert backend.identify(ModelSpec(name="m"), spec("http://models.example/v1"))["server"]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"api_key": "sk-secret"}, "E-SECRET"),
        ({"apikey": "sk-secret"}, "E-SECRET"),
        ({"api_key_env": "sk-secret"}, "E-OPTION"),
        ({"api_key_env": "NOT_THERE_AT_ALL"}, "E-SECRET"),
        ({"max_concurency": 3}, "E-OPTION"),
        ({"max_concurrency": 0}, "E-OPTION"),
        ({"extra_body": {"temperature": 1}}, "E-OPTION"),
        ({"tokenizer": "no/such/folder"}, "E-TOKENIZER"),
    ],
)
def test_wrong_options_are_refused_without_repeating_a_key(options: dict[str, JsonValue], code: str) -> None:
    with pytest.raises(HarnessError) as caught:
        backend.identify(ModelSpec(name="m"), spec("http://localhost/v1", options))
    assert caught.value.code == code
    assert "sk-secret" not in str(caught.value)


def test_the_name_of_a_run_is_found_without_asking_and_holds_what_decides_and_no_more() -> None:
    model, url = ModelSpec(name="m"), "http://localhost:1/v1/"

    def of(**options: JsonValue) -> dict[str, JsonValue]:
        return dict(backend.identify(model, spec(url, options)))

    plain = of()
    assert plain == {"server": "http://localhost:1/v1", "model": "m", "n_samples": 16}
    same: dict[str, JsonValue] = {"max_concurrency": 2, "max_calls": 5, "max_tokens": 9, "timeout_s": 3, "retries": 1}
    assert of(**same) == plain
    for option in (
        {"extra_body": {"x": 1}},
        {"adapters": {"step-000001": "a"}},
        {"n_samples": 3},
        {"tokenizer": "demo"},
    ):
        assert of(**option) != plain


def test_without_the_client_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.backends.openai.find_spec", lambda name: None)
    with pytest.raises(HarnessError) as caught:
        backend.identify(ModelSpec(name="m"), spec("http://localhost/v1"))
    assert caught.value.code == "E-INSTALL"
    assert "sft-harness[openai]" in caught.value.fix


def test_thinking_is_the_servers_to_template() -> None:
    with pytest.raises(HarnessError) as caught:
        backend.create(ModelSpec(name="m"), spec("http://localhost/v1"), thinking=True)
    assert caught.value.code == "E-CONFLICT"


def test_a_hosted_model_cannot_be_tuned() -> None:
    with opened("http://localhost:1/v1") as made:
        model = made.model
    with pytest.raises(HarnessError) as caught:
        model.train()  # type: ignore[attr-defined]
    assert caught.value.code == "E-CONFLICT"


def test_hidden_states_are_refused() -> None:
    with opened("http://localhost:1/v1") as made, pytest.raises(HarnessError) as caught:
        made.hidden([])
    assert caught.value.code == "E-BACKEND"


# Checkpoints by name.


def test_a_checkpoint_is_asked_for_by_its_name_on_the_server() -> None:
    names, model = {"step-000040": "tuned"}, Model(adapters=("tuned",))
    with serving(answering(model)) as server, opened(server.url, adapters=names) as made:
        (request,) = chats(made, "q")
        tuned = Request("t", request.ids, request.sampling, (), checkpoint())
        found = dict(made.generate([request, tuned]))
        assert {asked.body["model"] for asked in server.real} == {"model", "tuned"}
        assert found["q"] != found["t"]


def test_base_and_checkpoint_are_never_on_their_way_together(monkeypatch: pytest.MonkeyPatch) -> None:
    # The check between portions asks the base.
    monkeypatch.setattr("harness.backends.remote.portions.PORTION", 16)
    model, on_way, met, lock = Model(labels=LABELS, adapters=("tuned",)), [], set[frozenset[str]](), threading.Lock()

    def watched(asked: Any, connection: socket.socket) -> None:
        with lock:
            on_way.append(asked.body["model"])
            met.add(frozenset(on_way))
        time.sleep(0.005)
        said = model(asked)
        with lock:
            on_way.remove(asked.body["model"])
        connection.sendall(said)

    with serving(watched) as server, opened(server.url, adapters={"step-000040": "tuned"}) as made:
        plain = chats(made, *map(str, range(40)))
        tuned = [Request(f"t{r.id}", r.ids, r.sampling, (), checkpoint()) for r in plain]
        mixed = [request for pair in zip(plain, tuned, strict=True) for request in pair]
        assert len(list(made.generate(mixed))) == 80
        assert len(list(made.label_scores(mixed, label_ids("1", "2")))) == 80
        made.prove(checkpoint(), [request.ids for request in plain])
    assert met == {frozenset({"model"}), frozenset({"tuned"})}


def test_a_checkpoint_without_a_name_is_refused_with_what_to_do() -> None:
    with serving(answering(Model())) as server, opened(server.url) as made:
        (request,) = chats(made, "q")
        with pytest.raises(HarnessError) as caught:
            list(made.generate([Request("t", request.ids, request.sampling, (), checkpoint())]))
    assert caught.value.code == "E-BACKEND"
    assert "backend.options.adapters" in caught.value.fix


def test_the_proof_is_the_largest_change_of_a_log_probability() -> None:
    names, model = {"step-000040": "tuned"}, Model(labels=LABELS, adapters=("tuned",))
    with serving(answering(model)) as server, opened(server.url, adapters=names) as made:
        proof = made.prove(checkpoint(), [request.ids for request in chats(made, "a", "b")])
    # The server's adapter lowers every log-probability by one half.
    assert proof.max_logit_change == pytest.approx(0.5)
    assert proof.sha256 == checkpoint().sha256


@pytest.mark.parametrize("labels", [LABELS, None], ids=["answers as the base", "tells nothing"])
def test_an_adapter_without_effect_is_no_adapter(labels: dict[str, float] | None) -> None:
    names = {"step-000040": "model"}
    with serving(answering(Model(labels=labels))) as server, opened(server.url, adapters=names) as made:
        probes = [request.ids for request in chats(made, "a", "b")]
        with pytest.raises(EnvironmentFault) as caught:
            made.prove(checkpoint(), probes)
    assert caught.value.code == "E-ADAPTER"


# Label scores.


def scores_of(labels: dict[str, float], *asked: str, **options: Any) -> LabelScores | Failure:
    with serving(answering(Model(labels=labels))) as server, opened(server.url, **options) as made:
        return dict(made.label_scores(chats(made, "q"), label_ids(*asked)))["q"]


def test_the_servers_own_log_probabilities_are_used_where_all_are_told() -> None:
    found = scores_of(LABELS, "1", "3", "yes")
    assert found == LabelScores(tuple(round(math.log(p), 6) for p in (0.5, 0.125, 0.0625)))


def test_labels_that_are_not_all_told_are_counted_from_replies() -> None:
    found = scores_of({"1": 0.5, "2": 0.3}, "1", "2", "9", n_samples=200)
    assert isinstance(found, LabelScores)
    assert found.n_samples == 200
    counts = [math.exp(value) * (200 + 4 / 2) - 0.5 for value in found.log_probs]
    # Whole counts by the documented formula: (c + 1/2) / (n + (L + 1) / 2).
    assert counts == pytest.approx([round(c) for c in counts], abs=1e-3)
    assert counts[2] == pytest.approx(0, abs=1e-3)
    # Binomial standard deviation at n = 200 is at most 7.1; five of them.
    assert counts[0] == pytest.approx(100, abs=36)
    assert counts[1] == pytest.approx(60, abs=33)


_REFUSALS: dict[str, object] = {
    "a field": {"error": {"message": "not with this model", "param": "logprobs", "code": "unsupported_parameter"}},
    "Gemini": {"error": {"code": 400, "message": "Logprobs is not enabled for models/x", "status": "INVALID_ARGUMENT"}},
    "FastAPI": {"detail": [{"type": "extra_forbidden", "loc": ["body", "top_logprobs"], "msg": "Extra inputs"}]},
}


def without_logprobs(model: Model, refusal: object) -> Callable[[Any], bytes]:
    """The model behind a server that takes no request for log-probabilities."""
    return lambda asked: response(400, refusal) if "logprobs" in asked.body else model(asked)


@pytest.mark.parametrize("shape", _REFUSALS)
def test_a_server_that_refuses_log_probabilities_is_counted_and_not_asked_for_them_again(shape: str) -> None:
    behave = answering(without_logprobs(Model(labels={"1": 0.7, "2": 0.2}), _REFUSALS[shape]))
    with serving(behave) as server, opened(server.url, max_concurrency=1) as made:
        for question in ("q", "another"):
            found = dict(made.label_scores(chats(made, question), label_ids("1", "2")))[question]
            assert isinstance(found, LabelScores)
            assert found.n_samples == 16
        assert sum("logprobs" in asked.body for asked in server.real) == 1


@pytest.mark.parametrize("shape", _REFUSALS)
def test_a_proof_without_log_probabilities_is_an_error_in_a_sentence(shape: str) -> None:
    behave = answering(without_logprobs(Model(labels=LABELS, adapters=("tuned",)), _REFUSALS[shape]))
    with serving(behave) as server, opened(server.url, adapters={"step-000040": "tuned"}) as made:
        probes = [request.ids for request in chats(made, "a")]
        with pytest.raises(EnvironmentFault) as caught:
            made.prove(checkpoint(), probes)
    assert caught.value.code == "E-ADAPTER"
    assert "tells no log-probabilities" in caught.value.what


def test_replies_without_a_label_are_a_failure_not_a_score() -> None:
    assert scores_of({"a": 0.5, "b": 0.3}, "1", "2") == Failure("judge", "no label in 16 samples")


def test_a_longer_word_that_begins_like_a_label_is_another_answer() -> None:
    found = scores_of({"Answer": 0.5, "A": 0.3}, "A", "B", n_samples=100)
    assert isinstance(found, LabelScores)
    n_a = math.exp(found.log_probs[0]) * (100 + 3 / 2) - 0.5
    assert 30 - 23 <= n_a <= 30 + 23


def test_labels_with_an_end_are_whole_answers() -> None:
    with serving(answering(Model(labels={"1": 0.5, "10": 0.5}))) as server, opened(server.url, n_samples=100) as made:
        labels = [(*b"1", 259), (*b"10", 259)]
        found = dict(made.label_scores(chats(made, "q"), labels))["q"]
    assert isinstance(found, LabelScores)
    # All answers are one of the two.
    assert found.mass == pytest.approx((100 + 1) / (100 + 1.5), abs=1e-4)


# With the served model's tokenizer.


def test_with_the_models_tokenizer_prompts_are_its_token_ids_and_every_setting_is_spelled_out() -> None:
    with serving(answering(Model())) as server, opened(server.url, tokenizer="demo") as made:
        request = Request("r", (5, 6, 7), Sampling(4), (1, 2))
        list(made.generate([request]))
        body = next(asked.body for asked in server.asked if asked.body.get("prompt") == [5, 6, 7])
    assert (body["top_k"], body["repetition_penalty"], body["min_p"]) == (0, 1, 0)
    assert body["stop_token_ids"] == [1, 2]
    # max_position_embeddings in the demo model's config.json.
    assert made.context_length == 1024


def test_a_server_that_counts_another_prompt_than_it_was_given_has_cut_it() -> None:
    def forgetful(asked: Any) -> bytes:
        said = Model()(asked)
        return said.replace(b'"prompt_tokens": 9', b'"prompt_tokens": 8')

    with serving(answering(forgetful)) as server, opened(server.url, tokenizer="demo") as made:
        requests = [Request("nine", (5,) * 9, Sampling(4), ()), Request("seven", (5,) * 7, Sampling(4), ())]
        found = dict(made.generate(requests))
    assert found["nine"] == Failure("server", "the prompt was cut or changed")
    assert isinstance(found["seven"], Completion)


def test_a_prompt_that_does_not_fit_the_known_context_is_not_sent() -> None:
    with serving(answering(Model())) as server, opened(server.url, tokenizer="demo", context_length=20) as made:
        request = Request("r", (5,) * 19, Sampling(4), ())
        assert dict(made.generate([request]))["r"] == Failure("prompt", "too long for the context")
        assert not any(asked.body.get("prompt") == [5] * 19 for asked in server.asked)


# Costs.


def test_the_estimate_bounds_what_the_server_bills() -> None:
    with serving(answering(Model())) as server, opened(server.url) as made:
        requests = chats(made, "one", "two words", "and three words", max_tokens=30)
        estimate = made.estimate(requests)
        _ = made.identity
        before = made._client.budget.n_tokens
        list(made.generate(requests))
        assert estimate.calls == 3
        # No token is shorter than a byte, a turn costs some more, and an answer may have 30.
        assert estimate.tokens_at_most >= sum(len(r.id) for r in requests) + 90
        # Of these 66 are the probes at the end: three times ten and twelve.
        assert made._client.budget.n_tokens - before - 66 <= estimate.tokens_at_most
    assert str(estimate).startswith("3 calls and ")


def test_a_budget_of_calls_ends_the_run_and_loses_nothing() -> None:
    questions = [f"question {n}" for n in range(30)]
    with serving(answering(Model())) as server:
        with opened(server.url) as made:
            _ = made.identity
            n_probes = len(server.asked)
        found: dict[str, object] = {}
        with opened(server.url, max_calls=n_probes + 12) as made, pytest.raises(BackendUnreachable) as caught:
            found.update(made.generate(chats(made, *questions)))
        assert (caught.value.code, caught.value.exit_code) == ("E-BUDGET", 5)
        assert len(found) == 12
        assert len(server.real) == 12
        with opened(server.url) as made:
            rest = [question for question in questions if question not in found]
            found |= ask(made, *rest)
        assert all(isinstance(found[question], Completion) for question in questions)
        # Every question was paid for once.
        assert len(server.real) == 30


def test_a_budget_of_tokens_counts_what_the_server_says() -> None:
    with serving(answering(Model())) as server, opened(server.url, max_tokens=600, max_concurrency=1) as made:
        found = []
        with pytest.raises(BackendUnreachable) as caught:
            found = [*made.generate(chats(made, *map(str, range(99))))]
        assert caught.value.code == "E-BUDGET"
        spent = sum(10 + min(a.body["max_tokens"], 21) for a in server.asked if a.path.endswith("completions"))
        # The last call may go over; afterwards there is only the check: three times ten and twelve.
        assert 600 <= spent - 66 < 600 + 31
        assert found == []


# Order, and being stopped.


def test_a_generator_that_is_closed_hangs_up(monkeypatch: pytest.MonkeyPatch) -> None:
    # Time is up with the first answer.
    monkeypatch.setattr("harness.backends.remote.portions.PORTION_S", 0.0)
    hold = threading.Event()

    def slow(asked: Any, connection: socket.socket) -> None:
        if asked.question != "first" and not asked.is_probe:
            # The check behind the first answer is asked in between.
            is_checked = sum(each.is_probe for each in server.asked) >= n_probes + 3
            hold.wait(20 if is_checked else 0.1)
        connection.sendall(Model()(asked))

    with serving(slow) as server, opened(server.url, max_concurrency=4) as made:
        _ = made.identity
        n_probes = sum(each.is_probe for each in server.asked)
        running = made.generate(chats(made, "first", *map(str, range(200))))
        assert next(iter(running))[0] == "first"
        running.close()  # type: ignore[attr-defined]
        made.close()
        n_before = len(server.real)
        hold.set()
        time.sleep(0.3)
        assert n_before < 30
        assert len(server.real) == n_before


def test_every_answer_stands_under_the_question_it_answers() -> None:
    questions = [f"question {n}" for n in range(300)]
    with serving(answering(Model())) as server, opened(server.url, max_concurrency=32) as made:
        found = ask(made, *questions)
    assert found.keys() == set(questions)
    for question, outcome in found.items():
        assert isinstance(outcome, Completion)
        assert outcome.text.startswith(mark_of(question))


BACKEND = "backend=openai"


def test_a_whole_run_baselines_a_hosted_model(harness: Callable[..., Any], echo_task: Path) -> None:
    with serving(answering(Model())) as server:
        words = ("run", f"task={echo_task}", BACKEND, f"base_url={server.url}", "model=model", "trainer=none")
        ran = harness(*words, "n_resamples=100")
        assert ran.code == 0, ran.err
        asked = len(server.asked)
        again = harness(*words, "n_resamples=100")
    assert again.code == 0, again.err
    assert "finished; nothing was done" in again.err
    assert len(server.asked) == asked
    run = next(Path("runs/echo").glob("*/result.json")).parent
    lines = (run / "evaluations/base-0shot.test/outcomes.jsonl").read_text().splitlines()
    outcomes = [json.loads(line) for line in lines]
    rows = [json.loads(line) for line in (echo_task / "test.jsonl").read_text().splitlines()]
    assert [outcome["id"] for outcome in outcomes] == [row["id"] for row in rows]
    for outcome, row in zip(outcomes, rows, strict=True):
        assert outcome["completion"]["text"].startswith(mark_of(row["question"]))
    replayed = ("backend=replay", f"backend.recording={run}", "model=model", "trainer=none", "n_resamples=100")
    without = harness("run", f"task={echo_task}", *replayed, "out=replayed")
    assert without.code == 0, without.err
    (other,) = Path("replayed/echo").glob("*/comparisons.json")
    assert other.read_bytes() == (run / "comparisons.json").read_bytes()
    assert "this run asks for at most 224 calls and" in ran.err


def test_a_key_is_neither_on_disk_nor_on_screen_after_runs_that_end_well_and_badly(
    harness: Callable[..., Any], echo_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "sk-CANARY-5550100"
    monkeypatch.setenv("OPENAI_API_KEY", key)
    words = ("run", f"task={echo_task}", BACKEND, "model=model", "trainer=none", "n_resamples=100")
    refusal = saying(401, {"error": {"message": f"no such key: {key}"}})
    with serving(answering(Model())) as server, serving(on_cue(refusal, always=True)) as refusing:
        well = harness(*words, f"base_url={server.url}")
        badly = harness(*words, f"base_url={refusing.url}", "--json")
        assert server.real[0].headers["authorization"] == f"Bearer {key}"
    assert (well.code, badly.code) == (0, 5)
    assert "E-AUTH" in badly.err
    assert "resume with: harness resume" in badly.err
    assert key not in well.out + well.err + badly.out + badly.err
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 10
    assert not any(key.encode() in path.read_bytes() for path in written)


def test_an_interrupted_run_ends_at_once_and_resumes_without_paying_twice(
    harness: Callable[..., Any], echo_task: Path, tmp_path: Path
) -> None:
    release, n_answers = threading.Event(), threading.Semaphore(150)

    def slow(asked: Any, connection: socket.socket) -> None:
        if not n_answers.acquire(blocking=False):
            release.wait(60)
        connection.sendall(Model()(asked))

    with serving(on_cue(slow, always=True)) as server:
        words = ["run", f"task={echo_task}", BACKEND, f"base_url={server.url}", "model=model", "trainer=none"]
        command = [sys.executable, "-m", "harness", *words, "n_resamples=100"]
        running = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        # All of validation is answered, and part of test; then nothing comes any more.
        while len(server.real) < 155 and running.poll() is None:
            time.sleep(0.05)
        time.sleep(1.5)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=10)
        assert running.returncode == 130
        assert said.rstrip().splitlines()[-1].startswith("resume with: harness resume")
        release.set()
        n_before = len(server.real)
        assert harness(*words, "n_resamples=100").code == 0
        n_after = len(server.real) - n_before
    # 16 rows of validation and 40 of test, zero-shot and three draws of two shots. What was given out is not asked for
    # twice; what was still held back for the next check is.
    assert n_before >= 155
    assert n_after == 4 * 40


def test_what_another_model_said_is_in_no_run_that_was_resumed(harness: Callable[..., Any], echo_task: Path) -> None:
    one, other, left = Model(), Model(salt="other weights"), [10**6]

    def behave(asked: Any, connection: socket.socket) -> None:
        left[0] -= asked.path.endswith("completions") and not asked.is_probe
        connection.sendall((one if left[0] >= 0 else other)(asked))

    def answers(out: str) -> dict[tuple[str, str], str]:
        files = Path(out).glob("*/*/evaluations/*/outcomes.jsonl")
        read = [(file.parent.name, json.loads(line)) for file in files for line in file.read_text().splitlines()]
        return {(name, outcome["id"]): outcome["completion"]["text"] for name, outcome in read}

    with serving(behave) as server:
        words = ("run", f"task={echo_task}", BACKEND, f"base_url={server.url}", "model=model", "trainer=none")
        settings = (*words, "n_resamples=100")
        assert harness(*settings, "out=honest").code == 0
        left[0] = 40
        changed = harness(*settings, "out=swapped")
        assert (changed.code, "E-MODELCHANGED" in changed.err) == (4, True)
        left[0] = 10**6
        assert harness(*settings, "out=swapped").code == 0
    assert len(answers("honest")) == 224
    assert answers("swapped") == answers("honest")


def test_a_server_that_is_not_there_is_exit_5_before_a_run_folder_exists(
    harness: Callable[..., Any], echo_task: Path
) -> None:
    ran = harness("run", f"task={echo_task}", BACKEND, "base_url=http://127.0.0.1:1/v1", "model=m", "trainer=none")
    assert ran.code == 5
    assert "E-UNREACHABLE" in ran.err
    assert not Path("runs").exists()
