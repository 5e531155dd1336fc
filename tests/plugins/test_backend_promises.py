"""The backend suite: fake, replay and hf pass it, and each promise's check notices a backend that breaks it."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import pytest

from harness import registry
from harness.backends.fake import WEIGHTS, FakeBackend, FakeKind
from harness.backends.scoring import Labels
from harness.core.errors import EnvironmentFault, HarnessError
from harness.core.judging import LabelScores
from harness.core.protocols import AdapterProof, BackendKind, Trainer
from harness.core.specs import BackendSpec, ModelSpec
from harness.core.types import Checkpoint, Completion, Failure, FloatArray, Outcome, Request, Sampling
from harness.store.checkpoints import Checkpoints
from harness.testing import ConformanceError, check_backend
from harness.testing.samples import token_rows

Scored: TypeAlias = LabelScores | Failure
FAKE_MODEL = ModelSpec(name="fake")


def checkpoint_in(folder: Path, skill: float = 0.8) -> Checkpoint:
    """A checkpoint of the fake trainer's kind that does what the base rarely manages."""
    folder.mkdir(exist_ok=True)
    (folder / WEIGHTS).write_text(json.dumps({"skill": skill}))
    return Checkpoint(2, 1.0, folder, "adapter", "2b2b", 0.5, 0.5, None, None)


def test_the_fake_backend_keeps_every_promise(tmp_path: Path) -> None:
    kind = cast(BackendKind, registry.load("backends", "fake"))
    check_backend(kind, model=FAKE_MODEL, checkpoint=checkpoint_in(tmp_path))


def test_the_replay_backend_keeps_every_promise(tmp_path: Path) -> None:
    """A recording as a run leaves it: answers by fingerprint, proofs by weights."""
    checkpoint = checkpoint_in(tmp_path / "weights")
    plain = [Request(f"r{n}", (n, n + 1), Sampling(4), ()) for n in range(3)]
    tuned = [replace(request, checkpoint=checkpoint) for request in plain]
    folder = tmp_path / "run" / "evaluations" / "base-0shot.test"
    folder.mkdir(parents=True)
    lines = [
        {"request": request.fingerprint, "completion": {"text": f"said {n}", "finish_reason": "stop", "n_tokens": 2}}
        for n, request in enumerate([*plain, *tuned])
    ]
    (folder / "outcomes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    proof = {"sha256": checkpoint.sha256, "max_logit_change": 1.5, "n_keys": 2}
    (folder / "adapter.json").write_text(json.dumps(proof))
    options = BackendSpec(name="replay", recording=str(tmp_path / "run"))
    labels = ((5,), (6, 7), (8,))
    scored = []
    for n, request in enumerate([*plain, *tuned, replace(plain[0], ids=())]):
        scores = (
            {"log_probs": [-1.0 - n, -2.0, -3.0]} if request.ids else {"failure": {"stage": "prompt", "reason": "-"}}
        )
        scored.append({"request": request.fingerprint, "labels": labels, **scores})
        scored.append({"request": request.fingerprint, "hidden": [0.5 + n, 1.0]})
    (tmp_path / "run" / "label-scores.jsonl").write_text("".join(json.dumps(line) + "\n" for line in scored))
    kind = cast(BackendKind, registry.load("backends", "replay"))
    check_backend(kind, model=FAKE_MODEL, options=options, requests=plain, labels=labels, checkpoint=checkpoint)


@pytest.mark.slow
def test_the_hf_backend_keeps_every_promise_with_an_adapter(tmp_path: Path) -> None:
    kind = cast(BackendKind, registry.load("backends", "hf"))
    model, options = ModelSpec(device="cpu"), BackendSpec()
    trainer = cast(Trainer, registry.load("trainers", "lora"))
    spec = trainer.spec_type.model_validate({"epochs": 1, "batch_rows": 4, "warmup": 0, "rank": 2, "lr": 0.01})
    loaded = kind.create(model, options, thinking=False).model
    rows = token_rows(4)
    *_, checkpoint = trainer.train(loaded, rows, (), spec, Checkpoints(tmp_path, "k"), lambda *_: None)
    check_backend(kind, model=model, options=options, checkpoint=checkpoint)


class Kind(FakeKind):
    """Opens a backend of a given class."""

    def __init__(self, made: type[FakeBackend]) -> None:
        self._made = made

    def create(self, model: ModelSpec, options: BackendSpec, *, thinking: bool) -> FakeBackend:
        return self._made(model, options)


class Changed(FakeBackend):
    """Passes every outcome through `change`."""

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[str, Outcome]]:
        for place, request in enumerate(requests):
            yield from self.change(place, request, self._answer(request))

    def change(self, place: int, request: Request, outcome: Outcome) -> Iterator[tuple[str, Outcome]]:
        yield request.id, outcome


