"""What requests are to a vLLM engine and what its news are to them, and the loop that asks.

Every decoding parameter is said: vLLM's own defaults, and those of the model's folder, decide nothing.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count, islice
from typing import TypeVar

from harness.core.judging import LabelScores
from harness.core.protocols import Tokenizer
from harness.core.types import Completion, Failure, Request
from harness.models.endings import Endings
from harness.models.vllm.adapters import Adapter
from harness.models.vllm.engine import Engine, News, Question
from harness.models.vllm.limits import require_temperature

T = TypeVar("T")
Ids = tuple[int, ...]
Labels = Sequence[Ids]
LogProbs = Mapping[int, float]

# Requests handed in at once: the engine always has more than it computes, and memory does not grow with a run.
_WINDOW = 4096
# What engines call questions. Never again in this process: of one that was aborted, news may still be on its way.
_NUMBERS = count(1)
# Tokens whose log-probability vLLM tells in one place, at most.
_TOLD = 128
_DECIMALS = 6


def decoding_of(request: Request) -> dict[str, object]:
    """The fields of vLLM's SamplingParams for a request. Only its own end tokens end it; stop strings are ours to find.

    HarnessError E-BACKEND for a temperature that vLLM would not take as it is.
    """
    sampling = request.sampling
    require_temperature(sampling.temperature)
    return {
        "n": 1,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": 0.0,
        "repetition_penalty": sampling.repetition_penalty,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "seed": _seed(request),
        "max_tokens": sampling.max_tokens,
        "min_tokens": 0,
        "stop_token_ids": list(request.stop_ids),
        "ignore_eos": True,
    }


def completing(request: Request, adapter: Adapter | None) -> Question:
    """The question for a request's completion; its tokens come one by one only where a stop string is looked for."""
    return Question(request.ids, decoding_of(request), adapter, streamed=bool(request.sampling.stop))


def next_token(ids: Ids, adapter: Adapter | None, decoding: Mapping[str, object]) -> Question:
    """The question for log-probabilities behind a prompt, of tokens that `decoding` names."""
    return Question(ids, {"n": 1, "temperature": 0.0, "max_tokens": 1, "ignore_eos": True, **decoding}, adapter)


def likeliest(n: int) -> dict[str, object]:
    """Decoding that tells the n likeliest next tokens."""
    return {"logprobs": n}


def only(tokens: Sequence[int]) -> dict[str, object]:
    """Decoding that tells the log-probabilities of these tokens."""
    return {"logprob_token_ids": list(tokens)}


def answers(
    engine: Engine, questions: Mapping[str, Question], read: Callable[[News], T | None]
) -> Iterator[tuple[str, T | Failure]]:
    """(name, what `read` has made of the news) for every question, as they come.

    `read` gives None while there is more to come; what it has ended is aborted, what vLLM ends before is a failure.
    """
    waiting, running = iter(questions.items()), dict[str, str]()
    try:
        while True:
            for name, question in islice(waiting, _WINDOW - len(running)):
                number = str(next(_NUMBERS))
                engine.add(number, question)
                running[number] = name
            if not running:
                return
            for news in engine.step():
                if (asked := running.get(news.name)) is None:
                    continue
                found = read(replace(news, name=asked))
                if found is None and news.ended is None:
                    continue
                del running[news.name]
                if news.ended is None:
                    engine.abort([news.name])
                yield asked, found if found is not None else Failure("generate", f"vLLM ended it: {news.ended}")
    finally:
        engine.abort(running)


class Completions:
    """Reads the news of completions: the tokens so far of each, until it has ended by the harness's own rules."""

    def __init__(self, tokenizer: Tokenizer, requests: Mapping[str, Request]) -> None:
        self._endings = Endings(tokenizer)
        self._requests = requests
        self._ids: dict[str, list[int]] = {}

    def read(self, news: News) -> Completion | None:
        """The completion, once it is there."""
        request = self._requests[news.name]
        if not request.sampling.stop:
            return self._endings.completion(request, news.ids) if news.ids else None
        ids = self._ids.setdefault(news.name, [])
        for token in news.ids:
            ids.append(token)
            if (found := self._endings.completion(request, ids)) is not None:
                del self._ids[news.name]
                return found
        return None


