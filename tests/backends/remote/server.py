"""A real server on a loopback socket, that behaves or misbehaves on cue; no transport is replaced.

`Model` answers as a small deterministic model would: a token is a word, an answer depends on the prompt alone.
"""

from __future__ import annotations

import hashlib
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from harness.backends.openai import OpenAIBackend, OpenAIKind
from harness.backends.remote.probe import QUESTIONS
from harness.core.specs import BackendSpec, ModelSpec
from harness.core.types import Message, Outcome, Request, Sampling

_WORDS = ("amber", "birch", "cloud", "delta", "ember", "fjord", "grove", "heath", "islet", "jetty", "knoll", "lagoon")


@dataclass(frozen=True)
class Asked:
    """A request as it came over the wire. number: how many came before it."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]
    number: int

    @property
    def question(self) -> str:
        """What the user said last, or the whole of a plain prompt."""
        if "messages" in self.body:
            return str(self.body["messages"][-1]["content"])
        return str(self.body.get("prompt", ""))

    @property
    def is_probe(self) -> bool:
        """Whether it is one of the fixed questions of the probes."""
        return self.question in QUESTIONS


Behaviour = Callable[[Asked, socket.socket], None]
Answering = Callable[[Asked], bytes]


class Server:
    """Listens on a free loopback port; every connection has a thread, every request is written down."""

    def __init__(self, behave: Behaviour, *, family: socket.AddressFamily = socket.AF_INET) -> None:
        self.asked: list[Asked] = []
        self.n_hung_up = 0
        self.busiest = 0
        self._behave = behave
        self._active = 0
        self._lock = threading.Lock()
        self._socket = socket.socket(family)
        self._socket.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        self._socket.listen(128)
        self._open: list[socket.socket] = []
        self.port = int(self._socket.getsockname()[1])
        self.url = f"http://{'[::1]' if family == socket.AF_INET6 else '127.0.0.1'}:{self.port}/v1"
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def real(self) -> list[Asked]:
        """What was asked besides the probes."""
        return [asked for asked in self.asked if asked.path.endswith("completions") and not asked.is_probe]

    def close(self) -> None:
        """Refuse further connections and drop those that are open."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for connection in self._open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError, UnicodeDecodeError), connection.makefile("rb") as stream:
            while (line := stream.readline()).strip():
                method, path, _ = line.decode().split(" ", 2)
                headers: dict[str, str] = {}
                while (header := stream.readline()).strip():
                    name, _, value = header.decode().partition(":")
                    headers[name.strip().lower()] = value.strip()
                size = int(headers.get("content-length", "0"))
                content = stream.read(size)
                if len(content) < size:
                    return
                with self._lock:
                    asked = Asked(method, path, headers, json.loads(content or b"{}"), len(self.asked))
                    self.asked.append(asked)
                    self._active += 1
                    self.busiest = max(self.busiest, self._active)
                try:
                    self._behave(asked, connection)
                except OSError:
                    self.n_hung_up += 1
                    raise
                finally:
                    with self._lock:
                        self._active -= 1


def response(status: int, body: object, headers: Mapping[str, str] | None = None) -> bytes:
    """An HTTP response; bytes as they are, everything else as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [
        f"HTTP/1.1 {status} X",
        f"Content-Length: {len(content)}",
        *(f"{k}: {v}" for k, v in (headers or {}).items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + content


def answering(answer: Answering) -> Behaviour:
    """Send what a function of the request says."""
    return lambda asked, connection: connection.sendall(answer(asked))


def on_cue(*faults: Behaviour, model: Model | None = None, always: bool = False) -> Behaviour:
    """A model that answers the probes, and all else after these faults, one a request; `always`: the last for good."""
    good, left, lock = answering(model or Model()), list(faults), threading.Lock()

    def behave(asked: Asked, connection: socket.socket) -> None:
        with lock:
            plain = asked.is_probe or not asked.path.endswith("completions")
            fault = None if plain or not left else left[0] if always and len(left) == 1 else left.pop(0)
        (fault or good)(asked, connection)

    return behave


def saying(status: int, body: object, headers: Mapping[str, str] | None = None) -> Behaviour:
    """One response."""
    return lambda asked, connection: connection.sendall(response(status, body, headers))


def choice(message: object, finish: object = "stop", **further: object) -> dict[str, object]:
    """A chat's reply with this message."""
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish}], **further}


