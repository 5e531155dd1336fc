"""Asks a model behind an OpenAI-compatible server: vLLM, Ollama, llama.cpp, Gemini's and OpenAI's own endpoints.

`harness run task=x backend=openai base_url=http://localhost:8000/v1 model=NAME trainer=none` baselines a hosted model.
Settings: `harness.backends.remote.options.RemoteOptions`. The key comes from the environment alone. Before anything is
spent the server is probed; what it cannot do is refused, or on record in `identity`.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pydantic import JsonValue

from harness.backends.byte_tokens import ByteTokenizer
from harness.backends.remote.address import Server, key_of, require_private, server_of
from harness.backends.remote.budget import Estimate
from harness.backends.remote.options import RemoteOptions, options_of
from harness.backends.scoring import Labels, check_labels, prompt_failure
from harness.core.errors import EnvironmentFault, HarnessError
from harness.core.judging import LabelScores
from harness.core.protocols import AdapterProof, Backend, BackendKind, Tokenizer
from harness.core.specs import BackendSpec, ModelSpec
from harness.core.types import Checkpoint, Failure, FloatArray, Outcome, Request, Sampling
from harness.data.display import quote
from harness.models.endings import continuation_text

if TYPE_CHECKING:
    from harness.backends.remote.asking import Asking
    from harness.backends.remote.client import Client
    from harness.backends.remote.portions import Part
    from harness.backends.remote.probe import Found

_log = logging.getLogger(__name__)

# Lengths in bytes say nothing about a context in tokens.
_NO_LIMIT = 2**31
_TOKENIZER = "harness hosted conversation 1"
# Below this, two answers to the same question could differ by rounding alone.
_EPSILON = 1e-6
_MOST_SHOWN = 10


class HostedTokenizer(ByteTokenizer):
    """Keeps a conversation as bytes, for a model whose own tokens nobody here knows."""

    # Lengths are upper bounds of what the model counts: no token is shorter than a byte.
    counts_bytes = True

    def __init__(self) -> None:
        super().__init__(lambda role: f"<|harness:{role}|>", _TOKENIZER)


class HostedModel:
    """What a trainer is given in place of a model: E-CONFLICT as soon as it does anything with it."""

    is_hosted = True

    def __getattr__(self, name: str) -> NoReturn:
        raise HarnessError(
            "a hosted model cannot be tuned here", fix="trainer=none or given, or backend=hf", code="E-CONFLICT"
        )


class OpenAIKind:
    """How the backend enters."""

    def identify(self, model: ModelSpec, options: BackendSpec) -> Mapping[str, JsonValue]:
        """Where the model is, what it is called, and what it is told beside the request; nothing is asked.

        HarnessError E-OPTION, E-SECRET, E-ADDRESS or E-CONFLICT for settings that cannot work, E-INSTALL without the
        client.
        """
        _require_client()
        server, settings = server_of(options.base_url), options_of(options)
        if key_of(settings.api_key_env) is not None:
            require_private(server)
        _require_known(model, settings)
        own = {} if settings.tokenizer is None else {"tokenizer": _tokenizer(model, settings, thinking=False).sha256}
        return {"server": server.url, "model": model.name, **settings.deciding, **own}

    def create(self, model: ModelSpec, options: BackendSpec, *, thinking: bool) -> OpenAIBackend:
        """The backend; the server is asked when its identity or an answer is wanted. thinking: for a tokenizer."""
        identity = self.identify(model, options)
        settings = options_of(options)
        if thinking and settings.tokenizer is None:
            raise HarnessError(
                "prompting.thinking is told to a chat template, and the server has that",
                fix='backend.options.extra_body=\'{"chat_template_kwargs": {"enable_thinking": true}}\' (vLLM), '
                'or {"reasoning_effort": "low"}',
                code="E-CONFLICT",
            )
        tokenizer = _tokenizer(model, settings, thinking=thinking)
        return OpenAIBackend(server_of(options.base_url), model.name, settings, tokenizer, identity)


class OpenAIBackend:
    """`harness.core.protocols.Backend` over a server."""

    trains_in_place = True

    def __init__(
        self,
        server: Server,
        model: str,
        options: RemoteOptions,
        tokenizer: Tokenizer,
        known: Mapping[str, JsonValue],
    ) -> None:
        self._server = server
        self._model = model
        self._options = options
        self._tokenizer = tokenizer
        self._known = known
        self._has_warned_of_seeds = False
        self._refuses_logprobs = False

    @property
    def tokenizer(self) -> Tokenizer:
        """The served model's where `backend.options.tokenizer` gives it; else one that keeps conversations as bytes."""
        return self._tokenizer

    @cached_property
    def context_length(self) -> int:
        """As the options say, or the tokenizer's folder; without either none is known, and the server refuses."""
        if self._options.context_length is not None:
            return self._options.context_length
        if self._options.tokenizer is None:
            return _NO_LIMIT
        from harness.models.context import context_length

        return context_length(_folder(self._options.tokenizer), None)[0]

    @property
    def model(self) -> object:
        """Nothing that could be tuned."""
        return HostedModel()

    @property
    def identity(self) -> Mapping[str, JsonValue]:
        """The server, the model's name there, what probes found out; the first use asks the server."""
        return {"backend": "openai", **self._known, **self._found.identity}

    def estimate(self, requests: Sequence[Request], scored: Sequence[tuple[Request, Labels]] = ()) -> Estimate:
        """What these requests take, by their lengths; the probes before and the checks behind each portion add more."""
        from harness.backends.remote.labels import calls_at_most

        asking, n_samples = self._asking, self._options.n_samples
        n_tokens = [asking.tokens_at_most(request) for request in requests]
        n_tokens += [call.tokens_at_most for each in scored for call in calls_at_most(asking, *each, n_samples)]
        return Estimate(len(n_tokens), sum(n_tokens))

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[str, Outcome]]:
        """(request id, outcome), in portions: the server has shown behind each that it is still the one it was."""
        from harness.backends.remote.probe import warn_of_seeds

        if not requests:
            return
        found, asked = self._found, {request.id: request for request in requests}
        with _fields_explained():
            if not self._has_warned_of_seeds and any(request.sampling.temperature > 0 for request in requests):
                self._has_warned_of_seeds = True
                warn_of_seeds(self._client, found.asking)
            yield from self._generated(found, asked)
        self._tell_of_retries(asked)

    def label_scores(self, requests: Sequence[Request], labels: Labels) -> Iterator[tuple[str, LabelScores | Failure]]:
        """(request id, scores): the server's log-probabilities where it tells all, else counted from replies.

        None is given out before all are there and the server has shown that it is still the one it was.
        """
        from harness.backends.remote.asking import apart
        from harness.backends.remote.probe import require_unchanged

        check_labels(labels)
        failures = {r.id: prompt_failure(r, max(map(len, labels)), self.context_length) for r in requests}
        yield from ((name, failure) for name, failure in failures.items() if failure is not None)
        if fitting := [request for request in requests if failures[request.id] is None]:
            found = self._found
            with _fields_explained():
                scores = [pair for group in apart(fitting) for pair in self._scores(found.asking, group, labels)]
                require_unchanged(self._client, found)
            yield from scores

    def hidden(self, requests: Sequence[Request]) -> Iterator[tuple[str, FloatArray | Failure]]:
        """No server tells them: E-BACKEND."""
        raise HarnessError(
            "a hosted model does not show its hidden states",
            fix="use a judge without a head, or backend=hf",
            code="E-BACKEND",
        )

    def prove(self, checkpoint: Checkpoint, probes: Sequence[tuple[int, ...]]) -> AdapterProof:
        """Compare log-probabilities under both names; E-ADAPTER unless they differ. How many keys is not known: 0."""
        from harness.backends.remote.adapters import largest_change

        requests = [Request(f"probe {n}", ids, Sampling(1), ()) for n, ids in enumerate(probes)]
        with _fields_explained():
            change = largest_change(self._client, self._found.asking, checkpoint, requests)
        if change is not None and change > _EPSILON:
            return AdapterProof(checkpoint.sha256, change, 0)
        served = quote(self._options.adapters.get(checkpoint.name, ""))
        why = "tells no log-probabilities, so nobody can see" if change is None else "answers as the base, so it is not"
        raise EnvironmentFault(
            f"the server {why} that {checkpoint.name} is on under the name {served}",
            fix="load the adapter there under that name (vLLM: --enable-lora --lora-modules NAME=FOLDER)",
            code="E-ADAPTER",
        )

    def close(self) -> None:
        """Stop what is running and hang up."""
        if "_client" in self.__dict__:
            self._client.close()
            for name in ("_client", "_found"):
                self.__dict__.pop(name, None)

    def _generated(self, found: Found, asked: Mapping[str, Request]) -> Iterator[tuple[str, Outcome]]:
        from harness.backends.remote.asking import apart
        from harness.backends.remote.portions import checked
        from harness.backends.remote.probe import require_unchanged

        room = {name: prompt_failure(r, r.sampling.max_tokens, self.context_length) for name, r in asked.items()}
        yield from ((name, failure) for name, failure in room.items() if failure is not None)
        groups = list(apart(request for name, request in asked.items() if room[name] is None))
        for group in groups:
            found.asking.served_as(group[0].checkpoint)
        yield from checked(self._parts(found.asking, groups), lambda: require_unchanged(self._client, found))

    def _parts(self, asking: Asking, groups: Iterable[Sequence[Request]]) -> Iterator[Part[tuple[str, Outcome]]]:
        """The base's requests together; a checkpoint's in portions, between which the base can be checked alone."""
        from harness.backends.remote.portions import PORTION, Part

        for group in groups:
            is_base = group[0].checkpoint is None
            size = len(group) if is_base else PORTION
            for start in range(0, len(group), size):
                part = group[start : start + size]
                yield Part(self._answered(asking, part), len(part), is_base)

    def _answered(self, asking: Asking, group: Sequence[Request]) -> Generator[tuple[str, Outcome], None, None]:
        from harness.backends.remote.replies import Reply

        asked = {request.id: request for request in group}
        for name, answer in self._client.answers(asking.call(request, request.id) for request in group):
            yield name, asking.outcome(answer, asked[name]) if isinstance(answer, Reply) else answer

    def _scores(
        self, asking: Asking, group: Sequence[Request], labels: Labels
    ) -> list[tuple[str, LabelScores | Failure]]:
        """The scores of requests of one checkpoint; a server that once refused log-probabilities is not asked again."""
        from harness.backends.remote.asking import are_logprobs
        from harness.backends.remote.client import Refused
        from harness.backends.remote.labels import counted, label_scores

        further = (self._client, asking, group, labels, self._options.n_samples)
        if not self._refuses_logprobs:
            try:
                return list(label_scores(*further))
            except Refused as err:
                if not are_logprobs(err.parameter):
                    raise
                self._refuses_logprobs = True
                _log.warning("the server tells no log-probabilities, so labels are counted: %s", err.sentence)
        return list(counted(*further))

    def _tell_of_retries(self, asked: Mapping[str, Request]) -> None:
        """Whose requests were sent more than once, for a reader who wonders whether that shows."""
        again = sorted(asked.keys() & self._client.retried)
        if again:
            shown = ", ".join(map(quote, again[:_MOST_SHOWN])) + (", ..." if len(again) > _MOST_SHOWN else "")
            _log.warning("%d of %d requests were sent more than once: %s", len(again), len(asked), shown)

    @cached_property
    def _client(self) -> Client:
        from harness.backends.remote.client import Client

        key = key_of(self._options.api_key_env)
        return Client(self._server, key, self._options, random.SystemRandom().random)

    @cached_property
    def _asking(self) -> Asking:
        from harness.backends.remote.asking import Asking, Dialect

        options = self._options
        name = "max_tokens" if options.max_tokens_name == "auto" else options.max_tokens_name
        conversations = self._tokenizer if isinstance(self._tokenizer, HostedTokenizer) else None
        further = (options.extra_body, options.adapters, Dialect(name))
        return Asking(self._model, self._tokenizer, conversations, self._text_of, *further)

    @cached_property
    def _found(self) -> Found:
        from harness.backends.remote.probe import probe

        with _fields_explained():
            return probe(self._client, self._asking, self._options.deterministic)

    def _text_of(self, prompt: Sequence[int], ids: Sequence[int]) -> str:
        # The same function as backend=hf uses, in a module that needs torch.
        return continuation_text(self._tokenizer, prompt, ids)


