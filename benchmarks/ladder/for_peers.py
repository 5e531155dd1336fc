"""The harness's rows, shots and settings in the words of TRL and lm-evaluation-harness."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.ladder.material import ALPHA, BATCH_ROWS, LR, RANK, TASK, Material
from harness.core.types import Sample
from harness.prompting import ShotPool


def write_for_peers(material: Material) -> None:
    """The same rows as conversations for TRL, and as a task for lm-eval, whose shots are those of the harness."""
    samples = material.samples
    training = [
        {
            "prompt": [*_system(material), {"role": "user", "content": sample.question}],
            "completion": [{"role": "assistant", "content": sample.references[0]}],
        }
        for sample in samples["train"]
    ]
    folder = material.folder / "peer"
    folder.mkdir()
    _write_lines(folder / "train.jsonl", training)
    _write_lines(folder / "samples.jsonl", [_document(sample) for sample in samples["validation"]])
    # JSON is YAML.
    (folder / f"{TASK}.yaml").write_text(
        json.dumps(_lm_eval_task(material, samples, folder), indent=1), encoding="utf-8"
    )


def _lm_eval_task(material: Material, samples: Mapping[str, Sequence[Sample]], folder: Path) -> dict[str, object]:
    generation = material.task.generation
    return {
        "task": TASK,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(folder / "samples.jsonl")}},
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "{{question}}",
        "doc_to_target": "{{answer}}",
        "target_delimiter": "",
        "fewshot_config": {"sampler": "first_n", "samples": [_document(shot) for shot in shots_of(material, samples)]},
        # The end of a turn ends generation without being named.
        "generation_kwargs": {"until": [], "max_gen_toks": generation.max_tokens, "do_sample": False},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    }


def shots_of(material: Material, samples: Mapping[str, Sequence[Sample]]) -> tuple[Sample, ...]:
    """The shots that the harness puts before every sample of validation."""
    pool = ShotPool(samples["train"], seed=0)
    drawn = [pool.shots(sample, k=material.size.shots, draw=0) for sample in samples["validation"]]
    if any(shots != drawn[0] for shots in drawn):
        raise ValueError("a sample has shots of its own, which lm-eval's first_n cannot give it")
    return drawn[0]


def _document(sample: Sample) -> dict[str, str]:
    return {"question": sample.question, "answer": sample.references[0]}


def _system(material: Material) -> list[dict[str, str]]:
    return [{"role": "system", "content": material.task.prompting.system or ""}]


def _write_lines(file: Path, rows: Sequence[Mapping[str, object]]) -> None:
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


def write_settings(
    material: Material, folder: Path, config: Mapping[str, object], more: Mapping[str, object] | None = None
) -> Path:
    file = folder / "settings.json"
    file.write_text(json.dumps({**_settings_of_tune(material, folder, config), **(more or {})}), encoding="utf-8")
    return file


def _settings_of_tune(material: Material, folder: Path, config: Mapping[str, object]) -> dict[str, object]:
    """The harness's settings in TRL's words, and else TRL's defaults, but for the number format."""
    return {
        "model": str(material.model),
        "data": str(material.folder / "peer" / "train.jsonl"),
        "out": str(folder / "checkpoints"),
        "lora": {
            "r": RANK,
            "lora_alpha": ALPHA,
            "lora_dropout": 0.0,
            "target_modules": "all-linear",
            "task_type": "CAUSAL_LM",
        },
        "config": {
            "model_init_kwargs": {"dtype": "float32"},
            "num_train_epochs": material.size.epochs,
            "per_device_train_batch_size": BATCH_ROWS,
            "learning_rate": LR,
            "lr_scheduler_type": "cosine",
            "warmup_steps": 0,
            "save_strategy": "epoch",
            "bf16": False,
            "use_cpu": True,
            "report_to": "none",
            **config,
        },
    }
