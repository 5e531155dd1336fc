"""The ladder's material, made on disk: the model, the task as the harness reads it, and the same as the peers do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.ladder.for_peers import write_for_peers
from benchmarks.ladder.material import ALPHA, BATCH_ROWS, LR, RANK, TASK, Material, Size
from harness.catalogue import find_task, read_toml
from harness.core.specs import TaskSpec
from harness.demo.corpus import Dice
from harness.demo.tasks import TASKS, folded, word_runs
from harness.models.location import DEMO_FOLDER


def material_of(folder: Path, task: str, model: str, size: Size, threads: int) -> Material:
    """Everything on disk: the model if it is random, the task as the harness reads it and as the peers do."""
    (folder / "task").mkdir(parents=True)
    spec = _task_spec(task, size)
    (folder / "task" / "task.toml").write_text(_toml(spec), encoding="utf-8")
    _write_rows(folder / "task", task, size)
    material = Material(folder, _model(model, folder / "model"), spec, size, threads)
    write_for_peers(material)
    return material


def _model(name: str, folder: Path) -> Path:
    if name == "demo":
        return DEMO_FOLDER
    if name == "random":
        from benchmarks.material import write_model

        return write_model(folder)
    return Path(name).resolve()


def _task_spec(name: str, size: Size) -> TaskSpec:
    """The shipped task with one few-shot draw, exact_match, and the tuning's settings. No warm-up: libraries differ."""
    document: Any = dict(read_toml(find_task(name) / "task.toml"))
    return TaskSpec.model_validate(
        {
            "name": TASK,
            "data": {**document["data"], **{split: f"{split}.jsonl" for split in ("train", "validation", "test")}},
            "prompting": {**document["prompting"], "shots": [0, size.shots], "draws": 1},
            "generation": document["generation"],
            "metrics": {"primary": "exact_match"},
            "trainer": {
                "epochs": size.epochs,
                "lr": LR,
                "rank": RANK,
                "alpha": ALPHA,
                "dropout": 0.0,
                "batch_rows": BATCH_ROWS,
                "warmup": 0.0,
            },
        }
    )


def _toml(spec: TaskSpec) -> str:
    """The spec as a task.toml, without what is left at its default. Strings, numbers and lists of JSON are TOML's."""
    document = spec.model_dump(mode="json", exclude_unset=True)
    lines = [f"name = {json.dumps(document.pop('name'))}"]
    for section, values in document.items():
        lines += [f"\n[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    return "\n".join(lines) + "\n"


def _write_rows(folder: Path, task: str, size: Size) -> None:
    """Rows drawn as those of the shipped task are, by another seed; no two share an input or 13 words of it."""
    shipped, dice, seen = TASKS[task], Dice(f"{TASK}/{task}"), set[str]()
    for split in ("train", "validation", "test"):
        rows: list[dict[str, str]] = []
        while len(rows) < getattr(size, "rows" if split == "train" else split):
            row = shipped.draw(dice)
            text = shipped.prompt.format(**row)
            traces = word_runs(text) | {folded(text)}
            if seen.isdisjoint(traces):
                seen |= traces
                rows.append({"id": f"{split}-{len(rows):05d}", **row})
        (folder / f"{split}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
