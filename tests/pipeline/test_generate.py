"""Outcomes are journaled: an interrupted generation goes on where it was, and never with answers to other questions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness.backends.fake import WEIGHTS, FakeBackend
from harness.core.errors import EnvironmentFault
from harness.core.specs import BackendSpec, ModelSpec, PromptingSpec
from harness.core.types import Candidate, Checkpoint, Message, Outcome, Request, Sample, Sampling
from harness.pipeline.generate import Generation
from harness.pipeline.outcomes import UNASKED
from harness.pipeline.stages import Stages
from harness.prompting import Renderers, ShotPool
from harness.store.cache import GenerationCache
from harness.store.events import EventLog
from harness.store.run import RunFolder

SAMPLES = [Sample(f"s{i}", "test", (Message("user", f"word {i}"),), ("x",)) for i in range(100)]
BASE = Candidate("base-0shot")


class Silent:
    def begin(self, stage: str) -> None: ...
    def update(self, stage: str, done: int, total: int, live: str) -> None: ...
    def end(self, stage: str, note: str) -> None: ...


class Counting(FakeBackend):
    """Counts what it is asked, gives up after `limit`, and can leave requests out."""

    def __init__(self, limit: int = 10**9, *, leaves_out: int = 0) -> None:
        super().__init__(ModelSpec(name="fake"), BackendSpec(name="fake"))
        self.limit = limit
        self.asked: list[str] = []
        self.leaves_out = leaves_out

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[str, Outcome]]:
        for item in super().generate(requests[: len(requests) - self.leaves_out]):
            if len(self.asked) == self.limit:
                raise KeyboardInterrupt
            self.asked.append(item[0])
            yield item


def generation(folder: RunFolder, backend: Counting, sampling: Sampling | None = None) -> Generation:
    stages = Stages(folder, EventLog(folder.folder), Silent())
    renderers = Renderers(backend.tokenizer, PromptingSpec())
    cache = GenerationCache(folder.folder.parent)
    return Generation(stages, cache, backend, renderers, ShotPool([], seed=0), sampling or Sampling(max_tokens=32), {})


def interrupted(folder: RunFolder, limit: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        generation(folder, Counting(limit)).generate([BASE], "test", SAMPLES)


def test_at_most_one_group_of_answers_is_asked_again(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as folder:
        interrupted(folder, 70)
        again = Counting()
        resumed = generation(folder, again).generate([BASE], "test", SAMPLES)
        assert 30 <= len(again.asked) <= 30 + 32
    with RunFolder(tmp_path / "whole") as folder:
        whole = generation(folder, Counting()).generate([BASE], "test", SAMPLES)
    assert resumed[0].outcomes == whole[0].outcomes
    names = ["outcomes.jsonl", "adapter.json"]
    for name in names:
        parts = [tmp_path / run / "evaluations/base-0shot.test" / name for run in ("run", "whole")]
        assert parts[0].read_bytes() == parts[1].read_bytes()


def test_answers_to_other_questions_are_never_taken(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as folder:
        interrupted(folder, 70)
        for sampling in (Sampling(max_tokens=5), Sampling(max_tokens=32, seed=1), Sampling(max_tokens=32, stop=("x",))):
            asked = Counting()
            generation(folder, asked, sampling).generate([BASE], "test", SAMPLES)
            assert len(asked.asked) == len(SAMPLES)


def test_a_finished_generation_asks_nothing(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as folder:
        generation(folder, Counting()).generate([BASE], "test", SAMPLES)
        again = Counting()
        generation(folder, again).generate([BASE], "test", SAMPLES)
        assert again.asked == []


def test_a_backend_that_leaves_requests_out_is_an_error_not_a_low_n(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as folder, pytest.raises(EnvironmentFault, match="no outcome for 3 of 100"):
        generation(folder, Counting(leaves_out=3)).generate([BASE], "test", SAMPLES)


def test_every_part_of_a_request_is_in_its_fingerprint() -> None:
    request = Request("a", (1, 2), Sampling(max_tokens=4), (9,))
    others = [
        replace(request, ids=(1, 3)),
        replace(request, stop_ids=(8,)),
        *(
            replace(request, sampling=replace(request.sampling, **{name: value}))  # type: ignore[arg-type]
            for name, value in {
                "max_tokens": 5,
                "temperature": 0.5,
                "top_p": 0.9,
                "top_k": 3,
                "repetition_penalty": 1.1,
                "stop": ("x",),
                "seed": 1,
            }.items()
        ),
    ]
    assert len({r.fingerprint for r in [request, *others]}) == 1 + len(others)
    assert replace(request, id="b").fingerprint == request.fingerprint


def test_what_a_race_left_out_is_a_race_among_these_candidates(tmp_path: Path) -> None:
    """The same candidate among others may go further: its outcomes are not taken from another race."""

    def first_half_of_the_first(_: object) -> Iterator[list[list[str]]]:
        yield [[sample.id for sample in SAMPLES[:50]], [sample.id for sample in SAMPLES]]

    def everything(_: object) -> Iterator[list[list[str]]]:
        yield [[sample.id for sample in SAMPLES]] * 2

    one, other, third = (Candidate(name, shots=0, draw=n) for n, name in enumerate(("a", "b", "c")))
    checkpoints = {each.name: skilled(tmp_path / each.name, 0.1 * n) for n, each in enumerate((one, other, third), 1)}
    one, other, third = (replace(each, checkpoint=checkpoints[each.name]) for each in (one, other, third))
    with RunFolder(tmp_path / "runs/first") as folder:
        found = generation(folder, Counting()).race(
            [one, other], "validation", SAMPLES, first_half_of_the_first, {"x": 1}
        )
    assert [outcome == UNASKED for outcome in found[0].outcomes].count(True) == 50
    with RunFolder(tmp_path / "runs/second") as folder:
        again = Counting()
        found = generation(folder, again).race([one, third], "validation", SAMPLES, everything, {"x": 1})
    assert UNASKED not in found[0].outcomes
    assert len(again.asked) == 50 + 100


def skilled(folder: Path, skill: float) -> Checkpoint:
    folder.mkdir(parents=True)
    (folder / WEIGHTS).write_text(f'{{"skill": {skill}}}')
    return Checkpoint(4, 1.0, folder, "adapter", f"{skill:.6f}", None, None, None, None)
