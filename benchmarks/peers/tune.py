"""What a user of TRL writes to tune: SFTTrainer with a LoRA, a checkpoint an epoch. Knows nothing of the harness.

python -m benchmarks.peers.tune SETTINGS.json [--rows FILE]

SETTINGS.json: model, data (a file of prompt-completion rows in turns), out, lora (LoraConfig) and config (SFTConfig).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datasets import load_dataset
from peft import LoraConfig
from trl import SFTConfig, SFTTrainer  # type: ignore[import-not-found]


def main() -> None:
    """Tune; or with --rows only write the rows as the trainer has them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", type=Path)
    parser.add_argument("--rows", type=Path, help="write token ids and loss masks here, and train nothing")
    asked = parser.parse_args()
    trainer = trainer_of(json.loads(asked.settings.read_text(encoding="utf-8")))
    if asked.rows is None:
        trainer.train()
        return
    rows = [{"ids": row["input_ids"], "loss": [int(i != -100) for i in row["labels"]]} for row in trainer.train_dataset]
    asked.rows.write_text(json.dumps(rows), encoding="utf-8")


def trainer_of(settings: Mapping[str, Any]) -> SFTTrainer:
    """The trainer, with its rows tokenised and its adapter on the model."""
    return SFTTrainer(
        model=settings["model"],
        args=SFTConfig(output_dir=settings["out"], **settings["config"]),
        train_dataset=load_dataset("json", data_files=settings["data"], split="train"),
        peft_config=LoraConfig(**settings["lora"]),
    )


if __name__ == "__main__":
    main()
