"""The most memory that a step of tuning takes above the weights, by size of the vocabulary.

python -m benchmarks.tuning --memory

Each measurement is a process of its own: its first step sets everything up, then what is resident is noted, and the
most that is resident until the end of the last step is what a step takes. The adapter's gradient is taken off.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import safe_open

from benchmarks.contestants import harness, trainer
from benchmarks.material import TASKS, Material, rows_of_tasks, settings, whole_steps, write_model
from benchmarks.measuring import in_child, table, write

_VOCABULARIES = (32_768, 151_936)
_CONTESTANTS = {"harness": harness, "Trainer": trainer}
_N_STEPS = 3
_STATUS, _FORGET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
# What is given back goes to the system at once, so that what is resident is what is in use.
_ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "OMP_WAIT_POLICY": "PASSIVE"}


def measure_memory(out: Path, threads: int) -> str:
    """Measure, write the results, and return them as a table."""
    found: dict[str, dict[str, float]] = {name: {} for name in _CONTESTANTS}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for vocabulary in _VOCABULARIES:
            model = write_model(folder / str(vocabulary), vocabulary)
            for name in _CONTESTANTS:
                words = ["--contestant", name, "--model", str(model), "--threads", str(threads)]
                command = [sys.executable, "-m", "benchmarks.memory", *words, "--out", str(folder / "figure")]
                environment = {**_ENVIRONMENT, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1])])}
                in_child(command, environment=environment, folder=folder)
                found[name][str(vocabulary)] = float((folder / "figure").read_text(encoding="utf-8"))
                sys.stderr.write(f"{name}, {vocabulary:,} words: {found[name][str(vocabulary)]:.0f} MiB\n")
    growth = {name: mib[str(_VOCABULARIES[1])] / mib[str(_VOCABULARIES[0])] for name, mib in found.items()}
    asked = {"vocabularies": _VOCABULARIES, "steps": _N_STEPS, "threads": threads, "dtype": "float32"}
    write(out, asked, ("torch", "transformers", "peft"), {"mib_above_weights_and_gradients": found, "growth": growth})
    rows = [[name, *(f"{each:.0f}" for each in mib.values()), f"{growth[name]:.2f}"] for name, mib in found.items()]
    head = ["MiB of a step above weights and gradients", *(f"{n:,} words" for n in _VOCABULARIES), "growth"]
    return f"{table(head, rows)}\n"


@dataclass(slots=True)
class _Watch:
    """What is resident after the first step, and the most that was after the last; in bytes."""

    before: int = 0
    most: int = 0
    n_steps: int = field(default=0)

    def __call__(self) -> None:
        self.n_steps += 1
        if self.n_steps == 1:
            ctypes.CDLL(None).malloc_trim(0)
            # Linux: forget the most that was resident so far.
            _FORGET.write_text("5", encoding="ascii")
            self.before = _bytes("VmRSS")
        if self.n_steps == _N_STEPS:
            self.most = _bytes("VmHWM")


def main(words: Sequence[str] | None = None) -> None:
    """One contestant with one model; the figure in MiB goes into a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--contestant", choices=list(_CONTESTANTS), required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args(words)
    torch.set_num_threads(asked.threads)
    pool = whole_steps(rows_of_tasks(TASKS, "train", asked.model))
    material = Material(asked.model, pool, (), _N_STEPS, settings(len(pool), _N_STEPS, seed=0, dropout=0.0), "float32")
    watch = _Watch()
    with tempfile.TemporaryDirectory() as scratch:
        outcome = _CONTESTANTS[asked.contestant](material, Path(scratch) / "adapter", after_step=watch)
        gradients = _trained_bytes(outcome.adapter)
    asked.out.write_text(str((watch.most - watch.before - gradients) / 2**20), encoding="utf-8")


def _trained_bytes(adapter: Path) -> int:
    """Of the adapter's weights, and so of their gradients."""
    with safe_open(adapter / "adapter_model.safetensors", framework="pt") as file:
        return sum(tensor.numel() * tensor.element_size() for tensor in map(file.get_tensor, file.keys()))


def _bytes(name: str) -> int:
    """One of the kernel's figures for this process, which it gives in kB."""
    lines = _STATUS.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024


if __name__ == "__main__":
    main()
