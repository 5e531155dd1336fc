"""How time and memory of a whole run grow with samples and checkpoints.

python -m benchmarks.growth

Every run is `harness run` in a process of its own, in an empty folder: n rows to train on, n to choose on, n to compare
on, a baseline without shots and one with three draws of two, k checkpoints, every report. With the fake backend all but
the model itself is measured; with `hf`, the demo model is tuned on few rows and generates for all. Resamples are 1,000
here: they are a constant, which at the default of 10,000 would be half of the time of the largest runs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.measuring import RESULTS, Measured, in_child, median_of, table, write
from harness.core.types import FloatArray

_ROOT = Path(__file__).resolve().parents[1]
_LIBRARIES = ("numpy", "scipy", "torch", "transformers", "peft")
_ENVIRONMENT = {
    "PYTHONPATH": str(_ROOT),
    "OMP_WAIT_POLICY": "PASSIVE",
    "HF_HUB_OFFLINE": "1",
    "CUDA_VISIBLE_DEVICES": "",
}
_WORDS = ("river", "stone", "cloud", "amber", "window", "lantern", "harbour", "meadow", "copper", "thistle", "velvet")
_TASK = """
name = "growth"
summary = "Say it in capitals."
licence = "CC0-1.0"

[data]
train = "train.jsonl"
validation = "validation.jsonl"
test = "test.jsonl"
prompt = "{question}"
reference = "{answer}"

[prompting]
system = "Repeat the words in capitals."
shots = [0, 2]

[generation]
max_tokens = 48

[metrics]
primary = "rouge_l"
report = ["exact_match", "bleu"]
smallest_effect = 0.02
"""


@dataclass(frozen=True, slots=True)
class Cell:
    """One size of run with one backend. n_samples: rows of each split; with `hf`, few of them are trained on."""

    backend: str
    n_samples: int
    n_checkpoints: int


@dataclass(frozen=True, slots=True)
class Growth:
    """Exponents by least squares on logarithms, of time and memory; `last` between the two largest sizes only.

    What every run has (start-up, the model) flattens the first; the second is what a larger run will see.
    """

    backend: str
    of: str
    wall: float
    cpu: float
    memory: float
    last_wall: float
    last_cpu: float


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print tables, write the results after every round."""
    asked = _arguments(words)
    cells = [*_cells("fake", asked.samples, asked.checkpoints), *_cells("hf", asked.hf_samples, asked.hf_checkpoints)]
    found: dict[Cell, list[Measured]] = {one: [] for one in cells}
    for number in range(asked.rounds):
        for one in cells:
            # The largest take minutes: the table says how often each was measured.
            if number < rounds_of(one, asked):
                found[one].append(measured(one))
        medians = {one: median_of(runs) for one, runs in found.items() if runs}
        write(asked.out, _settings(asked), _LIBRARIES, _document(found, medians))
    sys.stdout.write(shown(found) + "\n\n" + shown_growth(growths(medians)) + "\n")


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, nargs="*", default=[100, 1000, 10_000])
    parser.add_argument("--checkpoints", type=int, nargs="*", default=[1, 3, 10])
    parser.add_argument("--hf-samples", type=int, nargs="*", default=[100, 1000])
    parser.add_argument("--hf-checkpoints", type=int, nargs="*", default=[1, 3])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hf-rounds", type=int, default=3)
    parser.add_argument("--large", type=int, default=1000, help="samples from which a run is large")
    parser.add_argument("--large-rounds", type=int, default=1, help="how often large runs are measured")
    parser.add_argument("--out", type=Path, default=RESULTS / "growth.json")
    return parser.parse_args(words)


def rounds_of(cell: Cell, asked: argparse.Namespace) -> int:
    """How often a run is measured."""
    most: int = asked.rounds if cell.backend == "fake" else min(asked.rounds, asked.hf_rounds)
    return most if cell.n_samples < asked.large else min(most, asked.large_rounds)


def _settings(asked: argparse.Namespace) -> Mapping[str, object]:
    return {name: value for name, value in vars(asked).items() if name != "out"}


def _cells(backend: str, samples: Sequence[int], checkpoints: Sequence[int]) -> Iterator[Cell]:
    for n_samples, n_checkpoints in itertools.product(samples, checkpoints):
        yield Cell(backend, n_samples, n_checkpoints)


