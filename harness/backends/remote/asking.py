"""Requests as a server takes them, and its answers as outcomes.

Without a tokenizer the turns go to the chat endpoint and plain text to the completions endpoint. With the served
model's own tokenizer everything goes to the completions endpoint as token ids, and every decoding parameter is spelled
out: a server may have other defaults from the model's folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from pydantic import JsonValue

from harness.backends.byte_tokens import ByteTokenizer
from harness.backends.remote.client import Call, K
from harness.backends.remote.replies import Reply
from harness.core.errors import HarnessError
from harness.core.protocols import Tokenizer
from harness.core.types import Checkpoint, Completion, Failure, Outcome, Request, Sampling
from harness.data.display import quote

# More stop strings than these are refused by OpenAI's endpoint; the others are cut at here.
_MOST_STOPS = 4
# What a server may do without; what is lost is on record.
_DISPENSABLE = frozenset({"temperature", "top_p", "seed", "stop"})
# A chat's tokens besides its words: role and end of each turn.
_PER_TURN = 16
# How many likely tokens most servers tell at most.
_MOST_LIKELY = 20


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a server calls its limit, what it refuses to be told, and whether it has a chat and obeys stop strings."""

    max_tokens_name: str = "max_tokens"
    refused: frozenset[str] = frozenset()
    takes_chat: bool = True
    obeys_stop: bool = True


@dataclass(frozen=True)
class Asking:
    """How one model on one server is asked.

    conversations: what reads turns back from token ids; None where `tokenizer` is the model's own: prompts then go out
    as its token ids. text_of: what token ids say behind a prompt. is_check: whether calls may go beyond the budget.
    """

    model: str
    tokenizer: Tokenizer
    conversations: ByteTokenizer | None
    text_of: Callable[[Sequence[int], Sequence[int]], str]
    extra: Mapping[str, JsonValue] = field(default_factory=dict)
    adapters: Mapping[str, str] = field(default_factory=dict)
    dialect: Dialect = Dialect()
    is_check: bool = False

    @property
    def is_exact(self) -> bool:
        """Whether the served model's own tokens are known."""
        return self.conversations is None

    def call(self, request: Request, key: K, further: Mapping[str, JsonValue] | None = None) -> Call[K]:
        """The request as a call; HarnessError where it cannot be asked. further: fields for log-probabilities."""
        name = self.served_as(request.checkpoint)
        at_most = self.tokens_at_most(request)
        greedy = request.sampling.temperature == 0
        turns = self._turns(request)
        fields = {**self._decoding(request, is_chat=turns is not None), **self.extra, **(further or {})}
        if turns is not None:
            return Call(key, "chat", {"model": name, "messages": turns, **fields}, at_most, greedy, self.is_check)
        prompt: JsonValue = [*request.ids] if self.is_exact else self.tokenizer.decode(request.ids, skip_special=True)
        return Call(key, "completion", {"model": name, "prompt": prompt, **fields}, at_most, greedy, self.is_check)

    def likeliest(self, request: Request, tokens: Sequence[int]) -> dict[str, JsonValue]:
        """Fields that ask for log-probabilities of the next token: of these, where a server can, else the likeliest."""
        if self.is_exact:
            wanted: dict[str, JsonValue] = {"logprob_token_ids": [*tokens]} if tokens else {}
            return {"logprobs": _MOST_LIKELY, "return_tokens_as_token_ids": True, **wanted}
        if self._turns(request) is None:
            return {"logprobs": _MOST_LIKELY}
        return {"logprobs": True, "top_logprobs": _MOST_LIKELY}

    def outcome(self, reply: Reply, request: Request) -> Outcome:
        """The completion of a reply, cut at stop strings; a Failure where the server did not do as it was told."""
        text, most = self._text(reply, request), request.sampling.max_tokens
        if self.is_exact and reply.n_prompt not in (None, len(request.ids)):
            return Failure("server", "the prompt was cut or changed")
        if reply.n_tokens is not None and reply.n_tokens > most:
            return Failure("server", "max_tokens was ignored")
        found = [place for stop in request.sampling.stop if (place := text.find(stop)) >= 0]
        reason = "stop" if found else reply.finish_reason
        n_tokens = self._n_tokens(reply, text, most)
        return Completion(text[: min(found)] if found else text, reason, n_tokens)

    def without(self, parameter: str, sentence: str) -> Asking:
        """The same where the server refuses a field; HarnessError where it cannot be done without."""
        dialect = self.dialect
        if parameter == "max_tokens" and dialect.max_tokens_name == "max_tokens":
            return replace(self, dialect=replace(dialect, max_tokens_name="max_completion_tokens"))
        if parameter in _DISPENSABLE - dialect.refused:
            return replace(self, dialect=replace(dialect, refused=dialect.refused | {parameter}))
        raise refused(parameter, sentence)

    def tokens_at_most(self, request: Request) -> int:
        """What a request can be billed: no token is shorter than a byte."""
        turns = 0 if self.is_exact else sum(each > 255 for each in request.ids)
        return len(request.ids) + turns * _PER_TURN + request.sampling.max_tokens

    def served_as(self, checkpoint: Checkpoint | None) -> str:
        """The name under which the server has the model with this checkpoint; E-BACKEND where nobody said."""
        if checkpoint is None:
            return self.model
        if checkpoint.name not in self.adapters:
            raise HarnessError(
                f"nobody said under which name the server has {checkpoint.name}",
                fix=f'backend.options.adapters=\'{{"{checkpoint.name}": "NAME"}}\', after loading it there '
                f"(vLLM: --enable-lora --lora-modules NAME=FOLDER)",
                code="E-BACKEND",
            )
        return self.adapters[checkpoint.name]

    def _turns(self, request: Request) -> list[JsonValue] | None:
        """The messages of a chat; None for plain text and for token ids."""
        try:
            turns = None if self.conversations is None else self.conversations.turns(request.ids)
        except ValueError as err:
            raise HarnessError(
                f"request {quote(request.id)} cannot be put to a hosted chat: {err}",
                fix="give the served model's tokenizer (backend.options.tokenizer), or use backend=hf",
                code="E-BACKEND",
            ) from err
        if turns is not None and not self.dialect.takes_chat:
            raise HarnessError(
                "the server takes no conversations, only text to go on with",
                fix="prompting.form=text, or serve the model with a chat template",
                code="E-CONFLICT",
            )
        return None if turns is None else [{"role": turn.role, "content": turn.content} for turn in turns]

    def _decoding(self, request: Request, *, is_chat: bool) -> dict[str, JsonValue]:
        sampling, dialect = request.sampling, self.dialect
        stops: list[JsonValue] = [*sampling.stop[:_MOST_STOPS]]
        usual: dict[str, JsonValue] = {
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed,
            **({"stop": stops} if stops else {}),
        }
        limit = {dialect.max_tokens_name if is_chat else "max_tokens": sampling.max_tokens}
        kept = {name: value for name, value in usual.items() if name not in dialect.refused}
        return {**limit, **kept, **(_exactly(request) if self.is_exact else _unusual(sampling))}

    def _text(self, reply: Reply, request: Request) -> str:
        if not self.is_exact or reply.ids is None:
            return reply.text
        ids = reply.ids
        if reply.finish_reason == "stop" and ids and ids[-1] in request.stop_ids:
            ids = ids[:-1]
        return self.text_of(request.ids, ids)

    def _n_tokens(self, reply: Reply, text: str, most: int) -> int:
        """What the server counted; where it does not count, what can be said at most."""
        if reply.n_tokens is not None:
            return reply.n_tokens
        return most if reply.finish_reason == "length" else min(most, len(text.encode()))