class Forgetful(Changed):
    def change(self, place: int, request: Request, outcome: Outcome) -> Iterator[tuple[str, Outcome]]:
        if place != 2:
            yield request.id, outcome


class Repeating(Changed):
    def change(self, place: int, request: Request, outcome: Outcome) -> Iterator[tuple[str, Outcome]]:
        yield request.id, outcome
        if place == 0:
            yield request.id, outcome


class Textual(Changed):
    def change(self, place: int, request: Request, outcome: Outcome) -> Iterator[tuple[str, Outcome]]:
        yield request.id, cast(Any, getattr(outcome, "text", ""))


class Positional(Changed):
    def change(self, place: int, request: Request, outcome: Outcome) -> Iterator[tuple[str, Outcome]]:
        said = Completion(f"{place}", "stop", 2) if place else outcome
        yield request.id, said


class Crowded(Changed):
    """Answers differently in company, the same in any order."""

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[str, Outcome]]:
        for request in requests:
            outcome = self._answer(request)
            if len(requests) > 1 and isinstance(outcome, Completion):
                outcome = replace(outcome, text=outcome.text + "!")
            yield request.id, outcome


class Moody(Changed):
    counter = itertools.count()

    def change(self, place: int, request: Request, outcome: Outcome) -> Iterator[tuple[str, Outcome]]:
        yield request.id, Completion(str(next(self.counter)), "stop", 2)


class Talkative(Changed):
    def change(self, place: int, request: Request, outcome: Outcome) -> Iterator[tuple[str, Outcome]]:
        yield request.id, self._complete(replace(request, sampling=replace(request.sampling, max_tokens=12)))


class Unstoppable(Changed):
    def change(self, place: int, request: Request, outcome: Outcome) -> Iterator[tuple[str, Outcome]]:
        if isinstance(outcome, Completion):
            outcome = self._complete(replace(request, sampling=replace(request.sampling, stop=())))
        yield request.id, outcome


class Raising(Changed):
    def change(self, place: int, request: Request, outcome: Outcome) -> Iterator[tuple[str, Outcome]]:
        if isinstance(outcome, Failure):
            raise ValueError("too long")
        yield request.id, outcome


class Truncating(Changed):
    def change(self, place: int, request: Request, outcome: Outcome) -> Iterator[tuple[str, Outcome]]:
        yield request.id, self._complete(request)


class Mute(Changed):
    def change(self, place: int, request: Request, outcome: Outcome) -> Iterator[tuple[str, Outcome]]:
        yield request.id, Failure("generate", "no")


class Eager(Changed):
    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[str, Outcome]]:
        yield from super().generate(requests)
        if not requests:
            yield "nobody", Failure("generate", "nobody asked")


class Nameless(FakeBackend):
    @property
    def identity(self) -> Mapping[str, Any]:  # type: ignore[override]
        return {}

    @identity.setter
    def identity(self, value: object) -> None:
        """Forget it."""