@dataclass(frozen=True)
class Model:
    """A well-behaved server, but for what its fields say.

    adapters: names besides its own under which it answers differently. labels: what follows every prompt, by
    probability; None for a server without log-probabilities. ignores: fields that it does not obey.
    refuses: field -> the sentence with which it is refused. salt: other weights.
    """

    name: str = "model"
    adapters: tuple[str, ...] = ()
    labels: Mapping[str, float] | None = None
    ignores: frozenset[str] = frozenset()
    refuses: Mapping[str, str] = field(default_factory=dict)
    salt: str = ""
    usage: bool = True
    chat: bool = True
    completions: bool = True

    def __call__(self, asked: Asked) -> bytes:
        if asked.path.endswith("/models"):
            return response(200, {"data": [{"id": name} for name in (self.name, *self.adapters)]})
        is_chat = asked.path.endswith("/chat/completions")
        if not (self.chat if is_chat else self.completions):
            return response(404, {"detail": "Not Found"})
        body = asked.body
        for name, sentence in self.refuses.items():
            if name in body:
                error = {"message": sentence, "param": name, "code": "unsupported_parameter"}
                return response(400, {"error": error})
        if body["model"] not in (self.name, *self.adapters):
            error = {"message": f"The model `{body['model']}` does not exist.", "type": "NotFoundError", "code": 404}
            return response(404, {"error": error})
        return response(200, self._said(asked, is_chat))

    def _said(self, asked: Asked, is_chat: bool) -> dict[str, object]:
        body = asked.body
        most = body.get("max_tokens", body.get("max_completion_tokens", 10_000))
        if "max_tokens" in self.ignores:
            most = 10_000
        words = self.words(asked)[:most]
        text, n = "".join(words), len(words)
        finish = "stop" if n < most else "length"
        for stop in [] if "stop" in self.ignores else body.get("stop", []):
            if stop in text:
                text, finish = text.partition(stop)[0], "stop"
        given = body.get("prompt")
        n_prompt = len(given) if isinstance(given, list) else 10
        usage = {"prompt_tokens": n_prompt, "completion_tokens": n, "total_tokens": n_prompt + n}
        top = self._top(asked, is_chat)
        content = {"message": {"role": "assistant", "content": text}} if is_chat else {"text": text}
        said = {"index": 0, **content, "finish_reason": finish, **({} if top is None else {"logprobs": top})}
        return {"model": self.name, "choices": [said], **({"usage": usage} if self.usage else {})}

    def words(self, asked: Asked) -> list[str]:
        """The whole answer, token by token; the first names the question, so that no answer fits another one."""
        body = asked.body
        sampled = body.get("temperature", 0) > 0
        if self.labels is not None and sampled:
            chance = _unit(f"{asked.question} {body.get('seed')}")
            for label, share in self.labels.items():
                if chance < share:
                    return [label]
                chance -= share
            return ["something", " else"]
        prompt = json.dumps(body.get("messages", body.get("prompt")))
        salt = f"{self.salt} {body['model']} {body.get('seed') if sampled and 'seed' not in self.ignores else ''}"
        if "temperature" in self.ignores:
            salt += f" {asked.number}"
        digest = hashlib.sha256(f"{salt} {prompt}".encode()).digest()
        return [mark_of(asked.question), *(f" {_WORDS[byte % len(_WORDS)]}" for byte in digest[:20])]

    def _top(self, asked: Asked, is_chat: bool) -> dict[str, object] | None:
        import math

        if self.labels is None or not asked.body.get("logprobs"):
            return None
        moved = 0.5 if asked.body["model"] in self.adapters else 0.0
        pairs = {label: math.log(share) - moved for label, share in self.labels.items()}
        if not is_chat:
            return {"top_logprobs": [pairs]}
        first = max(pairs, key=lambda label: pairs[label])
        listed = [{"token": token, "logprob": value} for token, value in pairs.items()]
        return {"content": [{"token": first, "logprob": pairs[first], "top_logprobs": listed}]}


def mark_of(question: str) -> str:
    """What the model's answer to a question begins with."""
    return hashlib.sha256(question.encode()).hexdigest()[:12]


def _unit(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


@contextmanager
def serving(behave: Behaviour, *, family: socket.AddressFamily = socket.AF_INET) -> Iterator[Server]:
    """A server while it is needed."""
    server = Server(behave, family=family)
    try:
        yield server
    finally:
        server.close()


@contextmanager
def opened(url: str, **options: Any) -> Iterator[OpenAIBackend]:
    """A backend of the server, impatient enough for a test."""
    model = options.pop("model", "model")
    spec = BackendSpec(name="openai", base_url=url, options={"backoff_s": 0.01, "timeout_s": 10, **options})
    backend = OpenAIKind().create(ModelSpec(name=model), spec, thinking=False)
    try:
        yield backend
    finally:
        backend.close()


def chats(backend: OpenAIBackend, *questions: str, **sampling: Any) -> list[Request]:
    """Requests of one user turn each; the id of each is its question."""
    return [_chat(backend, question, Sampling(**{"max_tokens": 8, **sampling})) for question in questions]


def _chat(backend: OpenAIBackend, question: str, sampling: Sampling) -> Request:
    text = backend.tokenizer.apply_template([Message("user", question)], add_generation_prompt=True)
    return Request(question, tuple(backend.tokenizer.encode(text, special=True)), sampling, ())


def ask(backend: OpenAIBackend, *questions: str, **sampling: Any) -> dict[str, Outcome]:
    """Outcomes by question."""
    return dict(backend.generate(chats(backend, *questions, **sampling)))
