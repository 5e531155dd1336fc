"""What the first line says, for every pair of answers."""

from __future__ import annotations

from itertools import product
from typing import get_args

import pytest

from harness.core.records import Answer
from harness.pipeline.conclude import opening
from harness.pipeline.words import number, probability, signed

ANSWERS: tuple[Answer, ...] = get_args(Answer)


@pytest.mark.parametrize(("same", "best"), [*product(ANSWERS, ANSWERS), *product(ANSWERS, [None])])
def test_the_opening_never_contradicts_either_answer(same: Answer, best: Answer | None) -> None:
    text = opening(same, best)
    if "did harm" in text:
        assert same == "worse"
    if text == "Tuning helped":
        assert (best or same) == "better"
    if best == "worse" and same != "worse":
        assert "prompting the untuned model does better" in text
    if "Tuning helped" in text and best != "better":
        assert same == "better"
    if best == "cannot tell" and same == "better":
        assert "cannot be told" in text


def test_numbers_are_short_and_signed() -> None:
    assert (number(0.12345), number(63.149), number(None)) == ("0.123", "63.15", "undefined")
    assert (signed(0.5), signed(-12.345), signed(None)) == ("+0.500", "-12.35", "undefined")
    assert (probability(0.0004), probability(0.049)) == ("< 0.001", "= 0.049")
