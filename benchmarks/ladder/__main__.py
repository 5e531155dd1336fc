"""How long the whole ladder takes beside what a user assembles: TRL's SFTTrainer, then lm-evaluation-harness.

python -m benchmarks.ladder

Two baselines, a tuning with three checkpoints, and the evaluation of each: the same model, rows, samples, prompts,
shots, number of optimiser steps, number format and threads for all; each contestant by its own command, in processes
of its own.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from fnmatch import fnmatchcase
from pathlib import Path

from benchmarks.ladder.climbing import HARNESS, Climb, Contestant, contestants
from benchmarks.ladder.making import material_of
from benchmarks.ladder.material import BATCH_ROWS, RANK, SIZES, Material, Size
from benchmarks.ladder.sameness import trains_on_the_same
from benchmarks.ladder.tables import lines, scores, times
from benchmarks.measuring import RESULTS, write

_LIBRARIES = ("torch", "transformers", "peft", "accelerate", "datasets", "trl", "lm-eval")


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print tables, write the results after every round: a run that is stopped leaves what it has."""
    asked = _arguments(words)
    given = {key: value for key in Size.__slots__ if (value := getattr(asked, key)) is not None}
    size = replace(SIZES.get(asked.model, SIZES["random"]), **given)
    out = asked.out or RESULTS / f"ladder-{Path(asked.model).name}.json"
    climbing = {
        name: climb
        for name, climb in contestants(asked.batch_size).items()
        if name == HARNESS or any(fnmatchcase(name, pattern) for pattern in asked.only)
    }
    with tempfile.TemporaryDirectory() as scratch:
        material = material_of(Path(scratch) / "material", asked.task, asked.model, size, asked.threads)
        same_rows = trains_on_the_same(material, Path(scratch))
        for climbs in rounds(climbing, material, asked.rounds, Path(scratch)):
            found = {"same_training_rows": same_rows, "contestants": lines(material, climbs)}
            write(out, _settings(asked, material), _LIBRARIES, found)
        sys.stdout.write(f"{times(climbs)}\n\n{scores(material, climbs)}\n")


def rounds(
    climbing: Mapping[str, Contestant], material: Material, n: int, scratch: Path
) -> Iterator[dict[str, list[Climb]]]:
    """After each round of all in turn, all climbs so far."""
    climbs: dict[str, list[Climb]] = {name: [] for name in climbing}
    for i in range(n):
        for number, (name, climb) in enumerate(climbing.items()):
            folder = scratch / f"{i}-{number}"
            folder.mkdir()
            climbs[name].append(climb(material, folder))
            shutil.rmtree(folder)
            took = climbs[name][-1].measured
            sys.stderr.write(f"{i + 1}/{n} {name}: {took.wall_s:.1f} s, {took.cpu_s:.1f} CPU seconds\n")
        yield climbs


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.ladder", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="demo", help="demo (2 million parameters), random (22 million), or a folder")
    parser.add_argument(
        "--task", default="headlines", choices=("headlines", "orders", "tickets"), help="rows like its own"
    )
    parser.add_argument("--rounds", type=int, default=5, help="times that all climb in turn")
    parser.add_argument(
        "--only", nargs="+", default=["*"], help="peers by name, such as '*one process'; and the harness"
    )
    parser.add_argument("--threads", type=int, default=1, help="of every process; 1 gives the steadiest ratios")
    parser.add_argument("--batch-size", type=int, default=32, help="of lm-eval in its strongest settings")
    parser.add_argument("--rows", type=int, help="training rows")
    parser.add_argument("--validation", type=int, help="samples that every arm answers")
    parser.add_argument("--test", type=int, help="further samples that the harness asks two baselines and its choice")
    parser.add_argument("--epochs", type=int, help="and checkpoints")
    parser.add_argument("--shots", type=int, help="of the few-shot baseline")
    parser.add_argument("--out", type=Path, help="results; benchmarks/results/ladder-MODEL.json if left out")
    return parser.parse_args(words)


def _settings(asked: argparse.Namespace, material: Material) -> dict[str, object]:
    """What was asked; no path."""
    return {
        "model": Path(asked.model).name,
        "rows_like": asked.task,
        **asdict(material.size),
        "rows_a_step": BATCH_ROWS,
        "steps": -(-material.size.rows // BATCH_ROWS) * material.size.epochs,
        "max_tokens": material.task.generation.max_tokens,
        "rank": RANK,
        "dtype": "float32",
        "threads": material.threads,
        "lm_eval_batch_size": asked.batch_size,
    }


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as error:
        sys.exit(f"{error}\n{error.output}")
