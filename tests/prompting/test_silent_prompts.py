"""Prompts that are wrong by one token and raise nothing: beginnings of text, and where completions join prompts."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from harness.core.specs import PromptingSpec
from harness.core.types import Message, Sample
from harness.models.tokenizer import load_tokenizer
from harness.prompting import Renderer
from tests.models.zoo import NAMES

CHAT = tuple(name for name in NAMES if name != "gpt2")


def sample(text: str, answer: str = "fine") -> Sample:
    return Sample("s", "train", (Message("user", text),), (answer,))


@pytest.mark.parametrize("name", NAMES)
def test_plain_prompts_begin_as_the_tokenizer_begins_a_text(zoo: dict[str, Path], name: str) -> None:
    renderer = Renderer(load_tokenizer(zoo[name], None, thinking=False), PromptingSpec(form="text"))
    theirs = AutoTokenizer.from_pretrained(zoo[name])("Is snow white?")["input_ids"]
    assert list(renderer.prompt_ids(sample("Is snow white?"))) == theirs


def test_a_template_that_writes_the_beginning_of_text_twice_is_named(zoo: dict[str, Path], tmp_path: Path) -> None:
    template = "{{ bos_token }}" + AutoTokenizer.from_pretrained(zoo["llama3"]).chat_template
    (tmp_path / "twice.jinja").write_text(template)
    renderer = Renderer(load_tokenizer(zoo["llama3"], tmp_path / "twice.jinja", thinking=False), PromptingSpec())
    asked = sample("how are you?")
    assert "second beginning-of-text token" in str(renderer.problem(asked, renderer.train_row(asked)))


@pytest.mark.parametrize("name", CHAT)
@pytest.mark.parametrize("answer", ["fine", " leading blank", "  two", "\nline", "trailing ", "東京 🙂"])
def test_a_training_row_says_the_prompt_and_then_exactly_the_answer(
    zoo: dict[str, Path], name: str, answer: str
) -> None:
    tokenizer = load_tokenizer(zoo[name], None, thinking=False)
    renderer = Renderer(tokenizer, PromptingSpec())
    asked = sample("how are you?", answer)
    prompt, row = renderer.prompt_ids(asked), renderer.train_row(asked)
    before = tokenizer.decode(prompt, skip_special=False)
    whole = tokenizer.decode(row.ids[:-1], skip_special=False)
    assert renderer.clean(whole.removeprefix(before)) == answer


@pytest.mark.parametrize("name", CHAT)
def test_an_answer_is_cut_into_the_tokens_it_has_inside_a_text(zoo: dict[str, Path], name: str) -> None:
    """Behind a line break, where no tokenizer puts a blank of its own, as the whole text is cut."""
    tokenizer = load_tokenizer(zoo[name], None, thinking=False)
    inner = AutoTokenizer.from_pretrained(zoo[name])
    ids = Renderer(tokenizer, PromptingSpec()).completion_ids("Yes, white.")[:-1]
    lead = Renderer(tokenizer, PromptingSpec()).prompt_text(sample("x"))
    behind = inner.encode("x\n" + ("" if lead.endswith("\n") else " ") + "Yes, white.", add_special_tokens=False)
    assert list(ids) == behind[-len(ids) :]
    assert inner.decode(behind[: -len(ids)]).strip() == "x"
