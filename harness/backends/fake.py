"""A tiny deterministic stand-in for a model, without torch: for tests, and for trying a task's plumbing.

Its one skill is to repeat the last user turn in capitals. How often it manages depends on a hash of the prompt, on the
shots it sees and on the checkpoint. As a judge it likes capitals: the larger their share in the last 200 characters of
the last user turn, the likelier are later labels (in the order of their tokens), a checkpoint's skill making the
difference larger; half of the letters are enough. Nothing depends on time, batching or order.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field, JsonValue, ValidationError

from harness.backends.byte_tokens import END, ROLES, ByteTokenizer
from harness.backends.scoring import Labels, check_labels, prompt_failure
from harness.core.errors import EnvironmentFault, HarnessError
from harness.core.judging import LabelScores
from harness.core.protocols import AdapterProof
from harness.core.specs import BackendSpec, Fraction, ModelSpec, Spec
from harness.core.types import Checkpoint, Completion, Failure, FloatArray, Outcome, Request, Sampling

WEIGHTS = "fake_model.safetensors"
_BASE_SKILL = 0.2
_SKILL_PER_SHOT = 0.05
# A judge's liking: how much it looks at, the share of capitals that is enough, how far apart the first and the last
# label's logits can be, and what chance adds.
_LOOKED_AT = 200
_ENOUGH = 0.5
_SPREAD = 6.0
_NOISE = 0.3


class FakeTokenizer(ByteTokenizer):
    """One token a byte, and four control tokens."""

    def __init__(self) -> None:
        super().__init__(lambda role: f"<|{role}|>", "harness fake tokenizer 1")


@dataclass(frozen=True)
class FakeModel:
    """What the fake trainer gets: nothing to train, a hash to start from."""

    name: str


class FakeOptions(Spec):
    """What stands under backend.options."""

    fail: dict[str, Fraction] = Field(
        default_factory=dict, description="reason -> share of requests that fail for that reason"
    )
    limit: int = Field(100_000, ge=1, description="context length in tokens")


class FakeBackend:
    """Completions as a function of prompt, checkpoint and seed; settings: `FakeOptions`."""

    trains_in_place = True

    def __init__(self, model: ModelSpec, options: BackendSpec) -> None:
        self.tokenizer = FakeTokenizer()
        self.model: object = FakeModel(model.name)
        settings = _options(options)
        made_of: dict[str, JsonValue] = {"backend": "fake", "model": model.name}
        self.identity: Mapping[str, JsonValue] = {**made_of, **settings.model_dump(mode="json")}
        self._fail = settings.fail
        self.context_length = settings.limit

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[str, Outcome]]:
        """One outcome a request."""
        for request in requests:
            yield request.id, self._answer(request)

    def label_scores(self, requests: Sequence[Request], labels: Labels) -> Iterator[tuple[str, LabelScores | Failure]]:
        """Log-probabilities of the labels, 90 % of all probability together or somewhat more."""
        check_labels(labels)
        for request in requests:
            failure = prompt_failure(request, max(map(len, labels)), self.context_length) or self._chance(request)
            yield request.id, failure or self._score(request, labels)

    def hidden(self, requests: Sequence[Request]) -> Iterator[tuple[str, FloatArray | Failure]]:
        """Eight numbers: shares of kinds of characters in what it looks at, lengths, turns and skill."""
        for request in requests:
            failure = prompt_failure(request, 0, self.context_length) or self._chance(request)
            yield request.id, failure or self._state(request)

    def prove(self, checkpoint: Checkpoint, probes: Sequence[tuple[int, ...]]) -> AdapterProof:
        """A checkpoint is on when it has any skill beyond the base's."""
        gain = read_skill(checkpoint.folder)
        if gain == 0:
            raise EnvironmentFault(
                f"{checkpoint.name} has no effect", fix="train it with another learning rate", code="E-ADAPTER"
            )
        return AdapterProof(checkpoint.sha256, gain, 1)

    def close(self) -> None:
        """Nothing to close."""

    def _answer(self, request: Request) -> Outcome:
        if len(request.ids) + request.sampling.max_tokens > self.context_length:
            return Failure("prompt", "too long for the context")
        return self._chance(request) or self._complete(request)

    def _chance(self, request: Request) -> Failure | None:
        """Failures as the options order them."""
        chance = _unit(request.ids, "fail", request.sampling.seed)
        for reason, share in self._fail.items():
            if chance < share:
                return Failure("generate", reason)
            chance -= share
        return None

    def _score(self, request: Request, labels: Labels) -> LabelScores:
        text, _ = self._last_turn(request)
        lean = 2 * min(1.0, _share(text, str.isupper, of=str.isalpha) / _ENOUGH) - 1
        ranks = {label: rank for rank, label in enumerate(sorted(labels))}
        logits = [
            lean * (1 + _skill(request)) * _SPREAD * (ranks[label] / max(1, len(labels) - 1) - 0.5)
            + _NOISE * (_unit((*request.ids, *label), "label", 0) - 0.5)
            for label in labels
        ]
        mass = 0.9 + 0.09 * _unit(request.ids, "mass", 0)
        log_sum = math.log(sum(map(math.exp, logits)) / mass)
        return LabelScores(tuple(round(logit - log_sum, 6) for logit in logits))

    def _state(self, request: Request) -> FloatArray:
        text, n_turns = self._last_turn(request)
        shares = (_share(text, kind) for kind in (str.isupper, str.islower, str.isdigit, str.isspace))
        sizes = (len(text) / _LOOKED_AT, len(request.ids) / 1000, n_turns / 10, _skill(request))
        return np.array([*shares, *sizes], dtype=np.float32).astype(np.float64)

    def _last_turn(self, request: Request) -> tuple[str, int]:
        """The end of what the user said last, and how many turns the user had."""
        turns = self._user_turns(request)
        return turns[-1].partition(self.tokenizer.spelled[END])[0][-_LOOKED_AT:], len(turns) - 1

    def _user_turns(self, request: Request) -> list[str]:
        """What stands before the first user turn, then each with what follows it."""
        return self.tokenizer.decode(request.ids, skip_special=False).split(self.tokenizer.spelled[ROLES["user"]])

    def _complete(self, request: Request) -> Completion:
        turns = self._user_turns(request)
        question = turns[-1].partition(self.tokenizer.spelled[END])[0]
        skill = _BASE_SKILL + _SKILL_PER_SHOT * (len(turns) - 2) + _skill(request)
        known = _unit(tuple(question.encode()), "skill", 0) < skill
        words = question.upper() if known else question[::-1]
        return self._spell(words, request.sampling)

    def _spell(self, words: str, sampling: Sampling) -> Completion:
        """The words as generated token by token: up to the first stop string, the end token or max_tokens."""
        tokens = self.tokenizer.encode(words, special=False)[: sampling.max_tokens]
        text = self.tokenizer.decode(tokens, skip_special=True)
        found = [(text.index(stop), stop) for stop in sampling.stop if stop in text]
        if found:
            start, stop = min(found)
            return Completion(text[:start], "stop", len(self.tokenizer.encode(text[:start] + stop, special=False)))
        if len(tokens) < sampling.max_tokens:
            return Completion(text, "stop", len(tokens) + 1)
        return Completion(text, "length", len(tokens))