class Labelled:
    """The questions that score labels behind prompts, and what their answers come to.

    A request asks once for every place in which a token of a label can stand; vLLM computes its prompt once.
    """

    def __init__(self, requests: Sequence[Request], labels: Labels) -> None:
        self._labels = labels
        self._places = places(labels)
        self._requests = list(requests)
        self._found: dict[int, dict[tuple[Ids, int], float]] = {row: {} for row in range(len(requests))}
        self._left = dict.fromkeys(self._found, len(self._places))

    def questions(self, adapters: Mapping[str, Adapter | None]) -> dict[str, Question]:
        """By name. adapters: of each request id."""
        return {
            f"{row} {place}": next_token((*request.ids, *context), adapters[request.id], only(tokens))
            for row, request in enumerate(self._requests)
            for place, (context, tokens) in enumerate(self._places)
        }

    def scored(self, name: str, said: LogProbs | Failure) -> tuple[str, LabelScores | Failure] | None:
        """(request id, scores), once the last of a request's answers is there."""
        row, place = map(int, name.split())
        context, tokens = self._places[place]
        if not isinstance(said, Failure):
            self._found[row].update({(context, token): said[token] for token in tokens if token in said})
        self._left[row] -= 1
        if self._left[row]:
            return None
        return self._requests[row].id, _sums(self._found.pop(row), self._labels)


def told(news: News) -> LogProbs | None:
    """Reads the news of log-probabilities."""
    return news.log_probs or None


def places(labels: Labels) -> list[tuple[Ids, Ids]]:
    """(what of a label stands behind the prompt, the tokens to be told there): no more in one place than vLLM tells.

    >>> places([(5,), (7, 1), (7, 2)])
    [((), (5, 7)), ((7,), (1, 2))]
    """
    found: dict[Ids, list[int]] = {}
    for label in labels:
        for n, token in enumerate(label):
            tokens = found.setdefault(label[:n], [])
            if token not in tokens:
                tokens.append(token)
    return [
        (context, tuple(tokens[start : start + _TOLD]))
        for context, tokens in found.items()
        for start in range(0, len(tokens), _TOLD)
    ]


def waves(requests: Sequence[Request], most: int) -> Iterator[list[Request]]:
    """Requests of the base and of `most` adapters together, the base's with the first.

    Within a wave those of one checkpoint stand together, in the order of their tokens: what prompts begin with alike is
    then still in the engine's cache.
    """
    names = sorted({request.checkpoint.sha256 for request in requests if request.checkpoint is not None})
    parts = [set(names[start : start + most]) for start in range(0, len(names), most)] or [set[str]()]
    for number, part in enumerate(parts):
        wave = [r for r in requests if (number == 0 if r.checkpoint is None else r.checkpoint.sha256 in part)]
        if wave:
            yield sorted(wave, key=lambda r: (r.checkpoint.sha256 if r.checkpoint else "", r.ids))


def _seed(request: Request) -> int:
    """Random numbers of one request: from its seed and its prompt."""
    digest = hashlib.sha256(repr((request.sampling.seed, request.ids)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def _sums(found: Mapping[tuple[Ids, int], float], labels: Labels) -> LabelScores | Failure:
    """Of (context, token) pairs: the sum over each label's tokens, rounded."""
    values = [[found.get((label[:n], token), math.nan) for n, token in enumerate(label)] for label in labels]
    if not all(math.isfinite(value) for row in values for value in row):
        return Failure("judge", "log-probabilities are not finite")
    # Adding 0.0 makes zero of minus zero, which would be written otherwise.
    return LabelScores(tuple(round(math.fsum(row), _DECIMALS) + 0.0 for row in values))
