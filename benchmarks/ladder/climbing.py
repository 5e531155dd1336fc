"""The contestants: each climbs the whole ladder by its own command, in processes of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.ladder.for_peers import write_settings
from benchmarks.ladder.material import BATCH_ROWS, TASK, Material
from benchmarks.ladder.written import prompts_of_lm_eval, score_of_lm_eval, scores_of_harness
from benchmarks.measuring import Measured, in_child, total

HARNESS = "harness"


@dataclass(frozen=True, slots=True)
class Climb:
    """One contestant, once: what it took, in which parts, exact_match by arm, and the prompts by arm as it says."""

    measured: Measured
    parts: Mapping[str, Measured]
    scores: Mapping[str, float]
    prompts: Mapping[str, Sequence[str]]


Contestant = Callable[[Material, Path], Climb]


def contestants(batch_size: int) -> Mapping[str, Contestant]:
    """All by name; the harness first. batch_size: of lm-eval where it may be chosen."""
    quick = {"gradient_checkpointing": False, "train_sampling_strategy": "group_by_length", "save_only_model": True}
    return {
        HARNESS: harness,
        "TRL, then lm-eval five times: defaults": partial(processes, config={}, batch_size=1),
        "the same, strongest settings": partial(processes, config=quick, batch_size=batch_size),
        "the same in one process": partial(one_process, config=quick, batch_size=batch_size),
    }


def harness(material: Material, folder: Path) -> Climb:
    """The user's one command, with everything that a run does by default."""
    words = [f"task={material.folder / 'task'}", f"model={material.model}", "model.dtype=float32", "model.device=cpu"]
    command = [sys.executable, "-m", "harness", "run", *words, f"out={folder / 'runs'}"]
    measured = in_child(command, environment=material.environment, folder=folder)
    (result,) = (folder / "runs").glob("*/*/result.json")
    return Climb(measured, {"all": measured}, scores_of_harness(json.loads(result.read_text(encoding="utf-8"))), {})


def processes(material: Material, folder: Path, *, config: Mapping[str, object], batch_size: int) -> Climb:
    """One process that tunes and five of lm-eval's command."""
    environment = {**material.environment, "HF_DATASETS_CACHE": str(folder / "datasets")}
    settings = write_settings(material, folder, config)
    command = [sys.executable, "-m", "benchmarks.peers.tune", str(settings)]
    parts = {"tuning": in_child(command, environment=environment, folder=folder)}
    for arm, (shots, adapter) in rungs(material, folder).items():
        command = lm_eval(material, shots, adapter, batch_size, folder / "results" / arm)
        parts[arm] = in_child(command, environment=environment, folder=folder)
    return _climb_of_peer(parts, folder)


def one_process(material: Material, folder: Path, *, config: Mapping[str, object], batch_size: int) -> Climb:
    """All of it by one script that keeps the model."""
    environment = {**material.environment, "HF_DATASETS_CACHE": str(folder / "datasets")}
    more = {
        "tasks": str(material.folder / "peer"),
        "task": TASK,
        "system": material.task.prompting.system,
        "shots": material.size.shots,
        "batch_size": batch_size,
        "results": str(folder / "results"),
    }
    settings = write_settings(material, folder, config, more)
    command = [sys.executable, "-m", "benchmarks.peers.whole", str(settings)]
    return _climb_of_peer({"all": in_child(command, environment=environment, folder=folder)}, folder)


def rungs(material: Material, folder: Path) -> dict[str, tuple[int, Path | None]]:
    """Arm -> shots and adapter. The checkpoint folders are named by step, and there are as many as epochs."""
    steps = -(-material.size.rows // BATCH_ROWS)
    bases = {f"base-{k}shot": (k, None) for k in (0, material.size.shots)}
    tuned = {
        f"checkpoint{i}": (0, folder / "checkpoints" / f"checkpoint-{i * steps}")
        for i in range(1, material.size.epochs + 1)
    }
    return {**bases, **tuned}


def lm_eval(material: Material, shots: int, adapter: Path | None, batch_size: int, out: Path) -> list[str]:
    """The command of one evaluation."""
    model = f"pretrained={material.model},dtype=float32" + (f",peft={adapter}" if adapter else "")
    words = ["--model", "hf", "--model_args", model, "--device", "cpu", "--batch_size", str(batch_size)]
    words += ["--tasks", TASK, "--include_path", str(material.folder / "peer"), "--num_fewshot", str(shots)]
    words += [
        "--apply_chat_template",
        "--fewshot_as_multiturn",
        "--system_instruction",
        material.task.prompting.system or "",
    ]
    return [sys.executable, "-m", "lm_eval", "run", *words, "--output_path", str(out), "--log_samples"]


def _climb_of_peer(parts: Mapping[str, Measured], folder: Path) -> Climb:
    arms = sorted(path for path in (folder / "results").iterdir() if path.is_dir())
    found = {arm.name: score_of_lm_eval(arm) for arm in arms}
    return Climb(total(list(parts.values())), parts, found, {arm.name: prompts_of_lm_eval(arm) for arm in arms})
