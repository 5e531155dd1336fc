"""How fast the tuning loop is beside transformers.Trainer and TRL's SFTTrainer, and whether all learn the same.

python -m benchmarks.tuning
python -m benchmarks.tuning --memory

All contestants train in one process, one after the other, again and again: what else the machine does hits all alike.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path

# Idle OpenMP threads that spin take the processor from whoever is measured next.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from accelerate.state import AcceleratorState

from benchmarks.contestants import Contestant, Outcome, contestants, harness, validation_loss
from benchmarks.material import TASKS, Material, rows_of_tasks, settings, whole_steps, write_model
from benchmarks.measuring import RESULTS, write
from benchmarks.memory import measure_memory

_LIBRARIES = ("torch", "transformers", "peft", "accelerate", "trl")


@dataclass(frozen=True, slots=True)
class Line:
    """One contestant: medians over its repeats, tokens a second by wall and by processor time, and its last loss.

    ratio, ratio_cpu: how many times faster the harness is; medians of the ratios within a round.
    """

    name: str
    tokens_per_s: float
    tokens_per_cpu_s: float
    ratio: float
    ratio_cpu: float
    places_per_token: float
    loss: float
    same_steps: bool
    n_repeats: int


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print a table, write the results."""
    asked = _arguments(words)
    if asked.memory:
        sys.stdout.write(measure_memory(asked.out or RESULTS / "tuning_memory.json", asked.threads))
        return
    out = asked.out or RESULTS / "tuning.json"
    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory() as scratch:
        material = material_of(asked, Path(scratch))
        runners = {
            name: run
            for name, run in contestants(with_trl=find_spec("trl") is not None).items()
            if name == "harness" or any(fnmatchcase(name, pattern) for pattern in asked.only)
        }
        seeds = [loss_of_seed(material, seed, Path(scratch)) for seed in range(asked.seeds)]
        for outcomes, losses in rounds(runners, material, asked.repeats, Path(scratch)):
            # After every round, so that a run that is stopped leaves what it has measured.
            lines = [line(name, outcomes, losses[name]) for name in runners]
            write(out, chosen(asked, material), _LIBRARIES, found(lines, seeds))
    sys.stdout.write(f"{table(lines)}\nlosses of the harness by seed: {', '.join(f'{loss:.4f}' for loss in seeds)}\n")


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="trainings of each contestant")
    parser.add_argument("--steps", type=int, default=5, help="optimiser steps of a training, of 16 rows each")
    parser.add_argument("--seeds", type=int, default=5, help="seeds whose losses say how much chance moves them")
    parser.add_argument("--dropout", type=float, default=0.0, help="of the adapter; 0 makes losses comparable exactly")
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--threads", type=int, default=1, help="of torch; 1 gives the steadiest ratios")
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), help="shipped tasks whose rows are mixed")
    parser.add_argument(
        "--only", nargs="+", default=["*"], help="contestants by name, such as 'Trainer*'; and the harness"
    )
    parser.add_argument("--memory", action="store_true", help="the memory of a step by vocabulary, and nothing else")
    parser.add_argument("--out", type=Path, help="file of results")
    return parser.parse_args(words)


def material_of(asked: argparse.Namespace, scratch: Path) -> Material:
    """The model, written to the scratch folder, and the rows."""
    model = write_model(scratch / "model")
    pool = whole_steps(rows_of_tasks(asked.tasks, "train", model))
    # Every fourth: enough to compare losses by, and this is not what is timed.
    validation = tuple(rows_of_tasks(asked.tasks, "validation", model)[::4])
    spec = settings(len(pool), asked.steps, seed=0, dropout=asked.dropout)
    return Material(model, pool, validation, asked.steps, spec, asked.dtype)


