"""Two checkpoints that are easily taken for each other: same step, same shapes, other weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from harness.backends.hf import HFBackend
from harness.core.types import Checkpoint, Outcome, Request, Sampling
from tests.models.fixtures import FolderSink, open_backend, silent, some_rows
from trainers import lora


def trained(folder: Path, model: Path, seed: int) -> Checkpoint:
    """The one checkpoint of a training."""
    spec = lora.LoraSpec(epochs=1, batch_rows=4, rank=4, lr=5e-2, warmup=0.0, seed=seed)
    [found] = lora.trainer.train(
        open_backend(model).model, some_rows(8, seed=seed), [], spec, FolderSink(folder), silent
    )
    return found


def answers(hf: HFBackend, checkpoint: Checkpoint | None) -> dict[str, Outcome]:
    rows = some_rows(4, seed=5)
    return dict(hf.generate([Request(row.id, row.ids, Sampling(8), (), checkpoint) for row in rows]))


def test_checkpoints_of_one_step_are_told_apart_by_their_bytes(zoo: dict[str, Path], tmp_path: Path) -> None:
    one, other = (trained(tmp_path / str(seed), zoo["llama3"], seed) for seed in (0, 1))
    assert (one.step, one.name) == (other.step, other.name)
    alone = {c.sha256: answers(open_backend(zoo["llama3"]), c) for c in (one, other)}
    assert alone[one.sha256] != alone[other.sha256]
    hf = open_backend(zoo["llama3"])
    for checkpoint in (one, other, one):
        assert answers(hf, replace(checkpoint)) == alone[checkpoint.sha256]
