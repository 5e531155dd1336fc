"""Fixtures and helpers that the tests of models, backends and trainers share."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

# Idle OpenMP threads that spin make two cores slower than one as soon as anything else runs.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from harness.backends.hf import HFBackend, HFKind
from harness.core.specs import BackendSpec, ModelSpec
from harness.core.types import Checkpoint, TokenRow
from tests.models.zoo import build_zoo


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of tiny models by family."""
    return build_zoo(tmp_path_factory.mktemp("zoo"))


def open_backend(folder: Path, *, tokens_per_batch: int = 16_384, dtype: str = "auto") -> HFBackend:
    """A freshly loaded backend of a model folder."""
    spec = ModelSpec.model_validate({"name": str(folder), "dtype": dtype, "device": "cpu"})
    return HFKind().create(spec, BackendSpec(tokens_per_batch=tokens_per_batch), thinking=False)


class FolderSink:
    """A checkpoint sink over a folder, without the store's guarantees."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._saved: list[Checkpoint] = []

    def saved(self) -> Sequence[Checkpoint]:
        return tuple(self._saved)

    def save(
        self, checkpoint: Checkpoint, weights: Callable[[Path], None], state: Callable[[Path], None]
    ) -> Checkpoint:
        folder = self._folder / checkpoint.name
        for write, target in ((weights, folder), (state, self._folder / f"{checkpoint.name}.state")):
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(parents=True)
            write(target)
        final = replace(checkpoint, folder=folder, sha256=sha256(weights_file(folder)))
        self._saved.append(final)
        return final

    def state(self, checkpoint: Checkpoint) -> Path:
        return self._folder / f"{checkpoint.name}.state"


def weights_file(folder: Path) -> Path:
    """The one weights file of a checkpoint's folder."""
    return next(folder.glob("*model.safetensors"))


def sha256(file: Path) -> str:
    """Hash of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def some_rows(n: int, *, n_ids: int = 300, longest: int = 30, seed: int = 0) -> list[TokenRow]:
    """Rows of unequal length whose last few tokens carry loss."""
    import numpy as np

    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        n_prompt, n_answer = int(rng.integers(2, longest - 6)), int(rng.integers(1, 6))
        ids = tuple(int(token) for token in rng.integers(10, n_ids, n_prompt + n_answer))
        rows.append(TokenRow(f"row-{i}", ids, (False,) * n_prompt + (True,) * n_answer))
    return rows


def silent(done: int, total: int, figure: str) -> None:
    """Progress that nobody watches."""
