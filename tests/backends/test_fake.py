"""Settings of the fake backend, typed as all others are, and its taste as a judge."""

from __future__ import annotations

import pytest
from pydantic import JsonValue

from harness.backends.fake import FakeBackend, backend
from harness.core.errors import HarnessError
from harness.core.judging import LabelScores
from harness.core.specs import BackendSpec, ModelSpec
from harness.core.types import Failure, Message, Request, Sampling


def made(options: dict[str, JsonValue]) -> int:
    spec = BackendSpec(name="fake", options=options)
    backend.identify(ModelSpec(name="fake"), spec)
    return backend.create(ModelSpec(name="fake"), spec, thinking=False).context_length


@pytest.mark.parametrize(
    ("options", "said"),
    [({"limit": "abc"}, "limit"), ({"limit": 0}, "limit"), ({"fail": {"x": 2}}, "fail.x"), ({"limt": 9}, "limt")],
)
def test_wrong_and_unknown_options_are_refused(options: dict[str, JsonValue], said: str) -> None:
    with pytest.raises(HarnessError) as caught:
        made(options)
    assert caught.value.code == "E-OPTION"
    assert caught.value.details[0].startswith(said)
    assert "it knows: fail, limit" in caught.value.fix


def test_options_are_taken() -> None:
    assert made({"limit": 50}) == 50


def judged(text: str, options: dict[str, JsonValue] | None = None) -> tuple[FakeBackend, Request]:
    fake = backend.create(ModelSpec(name="fake"), BackendSpec(name="fake", options=options or {}), thinking=False)
    prompt = fake.tokenizer.apply_template([Message("user", text)], add_generation_prompt=True)
    return fake, Request("r", tuple(fake.tokenizer.encode(prompt, special=True)), Sampling(1), ())


def expected_rank(text: str, labels: list[tuple[int, ...]]) -> float:
    fake, request = judged(text)
    ((_, scores),) = fake.label_scores([request], labels)
    assert isinstance(scores, LabelScores)
    assert 0.9 <= scores.mass <= 0.99 + 1e-5
    return sum(rank * share for rank, share in enumerate(scores.shares))


def test_a_judge_likes_capitals() -> None:
    digits = [(ord(digit),) for digit in "12345"]
    texts = ("all small letters", "a Few in here", "Some Capitals In It", "A LOT of them or so", "ONLY CAPITALS")
    ranks = [expected_rank(text, digits) for text in texts]
    assert ranks == sorted(ranks)
    assert ranks[0] < 0.5
    assert ranks[-1] > 3.5


def test_a_judge_looks_at_the_end_of_the_last_turn_only() -> None:
    digits = [(ord(digit),) for digit in "12345"]
    assert expected_rank("SHOUTING " * 50 + "quiet words " * 17, digits) < 0.5


def test_some_judgements_fail_as_asked() -> None:
    fake, request = judged("anything", {"fail": {"out of luck": 1.0}})
    assert list(fake.label_scores([request], [(1,), (2,)])) == [("r", Failure("generate", "out of luck"))]
    assert list(fake.hidden([request])) == [("r", Failure("generate", "out of luck"))]


def test_a_prompt_and_a_label_must_fit_together() -> None:
    fake, request = judged("word", {"limit": 20})
    n = len(request.ids)
    fits, long = [(1,), (2,) * (20 - n)], [(1,), (2,) * (21 - n)]
    assert isinstance(dict(fake.label_scores([request], fits))["r"], LabelScores)
    assert dict(fake.label_scores([request], long)) == {"r": Failure("prompt", "too long for the context")}
