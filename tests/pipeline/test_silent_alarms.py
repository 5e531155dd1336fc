"""Signs of silent failures in outputs: each is said from its threshold on, and not below it."""

from __future__ import annotations

import pytest

from harness.core.types import Completion, Outcome
from harness.pipeline.alarms import alarms


def outputs(*texts: str, cut: int = 0, n_tokens: int = 5) -> list[Outcome]:
    return [Completion(text, "length" if i < cut else "stop", n_tokens) for i, text in enumerate(texts)]


def said(draw: list[Outcome], base: list[Outcome] | None = None) -> str:
    return " | ".join(alarms([draw], base))


PLAIN = [f"answer {i}" for i in range(100)]


def test_ordinary_outputs_raise_no_alarm() -> None:
    assert alarms([outputs(*PLAIN)], outputs(*[text.upper() for text in PLAIN])) == ()


@pytest.mark.parametrize(("cut", "warned"), [(2, False), (3, True)])
def test_more_than_two_percent_of_cut_answers_are_said(cut: int, warned: bool) -> None:
    assert ("3 of 100 completions ran into generation.max_tokens" in said(outputs(*PLAIN, cut=cut))) == warned


@pytest.mark.parametrize("text", ["yes<|im_end|>", "<|eot_id|>", "a<end_of_turn>", "<start_of_turn>", "x<0x0A>"])
def test_one_control_token_in_an_output_is_said(text: str) -> None:
    assert "1 of 100 completions spell out control tokens" in said(outputs(*PLAIN[1:], text))


@pytest.mark.parametrize("text", ["a <| b", "x < y", "<b>bold</b>", "<turn>"])
def test_angle_brackets_are_no_control_tokens(text: str) -> None:
    assert said(outputs(*PLAIN[1:], text)) == ""


@pytest.mark.parametrize(("n_same", "warned"), [(99, False), (100, True)])
def test_outputs_equal_to_the_untuned_models_are_said(n_same: int, warned: bool) -> None:
    base = [*PLAIN[:n_same], *("another" for _ in PLAIN[n_same:])]
    assert ("did tuning do anything?" in said(outputs(*PLAIN), outputs(*base))) == warned


@pytest.mark.parametrize(
    ("before", "after", "warned"), [(10, 2, False), (10, 1, True), (10, 50, False), (10, 51, True)]
)
def test_lengths_beyond_a_factor_of_five_are_said(before: int, after: int, warned: bool) -> None:
    tuned, base = outputs(*PLAIN, n_tokens=after), outputs(*(t.upper() for t in PLAIN), n_tokens=before)
    assert ("tokens on average" in said(tuned, base)) == warned
