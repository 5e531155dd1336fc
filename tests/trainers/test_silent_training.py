"""What is learnt from, and how it is measured: no row reaches another, no dropout in figures, no rounding."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from harness.backends.hf import HFBackend
from harness.core.types import TokenRow
from tests.models.fixtures import FolderSink, open_backend, silent, some_rows
from tests.trainers.reference import predictions
from trainers import lora
from trainers.loop import accumulate

CPU = torch.device("cpu")
ROWS = some_rows(6)


def loss(model: nn.Module, rows: list[TokenRow], *, as_tree: bool, tokens: int = 10**6) -> float:
    """The sum over completion tokens."""
    with torch.no_grad():
        options = {"device": CPU, "precision": nullcontext(), "backward": None}
        return accumulate(model, rows, tokens, as_tree=as_tree, **options).loss  # type: ignore[arg-type]


@pytest.mark.parametrize("as_tree", [True, False], ids=["tree", "padded"])
@pytest.mark.parametrize("name", ["llama3", "gpt2"])
def test_rows_computed_together_lose_what_they_lose_alone(zoo: dict[str, Path], name: str, as_tree: bool) -> None:
    model = open_backend(zoo[name]).model.model
    alone = [loss(model, [row], as_tree=False) for row in ROWS]
    assert loss(model, ROWS, as_tree=as_tree) == pytest.approx(sum(alone), rel=1e-5)
    # Another first row changes what it loses itself, and nothing else.
    changed = [some_rows(1, seed=9)[0], *ROWS[1:]]
    difference = loss(model, changed, as_tree=as_tree) - loss(model, ROWS, as_tree=as_tree)
    assert difference == pytest.approx(loss(model, changed[:1], as_tree=False) - alone[0], abs=1e-3)


@pytest.mark.parametrize("as_tree", [True, False], ids=["tree", "padded"])
def test_rows_with_one_beginning_lose_what_they_lose_alone(zoo: dict[str, Path], as_tree: bool) -> None:
    beginning = tuple(range(20, 32))
    # Each goes on in its own way behind the beginning that all share.
    rows = [TokenRow(f"r{n}", (*beginning, *range(40 * n, 41 * n)), (False,) * 12 + (True,) * n) for n in (2, 3, 5)]
    model = open_backend(zoo["gpt2"]).model.model
    assert loss(model, rows, as_tree=as_tree) == pytest.approx(
        sum(loss(model, [row], as_tree=False) for row in rows), rel=1e-5
    )


def test_half_precision_models_are_measured_in_full_precision(zoo: dict[str, Path]) -> None:
    model = open_backend(zoo["llama3"], dtype="bfloat16").model.model
    with torch.no_grad():
        logits, targets = predictions(model, ROWS)
    assert logits.dtype == torch.bfloat16
    exact = logits.double().numpy()
    rows = np.arange(len(exact))
    wanted = float(np.sum(np.log(np.exp(exact).sum(axis=1)) - exact[rows, targets.numpy()]))
    assert loss(model, ROWS, as_tree=False) == pytest.approx(wanted, rel=1e-5)


def test_validation_is_measured_without_dropout(zoo: dict[str, Path], tmp_path: Path) -> None:
    backend, held_out = open_backend(zoo["llama3"]), some_rows(4, seed=1)
    spec = lora.LoraSpec(epochs=2, batch_rows=3, rank=4, dropout=0.6, lr=5e-2, checkpoint_every=2)
    for checkpoint in lora.trainer.train(backend.model, ROWS, held_out, spec, FolderSink(tmp_path), silent):
        fresh: HFBackend = open_backend(zoo["llama3"])
        fresh.model.switch.activate(checkpoint)
        wanted = loss(fresh.model.model, held_out, as_tree=False) / sum(row.n_targets for row in held_out)
        assert checkpoint.validation_loss == pytest.approx(wanted, rel=1e-4)


def test_dropout_is_back_on_behind_every_checkpoint(zoo: dict[str, Path], tmp_path: Path) -> None:
    backend = open_backend(zoo["llama3"])
    spec = lora.LoraSpec(epochs=3, batch_rows=3, rank=4, dropout=0.6, checkpoint_every=1)
    training: list[bool] = []

    def look(*_: object) -> None:
        training.append(backend.model.model.training)

    running = lora.trainer.train(backend.model, ROWS, ROWS[:1], spec, FolderSink(tmp_path), look)
    assert len(list(running)) == len(training) == 6
    assert all(training)


@pytest.mark.parametrize("tokens", [10**6, 60], ids=["one batch", "several"])
def test_the_gradient_is_that_of_the_mean_over_completion_tokens(zoo: dict[str, Path], tokens: int) -> None:
    model = open_backend(zoo["gpt2"]).model.model.requires_grad_(True)

    def gradient() -> torch.Tensor:
        found = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        model.zero_grad()
        return found

    logits, targets = predictions(model, ROWS)
    torch.nn.functional.cross_entropy(logits, targets).backward()
    wanted = gradient()
    options = {"device": CPU, "precision": nullcontext(), "backward": lambda loss: loss.backward()}
    accumulate(model, ROWS, tokens, as_tree=False, **options)  # type: ignore[arg-type]
    assert torch.allclose(gradient(), wanted, atol=1e-5 * float(wanted.abs().max()))
