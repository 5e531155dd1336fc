"""Rows are rendered once: kept by content between runs, and not at all where their parts say enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harness.backends.fake import FakeTokenizer
from harness.core.errors import HarnessError
from harness.core.specs import PromptingSpec
from harness.core.types import Message, Sample, Split
from harness.pipeline import prepare
from harness.pipeline.rendering import Prompts, Rendered, from_bytes, render, to_bytes
from harness.prompting import Renderer, ShotPool
from tests.conftest import FAKE, Ran

Harness = Callable[..., Ran]


def samples(n: int, split: Split = "train", words: str = "say") -> list[Sample]:
    return [Sample(f"{split}-{i}", split, (Message("user", f"{words} {i}"),), (f"so {i}", "yes")) for i in range(n)]


def renderer() -> Renderer:
    return Renderer(FakeTokenizer(), PromptingSpec())


def test_rendered_rows_come_back_as_they_were() -> None:
    rows = [*samples(5), *samples(3, "validation", "ask \0\n\u2028 </s>"), *samples(2, "test")]
    rendered = render(rows, renderer())
    odd = Rendered(rendered.rows, rendered.lengths, {"train-1": 'a "problem"\n\u202e'})
    for each in (rendered, odd, Rendered({}, {}, {})):
        assert from_bytes(to_bytes(each)) == each


@pytest.fixture
def rendering(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many samples were rendered, each time."""
    counts: list[int] = []

    def counting(rows: Sequence[Sample], with_: Renderer) -> Rendered:
        counts.append(len(rows))
        return render(rows, with_)

    monkeypatch.setattr(prepare, "render", counting)
    return counts


def test_a_second_run_with_other_training_renders_nothing(
    harness: Harness, echo_task: Path, rendering: list[int]
) -> None:
    first, second = (harness("run", f"task={echo_task}", *FAKE, f"trainer.lr={lr}", "--json") for lr in ("0.2", "0.3"))
    assert (first.code, second.code) == (0, 0)
    assert len(rendering) == 1
    assert first.out != second.out


@pytest.mark.parametrize(
    "other", ["prompting.system=Be brief.", "prompting.instruction=Repeat.", "data.train_on=all", "prompting.form=text"]
)
def test_other_prompts_or_rows_are_rendered_anew(
    harness: Harness, echo_task: Path, rendering: list[int], other: str
) -> None:
    found = [harness("run", f"task={echo_task}", *FAKE, *words) for words in ([], [other])]
    assert [ran.code for ran in found] == [0, 0]
    assert len(rendering) == 2


def test_nothing_is_kept_of_a_run_that_is_refused(harness: Harness, echo_task: Path) -> None:
    harness("check", f"task={echo_task}", *FAKE)
    harness("run", f"task={echo_task}", *FAKE, "--dry-run")
    assert not list(Path().glob("runs/.cache/renderings/**/*"))


class Counting(Renderer):
    """Counts the prompts that it renders."""

    n_rendered = 0

    def prompt_ids(self, sample: Sample, shots: Sequence[Sample] = ()) -> tuple[int, ...]:
        self.n_rendered += 1
        return super().prompt_ids(sample, shots)


@pytest.mark.parametrize("room", [40, 60, 75, 76, 77, 80, 100, 140, 1000])
def test_prompts_are_too_long_exactly_when_they_are(room: int) -> None:
    train, (asked,) = samples(6), samples(1, "test")
    counting = Counting(FakeTokenizer(), PromptingSpec())
    lengths = render([*train, asked], counting).lengths
    shots = ShotPool(train, seed=0)
    truth = len(counting.prompt_ids(asked, shots.shots(asked, k=3, draw=0))) > room
    counting.n_rendered = 0
    assert Prompts(counting, shots, lengths).exceeds(asked, room, k=3, draw=0) is truth
    assert counting.n_rendered == (0 if room >= 140 else 1)


def test_too_few_shots_are_still_refused() -> None:
    train, (asked,) = samples(2), samples(1, "test")
    with pytest.raises(HarnessError, match="3 shots"):
        Prompts(renderer(), ShotPool(train, seed=0), {}).exceeds(asked, 100, k=3, draw=0)