class Secretive(Nameless):
    @property
    def identity(self) -> Mapping[str, Any]:  # type: ignore[override]
        return {"model": Path("somewhere")}

    @identity.setter
    def identity(self, value: object) -> None:
        """Forget it."""


class Sticky(FakeBackend):
    """An adapter that was on once stays on."""

    last: Checkpoint | None = None

    def _complete(self, request: Request) -> Completion:
        self.last = request.checkpoint or self.last
        return super()._complete(replace(request, checkpoint=self.last))


class Mixing(FakeBackend):
    """One adapter for the whole batch."""

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[str, Outcome]]:
        found = {request.checkpoint for request in requests if request.checkpoint is not None}
        shared = next(iter(found), None)
        for request in requests:
            yield request.id, self._answer(replace(request, checkpoint=shared))


class Unproven(FakeBackend):
    def prove(self, checkpoint: Checkpoint, probes: Sequence[tuple[int, ...]]) -> AdapterProof:
        return AdapterProof(checkpoint.sha256, 0.0, 0)


class Scoring(FakeBackend):
    """Passes all label scores through `change`, and all hidden states through `bend`."""

    def label_scores(self, requests: Sequence[Request], labels: Labels) -> Iterator[tuple[str, Scored]]:
        yield from self.change(list(super().label_scores(requests, labels)), requests)

    def change(self, found: list[tuple[str, Scored]], requests: Sequence[Request]) -> list[tuple[str, Scored]]:
        return found

    def hidden(self, requests: Sequence[Request]) -> Iterator[tuple[str, FloatArray | Failure]]:
        yield from self.bend(list(super().hidden(requests)))

    def bend(self, found: list[tuple[str, FloatArray | Failure]]) -> list[tuple[str, FloatArray | Failure]]:
        return found


def louder(scored: Scored, by: float) -> Scored:
    """The same scores, all lower by as much."""
    return (
        replace(scored, log_probs=tuple(x - by for x in scored.log_probs))
        if isinstance(scored, LabelScores)
        else scored
    )


class Omitting(Scoring):
    def change(self, found: list[tuple[str, Scored]], requests: Sequence[Request]) -> list[tuple[str, Scored]]:
        return found[:2]


class Speechless(Scoring):
    def change(self, found: list[tuple[str, Scored]], requests: Sequence[Request]) -> list[tuple[str, Scored]]:
        return [(name, Failure("judge", "no")) for name, _ in found]


class Overconfident(Scoring):
    def change(self, found: list[tuple[str, Scored]], requests: Sequence[Request]) -> list[tuple[str, Scored]]:
        return [(name, louder(scored, -1.0)) for name, scored in found]


class Infinite(Scoring):
    def change(self, found: list[tuple[str, Scored]], requests: Sequence[Request]) -> list[tuple[str, Scored]]:
        return [(name, louder(scored, float("inf"))) for name, scored in found]


class Sparing(Scoring):
    def change(self, found: list[tuple[str, Scored]], requests: Sequence[Request]) -> list[tuple[str, Scored]]:
        return [(n, replace(s, log_probs=s.log_probs[1:]) if isinstance(s, LabelScores) else s) for n, s in found]


class Sorting(Scoring):
    """The likeliest first, whatever label it is."""

    def change(self, found: list[tuple[str, Scored]], requests: Sequence[Request]) -> list[tuple[str, Scored]]:
        return [
            (n, replace(s, log_probs=tuple(sorted(s.log_probs))) if isinstance(s, LabelScores) else s) for n, s in found
        ]


class Ranking(Scoring):
    """How much room a prompt's answer gets depends on its place."""

    def change(self, found: list[tuple[str, Scored]], requests: Sequence[Request]) -> list[tuple[str, Scored]]:
        return [(name, louder(scored, 0.01 * place)) for place, (name, scored) in enumerate(found)]


