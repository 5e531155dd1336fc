"""Whether a peer did what the harness does: the same training rows and the same prompts, token by token."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.ladder.climbing import Climb
from benchmarks.ladder.for_peers import shots_of, write_settings
from benchmarks.ladder.material import Material
from benchmarks.measuring import in_child
from harness.models.tokenizer import load_tokenizer
from harness.prompting import Renderer


def trains_on_the_same(material: Material, scratch: Path) -> bool:
    """Whether SFTTrainer's rows are the harness's: the same token ids, and loss on the same ones."""
    folder = scratch / "rows"
    folder.mkdir()
    settings = write_settings(material, folder, {})
    rows = folder / "rows.json"
    command = [sys.executable, "-m", "benchmarks.peers.tune", str(settings), "--rows", str(rows)]
    in_child(
        command, environment={**material.environment, "HF_DATASETS_CACHE": str(folder / "datasets")}, folder=folder
    )
    return bool(json.loads(rows.read_text(encoding="utf-8")) == rows_of_harness(material))


def rows_of_harness(material: Material) -> list[dict[str, list[int]]]:
    """Token ids and loss mask of every training row."""
    renderer = Renderer(load_tokenizer(material.model, None, thinking=False), material.task.prompting)
    rows = [renderer.train_row(sample) for sample in material.samples["train"]]
    return [{"ids": list(row.ids), "loss": [int(counts) for counts in row.loss]} for row in rows]


def same_prompts(material: Material, climb: Climb) -> bool:
    """Whether a peer asked every arm exactly what the harness asks it."""
    expected = prompts_of_harness(material)
    few = f"base-{material.size.shots}shot"
    return set(climb.prompts) == set(material.arms) and all(
        tuple(prompts) == expected[material.size.shots if arm == few else 0] for arm, prompts in climb.prompts.items()
    )


def prompts_of_harness(material: Material) -> Mapping[int, tuple[str, ...]]:
    """Shots -> the prompt of each sample of validation, control tokens spelled out."""
    samples = material.samples
    renderer = Renderer(load_tokenizer(material.model, None, thinking=False), material.task.prompting)
    shots = shots_of(material, samples)
    return {
        k: tuple(renderer.prompt_text(sample, shots[:k]) for sample in samples["validation"])
        for k in (0, material.size.shots)
    }
