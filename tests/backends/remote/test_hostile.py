"""A server that misbehaves on cue, over a real socket: reliability list H, in its order."""

from __future__ import annotations

import gzip
import logging
import os
import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from harness.core.errors import BackendUnreachable, EnvironmentFault, HarnessError
from harness.core.types import Completion, Failure, Outcome, Request, Sampling
from tests.backends.remote.server import (
    Answering,
    Asked,
    Behaviour,
    Model,
    Server,
    answering,
    ask,
    chats,
    choice,
    mark_of,
    on_cue,
    opened,
    response,
    saying,
    serving,
)

KEY = "sk-CANARY-0123456789"


def outcome_of(*faults: Behaviour, always: bool = False, **options: Any) -> tuple[Outcome, int]:
    """What becomes of one question whose first tries meet these faults, and how often it was sent."""
    with serving(on_cue(*faults, always=always)) as server, opened(server.url, **options) as backend:
        return ask(backend, "q")["q"], len(server.real)


def ended_by(*faults: Behaviour, **options: Any) -> tuple[HarnessError, int]:
    """The error that ends a run whose questions meet these faults, and how often they were sent."""
    with serving(on_cue(*faults, always=True)) as server, opened(server.url, max_concurrency=1, **options) as backend:
        with pytest.raises(HarnessError) as caught:
            ask(backend, *"abcdefgh")
        return caught.value, len(server.real)


def is_right(outcome: Outcome) -> bool:
    return isinstance(outcome, Completion) and outcome.text.startswith(mark_of("q"))


# H1: too many requests.


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Retry-After": "0.05"},
        {"Retry-After": "-5"},
        {"Retry-After": "soon"},
        {"Retry-After": "NaN"},
        {"retry-after-ms": "30"},
        {"Retry-After": "Sat, 01 Jan 2050 00:00:00 GMT", "Date": "Sat, 01 Jan 2050 00:00:00 GMT"},
        {"Retry-After": "Sat, 01 Jan 2050 00:00:00 GMT"},
        {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "40ms"},
        {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "whenever"},
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_h1_a_busy_server_is_asked_again(status: int, headers: dict[str, str]) -> None:
    outcome, n_sent = outcome_of(*[saying(status, {"error": {"message": "slow down"}}, headers)] * 2)
    assert is_right(outcome)
    assert n_sent == 3


def test_h1_nobody_asks_before_the_named_time_is_over() -> None:
    times: list[float] = []
    told = threading.Event()

    def busy(asked: Asked, connection: socket.socket) -> None:
        told.set()
        connection.sendall(response(429, {}, {"Retry-After": "0.4"}))

    model = Model()

    def behave(asked: Asked, connection: socket.socket) -> None:
        if not asked.is_probe:
            times.append(time.monotonic())
            if not told.is_set():
                busy(asked, connection)
                return
        connection.sendall(model(asked))

    with serving(behave) as server, opened(server.url, max_concurrency=1) as backend:
        found = ask(backend, *"abcd")
    assert all(isinstance(outcome, Completion) for outcome in found.values())
    assert len(times) == 5
    assert min(times[1:]) - times[0] >= 0.4


def test_h1_the_limit_is_halved_once_for_requests_that_were_refused_together() -> None:
    gate = threading.Barrier(8)

    def together(asked: Asked, connection: socket.socket) -> None:
        with suppress(threading.BrokenBarrierError):
            gate.wait(5)
        connection.sendall(response(429, {}))

    with serving(on_cue(*[together] * 8)) as server, opened(server.url, max_concurrency=8) as backend:
        _ = backend.identity
        assert backend._client._pace.limit == 8
        ask(backend, *map(str, range(8)))
        # Halved once to 4; eight answers and three probes later it has grown by less than 11 / 4, not to 8 again.
        assert 4 < backend._client._pace.limit < 4 + 11 / 4


def test_h1_there_are_never_more_requests_than_the_option_allows() -> None:
    def slowly(asked: Asked, connection: socket.socket) -> None:
        time.sleep(0.01)
        connection.sendall(Model()(asked))

    with serving(slowly) as server, opened(server.url, max_concurrency=5) as backend:
        ask(backend, *map(str, range(60)))
        assert 3 <= server.busiest <= 5


# H2: failures that pass.


def hangs_up(asked: Asked, connection: socket.socket) -> None:
    connection.shutdown(socket.SHUT_RDWR)