class Sociable(Scoring):
    def change(self, found: list[tuple[str, Scored]], requests: Sequence[Request]) -> list[tuple[str, Scored]]:
        return [(name, louder(scored, 0.01 * (len(found) > 1))) for name, scored in found]


class Fickle(Scoring):
    counter = itertools.count()

    def change(self, found: list[tuple[str, Scored]], requests: Sequence[Request]) -> list[tuple[str, Scored]]:
        by = 0.01 * next(self.counter)
        return [(name, louder(scored, by)) for name, scored in found]


class Guessing(Scoring):
    """Has an answer to prompts that it cannot see."""

    def change(self, found: list[tuple[str, Scored]], requests: Sequence[Request]) -> list[tuple[str, Scored]]:
        known = [scored for _, scored in found if isinstance(scored, LabelScores)]
        return [(name, scored if isinstance(scored, LabelScores) else known[0]) for name, scored in found]


class Throwing(Scoring):
    def change(self, found: list[tuple[str, Scored]], requests: Sequence[Request]) -> list[tuple[str, Scored]]:
        if any(isinstance(scored, Failure) for _, scored in found):
            raise ValueError("too long")
        return found


class Ready(Scoring):
    def change(self, found: list[tuple[str, Scored]], requests: Sequence[Request]) -> list[tuple[str, Scored]]:
        return found or [("nobody", Failure("judge", "nobody asked"))]


class Lenient(FakeBackend):
    def label_scores(self, requests: Sequence[Request], labels: Labels) -> Iterator[tuple[str, Scored]]:
        for request in requests:
            yield request.id, LabelScores((-3.0,) * len(labels))


class Untuned(FakeBackend):
    def label_scores(self, requests: Sequence[Request], labels: Labels) -> Iterator[tuple[str, Scored]]:
        return super().label_scores([replace(request, checkpoint=None) for request in requests], labels)


class Lasting(FakeBackend):
    """A checkpoint that label scores once had stays on for them."""

    last: Checkpoint | None = None

    def label_scores(self, requests: Sequence[Request], labels: Labels) -> Iterator[tuple[str, Scored]]:
        for request in requests:
            self.last = request.checkpoint or self.last
            yield from super().label_scores([replace(request, checkpoint=self.last)], labels)


class Uneven(Scoring):
    def bend(self, found: list[tuple[str, FloatArray | Failure]]) -> list[tuple[str, FloatArray | Failure]]:
        return [(n, s[: 8 - place % 2] if isinstance(s, np.ndarray) else s) for place, (n, s) in enumerate(found)]


class Flat(Scoring):
    def bend(self, found: list[tuple[str, FloatArray | Failure]]) -> list[tuple[str, FloatArray | Failure]]:
        return [(n, s[None] if isinstance(s, np.ndarray) else s) for n, s in found]


class Adding(Scoring):
    def bend(self, found: list[tuple[str, FloatArray | Failure]]) -> list[tuple[str, FloatArray | Failure]]:
        return [(n, s + 0.01 * len(found) if isinstance(s, np.ndarray) else s) for n, s in found]


class Shallow(FakeBackend):
    def hidden(self, requests: Sequence[Request]) -> Iterator[tuple[str, FloatArray | Failure]]:
        return super().hidden([replace(request, checkpoint=None) for request in requests])


class Vague(FakeBackend):
    def hidden(self, requests: Sequence[Request]) -> Iterator[tuple[str, FloatArray | Failure]]:
        raise HarnessError("not here", fix="another backend")


class Surface(FakeBackend):
    """A backend that has text and label scores only."""

    def hidden(self, requests: Sequence[Request]) -> Iterator[tuple[str, FloatArray | Failure]]:
        raise HarnessError("a server shows no hidden states", fix="use the hf backend", code="E-BACKEND")