class FakeKind:
    """How the fake backend enters."""

    def identify(self, model: ModelSpec, options: BackendSpec) -> Mapping[str, JsonValue]:
        """Its name is all it is; E-OPTION for settings that it does not know."""
        _options(options)
        return {"name": model.name}

    def create(self, model: ModelSpec, options: BackendSpec, *, thinking: bool) -> FakeBackend:
        """A fake backend; `thinking` makes no difference to its template."""
        return FakeBackend(model, options)


backend = FakeKind()


def _options(options: BackendSpec) -> FakeOptions:
    try:
        return FakeOptions.model_validate(options.options)
    except ValidationError as err:
        raise HarnessError(
            "the options of backend=fake are wrong",
            fix=f"correct backend.options; it knows: {', '.join(FakeOptions.model_fields)}",
            code="E-OPTION",
            details=[f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in err.errors()],
        ) from err


def read_skill(folder: Path) -> float:
    """The skill that a checkpoint adds."""
    return float(json.loads((folder / WEIGHTS).read_text())["skill"])


def _skill(request: Request) -> float:
    return 0.0 if request.checkpoint is None else read_skill(request.checkpoint.folder)


def _share(text: str, kind: Callable[[str], bool], *, of: Callable[[str], bool] = bool) -> float:
    """How many of the characters that count are of a kind; 0 where none counts."""
    counted = [character for character in text if of(character)]
    return sum(map(kind, counted)) / len(counted) if counted else 0.0


def _unit(ids: Sequence[int], purpose: str, seed: int) -> float:
    """A number in [0, 1) that depends on nothing but its arguments."""
    digest = hashlib.sha256(f"{purpose} {seed} {list(ids)}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
