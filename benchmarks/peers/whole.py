"""Tuning and all five evaluations in one Python process: the peers' libraries, without their repeated start-ups.

python -m benchmarks.peers.whole SETTINGS.json

SETTINGS.json: those of `tune`, and tasks (folder of the lm-eval task), task, system, shots, batch_size and results.
One model in memory is trained, and then answers without an adapter, and with that of each checkpoint in turn.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lm_eval import simple_evaluate  # type: ignore[import-not-found]
from lm_eval.models.huggingface import HFLM  # type: ignore[import-not-found]
from lm_eval.tasks import TaskManager  # type: ignore[import-not-found]
from peft import PeftModel

from benchmarks.peers.tune import trainer_of


def main() -> None:
    """Tune, then evaluate all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", type=Path)
    settings = json.loads(parser.parse_args().settings.read_text(encoding="utf-8"))
    trainer = trainer_of(settings)
    trainer.train()
    model = trainer.model.eval()
    answering = HFLM(pretrained=model, tokenizer=trainer.processing_class, batch_size=settings["batch_size"])
    tasks = TaskManager(include_path=settings["tasks"], include_defaults=False)
    with model.disable_adapter():
        for shots in (0, settings["shots"]):
            _evaluate(f"base-{shots}shot", answering, tasks, shots, settings)
    for i, folder in enumerate(checkpoints(Path(settings["out"])), start=1):
        _with_adapter(model, folder, f"checkpoint{i}")
        _evaluate(f"checkpoint{i}", answering, tasks, 0, settings)


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoint folders of a training, first step first."""
    return sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]))


def _with_adapter(model: PeftModel, folder: Path, name: str) -> None:
    model.load_adapter(str(folder), adapter_name=name)
    model.set_adapter(name)
    model.eval()


def _evaluate(arm: str, answering: HFLM, tasks: TaskManager, shots: int, settings: Mapping[str, Any]) -> None:
    """One evaluation as the command line does it, and its results and samples in a folder of the arm's name."""
    found = simple_evaluate(
        model=answering,
        tasks=[settings["task"]],
        task_manager=tasks,
        num_fewshot=shots,
        system_instruction=settings["system"],
        apply_chat_template=True,
        fewshot_as_multiturn=True,
    )
    folder = Path(settings["results"]) / arm
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps({"results": found["results"]}), encoding="utf-8")
    samples = [
        {"doc": sample["doc"], "arguments": {"gen_args_0": {"arg_0": sample["arguments"][0][0]}}}
        for sample in found["samples"][settings["task"]]
    ]
    lines = "".join(f"{json.dumps(sample)}\n" for sample in samples)
    (folder / f"samples_{settings['task']}.jsonl").write_text(lines, encoding="utf-8")


if __name__ == "__main__":
    main()
