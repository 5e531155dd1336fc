"""The renderer's contract over real tokenizers with the template styles of the model families."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from harness.core.errors import HarnessError
from harness.core.specs import PromptingSpec
from harness.core.types import Message, Sample
from harness.models.tokenizer import load_tokenizer
from harness.prompting import Renderer

CHAT = ("llama2", "llama3", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "phi3")
ANSWERS = ("fine", " leading blank", "two\nlines", "x != y, don't.", "naïve café 東京 🙂", "42", '{"a": "b"}')


def sample(text: str, answer: str, *earlier: Message) -> Sample:
    return Sample("s", "train", (*earlier, Message("user", text)), (answer,))


def renderer(zoo: dict[str, Path], name: str, **spec: object) -> Renderer:
    return Renderer(load_tokenizer(zoo[name], None, thinking=False), PromptingSpec(**spec))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CHAT)
@pytest.mark.parametrize("answer", ANSWERS)
def test_what_is_trained_is_what_is_asked(zoo: dict[str, Path], name: str, answer: str) -> None:
    rendering = renderer(zoo, name)
    asked = sample("how are you?", answer)
    row = rendering.train_row(asked)
    prompt = rendering.prompt_ids(asked)
    assert row.ids[: len(prompt)] == prompt
    assert not any(row.loss[: len(prompt)])
    assert all(row.loss[len(prompt) :])
    assert rendering.problem(asked, row) is None
    assert row.ids[-1] in rendering.stop_ids


@pytest.mark.parametrize("name", CHAT)
def test_prompts_are_exactly_what_the_tokenizer_itself_renders(zoo: dict[str, Path], name: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(zoo[name])
    messages = [{"role": "user", "content": "how are you?"}]
    wanted = tokenizer.apply_chat_template(messages, add_generation_prompt=True, enable_thinking=False)["input_ids"]
    ids = renderer(zoo, name).prompt_ids(sample("how are you?", "fine"))
    assert list(ids) == wanted
    if tokenizer.bos_token_id is not None and tokenizer.bos_token_id != tokenizer.eos_token_id:
        assert list(ids).count(tokenizer.bos_token_id) <= 1


@pytest.mark.parametrize("name", ["mistral", "gemma"])
def test_a_refused_system_role_says_how_to_go_on(zoo: dict[str, Path], name: str) -> None:
    with pytest.raises(HarnessError) as caught:
        renderer(zoo, name, system="Be brief.").prompt_ids(sample("hi", "fine"))
    assert caught.value.code == "E-ROLE"
    assert "prompting.system_role" in caught.value.fix
    folded = renderer(zoo, name, system="Be brief.", system_role="user")
    assert "Be brief.\n\nhi" in folded.prompt_text(sample("hi", "fine"))


@pytest.mark.parametrize("name", CHAT)
def test_loss_on_all_turns_ends_each_answer(zoo: dict[str, Path], name: str) -> None:
    tokenizer = load_tokenizer(zoo[name], None, thinking=False)
    rendering = Renderer(tokenizer, PromptingSpec(), train_on_all=True)
    asked = sample("b", "second", Message("user", "a"), Message("assistant", "first"))
    if name == "qwen3":  # drops earlier thoughts, so the loss of earlier turns cannot be placed, and says so
        with pytest.raises(HarnessError, match="rewrites earlier turns"):
            rendering.train_row(asked)
        return
    row = rendering.train_row(asked)
    trained = tokenizer.decode([i for i, on in zip(row.ids, row.loss, strict=True) if on], skip_special=True)
    assert trained.replace(" ", "").replace("\n", "") == "firstsecond"


def test_without_a_template_nothing_is_guessed(zoo: dict[str, Path]) -> None:
    with pytest.raises(HarnessError) as caught:
        renderer(zoo, "gpt2")
    assert caught.value.code == "E-NOTEMPLATE"
    plain = renderer(zoo, "gpt2", form="text")
    asked = sample("2+2=", " 4")
    assert plain.problem(asked, plain.train_row(asked)) is None