def measured(cell: Cell) -> Measured:
    """One run, in an empty folder that goes when it is done."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_task(folder / "growth", cell)
        return in_child(command(cell), environment=_ENVIRONMENT, folder=folder)


def command(cell: Cell) -> list[str]:
    """The run as a user types it."""
    words = ["task=growth", f"trainer.epochs={cell.n_checkpoints}", f"backend={cell.backend}", "n_resamples=1000"]
    if cell.backend == "fake":
        words += ["model=fake", "trainer=fake"]
    else:
        words += ["model=demo", "trainer=lora", "trainer.rank=4", "trainer.batch_rows=16"]
    return [sys.executable, "-m", "harness", "run", *words, "--allow-failures"]


def write_task(folder: Path, cell: Cell) -> None:
    """A task whose rows all differ. With a real model, 64 rows are trained on: tuning is measured elsewhere."""
    folder.mkdir()
    (folder / "task.toml").write_text(_TASK, encoding="utf-8")
    n_train = cell.n_samples if cell.backend == "fake" else min(64, cell.n_samples)
    start = 0
    for split, n in (("train", n_train), ("validation", cell.n_samples), ("test", cell.n_samples)):
        rows = (json.dumps(row(number)) + "\n" for number in range(start, start + n))
        (folder / f"{split}.jsonl").write_text("".join(rows), encoding="utf-8")
        start += n


def row(number: int) -> dict[str, str]:
    """Four words and a number that no other row has."""
    words = [_WORDS[(number * factor + number // 11) % len(_WORDS)] for factor in (1, 3, 5, 7)]
    question = f"{' '.join(words)} {number}"
    return {"id": f"row-{number}", "question": question, "answer": question.upper()}


def growths(medians: Mapping[Cell, Measured]) -> list[Growth]:
    """Of each backend: by samples at each number of checkpoints, by checkpoints at each number of samples."""
    found = []
    for backend in dict.fromkeys(one.backend for one in medians):
        ours = [one for one in medians if one.backend == backend]
        for k in sorted({one.n_checkpoints for one in ours}):
            line = sorted((one for one in ours if one.n_checkpoints == k), key=lambda one: one.n_samples)
            found += _growth(f"samples, checkpoints {k}", line, [one.n_samples for one in line], medians)
        for n in sorted({one.n_samples for one in ours}):
            line = sorted((one for one in ours if one.n_samples == n), key=lambda one: one.n_checkpoints)
            found += _growth(f"checkpoints, samples {n}", line, [one.n_checkpoints for one in line], medians)
    return found


def _growth(of: str, line: Sequence[Cell], sizes: Sequence[int], medians: Mapping[Cell, Measured]) -> list[Growth]:
    if len(line) < 2:
        return []
    wall, cpu, memory = (
        np.array([getattr(medians[one], name) for one in line], dtype=np.float64)
        for name in ("wall_s", "cpu_s", "peak_mib")
    )
    at = np.array(sizes, dtype=np.float64)
    last = (exponent(at[-2:], wall[-2:]), exponent(at[-2:], cpu[-2:]))
    return [Growth(line[0].backend, of, exponent(at, wall), exponent(at, cpu), exponent(at, memory), *last)]


def exponent(sizes: FloatArray, amounts: FloatArray) -> float:
    """Slope of log(amount) by log(size), by least squares.

    >>> round(exponent(np.array([1.0, 10.0, 100.0]), np.array([2.0, 20.0, 200.0])), 6)
    1.0
    """
    return float(np.polyfit(np.log(sizes), np.log(amounts), 1)[0])


def shown(found: Mapping[Cell, Sequence[Measured]]) -> str:
    """One line a size."""
    rows = []
    for one, runs in found.items():
        middle = median_of(runs)
        figures = [f"{middle.wall_s:.1f}", f"{middle.cpu_s:.1f}", f"{middle.peak_mib:.0f}", str(len(runs))]
        rows.append([one.backend, str(one.n_samples), str(one.n_checkpoints), *figures])
    return table(["backend", "samples", "checkpoints", "wall s", "CPU s", "peak MiB", "runs"], rows)


def shown_growth(found: Sequence[Growth]) -> str:
    """One line a fit."""
    rows = [
        [f"{one.backend}: {one.of}", *(f"{value:.2f}" for value in list(asdict(one).values())[2:])] for one in found
    ]
    return table(["exponent by", "wall", "CPU", "peak memory", "wall, last step", "CPU, last step"], rows)


def _document(found: Mapping[Cell, Sequence[Measured]], medians: Mapping[Cell, Measured]) -> Mapping[str, object]:
    runs = [{**asdict(one), "median": medians[one], "runs": found[one]} for one in medians]
    return {"runs": runs, "exponents": [asdict(one) for one in growths(medians)]}


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    main()
