"""Rows as a tree: the same logits as row by row, for every model it is used with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from harness.models.tree import attending_trees, computes_trees, tree_logits, tree_of
from tests.models.fixtures import open_backend, some_rows
from tests.models.zoo import NAMES

CPU = torch.device("cpu")
# Two tasks of which one is the other's beginning, a row inside another, and rows that share nothing.
ROWS = [
    (7, 8, 9, 10, *some_rows(1)[0].ids, *range(20, 40)),
    (7, 8, 9, 10, 11),
    (7, 8, 9, 10),
    (7, 8, 12, *some_rows(1, seed=4)[0].ids),
    (50, 8, 9),
    (7, 8, 9, 10, 11),
]


def on_tree(model: nn.Module) -> list[Tensor]:
    """Logits at every token of each row."""
    tree = tree_of(ROWS, CPU)
    chosen = torch.tensor([node for row in tree.nodes for node in row])
    with torch.no_grad(), attending_trees(model):
        return list(tree_logits(model, tree, chosen).split([len(row) for row in ROWS]))


def test_every_distinct_beginning_is_one_node():
    tree = tree_of(ROWS, CPU)
    beginnings = {row[:n] for row in ROWS for n in range(1, len(row) + 1)}
    assert len(tree.ids) == len(beginnings)
    for row, nodes in zip(ROWS, tree.nodes, strict=True):
        assert tuple(tree.ids[list(nodes)].tolist()) == row
        assert tree.depths[list(nodes)].tolist() == list(range(len(row)))


def test_a_node_is_read_where_its_row_has_it():
    tree = tree_of(ROWS, CPU)
    assert tree.places.flatten()[tree.owners].tolist() == list(range(len(tree.ids)))


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"gemma2", "mistral"}))
def test_logits_on_a_tree_are_those_of_each_row_alone(zoo: dict[str, Path], name: str):
    model = open_backend(zoo[name]).model.model
    assert computes_trees(model, CPU, max(len(row) for row in ROWS))
    for row, found in zip(ROWS, on_tree(model), strict=True):
        with torch.no_grad():
            alone = model(torch.tensor([row])).logits[0]
        assert torch.allclose(found, alone, atol=1e-4 * float(alone.abs().max()))


def test_models_that_cap_attention_scores_keep_the_padded_way(zoo: dict[str, Path]):
    assert not computes_trees(open_backend(zoo["gemma2"]).model.model, CPU, 10)


def test_rows_longer_than_a_models_window_keep_the_padded_way(zoo: dict[str, Path]):
    # The zoo's Mistral sees 16 tokens.
    model = open_backend(zoo["mistral"]).model.model
    assert computes_trees(model, CPU, 16)
    assert not computes_trees(model, CPU, 17)


def test_models_with_a_state_beside_attention_keep_the_padded_way():
    # A convolution over three tokens between attention layers: what it remembers would leak from row to row, if little,
    # as the model is fresh.
    from transformers import Lfm2Config, Lfm2ForCausalLM, MambaConfig, MambaForCausalLM

    sizes = {"vocab_size": 100, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "layer_types": ["conv", "full_attention"]}
    torch.manual_seed(0)
    mixed = Lfm2ForCausalLM(Lfm2Config(**sizes, **heads)).eval()
    assert mixed.config._attn_implementation == "sdpa"
    assert not computes_trees(mixed, CPU, 10)
    assert not computes_trees(MambaForCausalLM(MambaConfig(**sizes, state_size=4)).eval(), CPU, 10)


def test_half_precision_is_recognised_too(zoo: dict[str, Path]):
    assert computes_trees(open_backend(zoo["llama3"], dtype="bfloat16").model.model, CPU, 10)


def test_the_model_is_as_it_was_even_after_an_error(zoo: dict[str, Path]):
    model = open_backend(zoo["llama3"]).model.model
    before = model(torch.tensor([ROWS[0]])).logits
    with pytest.raises(KeyError), attending_trees(model):
        raise KeyError("anything")
    assert model.config._attn_implementation == "sdpa"
    assert torch.equal(model(torch.tensor([ROWS[0]])).logits, before)
