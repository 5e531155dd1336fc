"""The embedded models: ordinary folders with honest cards, one tokenizer, and a run that uses the smaller one."""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

torch = pytest.importorskip("torch")

from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

from harness.core.specs import ModelSpec  # noqa: E402
from harness.demo.pretraining import RECIPES  # noqa: E402
from harness.models.location import locate, model_identity, parameter_count  # noqa: E402


class Ran(Protocol):
    """What the fixture `harness` returns."""

    code: int
    out: str
    err: str


TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def folder_of(name: str) -> Path:
    return locate(ModelSpec(name=name))


def card_of(name: str) -> str:
    return (folder_of(name) / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", list(RECIPES))
def test_the_folder_is_small_and_its_card_has_the_hashes_of_its_files(name: str) -> None:
    folder = folder_of(name)
    listed = dict(re.findall(r"\| `([\w.]+)` \| `([0-9a-f]{64})` \|", card_of(name)))
    files = {path.name: path for path in folder.iterdir() if path.name != "README.md"}
    assert {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()} == listed
    assert sum(path.stat().st_size for path in folder.iterdir()) < 5_000_000


@pytest.mark.parametrize("name", list(RECIPES))
def test_the_card_says_what_the_recipe_and_the_weights_say(name: str) -> None:
    recipe, card = RECIPES[name], card_of(name)
    model = AutoModelForCausalLM.from_pretrained(folder_of(name))
    assert f"| parameters | {sum(p.numel() for p in model.parameters()):,} |" in card
    assert f"with seed {recipe.seed}: {recipe.steps:,} steps of {recipe.batch} rows" in card
    assert f"Llama, {model.config.num_hidden_layers} layers, hidden size {model.config.hidden_size}," in card
    assert (model.config.num_hidden_layers, model.config.hidden_size) == (recipe.layers, recipe.hidden)


def test_both_have_one_tokenizer_and_are_two_models() -> None:
    for file in TOKENIZER_FILES:
        assert (folder_of("demo") / file).read_bytes() == (folder_of("demo-small") / file).read_bytes(), file
    assert model_identity(folder_of("demo")) != model_identity(folder_of("demo-small"))


def test_the_smaller_one_is_weaker_and_says_so() -> None:
    right = {name: float(re.findall(r"\*\*all\*\* \| ([\d.]+)", card_of(name))[0]) for name in RECIPES}
    assert 0.2 < right["demo-small"] < right["demo"] - 0.05


def test_the_list_of_models_shows_both_with_their_sizes(harness: Callable[..., Ran]) -> None:
    shown = {row["name"]: row["summary"] for row in json.loads(harness("list", "models", "--json").out)}
    for name in RECIPES:
        count = parameter_count(folder_of(name))
        assert count is not None
        assert f"{count / 1e6:.2f} million parameters" in shown[name]


@pytest.mark.parametrize("text", ["因大雪，周一送达", "地址不明：A4821。", "日本語 한국어 😀"])
def test_the_tokenizer_loses_no_character_of_any_script(text: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder_of("demo-small"))
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


@pytest.mark.slow
def test_a_run_with_the_smaller_model_reaches_a_conclusion(echo_task: Path, harness: Callable[..., Ran]) -> None:
    short = ("trainer.epochs=1", "prompting.shots=[0]", "generation.max_tokens=8", "n_resamples=500")
    ran = harness("run", f"task={echo_task}", "model=demo-small", *short, "out=runs", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["run_id"].startswith("demo-small-lora-")
