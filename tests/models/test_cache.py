"""Rows written in place: the logits of whole rows, for every model it is used with, and for no other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from harness.models import in_place as attention
from harness.models.cache import Cache, computed_prefix, writes_in_place
from harness.models.in_place import attending_in_place
from harness.models.padded_cache import PaddedCache
from tests.models.fixtures import open_backend, some_rows
from tests.models.zoo import LONG, NAMES

CPU = torch.device("cpu")
PREFIX = (7, 8, 9, *some_rows(1, longest=60, seed=1)[0].ids)
FIRST = [row.ids for row in some_rows(5, longest=40, seed=2)]
LATER = [row.ids for row in some_rows(3, longest=20, seed=3)]
SUPPORTED = sorted(set(NAMES) - {"gemma2", "mistral"})


def alone(model: nn.Module, rows: Sequence[Sequence[int]]) -> Tensor:
    """Logits behind each row, one by one, by transformers alone."""
    with torch.no_grad():
        return torch.stack([model(torch.tensor([row])).logits[0, -1] for row in rows])


def came_and_went(
    model: nn.Module, prefix: tuple[int, ...], ends: Sequence[int] = (0, 3)
) -> tuple[list[list[int]], Tensor]:
    """Rows that came, went and came, with four more tokens each; and the logits behind them."""
    rows = [[*prefix, *own] for own in FIRST]
    with torch.no_grad(), attending_in_place(model):
        cache = Cache(model, computed_prefix(model, prefix, CPU), len(FIRST) + len(LATER), 48, CPU)
        cache.join([tuple(row) for row in rows])
        for token in (20, 21):
            rows = [[*row, token + i] for i, row in enumerate(rows)]
            cache.step([row[-1] for row in rows])
        rows = [rows[i] for i in cache.leave(ends)]
        new = [[*prefix, *own] for own in LATER]
        cache.join([tuple(row) for row in new])
        rows += new
        for token in (40, 41):
            rows = [[*row, token + i] for i, row in enumerate(rows)]
            found_BV = cache.step([row[-1] for row in rows])
    return rows, found_BV


def assert_close(found: Tensor, expected: Tensor) -> None:
    assert float((found - expected).abs().max()) <= 1e-4 * float(expected.abs().max())


@pytest.mark.parametrize("prefix", [(), PREFIX], ids=["nothing shared", "shared"])
@pytest.mark.parametrize("name", SUPPORTED)
def test_logits_are_those_of_whole_rows(zoo: dict[str, Path], name: str, prefix: tuple[int, ...]):
    model = open_backend(zoo[name]).model.model
    rows, found = came_and_went(model, prefix)
    assert_close(found, alone(model, rows))


@pytest.mark.parametrize("ends", [(4,), (0, 1, 2, 3, 4), (3, 4), (0, 4), (1,)])
def test_any_row_may_leave(zoo: dict[str, Path], ends: tuple[int, ...]):
    model = open_backend(zoo["llama3"]).model.model
    rows, found = came_and_went(model, PREFIX, ends)
    assert len(rows) == len(FIRST) - len(ends) + len(LATER)
    assert_close(found, alone(model, rows))


@pytest.mark.parametrize("prefix", [(), PREFIX], ids=["nothing shared", "shared"])
@pytest.mark.parametrize("limit", ["cache._TOKENS_AT_ONCE", "in_place._SCORES_AT_ONCE"])
def test_prompts_in_parts_and_without_room_for_scores_are_the_same(
    zoo: dict[str, Path], monkeypatch: pytest.MonkeyPatch, limit: str, prefix: tuple[int, ...]
):
    monkeypatch.setattr(f"harness.models.{limit}", 1)
    model = open_backend(zoo["qwen2"]).model.model
    rows, found = came_and_went(model, prefix)
    assert_close(found, alone(model, rows))


def test_what_a_row_left_behind_reaches_no_other(zoo: dict[str, Path]):
    model = open_backend(zoo["llama3"]).model.model
    rows = [(7, 8, 9, 10, 11, 12), (7, 8)]
    with torch.no_grad(), attending_in_place(model):
        cache = Cache(model, computed_prefix(model, (), CPU), 2, 12, CPU)
        cache.join(rows)
        for layer in cache._layers.values():
            for states in layer:
                # As a row has it that overflows in float16.
                states[1] = float("inf")
        cache.leave([1])
        cache.join([(5, 6)])
        found = cache.step([20, 21])
    assert_close(found, alone(model, [(*rows[0], 20), (5, 6, 21)]))


def test_a_prefix_is_kept_once(zoo: dict[str, Path]):
    model = open_backend(zoo["llama3"]).model.model
    with torch.no_grad(), attending_in_place(model):
        prefix = computed_prefix(model, PREFIX, CPU)
        cache = Cache(model, prefix, 5, 48, CPU)
        cache.join([(*PREFIX, *own) for own in FIRST])
    heads, size = model.config.num_key_value_heads, 8  # type: ignore[union-attr]
    assert {tuple(keys.shape) for keys, _ in prefix.layers.values()} == {(heads, len(PREFIX), size)}
    assert {tuple(keys.shape) for keys, _ in cache._layers.values()} == {(5, heads, 48, size)}


@pytest.mark.parametrize("name", SUPPORTED)
def test_ordinary_models_are_written_in_place(zoo: dict[str, Path], name: str):
    assert writes_in_place(open_backend(zoo[name]).model.model, CPU, 100)


def test_attention_is_transformers_own_again_afterwards(zoo: dict[str, Path]):
    model = open_backend(zoo["llama3"]).model.model
    expected = alone(model, FIRST)
    assert writes_in_place(model, CPU, 10)
    assert torch.equal(alone(model, FIRST), expected)
    assert model.config._attn_implementation == "sdpa"  # type: ignore[union-attr]


@pytest.mark.parametrize("prefix", [(), PREFIX], ids=["nothing shared", "shared"])
def test_attention_over_many_tokens_does_not_overflow_in_float16(prefix: tuple[int, ...]):
    """Values of 4000 over 40 tokens: their sum is past float16's 65504, their mean is not."""
    n_rows, n_own, heads, size = 2, 40, 2, 8
    layer, kept = nn.Module(), {}
    queries = torch.zeros(1, heads, n_rows, size, dtype=torch.float16)
    one = torch.full((1, heads, n_rows, size), 4000.0, dtype=torch.float16)
    begun = attention.Prefix(prefix)
    if prefix:
        states = torch.full((heads, len(prefix), size), 4000.0, dtype=torch.float16)
        begun.layers[layer] = (torch.zeros_like(states), states)
    for place in range(n_own):
        if not kept:
            kept[layer] = tuple(torch.zeros(n_rows, heads, n_own, size, dtype=torch.float16) for _ in range(2))
        bias = torch.zeros(n_rows, 1, 1, place + 1)
        rows, places = torch.arange(n_rows), torch.full((n_rows,), place)
        found = attention.Stepping(begun, kept, rows, places, bias).attend(layer, queries, queries, one, 1.0)
    # Scores are all 0, so attention is the mean of values, all of them 4000.
    assert found.dtype == torch.float16
    assert torch.equal(found, torch.full_like(found, 4000.0))


