"""A judge's model with a memory: what was asked of the same model before is not asked again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path

import numpy as np
from pydantic import JsonValue

from harness.backends.scoring import Answer, Asked, Labels, check_labels, decoded, encoded, line_of, parsed
from harness.core.errors import EnvironmentFault
from harness.core.judging import LabelScores
from harness.core.protocols import Generator, Tokenizer
from harness.core.types import Failure, FloatArray, Outcome, Request
from harness.store.encoding import canonical, fingerprint
from harness.store.scores import ScoreCache, ScoreRecord

# Requests that are computed together or not at all, so that a resumed run batches as an uninterrupted one does.
CHUNK = 64

_Ask = Callable[[Sequence[Request]], Iterator[tuple[str, Answer]]]


class CachedGenerator:
    """A generator whose label scores and hidden states are looked up first; `harness.core.protocols.Generator`.

    Requests go in chunks of the order given; a chunk is computed whole unless all of it is known. record: a file that
    gets every answer, failures too, in the order asked, each once; it goes before the cache, and `backend=replay`
    reads it. A file is one generator's own: two that write into it may repeat each other. Failures are not kept in the
    cache: the next run may have more luck. Generated text is not kept.
    """

    def __init__(self, generator: Generator, cache: ScoreCache | None, record: Path | None = None) -> None:
        self._generator = generator
        self._cache = cache
        self._record = None if record is None else ScoreRecord(record)
        self._recorded = {} if self._record is None else _by_key(self._record)
        self.n_asked = 0
        self.n_hits = 0

    @property
    def uncached(self) -> Generator:
        """The generator itself, to see whether it says the same again."""
        return self._generator

    @property
    def tokenizer(self) -> Tokenizer:
        """The generator's."""
        return self._generator.tokenizer

    @property
    def context_length(self) -> int:
        """The generator's."""
        return self._generator.context_length

    @property
    def identity(self) -> Mapping[str, JsonValue]:
        """The generator's: where an answer was kept changes nothing of it."""
        return self._generator.identity

    @property
    def note(self) -> str | None:
        """Why the cache is not used, for people; None where it is."""
        return None if self._cache is None else self._cache.note

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[str, Outcome]]:
        """As the generator does."""
        return self._generator.generate(requests)

    def label_scores(self, requests: Sequence[Request], labels: Labels) -> Iterator[tuple[str, LabelScores | Failure]]:
        """Known ones and new ones, in the order of the requests."""
        check_labels(labels)
        ask = partial(self._generator.label_scores, labels=labels)
        for identifier, answer in self._answers(requests, labels, ask):
            assert not isinstance(answer, np.ndarray)
            yield identifier, answer

    def hidden(self, requests: Sequence[Request]) -> Iterator[tuple[str, FloatArray | Failure]]:
        """Known ones and new ones, in the order of the requests."""
        for identifier, answer in self._answers(requests, None, self._generator.hidden):
            assert not isinstance(answer, LabelScores)
            yield identifier, answer

    def _answers(self, requests: Sequence[Request], labels: Labels | None, ask: _Ask) -> Iterator[tuple[str, Answer]]:
        for start in range(0, len(requests), CHUNK):
            chunk = requests[start : start + CHUNK]
            keys = [self._key(request, labels) for request in chunk]
            # Who is computed beside whom shows in the last digits: an answer is known only among the same others.
            beside = fingerprint({"requests": [key.request for key in keys]})
            found = self._known(keys, beside)
            self.n_asked += len(chunk)
            if len(found) == len(set(keys)):
                self.n_hits += len(chunk)
            else:
                # What is on record stays, so that a resumed run says what it said before.
                found = {**self._computed(chunk, labels, ask, beside), **self._on_record(keys)}
            self._write(keys, found)
            yield from ((request.id, decoded(found[key])) for request, key in zip(chunk, keys, strict=True))

    def _known(self, keys: Sequence[Asked], beside: str) -> dict[Asked, bytes]:
        recorded = self._on_record(keys)
        if self._cache is None:
            return recorded
        addresses = {_address(key, beside): key for key in keys if key not in recorded}
        kept = self._cache.get(list(addresses)) if addresses else {}
        return {**recorded, **{addresses[address]: content for address, content in kept.items()}}

    def _on_record(self, keys: Sequence[Asked]) -> dict[Asked, bytes]:
        return {key: self._recorded[key] for key in keys if key in self._recorded}

    def _computed(self, chunk: Sequence[Request], labels: Labels | None, ask: _Ask, beside: str) -> dict[Asked, bytes]:
        """Answers in the form in which they are written down, so that a kept one is the same to the last bit."""
        answers = dict(ask(chunk))
        found = {self._key(request, labels): _finite(answers[request.id]) for request in chunk}
        written = {key: _written(answer) for key, answer in found.items()}
        if self._cache is not None:
            kept = {key for key, answer in found.items() if not isinstance(answer, Failure)}
            self._cache.put({_address(key, beside): content for key, content in written.items() if key in kept})
        return written

    def _write(self, keys: Sequence[Asked], found: Mapping[Asked, bytes]) -> None:
        if self._record is not None:
            fresh = {key: found[key] for key in keys if key not in self._recorded}
            lines = [line_of(key, decoded(content)) for key, content in fresh.items()]
            self._record.append([canonical(line, indent=None).rstrip() for line in lines])
            self._recorded.update(fresh)

    def _key(self, request: Request, labels: Labels | None) -> Asked:
        return Asked(request.fingerprint, None if labels is None else tuple(labels), self._model)

    @cached_property
    def _model(self) -> str:
        return fingerprint(self._generator.identity)


def _address(key: Asked, beside: str) -> str:
    labels: JsonValue = None if key.labels is None else [list(label) for label in key.labels]
    return fingerprint({"version": 2, "model": key.model, "request": key.request, "labels": labels, "beside": beside})


def _finite(answer: Answer) -> Answer:
    """What no file can hold is no answer."""
    numbers = answer.log_probs if isinstance(answer, LabelScores) else answer
    if isinstance(numbers, Failure) or np.isfinite(numbers).all():
        return answer
    return Failure("judge", "there is a number that is not finite")


def _written(answer: Answer) -> bytes:
    return canonical(encoded(answer), indent=None).rstrip()


def _by_key(record: ScoreRecord) -> dict[Asked, bytes]:
    """The answers of a record; E-CORRUPT with the line that is none."""
    found: dict[Asked, bytes] = {}
    for number, line in enumerate(record.lines, start=1):
        try:
            asked, answer = parsed(line)
        except ValueError as err:
            raise EnvironmentFault(
                f"{record.path}:{number} does not hold a judge's answer",
                fix="delete the file: what it held is asked again",
                code="E-CORRUPT",
            ) from err
        found[asked] = _written(answer)
    return found