BROKEN = [
    (Forgetful, "exactly one outcome"),
    (Repeating, "exactly one outcome"),
    (Textual, "a Completion or a Failure"),
    (Positional, "order of the requests"),
    (Crowded, "requests asked with it"),
    (Moody, "asked again"),
    (Talkative, "at most max_tokens"),
    (Unstoppable, "stop string ends the answer"),
    (Raising, "does not raise"),
    (Truncating, "without room for its answer is a Failure"),
    (Mute, "plain requests are answered"),
    (Eager, "no requests, no outcomes"),
    (Nameless, "identity says what"),
    (Secretive, "plain JSON"),
    (Sticky, "without a checkpoint the base answers"),
    (Mixing, "side by side"),
    (Unproven, "changes the logits"),
    (Omitting, "label_scores answers every request once"),
    (Speechless, "plain requests get label scores"),
    (Overconfident, "at most one"),
    (Infinite, "log-probabilities are finite"),
    (Sparing, "one log-probability a label"),
    (Sorting, "follow the order of the labels"),
    (Ranking, "do not depend on the order of the requests"),
    (Sociable, "label scores do not depend on the requests asked with it"),
    (Fickle, "label scores, asked again"),
    (Guessing, "without room for a label"),
    (Throwing, "label_scores gives failures"),
    (Ready, "no requests, no label scores"),
    (Lenient, "refused with a HarnessError"),
    (Untuned, "a checkpoint changes label scores"),
    (Lasting, "whatever was on before"),
    (Uneven, "rows of one length"),
    (Flat, "a row of finite numbers"),
    (Adding, "a hidden state does not depend"),
    (Shallow, "a checkpoint changes hidden states"),
    (Vague, "refused with E-BACKEND"),
]


@pytest.mark.parametrize(("broken", "promise"), BROKEN, ids=[kind.__name__ for kind, _ in BROKEN])
def test_a_broken_promise_is_named_with_an_example(broken: type[FakeBackend], promise: str, tmp_path: Path) -> None:
    options = BackendSpec(name="fake", options={"limit": 400})
    with pytest.raises(ConformanceError, match=promise) as caught:
        check_backend(Kind(broken), model=FAKE_MODEL, options=options, checkpoint=checkpoint_in(tmp_path))
    assert caught.value.example


def test_a_backend_may_have_no_hidden_states(tmp_path: Path) -> None:
    check_backend(Kind(Surface), model=FAKE_MODEL, checkpoint=checkpoint_in(tmp_path))


@pytest.mark.parametrize(("apart", "accepted"), [(0.001, True), (0.5, False)])
def test_counted_labels_may_differ_by_chance_and_no_more(apart: float, accepted: bool) -> None:
    """Of 400 samples a share's standard error is at most 0.025, so 0.001 is chance and half of all is not."""

    class Counted(Scoring):
        counter = itertools.count()

        def change(self, found: list[tuple[str, Scored]], requests: Sequence[Request]) -> list[tuple[str, Scored]]:
            shift = apart * (next(self.counter) % 2)
            return [
                (n, LabelScores(tuple(math.log(0.1 + shift * (not i)) for i in range(len(s.log_probs))), 400))
                if isinstance(s, LabelScores)
                else (n, s)
                for n, s in found
            ]

    if accepted:
        check_backend(Kind(Counted), model=FAKE_MODEL)
        return
    with pytest.raises(ConformanceError, match="label scores"):
        check_backend(Kind(Counted), model=FAKE_MODEL)


def test_a_model_that_is_identified_differently_each_time_is_named() -> None:
    class Restless(FakeKind):
        counter = itertools.count()

        def identify(self, model: ModelSpec, options: BackendSpec) -> Mapping[str, Any]:
            return {"commit": next(self.counter)}

    with pytest.raises(ConformanceError, match="same model has the same identity"):
        check_backend(Restless(), model=FAKE_MODEL)


def test_a_checkpoint_without_effect_is_the_backends_own_refusal(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match="E-ADAPTER"):
        check_backend(FakeKind(), model=FAKE_MODEL, checkpoint=checkpoint_in(tmp_path, skill=0.0))