def apart(requests: Iterable[Request]) -> Iterator[list[Request]]:
    """Requests of one checkpoint together, the base's first: they are asked one group after the other.

    vLLM 0.32 on a CPU lets an adapter answer requests to the base that are computed in the same batch.
    """
    groups: dict[str, list[Request]] = {}
    for request in requests:
        groups.setdefault("" if request.checkpoint is None else request.checkpoint.sha256, []).append(request)
    return (groups[key] for key in sorted(groups))


def are_logprobs(parameter: str) -> bool:
    """Whether a field asks for log-probabilities, as `Asking.likeliest` does; everything can be done without them."""
    return "logprob" in parameter or parameter == "return_tokens_as_token_ids"


def refused(parameter: str, sentence: str) -> HarnessError:
    """The error for a field that a server does not take."""
    setting = f"generation.{parameter}" if parameter in Sampling.__dataclass_fields__ else "backend.options.extra_body"
    return HarnessError(
        f"the server refuses {quote(parameter) if parameter else 'the request'}: {sentence}",
        fix=f"leave {setting} as it is by default, or use a server that knows it",
        code="E-CONFLICT",
    )


def _unusual(sampling: Sampling) -> dict[str, JsonValue]:
    """What OpenAI's own endpoint does not know, only where it is asked for."""
    top_k: dict[str, JsonValue] = {"top_k": sampling.top_k} if sampling.top_k else {}
    penalty: dict[str, JsonValue] = (
        {"repetition_penalty": sampling.repetition_penalty} if sampling.repetition_penalty != 1 else {}
    )
    return {**top_k, **penalty}


def _exactly(request: Request) -> dict[str, JsonValue]:
    """Everything that a model folder's generation_config.json could have changed, as vLLM calls it."""
    ends: list[JsonValue] = [*request.stop_ids]
    return {
        "top_k": request.sampling.top_k,
        "repetition_penalty": request.sampling.repetition_penalty,
        "min_p": 0.0,
        "stop_token_ids": ends,
        "skip_special_tokens": False,
        "spaces_between_special_tokens": False,
        "add_special_tokens": False,
        "return_token_ids": True,
    }
