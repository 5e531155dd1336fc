"""What contestants wrote, read: scores by arm, and the prompts that lm-eval kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.ladder.material import TASK


def scores_of_harness(result: Mapping[str, Any]) -> dict[str, float]:
    """exact_match on validation by arm, checkpoints numbered."""
    found = [record for record in result["evaluations"] if record["split"] == "validation"]
    tuned = sorted((record for record in found if record["step"] is not None), key=lambda record: record["step"])
    named = {record["arm"]: record for record in found if record["step"] is None}
    named |= {f"checkpoint{i}": record for i, record in enumerate(tuned, start=1)}
    return {
        arm: next(float(each["value"]) for each in record["estimates"] if each["metric"] == "exact_match")
        for arm, record in named.items()
    }


def score_of_lm_eval(folder: Path) -> float:
    """exact_match in the one results file below a folder that lm-eval wrote to."""
    (file,) = folder.rglob("results*.json")
    return float(json.loads(file.read_text(encoding="utf-8"))["results"][TASK]["exact_match,none"])


def prompts_of_lm_eval(folder: Path) -> tuple[str, ...]:
    """What the model was given for each sample, in the samples' order."""
    (file,) = folder.rglob(f"samples_{TASK}*.jsonl")
    samples = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return tuple(sample["arguments"]["gen_args_0"]["arg_0"] for sample in samples)