def test_windows_and_caps_keep_the_padded_way(zoo: dict[str, Path]):
    assert not writes_in_place(open_backend(zoo["gemma2"]).model.model, CPU, 10)
    mistral = open_backend(zoo["mistral"]).model.model
    assert writes_in_place(mistral, CPU, 16)
    assert not writes_in_place(mistral, CPU, 17)


def test_states_beside_attention_keep_the_padded_way():
    from transformers import Lfm2Config, Lfm2ForCausalLM, MambaConfig, MambaForCausalLM

    sizes = {"vocab_size": 100, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "layer_types": ["conv", "full_attention"]}
    torch.manual_seed(0)
    assert not writes_in_place(Lfm2ForCausalLM(Lfm2Config(**sizes, **heads)).eval(), CPU, 10)
    assert not writes_in_place(
        MambaForCausalLM(MambaConfig(vocab_size=100, hidden_size=32, num_hidden_layers=2)), CPU, 10
    )


@pytest.mark.parametrize("slip", ["_prefix_part", "_part"])
def test_the_trial_sees_what_is_computed_wrongly(zoo: dict[str, Path], monkeypatch: pytest.MonkeyPatch, slip: str):
    model = open_backend(zoo["llama3"]).model.model
    usual = getattr(attention, slip)

    def wrong(*arguments: object) -> list[Tensor]:
        top, total, values = usual(*arguments)
        return [top, total, values * 1.1]

    monkeypatch.setattr(attention, slip, wrong)
    assert not writes_in_place(model, CPU, 10)


def test_rows_longer_than_where_a_model_switches_keep_the_padded_way(zoo: dict[str, Path]):
    model = open_backend(zoo[LONG]).model.model
    assert writes_in_place(model, CPU, 32)
    assert not writes_in_place(model, CPU, 33)


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "mistral"])
def test_padded_rows_have_the_logits_of_whole_rows(zoo: dict[str, Path], name: str):
    model = open_backend(zoo[name]).model.model
    rows = [list(own) for own in FIRST]
    with torch.no_grad():
        cache = PaddedCache(model, CPU)
        cache.join([tuple(row) for row in rows])
        rows = [rows[i] for i in cache.leave([1])]
        for token in (20, 30, 40):
            rows = [[*row, token + i] for i, row in enumerate(rows)]
            found = cache.step([row[-1] for row in rows])
    assert_close(found, alone(model, rows))
