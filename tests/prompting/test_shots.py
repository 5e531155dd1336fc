from __future__ import annotations

import pytest

from harness.core.errors import HarnessError
from harness.core.types import Message, Sample
from harness.prompting import ShotPool


def sample(name: str, text: str, answer: str = "yes") -> Sample:
    return Sample(name, "train", (Message("user", text),), (answer,))


TRAIN = [sample(f"t{i}", f"question number {i}") for i in range(8)]


def test_a_sample_never_sees_itself_or_its_duplicate_in_any_draw() -> None:
    pool = ShotPool(TRAIN, seed=3)
    asked = sample("v0", "  Question NUMBER 5! ")
    for draw in range(20):
        assert "t5" not in {shot.id for shot in pool.shots(asked, k=7, draw=draw)}


def test_draws_differ_in_set_or_order_and_repeat_exactly() -> None:
    asked = sample("v0", "something else")
    draws = [tuple(s.id for s in ShotPool(TRAIN, seed=3).shots(asked, k=4, draw=d)) for d in range(3)]
    again = [tuple(s.id for s in ShotPool(TRAIN, seed=3).shots(asked, k=4, draw=d)) for d in range(3)]
    assert len(set(draws)) == 3
    assert draws == again


def test_samples_of_one_draw_share_their_shots() -> None:
    pool = ShotPool(TRAIN, seed=0)
    first = pool.shots(sample("v0", "one thing"), k=3, draw=1)
    assert pool.shots(sample("v1", "another thing"), k=3, draw=1) == first


def test_too_small_a_pool_is_an_error_with_the_number_that_works() -> None:
    with pytest.raises(HarnessError, match="7 rows") as caught:
        ShotPool(TRAIN, seed=0).shots(sample("x", "question number 1"), k=8, draw=0)
    assert caught.value.code == "E-FEWSHOT"
    assert "at most 7" in caught.value.fix


def test_no_shots_need_no_pool() -> None:
    assert ShotPool([], seed=0).shots(TRAIN[0], k=0, draw=0) == ()
