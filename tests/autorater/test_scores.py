"""A judge's model with a memory: the same answers, in the same bytes, however often it is asked or stopped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.autorater.scores import CHUNK, CachedGenerator
from harness.backends.fake import FakeBackend
from harness.backends.replay import backend as replay
from harness.backends.scoring import RECORDING, Labels
from harness.core.errors import EnvironmentFault, HarnessError
from harness.core.judging import LabelScores
from harness.core.protocols import Generator
from harness.core.specs import BackendSpec, ModelSpec
from harness.core.types import Failure, FloatArray, Request, Sampling
from harness.store.scores import ScoreCache

LABELS = [(49,), (50,), (51, 52)]
# Two whole chunks and a part of one.
MANY = 2 * CHUNK + 7


class Counting(FakeBackend):
    """Counts what it is asked, and can be made to fail, or to stop in the middle of everything."""

    def __init__(self, *, name: str = "fake", failing: str | None = None, stops_after: int = 10**9) -> None:
        super().__init__(ModelSpec(name=name), BackendSpec(name="fake"))
        self.asked: list[list[str]] = []
        self.failing, self.stops_after = failing, stops_after

    def label_scores(self, requests: Sequence[Request], labels: Labels) -> Iterator[tuple[str, LabelScores | Failure]]:
        self.asked.append([request.id for request in requests])
        for identifier, found in list(super().label_scores(requests, labels))[::-1]:
            self.stops_after -= 1
            if self.stops_after < 0:
                raise KeyboardInterrupt
            yield identifier, Failure("generate", "out of luck") if identifier == self.failing else found

    def hidden(self, requests: Sequence[Request]) -> Iterator[tuple[str, FloatArray | Failure]]:
        self.asked.append([request.id for request in requests])
        yield from super().hidden(requests)


def requests(n: int = MANY) -> list[Request]:
    return [Request(f"r{i}", tuple(f"Prompt {'UP' * (i % 7)} {i}".encode()), Sampling(1), ()) for i in range(n)]


def test_answers_are_the_generators_own(tmp_path: Path):
    found = CachedGenerator(Counting(), ScoreCache(tmp_path))
    for _ in range(2):
        assert dict(found.label_scores(requests(), LABELS)) == dict(Counting().label_scores(requests(), LABELS))
        for (name, state), (other, expected) in zip(
            found.hidden(requests()), Counting().hidden(requests()), strict=True
        ):
            assert name == other
            assert isinstance(state, np.ndarray)
            assert isinstance(expected, np.ndarray)
            assert state.tobytes() == expected.tobytes()


def test_what_was_asked_of_the_same_model_is_not_asked_again(tmp_path: Path):
    first, second = Counting(), Counting()
    list(CachedGenerator(first, ScoreCache(tmp_path)).label_scores(requests(), LABELS))
    cached = CachedGenerator(second, ScoreCache(tmp_path))
    renamed = [replace(request, id=f"other-{request.id}") for request in requests()]
    list(cached.label_scores(renamed, LABELS))
    assert [len(chunk) for chunk in first.asked] == [CHUNK, CHUNK, 7]
    assert second.asked == []
    assert (cached.n_asked, cached.n_hits) == (MANY, MANY)


@pytest.mark.parametrize("what", ["model", "labels", "order of labels", "prompt", "hidden state"])
def test_something_else_is_asked(tmp_path: Path, what: str):
    list(CachedGenerator(Counting(), ScoreCache(tmp_path)).label_scores(requests(3), LABELS))
    generator = Counting(name="other" if what == "model" else "fake")
    cached = CachedGenerator(generator, ScoreCache(tmp_path))
    asked = [replace(request, ids=(*request.ids, 33)) for request in requests(3)] if what == "prompt" else requests(3)
    labels = {"labels": LABELS[:2], "order of labels": LABELS[::-1]}.get(what, LABELS)
    list(cached.hidden(asked) if what == "hidden state" else cached.label_scores(asked, labels))
    assert (len(generator.asked), cached.n_hits) == (1, 0)


def test_a_chunk_is_computed_whole_unless_all_of_it_is_known(tmp_path: Path):
    list(CachedGenerator(Counting(), ScoreCache(tmp_path)).label_scores(requests()[: CHUNK + 5], LABELS))
    generator = Counting()
    cached = CachedGenerator(generator, ScoreCache(tmp_path))
    list(cached.label_scores(requests(), LABELS))
    assert [chunk[0] for chunk in generator.asked] == [f"r{CHUNK}", f"r{2 * CHUNK}"]
    assert [len(chunk) for chunk in generator.asked] == [CHUNK, 7]
    assert cached.n_hits == CHUNK


def test_failures_are_tried_again_in_the_next_run(tmp_path: Path):
    failing = CachedGenerator(Counting(failing="r3"), ScoreCache(tmp_path))
    assert dict(failing.label_scores(requests(5), LABELS))["r3"] == Failure("generate", "out of luck")
    found = dict(CachedGenerator(Counting(), ScoreCache(tmp_path)).label_scores(requests(5), LABELS))
    assert isinstance(found["r3"], LabelScores)


@pytest.mark.parametrize("stops_after", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, MANY - 1])
@pytest.mark.parametrize("kept_cache", [True, False])
def test_a_resumed_record_is_the_uninterrupted_one(tmp_path: Path, stops_after: int, kept_cache: bool):
    whole, resumed = tmp_path / "whole" / RECORDING, tmp_path / "resumed" / RECORDING
    expected = list(CachedGenerator(Counting(failing="r9"), None, whole).label_scores(requests(), LABELS))
    stopping = CachedGenerator(Counting(failing="r9", stops_after=stops_after), ScoreCache(tmp_path), resumed)
    with pytest.raises(KeyboardInterrupt):
        list(stopping.label_scores(requests(), LABELS))
    cache = ScoreCache(tmp_path) if kept_cache else None
    again = CachedGenerator(Counting(failing="r9"), cache, resumed)
    assert list(again.label_scores(requests(), LABELS)) == expected
    assert resumed.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_record_torn_anywhere_is_completed(tmp_path: Path, share: float):
    path = tmp_path / RECORDING
    expected = list(CachedGenerator(Counting(), None, path).label_scores(requests(), LABELS))
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    assert list(CachedGenerator(Counting(), None, path).label_scores(requests(), LABELS)) == expected
    assert path.read_bytes() == content


def test_what_is_on_record_is_what_a_resumed_run_says(tmp_path: Path):
    path = tmp_path / RECORDING
    first = dict(CachedGenerator(Counting(failing="r1"), None, path).label_scores(requests(3), LABELS))
    generator = Counting()
    again = CachedGenerator(generator, None, path)
    assert dict(again.label_scores(requests(3), LABELS)) == first
    assert generator.asked == []


def test_another_model_does_not_answer_from_this_ones_record(tmp_path: Path):
    path = tmp_path / RECORDING
    list(CachedGenerator(Counting(), None, path).label_scores(requests(3), LABELS))
    other = Counting(name="other")
    list(CachedGenerator(other, None, path).label_scores(requests(3), LABELS))
    assert len(other.asked) == 1
    assert len(path.read_text().splitlines()) == 6


def test_two_generators_may_share_a_record(tmp_path: Path):
    path = tmp_path / RECORDING
    one, two = (CachedGenerator(Counting(name=name), None, path) for name in ("one", "two"))
    for n in (2, 4):
        for cached in (one, two):
            list(cached.label_scores(requests(n), LABELS))
    assert len(path.read_text().splitlines()) == 8
    again = Counting(name="one")
    list(CachedGenerator(again, None, path).label_scores(requests(4), LABELS))
    assert again.asked == []


def test_every_answer_is_recorded_once_in_the_order_asked(tmp_path: Path):
    path = tmp_path / RECORDING
    cached = CachedGenerator(Counting(), None, path)
    for asked in (requests(3), requests(5), requests(5)[::-1]):
        list(cached.label_scores(asked, LABELS))
    list(cached.hidden(requests(1)))
    lines = path.read_text().splitlines()
    assert len(lines) == 6
    for line, request in zip(lines, [*requests(5), requests(1)[0]], strict=True):
        assert request.fingerprint in line
    assert '"hidden"' in lines[-1]


def test_a_record_is_what_replay_answers_from(tmp_path: Path):
    run = tmp_path / "run"
    recording = CachedGenerator(Counting(failing="r1"), None, run / "judges" / "tone" / RECORDING)
    asked = requests(4)
    expected = dict(recording.label_scores(asked, LABELS))
    states = dict(recording.hidden(asked[:2]))
    spec = BackendSpec(name="replay", recording=str(run))
    replayed: Generator = replay.create(ModelSpec(name="fake"), spec, thinking=False)
    assert dict(replayed.label_scores(asked, LABELS)) == expected
    turned = dict(replayed.label_scores(asked, LABELS[::-1]))["r0"]
    straight = expected["r0"]
    assert isinstance(turned, LabelScores)
    assert isinstance(straight, LabelScores)
    assert turned.log_probs == straight.log_probs[::-1]
    found = dict(replayed.hidden(asked[:3]))
    assert np.array_equal(found["r0"], states["r0"])  # type: ignore[arg-type]
    unknown = Failure("replay", "not in the recording")
    assert found["r2"] == unknown
    assert dict(replayed.label_scores(asked, LABELS[:2])) == dict.fromkeys([r.id for r in asked], unknown)


@pytest.mark.parametrize(
    "line", ["{}", '{"request": "x"}', '{"request": "x", "labels": [[1]], "log_probs": [-1, -2]}', "[1]", "\x1b[31m"]
)
def test_a_record_that_holds_something_else_is_one_error_with_its_line(tmp_path: Path, line: str):
    path = tmp_path / RECORDING
    list(CachedGenerator(Counting(), None, path).label_scores(requests(1), LABELS))
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(EnvironmentFault, match=f"{RECORDING}:2") as caught:
        CachedGenerator(Counting(), None, path)
    assert caught.value.code == "E-CORRUPT"
    assert "\x1b" not in str(caught.value)


def test_numbers_that_no_file_can_hold_are_failures(tmp_path: Path):
    class Hollow(FakeBackend):
        def label_scores(self, requests: Sequence[Request], labels: Labels) -> Iterator[tuple[str, LabelScores]]:
            yield from ((request.id, LabelScores((-0.5, float("-inf"), -2.0))) for request in requests)

        def hidden(self, requests: Sequence[Request]) -> Iterator[tuple[str, FloatArray]]:
            yield from ((request.id, np.array([0.5, np.nan])) for request in requests)

    hollow = Hollow(ModelSpec(name="fake"), BackendSpec(name="fake"))
    cached = CachedGenerator(hollow, ScoreCache(tmp_path), tmp_path / RECORDING)
    failed = Failure("judge", "there is a number that is not finite")
    assert dict(cached.label_scores(requests(1), LABELS)) == {"r0": failed}
    assert dict(cached.hidden(requests(1))) == {"r0": failed}


def test_a_cache_that_cannot_be_used_is_a_note(tmp_path: Path):
    (tmp_path / ".cache").write_text("in the way")
    cached = CachedGenerator(Counting(), ScoreCache(tmp_path))
    assert dict(cached.label_scores(requests(3), LABELS)) == dict(Counting().label_scores(requests(3), LABELS))
    assert "cannot be used" in str(cached.note)


def test_it_passes_for_the_generator(tmp_path: Path):
    generator = Counting()
    cached = CachedGenerator(generator, ScoreCache(tmp_path))
    assert cached.identity == generator.identity
    assert cached.context_length == generator.context_length
    assert cached.tokenizer is generator.tokenizer
    assert cached.uncached is generator
    assert dict(cached.generate(requests(3))) == dict(generator.generate(requests(3)))
    with pytest.raises(HarnessError, match="E-LABEL-TOKENS"):
        list(cached.label_scores(requests(3), [(1,), (1,)]))
