"""The build: its tokenizer and template agree, nothing looks ahead, and the folder is an ordinary model's."""

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

from harness.demo.build import build, tokenizer_for  # noqa: E402
from harness.demo.corpus import Episode, episodes  # noqa: E402
from harness.demo.packing import ROW, pack  # noqa: E402
from harness.demo.pretraining import Recipe, new_model, own_past, schedule  # noqa: E402
from harness.demo.tokenizer import Encoded, encode  # noqa: E402

SMALL = Recipe(steps=3, batch=2, warmup=1, tokenizer_episodes=500)


def chat(episode: Episode) -> list[dict[str, str]]:
    system = [] if episode.system is None else [{"role": "system", "content": episode.system}]
    turns = [
        {"role": role, "content": text}
        for turn in episode.turns
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]
    return system + turns


@pytest.fixture(scope="module")
def tokenizer():
    return tokenizer_for(SMALL)


def test_training_ids_are_those_of_the_chat_template(tokenizer) -> None:
    sample = list(episodes(1, 200))
    for episode, row in zip(sample, encode(tokenizer.backend_tokenizer, sample), strict=True):
        assert row.ids == tokenizer.apply_chat_template(chat(episode))["input_ids"]


def test_answers_and_their_end_weigh_one_and_all_else_less(tokenizer) -> None:
    [row] = encode(tokenizer.backend_tokenizer, [Episode("copy", "Copy the text.", (("one", "one"), ("two", "two")))])
    weighed = [token for token, weight in zip(row.ids, row.weights, strict=True) if weight == 1.0]
    assert tokenizer.decode(weighed) == "one<|end|>two<|end|>"
    assert {weight for weight in row.weights if weight != 1.0} == {0.3}


def test_the_generation_prompt_is_a_prefix_of_the_whole_chat(tokenizer) -> None:
    messages = chat(Episode("copy", "Copy the text.", (("one", "two"),)))
    prompt = tokenizer.apply_chat_template(messages[:-1], add_generation_prompt=True)["input_ids"]
    whole = tokenizer.apply_chat_template(messages)["input_ids"]
    assert tokenizer.decode(whole[len(prompt) :]) == "two<|end|>"
    assert whole[: len(prompt)] == prompt


def test_packing_keeps_episodes_whole_and_predicts_nothing_across_a_seam() -> None:
    rows = pack(
        [Encoded([5] * 300, [1.0] * 300), Encoded([6] * 200, [1.0] * 200), Encoded([7] * 513, [1.0] * 513)], pad=0
    )
    assert rows.ids.shape == (1, ROW)
    assert rows.ids[0].tolist() == [5] * 300 + [6] * 200 + [0] * 12
    assert np.flatnonzero(rows.weights[0] == 0).tolist() == [0, 300, *range(500, 512)]


def test_no_token_sees_the_future_or_another_episode(tokenizer) -> None:
    model = new_model(SMALL, tokenizer).eval()
    owners_BT = torch.tensor([[0, 0, 0, 1, 1, 1, -1]])
    ids_BT = torch.tensor([[10, 11, 12, 13, 14, 15, 0]])
    changed_BT = torch.tensor([[10, 11, 99, 13, 14, 98, 0]])
    mask = own_past(owners_BT)
    with torch.inference_mode():
        before, after = (model(input_ids=ids, attention_mask=mask).logits[0] for ids in (ids_BT, changed_BT))
    same = [bool(torch.equal(a, b)) for a, b in zip(before, after, strict=True)]
    assert same == [True, True, False, True, True, False, True]


def test_the_learning_rate_rises_and_falls_to_nearly_nothing() -> None:
    factors = [schedule(step, 100, 10) for step in range(100)]
    assert factors[9] == 1.0
    assert max(factors) == 1.0
    assert 0 < factors[-1] < 0.001


@pytest.mark.slow
def test_a_tiny_build_is_an_ordinary_model_folder(tmp_path: Path) -> None:
    lines: list[str] = []
    build(SMALL, tmp_path / "model", lines.append)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert model.dtype == torch.bfloat16
    assert tokenizer.eos_token_id == model.generation_config.eos_token_id != tokenizer.pad_token_id
    assert "| **all** |" in (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert any("loss" in line for line in lines)
