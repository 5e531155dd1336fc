"""A judge's prompt as tokens: the template's control tokens, and not one from the data, on tokenizers of every make."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.backends.fake import FakeTokenizer
from harness.core.errors import HarnessError
from harness.core.judging import Single
from harness.core.protocols import Tokenizer
from harness.core.types import Message
from harness.models.tokenizer import load_tokenizer
from judges.prompt import Frame, prompt_text
from judges.rendering import JudgeRenderer
from tests.models.zoo import ANIMALS, Animal, _write_tokenizer

DEMO = Path(__file__).parents[2] / "harness" / "demo" / "model"
# SentencePiece-like with and without control tokens in its template, byte-level with added words, and no template.
CHOSEN = ("llama2", "mistral", "gemma", "llama3", "qwen3", "phi3", "gpt2")
NAMES = ("fake", "demo", *CHOSEN)
PLAIN = 'Criterion: help\n<answer 12ab>\n"It is. 東京 1"\n</answer 12ab>\nReply 1 to 5, nothing else.'


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tokenizer]:
    folder = tmp_path_factory.mktemp("zoo")
    found: dict[str, Tokenizer] = {name: tokenizer_of(folder / name, ANIMALS[name]) for name in CHOSEN}
    return {**found, "demo": load_tokenizer(DEMO, None, thinking=False), "fake": FakeTokenizer()}


def tokenizer_of(folder: Path, animal: Animal) -> Tokenizer:
    """The animal's tokenizer without its model, which takes no torch to make."""
    folder.mkdir()
    _write_tokenizer(folder, animal)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return load_tokenizer(folder, None, thinking=False)


def controls(tokenizer: Tokenizer, ids: Sequence[int]) -> Counter[int]:
    return Counter(token for token in ids if token in tokenizer.special_ids)


def spelled(tokenizer: Tokenizer) -> str:
    """Every control token as an attacker would write it."""
    return "".join(tokenizer.decode([token], skip_special=False) for token in sorted(tokenizer.special_ids))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "gpt2"])
def test_a_plain_prompt_has_the_ids_of_the_templates_own_rendering(tokenizers: dict[str, Tokenizer], name: str) -> None:
    tokenizer = tokenizers[name]
    rendered = tokenizer.apply_template([Message("user", PLAIN)], add_generation_prompt=True)
    assert JudgeRenderer(tokenizer).prompt_ids(PLAIN) == tuple(tokenizer.encode(rendered, special=True))


@pytest.mark.parametrize("name", NAMES)
def test_control_tokens_that_an_answer_spells_stay_text(tokenizers: dict[str, Tokenizer], name: str) -> None:
    tokenizer = tokenizers[name]
    renderer = JudgeRenderer(tokenizer)
    hostile = f"{PLAIN}\n{spelled(tokenizer)}"
    ids = renderer.prompt_ids(hostile)
    assert controls(tokenizer, ids) == controls(tokenizer, renderer.prompt_ids(PLAIN))
    assert spelled(tokenizer) in tokenizer.decode(ids, skip_special=False)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_answer_puts_a_control_token_into_a_prompt(tokenizers: dict[str, Tokenizer], data: st.DataObject) -> None:
    frame = Frame("hash", "help", "rubric", 8000, references=True)
    for tokenizer in tokenizers.values():
        spellings = [tokenizer.decode([token], skip_special=False) for token in sorted(tokenizer.special_ids)]
        pieces = st.one_of(st.sampled_from(spellings), st.text(st.characters(exclude_categories=()), max_size=4))
        answer = data.draw(st.lists(pieces, max_size=6).map("".join))
        renderer = JudgeRenderer(tokenizer)
        plain = renderer.prompt_ids(prompt_text(frame, Single("i", "c", "s", "what?", "fine"), "Reply 1."))
        ids = renderer.prompt_ids(prompt_text(frame, Single("i", "c", "s", "what?", answer), "Reply 1."))
        assert controls(tokenizer, ids) == controls(tokenizer, plain)


@pytest.mark.parametrize("name", NAMES)
def test_labels_are_what_the_tokenizer_writes_behind_the_prompt(tokenizers: dict[str, Tokenizer], name: str) -> None:
    """Prompt and label, decoded together, are the prompt and then the label."""
    tokenizer = tokenizers[name]
    renderer = JudgeRenderer(tokenizer)
    prompt = renderer.prompt_ids(PLAIN)
    labels = renderer.label_ids(["1", "2", "5"])
    assert len(set(labels)) == 3
    before = tokenizer.decode(prompt, skip_special=False)
    for text, ids in zip(["1", "2", "5"], labels, strict=True):
        both = tokenizer.decode((*prompt, *ids), skip_special=False)
        assert both.removeprefix(before).strip() == text


def test_digits_are_single_tokens_where_the_template_ends_in_a_control_token(
    tokenizers: dict[str, Tokenizer],
) -> None:
    for name in ("demo", "fake", "gemma", "llama3", "qwen3"):
        assert [len(ids) for ids in JudgeRenderer(tokenizers[name]).label_ids(list("12345"))] == [1] * 5


def test_where_one_label_begins_another_both_carry_the_end_token(tokenizers: dict[str, Tokenizer]) -> None:
    tokenizer = tokenizers["fake"]
    assert JudgeRenderer(tokenizer).label_ids(["1", "10"]) == ((49, 259), (49, 48, 259))
    assert JudgeRenderer(tokenizer).label_ids(["1", "2"]) == ((49,), (50,))


def test_labels_that_the_tokenizer_writes_alike_are_refused() -> None:
    with pytest.raises(HarnessError, match="cannot tell the labels '1', '1' apart") as caught:
        JudgeRenderer(FakeTokenizer()).label_ids(["1", "1"])
    assert caught.value.code == "E-TOKENIZER"


class _Shouting(FakeTokenizer):
    """Its template changes the user's words."""

    def apply_template(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
        return f"<|user|>harnessjudgemark{messages[0].content[16:].upper()}<|end|><|assistant|>"


class _Doubling(FakeTokenizer):
    """Its template writes the user's words twice."""

    def apply_template(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
        return f"<|user|>{messages[0].content} I repeat: {messages[0].content}<|end|><|assistant|>"


@pytest.mark.parametrize(
    ("tokenizer", "what"), [(_Shouting(), "changes the words"), (_Doubling(), "the user's words 2 times")]
)
def test_a_template_that_cannot_be_composed_is_refused(tokenizer: Tokenizer, what: str) -> None:
    with pytest.raises(HarnessError, match=what) as caught:
        JudgeRenderer(tokenizer)
    assert caught.value.code == "E-TEMPLATE"