def rounds(
    runners: Mapping[str, Contestant], material: Material, repeats: int, scratch: Path
) -> Iterator[tuple[dict[str, list[Outcome]], dict[str, float]]]:
    """After each round of all contestants in turn, all outcomes so far; and the loss of each after its first."""
    outcomes: dict[str, list[Outcome]] = {name: [] for name in runners}
    losses: dict[str, float] = {}
    for i in range(repeats):
        for number, (name, run) in enumerate(runners.items()):
            # accelerate keeps one number format for a process; the peers' bfloat16 is set there, the harness's is not.
            AcceleratorState._reset_state(reset_partial_state=True)
            outcome = run(material, scratch / f"{number}-{i}")
            outcomes[name].append(outcome)
            if name not in losses:
                losses[name] = validation_loss(material, outcome.adapter)
            rates = [f"{_rate(outcome, clock):.0f}" for clock in ("wall_s", "cpu_s")]
            sys.stderr.write(f"{i + 1}/{repeats} {name}: {rates[0]} tokens/s, {rates[1]} a CPU second\n")
        yield outcomes, losses


def loss_of_seed(material: Material, seed: int, scratch: Path) -> float:
    """The loss of the harness with another seed, which changes the rows' order, the adapter's start and dropout."""
    other = replace(material, spec=material.spec.model_copy(update={"seed": seed}))
    return validation_loss(other, harness(other, scratch / f"seed-{seed}").adapter)


def line(name: str, outcomes: Mapping[str, Sequence[Outcome]], loss: float) -> Line:
    """A contestant's medians, and its ratios to the harness in the same round."""
    own = outcomes[name]
    ours = outcomes["harness"]
    return Line(
        name=name,
        tokens_per_s=statistics.median(o.n_tokens / o.wall_s for o in own),
        tokens_per_cpu_s=statistics.median(o.n_tokens / o.cpu_s for o in own),
        ratio=statistics.median(_rate(a, "wall_s") / _rate(b, "wall_s") for a, b in zip(ours, own, strict=True)),
        ratio_cpu=statistics.median(_rate(a, "cpu_s") / _rate(b, "cpu_s") for a, b in zip(ours, own, strict=True)),
        places_per_token=own[0].places_per_token,
        loss=loss,
        same_steps=same_steps(ours[0], own[0]),
        n_repeats=len(own),
    )


def same_steps(one: Outcome, other: Outcome) -> bool:
    """Whether both trained on the same rows in every step."""
    return [seen.rows for seen in one.seen] == [seen.rows for seen in other.seen]


def _rate(outcome: Outcome, clock: str) -> float:
    return outcome.n_tokens / float(getattr(outcome, clock))


def table(lines: Sequence[Line]) -> str:
    """The lines as Markdown."""
    rows = [
        f"| {x.name} | {x.tokens_per_s:.0f} | {x.tokens_per_cpu_s:.0f} | {x.ratio:.2f} | {x.ratio_cpu:.2f} "
        f"| {x.places_per_token:.2f} | {x.loss:.4f} | {'yes' if x.same_steps else 'no'} |"
        for x in lines
    ]
    head = "| | tokens/s | a CPU second | harness faster by | by CPU time | places a token | loss | same steps |"
    return "\n".join([head, "|---|--:|--:|--:|--:|--:|--:|---|", *rows])


def chosen(asked: argparse.Namespace, material: Material) -> dict[str, object]:
    """What was asked for, and what rows that gave."""
    rows = material.in_order
    return {
        "threads": asked.threads,
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "tasks": asked.tasks,
        "dtype": material.dtype,
        "steps": material.n_steps,
        "rows_a_step": material.spec.batch_rows,
        "tokens_a_row": round(sum(len(row.ids) for row in rows) / len(rows), 1),
        "completion_tokens_a_row": round(sum(row.n_targets for row in rows) / len(rows), 1),
        "rank": material.spec.rank,
        "dropout": material.spec.dropout,
    }


def found(lines: Sequence[Line], seeds: Sequence[float]) -> dict[str, object]:
    """What was measured."""
    return {
        "harness_losses_by_seed": list(seeds),
        "contestants": [{field: getattr(x, field) for field in Line.__slots__} for x in lines],
    }


if __name__ == "__main__":
    main()
