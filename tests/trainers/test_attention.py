"""Attention by other means: what PyTorch's own gives in double precision, and no row's token in another row."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from harness.models import tree
from harness.models.attention import attended
from harness.models.tree import attending_trees, computes_trees, tree_logits, tree_of
from tests.models.fixtures import open_backend

CPU = torch.device("cpu")
ROWS = [(7, 8, 9, 10, 30, 31, 32), (7, 8, 9, 11), (7, 8), (50, 8, 9, 12, 13), (7, 8, 9, 11)]


@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
def test_products_give_outputs_and_gradients_of_pytorchs_attention(dtype: torch.dtype, close: float):
    generator = torch.Generator().manual_seed(0)
    exact = [torch.randn(3, 2, 17, 8, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(3)]
    weight = torch.randn(3, 2, 17, 8, generator=generator, dtype=torch.float64)
    expected = scaled_dot_product_attention(*exact, is_causal=True, scale=0.3)
    states = [tensor.detach().to(dtype).requires_grad_() for tensor in exact]
    found = attended(*states, 0.3)
    pairs = [(found, expected)]
    pairs += zip(
        torch.autograd.grad(found, states, weight.to(dtype)), torch.autograd.grad(expected, exact, weight), strict=True
    )
    for ours, theirs in pairs:
        assert float((ours.double() - theirs).norm() / theirs.norm()) < close


def one_row_after_the_other(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, longest: int, scale: float
) -> Tensor:
    """What the GPU's kernel promises, by PyTorch's attention with a mask of blocks; it runs on a CPU."""
    assert int(bounds.diff().max()) == longest
    row = torch.repeat_interleave(torch.arange(len(bounds) - 1), bounds.diff())
    place = torch.arange(len(row))
    sees = (row[:, None] == row[None]) & (place[:, None] >= place[None])
    states = (each.transpose(0, 1)[None] for each in (query, key, value))
    found = scaled_dot_product_attention(*states, attn_mask=sees, scale=scale, enable_gqa=True)
    return found[0].transpose(0, 1)


@pytest.fixture
def packing(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The tree's attention packs rows as on a GPU; tokens of each packed batch are noted."""
    noted: list[int] = []

    def noting(query: Tensor, *rest: object) -> Tensor:
        noted.append(len(query))
        return one_row_after_the_other(query, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(tree, "packs", lambda query: True)
    monkeypatch.setattr(tree, "varlen", noting)
    return noted


def on_tree(folder: Path, rows: list[tuple[int, ...]]) -> tuple[list[Tensor], Tensor]:
    """Logits at every token of each row, and the gradient of all weights."""
    model = open_backend(folder).model.model.requires_grad_(True)
    found = tree_of(rows, CPU)
    with attending_trees(model):
        logits = tree_logits(model, found, torch.tensor([node for nodes in found.nodes for node in nodes]))
        logits.sin().sum().backward()
    gradient = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    return list(logits.detach().split([len(row) for row in rows])), gradient


@pytest.mark.parametrize("name", ["llama3", "qwen2", "gemma", "gpt2"])
def test_packed_rows_compute_what_padded_rows_compute(zoo: dict[str, Path], name: str, packing: list[int]):
    found, gradient = on_tree(zoo[name], ROWS)
    assert set(packing) == {sum(len(row) for row in ROWS)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tree, "packs", lambda query: False)
        expected, wanted = on_tree(zoo[name], ROWS)
    assert torch.allclose(torch.cat(found), torch.cat(expected), atol=1e-5 * float(torch.cat(expected).abs().max()))
    assert float((gradient - wanted).norm() / wanted.norm()) < 1e-5


def test_no_token_of_a_packed_row_moves_another_rows_logits(zoo: dict[str, Path], packing: list[int]):
    model = open_backend(zoo["llama3"]).model.model
    assert computes_trees(model, CPU, 20)
    before, _ = on_tree(zoo["llama3"], ROWS)
    after, _ = on_tree(zoo["llama3"], [(7, 8, 9, 10, 33, 34, 35), *ROWS[1:]])
    assert packing
    assert not torch.equal(before[0], after[0])
    for one, other in zip(before[1:], after[1:], strict=True):
        assert torch.equal(one, other)


def test_packing_that_leaks_is_found_and_not_used(zoo: dict[str, Path], monkeypatch: pytest.MonkeyPatch):
    def as_one_row(query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, longest: int, scale: float) -> Tensor:
        return one_row_after_the_other(query, key, value, bounds[[0, -1]], len(query), scale)

    monkeypatch.setattr(tree, "packs", lambda query: True)
    monkeypatch.setattr(tree, "varlen", as_one_row)
    assert not computes_trees(open_backend(zoo["llama3"]).model.model, CPU, 20)


def test_bfloat16_rows_on_a_cpu_lose_nothing_by_products(zoo: dict[str, Path], monkeypatch: pytest.MonkeyPatch):
    model = open_backend(zoo["llama3"], dtype="bfloat16").model.model
    exact = open_backend(zoo["llama3"]).model.model
    found = tree_of(ROWS, CPU)
    chosen = torch.arange(len(found.ids))
    errors = []
    for products in (True, False):
        monkeypatch.setattr(tree, "by_products", lambda query, width, on=products: on)
        with torch.no_grad(), attending_trees(model):
            ours = tree_logits(model, found, chosen).double()
        with torch.no_grad(), attending_trees(exact):
            errors.append(float((ours - tree_logits(exact, found, chosen)).norm()))
    assert errors[0] < 1.5 * errors[1]
