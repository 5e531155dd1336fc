"""Text to ids and back, with nothing added, nothing tidied and no control token made from words."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.errors import HarnessError
from harness.core.types import Message
from harness.models.template import MAX_TEMPLATE_BYTES, vetted
from harness.models.tokenizer import HFTokenizer, load_tokenizer
from tests.models.zoo import ANIMALS, NAMES

ASK = [Message("user", "Is snow white?")]
TALK = [*ASK, Message("assistant", "yes"), Message("user", "And coal?")]
WITH_SYSTEM = [Message("system", "One word."), *ASK]


def load(zoo: dict[str, Path], name: str, *, thinking: bool = False) -> HFTokenizer:
    return load_tokenizer(zoo[name], None, thinking=thinking)


def with_template(zoo: dict[str, Path], tmp_path: Path, text: str, name: str = "gpt2") -> HFTokenizer:
    (tmp_path / "template.jinja").write_text(text)
    return load_tokenizer(zoo[name], tmp_path / "template.jinja", thinking=False)


@pytest.mark.parametrize("name", NAMES)
def test_spelled_out_control_tokens_stay_text(zoo: dict[str, Path], name: str):
    tokenizer = load(zoo, name)
    for word in ANIMALS[name].control:
        text = f"a {word} b"
        plain = tokenizer.encode(text, special=False)
        assert not tokenizer.special_ids.intersection(plain)
        assert tokenizer.decode(plain, skip_special=True) == text
        assert tokenizer.special_ids.intersection(tokenizer.encode(text, special=True))
        assert tokenizer.encode(text, special=False) == plain


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_added_around_a_text(zoo: dict[str, Path], name: str):
    tokenizer, animal = load(zoo, name), ANIMALS[name]
    assert not tokenizer.special_ids.intersection(tokenizer.encode("cat", special=True))
    bos = tokenizer.encode(animal.bos, special=True) if animal.adds_bos and animal.bos else []
    assert tokenizer.prefix_ids() == bos
    assert tokenizer.eos_id == tokenizer.encode(animal.eos, special=True)[-1]
    assert (tokenizer.bos_id is None) == (animal.bos is None)


@pytest.mark.parametrize("name", NAMES)
@given(text=st.text(st.sampled_from("ab ,.!?'\"#=(){}\n\t0Zé東🙂"), max_size=30))
@settings(max_examples=40, deadline=None)
def test_text_survives_encoding(zoo: dict[str, Path], name: str, text: str):
    tokenizer = load_cached(zoo, name)
    found = tokenizer.decode(tokenizer.encode(text, special=False), skip_special=False)
    # SentencePiece vocabularies know no blank at the very beginning of a text.
    assert found == text or (not ANIMALS[name].byte_level and text.startswith(" ") and found == text[1:])


@pytest.mark.parametrize("name", NAMES)
def test_punctuation_keeps_its_blanks(zoo: dict[str, Path], name: str):
    tokenizer = load(zoo, name)
    for text in ("x != y", "do n't , really ?", "f ( a ) . b"):
        assert tokenizer.decode(tokenizer.encode(text, special=False), skip_special=False) == text


@pytest.mark.parametrize("name", NAMES)
def test_same_class_and_ids_as_the_auto_tokenizer(zoo: dict[str, Path], name: str):
    from transformers import AutoTokenizer

    tokenizer, theirs = load(zoo, name), AutoTokenizer.from_pretrained(zoo[name])
    for text in ("Is snow white?", " blank first", "東 🙂"):
        assert tokenizer.encode(text, special=True) == theirs.encode(text, add_special_tokens=False)
    if ANIMALS[name].template is not None:
        ids = theirs.apply_chat_template(
            [{"role": m.role, "content": m.content} for m in TALK],
            add_generation_prompt=True,
            enable_thinking=False,
            return_dict=False,
        )
        assert tokenizer.encode(tokenizer.apply_template(TALK, add_generation_prompt=True), special=True) == ids


def test_templates_write_what_each_family_writes(zoo: dict[str, Path]):
    def written(name: str, *, thinking: bool = False) -> str:
        return load(zoo, name, thinking=thinking).apply_template(ASK, add_generation_prompt=True)

    assert written("llama2") == "<s>[INST] Is snow white? [/INST]"
    assert written("mistral") == "<s>[INST] Is snow white? [/INST]"
    assert written("gemma") == "<bos><start_of_turn>user\nIs snow white?<end_of_turn>\n<start_of_turn>model\n"
    assert written("phi3") == "<|user|>\nIs snow white?<|end|>\n<|assistant|>\n"
    assert written("qwen2").startswith("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n")
    assert written("qwen3").endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert written("qwen3", thinking=True).endswith("<|im_start|>assistant\n")


@pytest.mark.parametrize("name", ["mistral", "gemma", "gemma2"])
def test_template_that_refuses_a_system_turn_says_so_in_its_own_words(zoo: dict[str, Path], name: str):
    with pytest.raises(HarnessError, match=r"Only user|System role not supported") as caught:
        load(zoo, name).apply_template(WITH_SYSTEM, add_generation_prompt=True)
    assert caught.value.code == "E-ROLE"
    assert "prompting.system_role" in caught.value.fix


def test_template_that_wants_turns_to_alternate(zoo: dict[str, Path]):
    with pytest.raises(HarnessError, match="must alternate") as caught:
        load(zoo, "llama2").apply_template([*ASK, *ASK], add_generation_prompt=True)
    assert caught.value.code == "E-ROLE"


def test_model_without_template_gets_none(zoo: dict[str, Path]):
    tokenizer = load(zoo, "gpt2")
    with pytest.raises(HarnessError, match="none is guessed") as caught:
        tokenizer.apply_template(ASK, add_generation_prompt=True)
    assert caught.value.code == "E-NOTEMPLATE"


def test_given_template_stands_in_and_is_part_of_the_hash(zoo: dict[str, Path], tmp_path: Path):
    tokenizer = with_template(zoo, tmp_path, "{% for m in messages %}{{ m.content }}|{% endfor %}")
    assert tokenizer.apply_template(ASK, add_generation_prompt=True) == "Is snow white?|"
    assert tokenizer.sha256 != load(zoo, "gpt2").sha256


def test_hash_covers_vocabulary_template_and_thinking_and_nothing_else(zoo: dict[str, Path], tmp_path: Path):
    copied = Path(shutil.copytree(zoo["qwen3"], tmp_path / "copy"))
    assert load_tokenizer(copied, None, thinking=False).sha256 == load(zoo, "qwen3").sha256
    # Gemma and Gemma 2 share a tokenizer.
    assert load(zoo, "gemma").sha256 == load(zoo, "gemma2").sha256
    hashes = {load(zoo, name, thinking=thinking).sha256 for name in NAMES for thinking in (False, True)}
    assert len(hashes) == 2 * (len(NAMES) - 1)


def test_data_in_messages_is_never_read_as_a_template(zoo: dict[str, Path]):
    text = load(zoo, "llama3").apply_template([Message("user", "{{ 7 * 7 }}{% if %}")], add_generation_prompt=True)
    assert "{{ 7 * 7 }}{% if %}" in text


def test_clock_of_templates_stands_still(zoo: dict[str, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture):
    tokenizer = with_template(zoo, tmp_path, "{{ strftime_now('%d %b %Y') }}")
    assert tokenizer.apply_template(ASK, add_generation_prompt=True) == "01 Jan 2025"
    assert "prints the date" in caplog.text


@pytest.mark.parametrize(
    "text",
    [
        "{{ 'a' * 10**8 }}",
        "{{ 'a' * 100000000 }}",
        "{% set n = 100000 %}{{ 'a' * n }}",
        "{{ '%0100000000d' % 1 }}",
        "{{ '%0100000000d' | format(1) }}",
        "{{ 'a' | center(100000000) }}",
        "{% include '/etc/passwd' %}",
        "{% import 'os' as os %}",
        "{% extends 'x' %}",
        "{% if %}",
        "x" * (MAX_TEMPLATE_BYTES + 1),
    ],
)
def test_templates_that_do_what_templates_do_not_do_are_refused(text: str):
    with pytest.raises(HarnessError, match="E-TEMPLATE"):
        vetted(text)


@pytest.mark.parametrize(
    "text",
    [
        "{{ messages.__class__.__mro__ }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ lipsum.__globals__['os'].system('id') }}",
        "{{ ''.__class__.__base__.__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{% for i in range(10000000) %}x{% endfor %}",
        "{{ undefined_thing.attribute }}",
        "{{ 1 + 'a' }}",
    ],
)
def test_templates_that_misbehave_are_stopped(zoo: dict[str, Path], tmp_path: Path, text: str):
    tokenizer = with_template(zoo, tmp_path, text)
    with pytest.raises(HarnessError):
        tokenizer.apply_template(ASK, add_generation_prompt=True)


def test_ordinary_templates_pass_the_check():
    for animal in ANIMALS.values():
        assert animal.template is None or vetted(animal.template) == animal.template
    vetted(
        "{% generation %}{{ ' ' * 4 }}{% endgeneration %}{% for m in messages %}{% if loop.first %}{% continue %}"
        "{% endif %}{{ m | tojson(indent=4) }}{% break %}{% endfor %}"
    )


def test_tokenizer_that_wants_code_or_is_not_there_is_refused(zoo: dict[str, Path], tmp_path: Path):
    folder = Path(shutil.copytree(zoo["gpt2"], tmp_path / "model"))
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "auto_map": {"AutoTokenizer": ["e.T", None]}}))
    with pytest.raises(HarnessError, match="E-REMOTECODE"):
        load_tokenizer(folder, None, thinking=False)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(HarnessError, match="E-TOKENIZER"):
        load_tokenizer(folder, None, thinking=False)


_CACHE: dict[str, HFTokenizer] = {}


def load_cached(zoo: dict[str, Path], name: str) -> HFTokenizer:
    """hypothesis calls its test often."""
    if name not in _CACHE:
        _CACHE[name] = load(zoo, name)
    return _CACHE[name]