def resets(asked: Asked, connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    os.close(connection.detach())


def stops_after_headers(asked: Asked, connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")
    resets(asked, connection)


def stops_in_the_body(asked: Asked, connection: socket.socket) -> None:
    connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"choices": [')
    hangs_up(asked, connection)


def speaks_no_http(asked: Asked, connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9\r\n\r\n")
    hangs_up(asked, connection)


@pytest.mark.parametrize(
    "fault",
    [
        *[saying(status, {"error": {"message": "oops"}}) for status in (500, 502, 503, 504, 408)],
        *[hangs_up, resets, stops_after_headers, stops_in_the_body, speaks_no_http],
    ],
    ids=lambda fault: getattr(fault, "__name__", "status"),
)
def test_h2_a_failure_that_passes_costs_nothing(fault: Behaviour, caplog: pytest.LogCaptureFixture) -> None:
    outcome, n_sent = outcome_of(fault, fault)
    assert is_right(outcome)
    assert n_sent == 3
    assert any("1 of 1 requests were sent more than once: 'q'" in each.getMessage() for each in caplog.records)


def test_h2_one_question_that_always_fails_is_a_failure_and_leaves_the_others_alone() -> None:
    model = Model()

    def behave(asked: Asked, connection: socket.socket) -> None:
        connection.sendall(response(500, {}) if asked.question == "poison" else model(asked))

    with serving(behave) as server, opened(server.url, retries=3, max_concurrency=2) as backend:
        found = ask(backend, "a", "b", "poison", "c", "d")
        assert sum(asked.question == "poison" for asked in server.real) == 4
    assert found.pop("poison") == Failure("server", "error (HTTP 500)")
    assert all(isinstance(outcome, Completion) for outcome in found.values())


def test_h2_a_last_question_that_always_fails_is_told_from_a_server_that_died() -> None:
    outcome, n_sent = outcome_of(saying(500, {}), always=True, retries=2)
    assert (outcome, n_sent) == (Failure("server", "error (HTTP 500)"), 3)


def test_h2_many_such_questions_are_failures_too_as_long_as_others_would_be_answered() -> None:
    with serving(on_cue(saying(500, {}), always=True)) as server, opened(server.url, retries=2) as backend:
        found = ask(backend, *map(str, range(40)))
    assert set(found.values()) == {Failure("server", "error (HTTP 500)")}
    assert len(found) == 40


def test_h2_https_to_a_server_without_it_is_said_in_a_sentence() -> None:
    with serving(answering(Model())) as server:
        encrypted = server.url.replace("http:", "https:")
        with opened(encrypted) as backend, pytest.raises(BackendUnreachable) as caught:
            _ = backend.identity
    assert caught.value.exit_code == 5


def test_h2_a_name_that_does_not_exist_is_said_in_a_sentence() -> None:
    with opened("https://no-such-host.invalid/v1", retries=1) as backend, pytest.raises(BackendUnreachable) as caught:
        _ = backend.identity
    assert "cannot be resolved" in caught.value.what


# H3: refusals.

_CONTEXT = [
    {"error": {"message": "too many", "code": "context_length_exceeded"}},
    {"error": {"message": "This model's maximum context length is 1024 tokens.", "type": "BadRequestError"}},
    {"object": "error", "message": "the request exceeds the available context size", "code": 400},
    {"error": "prompt is too long: 2000 tokens"},
]


@pytest.mark.parametrize("body", _CONTEXT)
def test_h3_a_prompt_that_is_too_long_fails_alone_and_is_not_sent_again(body: object) -> None:
    assert outcome_of(saying(400, body)) == (Failure("prompt", "too long for the context"), 1)


def test_h3_another_refusal_of_one_request_fails_alone() -> None:
    assert outcome_of(saying(400, {"error": {"message": "no"}})) == (Failure("server", "refused (HTTP 400)"), 1)


@pytest.mark.parametrize("field", ["messages", "messages[0].content", "prompt", "input"])
def test_h3_a_prompt_that_the_server_names_fails_alone(field: str) -> None:
    body = {"error": {"message": "string too long", "param": field, "code": "string_above_max_length"}}
    outcome, n_sent = outcome_of(saying(400, body))
    assert (outcome, n_sent) == (Failure("prompt", "refused by the server (HTTP 400)"), 1)


def test_h3_a_role_that_the_server_does_not_know_is_no_matter_of_one_prompt() -> None:
    body = {"error": {"message": "no 'system' here", "param": "messages[0].role", "code": "unsupported_value"}}
    error, n_sent = ended_by(saying(400, body))
    assert (error.code, n_sent) == ("E-CONFLICT", 1)


def test_h3_a_field_that_is_refused_while_seeds_are_tried_is_said_in_a_sentence() -> None:
    def cold(asked: Asked) -> bytes:
        body = {"error": {"message": "only 0", "param": "temperature", "code": "unsupported_value"}}
        return response(400, body) if asked.body["temperature"] > 0 else Model()(asked)

    with serving(answering(cold)) as server, opened(server.url) as backend, pytest.raises(HarnessError) as caught:
        ask(backend, "q", temperature=1.0)
    assert (caught.value.code, "generation.temperature" in caught.value.fix) == ("E-CONFLICT", True)


@pytest.mark.parametrize("status", [401, 403])
def test_h3_a_refused_key_ends_the_run_at_once_and_shows_nothing_that_the_server_said(
    status: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    caplog.set_level(logging.DEBUG)
    error, n_sent = ended_by(saying(status, {"error": {"message": f"bad key {KEY}", "code": KEY}}))
    assert (error.code, error.exit_code, n_sent) == ("E-AUTH", 5, 1)
    shown = f"{error!s} {error!r} {error.__context__!r} {error.__cause__!r} {caplog.text}"
    assert KEY not in shown


_HIDDEN = "\x1b[31m<b>ghp_0123456789</b>\u202e sk-CANARY-01***6789"


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize(("key", "what"), [(KEY, "refuses the key"), (None, "wants a key, and there is none")])
@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": f"Incorrect API key provided: {_HIDDEN}", "type": _HIDDEN, "param": _HIDDEN}},
        {"detail": _HIDDEN},
        f"<html>{_HIDDEN}</html>".encode(),
    ],
    ids=["OpenAI", "FastAPI", "no JSON"],
)
def test_h3_a_refused_key_is_told_in_our_own_words_alone(
    status: int, key: str | None, what: str, body: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Servers repeat keys in part and with stars, and other secrets than this one: no mask knows them all."""
    if key is None:
        monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    else:
        monkeypatch.setenv("OPENAI_API_KEY", key)
    error, n_sent = ended_by(saying(status, body))
    assert (error.code, n_sent) == ("E-AUTH", 1)
    assert re.fullmatch(rf"http://127\.0\.0\.1:\d+/v1 {what} \(HTTP {status}\)", error.what)
    assert error.fix.startswith("export OPENAI_API_KEY=...,")
    assert error.details == ()
    assert not any(part in str(error) for part in ("CANARY", "6789", "ghp_", "Incorrect", "html", "31m"))


@pytest.mark.parametrize(
    ("status", "body"),
    [(402, {}), (429, {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}})],
)
def test_h3_an_account_without_money_ends_the_run_at_once(status: int, body: object) -> None:
    error, n_sent = ended_by(saying(status, body))
    assert (error.code, error.exit_code, n_sent) == ("E-QUOTA", 5, 1)


def test_h3_a_model_that_is_not_there_ends_the_run_and_names_those_that_are() -> None:
    with (
        serving(answering(Model())) as server,
        opened(server.url, model="modle") as backend,
        pytest.raises(BackendUnreachable) as caught,
    ):
        _ = backend.identity
    assert (caught.value.code, caught.value.exit_code) == ("E-MODEL", 5)
    assert caught.value.details == ("the server has: model",)


def test_h3_a_model_that_goes_away_ends_the_run_at_once() -> None:
    error, n_sent = ended_by(saying(404, {"error": {"message": "model not found"}}))
    assert (error.code, n_sent) == ("E-MODEL", 1)


# H4: answers that are none, each by its own name.

_NONE = [
    ({"choices": []}, Failure("server", "no choice in the reply")),
    (choice(None), Failure("server", "an answer without a message")),
    (choice({"content": None}), Failure("generate", "an answer without content")),
    (choice({"content": None, "reasoning_content": "hm"}), Failure("generate", "reasoning without an answer")),
    (choice({"content": "", "reasoning": "hm"}, "length"), Failure("generate", "reasoning used up max_tokens")),
    (choice({"content": "half"}, "content_filter"), Failure("generate", "stopped by the server's content filter")),
    (choice({"content": None}, "tool_calls"), Failure("generate", "called a tool in place of an answer")),
    (choice({"content": None, "tool_calls": [{}]}), Failure("generate", "called a tool in place of an answer")),
    (choice({"content": None, "refusal": "I cannot"}), Failure("generate", "the model refused")),
    (choice({"content": [{"type": "text"}]}), Failure("server", "an answer that is not text")),
    (
        choice({"content": "x"}, "ran\x1b[31m away"),
        Failure("server", r"the answer ended for the reason ran\x1b[31m away"),
    ),
    (choice({"content": "x"}, None), Failure("server", "the answer does not say why it ended")),
]


@pytest.mark.parametrize(("body", "failure"), _NONE)
def test_h4_an_answer_that_is_none_is_a_failure_of_its_own_and_not_rolled_again(body: object, failure: Failure) -> None:
    assert outcome_of(saying(200, body)) == (failure, 1)


def test_h4_half_a_character_is_not_text() -> None:
    half = rb'{"choices":[{"index":0,%s"finish_reason":"stop"}]}'
    failure = Failure("server", "an answer that is not text")
    assert outcome_of(saying(200, half % rb'"message":{"content":"a\ud800b"},')) == (failure, 1)
    with serving(on_cue(saying(200, half % rb'"text":"a\ud800b",'))) as server, opened(server.url) as backend:
        ids = tuple(backend.tokenizer.encode("Once upon", special=False))
        assert dict(backend.generate([Request("text", ids, Sampling(5), ())])) == {"text": failure}


def test_h4_the_failures_have_names_of_their_own() -> None:
    assert len({failure for _, failure in _NONE}) == len(_NONE) - 1  # two ways to call a tool


def test_h4_an_error_in_place_of_an_answer_is_asked_again() -> None:
    outcome, n_sent = outcome_of(saying(200, {"error": {"message": "upstream"}}))
    assert is_right(outcome)
    assert n_sent == 2


def test_h4_an_empty_answer_is_an_answer() -> None:
    assert outcome_of(saying(200, choice({"content": ""}))) == (Completion("", "stop", 0), 1)


def test_h4_an_answer_that_was_cut_off_says_so() -> None:
    outcome, _ = outcome_of(saying(200, choice({"content": "half"}, "length")))
    assert isinstance(outcome, Completion)
    assert outcome.finish_reason == "length"


def test_h4_counts_that_cannot_be_are_not_believed() -> None:
    for count in (-1, 1e300, "many", True, 10**30):
        outcome, _ = outcome_of(saying(200, choice({"content": "abc"}, usage={"completion_tokens": count})))
        assert outcome == Completion("abc", "stop", 3)


# H5: replies that cannot be read.

_GARBLED = [
    b"<html>\x1b[31mSign in</html>",
    b"",
    b"\xef\xbb\xbf" + b'{"choices": []}',
    b'{"choices": [{"x": NaN}]}',
    b'{"choices": [{"x": Infinity}]}',
    b"\xff\xfe",
    b"[" * 100_000,
    b"[]",
    b'{"choices": {}}',
    b'{"choices": [1]}',
]


@pytest.mark.parametrize("body", _GARBLED, ids=range(len(_GARBLED)))
def test_h5_a_reply_that_cannot_be_read_is_asked_for_again(body: bytes) -> None:
    outcome, n_sent = outcome_of(saying(200, body))
    assert is_right(outcome)
    assert n_sent == 2


def test_h5_a_server_that_only_says_such_things_is_shown_with_its_first_bytes_escaped() -> None:
    page = b"<html>\x1b[31m\r\n" + b"x" * 500
    with serving(saying(200, page)) as server, opened(server.url) as backend, pytest.raises(HarnessError) as caught:
        _ = backend.identity
    assert (caught.value.code, caught.value.exit_code) == ("E-SERVER", 5)
    assert r"<html>\x1b[31m\r\n" + "x" * 187 in caught.value.what
    assert "x" * 188 not in caught.value.what


# H6: too slow and too much.


def drips(asked: Asked, connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n")
    for _ in range(5000):
        connection.sendall(b" ")
        time.sleep(0.05)


def hangs(asked: Asked, connection: socket.socket) -> None:
    time.sleep(1.5)
    hangs_up(asked, connection)


def never_ends(asked: Asked, connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(1024):
        connection.sendall(b"100000\r\n" + b" " * 2**20 + b"\r\n")


_BOMB = gzip.compress(gzip.compress(b" " * 2**29, 9), 9)


def is_a_bomb(asked: Asked, connection: socket.socket) -> None:
    once = gzip.decompress(_BOMB)
    connection.sendall(response(200, once, {"Content-Encoding": "gzip"}))


def is_a_double_bomb(asked: Asked, connection: socket.socket) -> None:
    connection.sendall(response(200, _BOMB, {"Content-Encoding": "gzip, gzip"}))


@pytest.mark.parametrize("fault", [drips, hangs])
def test_h6_a_slow_reply_is_given_up_in_time(fault: Behaviour) -> None:
    before = time.monotonic()
    outcome, n_sent = outcome_of(fault, timeout_s=0.5)
    assert is_right(outcome)
    assert n_sent == 2
    assert time.monotonic() - before < 10


@pytest.mark.parametrize("fault", [drips, hangs, stops_in_the_body, saying(200, b"<html>"), saying(504, {})])
def test_h6_a_call_that_may_have_been_answered_is_counted_as_if_it_had_been(fault: Behaviour) -> None:
    with serving(on_cue(fault, fault)) as server, opened(server.url, timeout_s=0.5) as backend:
        _ = backend.identity
        before = backend._client.budget.n_tokens
        at_most = backend.estimate(chats(backend, "q")).tokens_at_most
        ask(backend, "q")
        # 18 and 66: the answer of eight tokens, and the three questions of the check.
        assert backend._client.budget.n_tokens - before == 2 * at_most + 18 + 66


@pytest.mark.parametrize("fault", [never_ends, is_a_bomb, is_a_double_bomb])
def test_h6_a_reply_without_end_is_not_read_to_its_end(fault: Behaviour) -> None:
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcome, n_sent = outcome_of(fault, always=True, retries=1)
    assert isinstance(outcome, Failure)
    assert n_sent == 2
    assert outcome.reason in ("the reply is larger than 16 MiB", "the reply is packed in a way that was not asked for")
    # 16 MiB may be held, in two tries and in pieces; not half a gigabyte. In KiB.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024


def test_h6_an_error_page_without_end_is_not_read_to_its_end_either() -> None:
    def endless_error(asked: Asked, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(1024):
            connection.sendall(b"100000\r\n" + b" " * 2**20 + b"\r\n")

    outcome, _ = outcome_of(endless_error, always=True, retries=0)
    assert outcome == Failure("server", "the reply is larger than 16 MiB")


def test_h6_a_packed_reply_is_unpacked() -> None:
    def packed(asked: Asked, connection: socket.socket) -> None:
        _, _, content = Model()(asked).partition(b"\r\n\r\n")
        connection.sendall(response(200, gzip.compress(content), {"Content-Encoding": "gzip"}))

    outcome, n_sent = outcome_of(packed)
    assert is_right(outcome)
    assert n_sent == 1


def test_s33_a_sampled_answer_that_took_too_long_is_not_replaced_by_a_shorter_one() -> None:
    with serving(on_cue(hangs)) as server, opened(server.url, timeout_s=0.5) as backend:
        found = ask(backend, "q", temperature=1.0)
        assert found == {"q": Failure("server", "no answer in time")}
        assert len(server.real) == 1


# H7: whose answer it is.


def test_h7_answers_that_come_out_of_order_stand_under_their_own_questions() -> None:
    model, questions = Model(), [f"question {n}" for n in range(80)]

    def late(asked: Asked, connection: socket.socket) -> None:
        time.sleep((asked.number * 7 % 10) / 200)
        connection.sendall(model(asked))

    with serving(late) as server, opened(server.url, max_concurrency=16) as backend:
        pairs = list(backend.generate(chats(backend, *questions)))
    order = [name for name, _ in pairs]
    assert order != questions
    assert sorted(order) == sorted(questions)
    assert all(isinstance(o, Completion) and o.text.startswith(mark_of(name)) for name, o in pairs)


def test_h7_of_several_choices_the_first_by_index_is_taken() -> None:
    body = {
        "choices": [
            {"index": 1, "message": {"content": "second"}, "finish_reason": "stop"},
            {"index": 0, "message": {"content": "first"}, "finish_reason": "stop"},
        ]
    }
    outcome, _ = outcome_of(saying(200, body))
    assert isinstance(outcome, Completion)
    assert outcome.text == "first"


# H8: sent elsewhere.


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_h8_a_redirect_is_not_followed_and_the_key_stays_here(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving(answering(Model())) as elsewhere:
        error, n_sent = ended_by(saying(status, b"", {"Location": f"{elsewhere.url}/chat/completions\x1b[31m"}))
        assert elsewhere.asked == []
    assert (error.code, error.exit_code, n_sent) == ("E-REDIRECT", 5, 1)
    assert "\x1b" not in str(error)


def test_the_key_goes_to_its_server_and_nothing_else_of_the_environment_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_ORG_ID", "org-CANARY")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "project-CANARY")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "admin-CANARY")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Own: header-CANARY")
    with serving(answering(Model())) as server, opened(server.url) as backend:
        ask(backend, "q")
        headers = server.real[0].headers
    assert headers["authorization"] == f"Bearer {KEY}"
    rest = {name: value for name, value in headers.items() if name != "authorization"}
    assert not any("CANARY" in value for value in rest.values())
    assert not any(name.startswith("x-") for name in rest)


def test_without_a_key_none_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with serving(answering(Model())) as server, opened(server.url) as backend:
        ask(backend, "q")
        assert "authorization" not in server.real[0].headers


def test_a_key_that_the_server_repeats_does_not_reach_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    outcome, _ = outcome_of(saying(200, choice({"content": f"it is {KEY}"})), api_key_env="MY_KEY")
    assert isinstance(outcome, Completion)
    assert outcome.text == "it is [key]"


@pytest.mark.parametrize("key", ["EMPTY", "ollama", "none"])
def test_a_word_in_place_of_a_key_stays_in_answers_and_not_in_errors(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    outcome, _ = outcome_of(saying(200, choice({"content": f"{key} of the above"})))
    assert isinstance(outcome, Completion)
    assert outcome.text == f"{key} of the above"
    for body in ({"error": {"message": f"no such key: {key}"}}, f"<p>no such key: {key}".encode()):
        error, _ = ended_by(saying(404, body))
        assert "no such key: [key]" in error.what
        assert key not in error.what


def test_a_key_in_another_spelling_of_json_does_not_reach_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    spelled = "".join(f"\\u{ord(character):04x}" for character in KEY)
    body = f'{{"choices":[{{"index":0,"message":{{"content":"it is {spelled}"}},"finish_reason":"stop"}}]}}'
    outcome, _ = outcome_of(saying(200, body.encode()))
    assert isinstance(outcome, Completion)
    assert outcome.text == "it is [key]"
    error, _ = ended_by(saying(404, f'{{"error": {{"message": "for {spelled}"}}}}'.encode()))
    assert "says HTTP 404: for [key]" in error.what


# H9: a server that does not do as it is told.


def probed(model: Model, **options: Any) -> dict[str, Any]:
    with serving(answering(model)) as server, opened(server.url, **options) as backend:
        return dict(backend.identity)


def test_h9_a_server_that_does_all_of_it_has_no_downgrade() -> None:
    found = probed(Model())
    assert found["deterministic"] is True
    assert found.keys() == {"backend", "server", "model", "served", "outputs", "deterministic", "n_samples"}


@pytest.mark.parametrize("usage", [True, False])
def test_h9_ignored_max_tokens_ends_it_before_anything_is_spent(usage: bool) -> None:
    class Endless(Model):
        def words(self, asked: Asked) -> list[str]:
            return super().words(asked) * 20

    with pytest.raises(BackendUnreachable) as caught:
        probed(Endless(ignores=frozenset({"max_tokens"}), usage=usage))
    assert (caught.value.code, caught.value.exit_code) == ("E-CAPABILITY", 5)


def test_h9_a_later_answer_over_max_tokens_is_a_failure() -> None:
    body = choice({"content": "a b c"}, usage={"completion_tokens": 999})
    assert outcome_of(saying(200, body))[0] == Failure("server", "max_tokens was ignored")


def test_h9_ignored_stop_strings_are_on_record_and_cut_here() -> None:
    model = Model(ignores=frozenset({"stop"}))
    assert probed(model)["stop"] == "ignored by the server, cut here"
    with serving(answering(model)) as server, opened(server.url) as backend:
        free = ask(backend, "q")["q"]
        assert isinstance(free, Completion)
        stop = free.text[14:17]
        cut = ask(backend, "q", stop=("never there", stop))["q"]
    assert isinstance(cut, Completion)
    assert (cut.text, cut.finish_reason) == (free.text.partition(stop)[0], "stop")


def test_h9_answers_that_do_not_repeat_themselves_are_on_record() -> None:
    found = probed(Model(ignores=frozenset({"temperature"})))
    assert found["deterministic"] is False
    assert "outputs" not in found
    # Said beforehand, it is not found out again, so that a resumed run has the same name for the same thing.
    assert probed(Model(ignores=frozenset({"temperature"})), deterministic=False)["deterministic"] is False


def test_h9_an_ignored_seed_is_said_where_it_matters(caplog: pytest.LogCaptureFixture) -> None:
    class Random(Model):
        def words(self, asked: Asked) -> list[str]:
            words = super().words(asked)
            return [f"{asked.number}", *words] if asked.body["temperature"] > 0 else words

    with serving(answering(Random())) as server, opened(server.url) as backend:
        ask(backend, "q")
        assert "ignores the seed" not in caplog.text
        ask(backend, "q", temperature=1.0)
        assert "ignores the seed" in caplog.text


def test_h9_a_newer_name_of_max_tokens_is_found_out() -> None:
    model = Model(refuses={"max_tokens": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."})
    with serving(answering(model)) as server, opened(server.url) as backend:
        assert isinstance(ask(backend, "q")["q"], Completion)
        assert server.real[0].body["max_completion_tokens"] == 8
        assert "refuses" not in backend.identity


def test_h9_refused_temperature_and_seed_are_on_record() -> None:
    model = Model(refuses={name: f"Unsupported value: '{name}'" for name in ("temperature", "seed")})
    with serving(answering(model)) as server, opened(server.url) as backend:
        assert backend.identity["refuses"] == ["seed", "temperature"]
        ask(backend, "q")
        assert not {"temperature", "seed"} & server.real[0].body.keys()


def test_h9_a_server_without_chats_takes_text_and_says_so() -> None:
    with serving(answering(Model(chat=False))) as server, opened(server.url) as backend:
        assert backend.identity["deterministic"] is True
        with pytest.raises(HarnessError) as caught:
            ask(backend, "q")
    assert (caught.value.code, "prompting.form=text" in caught.value.fix) == ("E-CONFLICT", True)


# H10: another model under the same name.


def until_a_check(first: Answering, then: Answering) -> tuple[Behaviour, Callable[[], None]]:
    """One model up to the third question of a check after `begin`, another one afterwards."""
    lock, left = threading.Lock(), [10**6]

    def behave(asked: Asked, connection: socket.socket) -> None:
        with lock:
            answer = first if left[0] > 0 else then
            left[0] -= asked.is_probe
        connection.sendall(answer(asked))

    return behave, lambda: left.__setitem__(0, 3)


def test_h10_a_server_that_was_restarted_with_other_weights_is_noticed() -> None:
    models = [Model()]
    with serving(lambda asked, connection: connection.sendall(models[-1](asked))) as server:
        with opened(server.url) as backend:
            ask(backend, "a")
            models.append(Model(salt="other weights"))
            with pytest.raises(EnvironmentFault) as caught:
                ask(backend, "b")
        assert (caught.value.code, caught.value.exit_code) == ("E-MODELCHANGED", 4)
        with opened(server.url) as backend:
            assert isinstance(ask(backend, "b")["b"], Completion)


def test_h10_only_what_was_said_before_a_check_that_passed_is_given_out() -> None:
    first, questions, found = Model(), [f"{n}" for n in range(400)], dict[str, Outcome]()
    behave, begin = until_a_check(first, Model(salt="other weights"))
    with serving(behave) as server, opened(server.url, max_concurrency=4) as backend:
        _ = backend.identity
        begin()
        with pytest.raises(EnvironmentFault) as caught:
            found.update(backend.generate(chats(backend, *questions)))
    assert caught.value.code == "E-MODELCHANGED"
    assert len(found) == 256
    with serving(answering(first)) as server, opened(server.url) as backend:
        assert found == ask(backend, *found)


def test_h10_three_short_calls_check_a_portion_of_256_answers() -> None:
    with serving(answering(Model())) as server, opened(server.url) as backend:
        _ = backend.identity
        n_before = len(server.asked)
        ask(backend, *map(str, range(600)))
        # 256, 256 and 88.
        assert len(server.asked) - n_before == 600 + 3 * 3


def test_h10_other_weights_are_another_identity_and_the_same_weights_the_same() -> None:
    class Fixed(Model):
        """Of two servers with different ports the URL differs; what is compared is the rest."""

    one, other, again = (probed(Fixed(salt=salt))["outputs"] for salt in ("", "x", ""))
    assert one == again != other


def test_h10_where_answers_do_not_repeat_themselves_the_name_that_it_gives_itself_is_watched() -> None:
    models = [Model(ignores=frozenset({"temperature"}))]

    def behave(asked: Asked, connection: socket.socket) -> None:
        said = models[-1](asked)
        if len(models) > 1:
            said = said.replace(b'{"model": "model"', b'{"model": "mode2"')
        connection.sendall(said)

    with serving(behave) as server, opened(server.url) as backend:
        ask(backend, "a")
        models.append(models[0])
        with pytest.raises(EnvironmentFault) as caught:
            ask(backend, "b")
    assert caught.value.code == "E-MODELCHANGED"


# H11: ways to a server.


def test_h11_a_server_that_hangs_up_after_each_answer() -> None:
    def once(asked: Asked, connection: socket.socket) -> None:
        connection.sendall(Model()(asked))
        connection.shutdown(socket.SHUT_RDWR)

    with serving(once) as server, opened(server.url) as backend:
        found = ask(backend, *map(str, range(20)))
    assert all(isinstance(outcome, Completion) for outcome in found.values())


def test_h11_a_server_with_ipv6_alone() -> None:
    with serving(answering(Model()), family=socket.AF_INET6) as server:
        for url in (server.url, server.url.replace("[::1]", "localhost")):
            with opened(url) as backend:
                assert is_right(ask(backend, "q")["q"])


def test_h11_a_proxy_is_not_asked_for_a_server_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(saying(500, b"a proxy")) as proxy, serving(answering(Model())) as server:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        with opened(server.url) as backend:
            assert is_right(ask(backend, "q")["q"])
        assert proxy.asked == []


def test_h11_a_proxy_is_asked_for_another_machine_and_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serving(answering(Model())) as proxy:
        monkeypatch.setenv("http_proxy", f"http://user:hidden@127.0.0.1:{proxy.port}")
        with opened("http://models.example/v1") as backend:
            assert is_right(ask(backend, "q")["q"])
        assert proxy.real[0].path == "http://models.example/v1/chat/completions"
    assert "go through a proxy" in caplog.text
    assert "hidden" not in caplog.text


# H12: a server that is gone.


def dies_after(n: int) -> tuple[Behaviour, Callable[[], None]]:
    """A model that answers so many questions and then fails everything, until it is revived."""
    model, lock = Model(), threading.Lock()
    state = {"left": n, "dead": False}

    def behave(asked: Asked, connection: socket.socket) -> None:
        with lock:
            if not asked.is_probe and not state["dead"]:
                state["left"] -= 1
                state["dead"] = state["left"] < 0
        connection.sendall(response(500, {}) if state["dead"] else model(asked))

    def revive() -> None:
        state.update(left=10**6, dead=False)

    return behave, revive


@pytest.mark.parametrize("concurrency", [1, 16])
def test_h12_a_server_that_dies_ends_the_run_and_a_resumed_one_asks_only_the_rest(concurrency: int) -> None:
    behave, revive = dies_after(10)
    questions, found = [f"question {n}" for n in range(40)], dict[str, Outcome]()
    with serving(behave) as server, opened(server.url, max_concurrency=concurrency) as backend:
        with pytest.raises(BackendUnreachable) as caught:
            found.update(backend.generate(chats(backend, *questions)))
        assert (caught.value.code, caught.value.exit_code) == ("E-SERVER", 5)
        received: list[tuple[str, Outcome]] = []
        revive()
        with suppress(BackendUnreachable):
            received = list(backend.generate(chats(backend, *questions)))
        assert len(received) == 40


def test_h12_failures_of_the_streak_are_not_given_out() -> None:
    behave, begin = until_a_check(Model(), lambda _: response(500, {}))
    questions, found = [f"question {n}" for n in range(400)], dict[str, Outcome]()
    with serving(behave) as server:
        with opened(server.url, max_concurrency=4) as backend, suppress(BackendUnreachable):
            _ = backend.identity
            begin()
            for name, outcome in backend.generate(chats(backend, *questions)):
                found[name] = outcome
        # One portion was given out; the other answers cannot be checked any more.
        assert len(found) == 256
        assert all(isinstance(outcome, Completion) for outcome in found.values())
    with serving(answering(Model())) as server, opened(server.url) as backend:
        found |= ask(backend, *[question for question in questions if question not in found])
        assert len(server.real) == 400 - 256
    assert all(isinstance(outcome, Completion) for outcome in found.values())


def test_h12_patience_ends_after_twenty_failures_in_a_row_and_in_less_than_two_minutes() -> None:
    from harness.backends.remote.pace import STREAK, Backoff

    behave, _ = dies_after(0)
    with serving(behave) as server, opened(server.url, max_concurrency=1, retries=100) as backend:
        with pytest.raises(BackendUnreachable):
            ask(backend, *"abc")
        # Twenty tries of the first question; none of the second.
        assert {asked.question for asked in server.real} == {"a"}
        assert len(server.real) == STREAK == 20
    longest = Backoff(0.5, lambda: 0.0)
    assert sum(longest.wait_s(n) for n in range(1, STREAK)) < 120


def test_h12_a_server_that_stops_listening_is_the_same() -> None:
    questions = [f"question {n}" for n in range(800)]
    with serving(answering(Model())) as server, opened(server.url, max_concurrency=2) as backend:
        running = backend.generate(chats(backend, *questions))
        found = dict([next(running)])
        server.close()
        with pytest.raises(BackendUnreachable) as caught:
            found.update(running)
    assert caught.value.code == "E-UNREACHABLE"
    assert all(isinstance(outcome, Completion) for outcome in found.values())
    assert isinstance(server, Server)