backend: BackendKind = OpenAIKind()


@contextmanager
def _fields_explained() -> Iterator[None]:
    """A field that the server refuses is a setting of somebody's."""
    from harness.backends.remote.asking import refused
    from harness.backends.remote.client import Refused

    try:
        yield
    except Refused as err:
        raise refused(err.parameter, err.sentence) from err


def _require_client() -> None:
    """E-INSTALL where the OpenAI client is not installed."""
    if find_spec("openai") is None or find_spec("httpx2") is None:
        raise HarnessError(
            "backend=openai needs the OpenAI client, which is not installed",
            fix="pip install 'sft-harness[openai]'",
            code="E-INSTALL",
        )


def _require_known(model: ModelSpec, options: RemoteOptions) -> None:
    """E-CONFLICT for settings of a model that is somewhere else."""
    if model.template is not None and options.tokenizer is None:
        raise HarnessError(
            "model.template is used with the served model's tokenizer, and there is none",
            fix="add backend.options.tokenizer=FOLDER, or start the server with the template",
            code="E-CONFLICT",
        )
    if model.revision is not None:
        raise HarnessError(
            "model.revision says nothing of a hosted model",
            fix="leave it out; the server was started with a revision",
            code="E-CONFLICT",
        )


def tokenizer_of(model: ModelSpec, options: BackendSpec, *, thinking: bool) -> Tokenizer:
    """What turns a conversation into token ids for this backend; no server is asked."""
    return _tokenizer(model, options_of(options), thinking=thinking)


def _tokenizer(model: ModelSpec, options: RemoteOptions, *, thinking: bool) -> Tokenizer:
    if options.tokenizer is None:
        return HostedTokenizer()
    from harness.models.tokenizer import load_tokenizer

    template = Path(model.template).expanduser() if model.template is not None else None
    return load_tokenizer(_folder(options.tokenizer), template, thinking=thinking)


def _folder(name: str) -> Path:
    """The folder with the served model's tokenizer; its weights need not be there."""
    from harness.models.location import DEMO_FOLDER, DEMO_SMALL_FOLDER

    embedded = {"demo": DEMO_FOLDER, "demo-small": DEMO_SMALL_FOLDER}
    folder = embedded.get(name, Path(name).expanduser())
    if not folder.is_dir():
        raise HarnessError(
            f"there is no folder {quote(name)} to take the tokenizer from",
            fix="hf download NAME --include '*.json' '*.jinja' '*.model' '*.txt' --local-dir FOLDER, and name FOLDER",
            code="E-TOKENIZER",
        )
    return folder.resolve()


def _check(made: OpenAIBackend) -> Backend:
    """For the type checker: the class satisfies the protocol."""
    return made
