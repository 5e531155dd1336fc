"""What all contestants of the ladder start from, and how much of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.core.specs import TaskSpec
from harness.core.types import Sample
from harness.data import read

_ROOT = Path(__file__).resolve().parents[2]
TASK = "ladder"
RANK, ALPHA, LR, BATCH_ROWS = 16, 32, 1e-3, 16


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything. validation: the samples that all five arms answer; test: further ones of the harness."""

    rows: int
    validation: int
    test: int
    epochs: int
    shots: int


# On two quiet cores a round of all contestants takes some four minutes with the first, and nine with the second.
SIZES = {"demo": Size(320, 100, 50, 3, 4), "random": Size(64, 32, 32, 3, 4)}


@dataclass(frozen=True, slots=True)
class Material:
    """What all contestants start from. folder: with the harness's task in `task` and the same as the peers read it."""

    folder: Path
    model: Path
    task: TaskSpec
    size: Size
    threads: int

    @property
    def samples(self) -> Mapping[str, Sequence[Sample]]:
        """Samples by split, as the harness reads them."""
        dataset = read(self.task, self.folder / "task", drop_bad=False)
        return {split: dataset.split(split) for split in ("train", "validation", "test")}

    @property
    def arms(self) -> tuple[str, ...]:
        """The rungs that are measured, in order."""
        return ("base-0shot", f"base-{self.size.shots}shot", *(f"checkpoint{i + 1}" for i in range(self.size.epochs)))

    @property
    def environment(self) -> Mapping[str, str]:
        """Of every process of every contestant: nothing from a network, and the same threads."""
        return {
            "OMP_NUM_THREADS": str(self.threads),
            "MKL_NUM_THREADS": str(self.threads),
            "OMP_WAIT_POLICY": "PASSIVE",
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_OFFLINE": "1",
            "CUDA_VISIBLE_DEVICES": "",
            "PYTHONPATH": str(_ROOT),
        }
