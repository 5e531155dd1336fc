"""What every contestant gets: the bytes of one model, the rows of each optimiser step, one set of settings.

The model is a Llama of 22 million random weights, made from a seed; the rows are those of the tasks shipped here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from harness.catalogue import find_task, read_toml
from harness.core.specs import TaskSpec
from harness.core.types import TokenRow
from harness.data import read
from harness.models.location import DEMO_FOLDER
from harness.models.tokenizer import load_tokenizer
from harness.models.weights import quietly
from harness.prompting import Renderer
from trainers.batches import rows_of_step
from trainers.lora import LoraSpec

TASKS = ("tickets", "headlines", "orders", "general")


@dataclass(frozen=True, slots=True)
class Material:
    """One training to be done. pool: all rows that an epoch has; the steps draw from it."""

    model: Path
    pool: tuple[TokenRow, ...]
    validation: tuple[TokenRow, ...]
    n_steps: int
    spec: LoraSpec
    dtype: Literal["float32", "bfloat16"]
    device: str = "cpu"

    def rows_of(self, step: int) -> list[TokenRow]:
        """The rows of a step, counted from 1, as the harness draws them."""
        return [self.pool[i] for i in rows_of_step(step, len(self.pool), self.spec.batch_rows, self.spec.seed)]

    @property
    def in_order(self) -> list[TokenRow]:
        """All rows, step after step: a peer that takes them in turn sees the harness's steps."""
        return [row for step in range(1, self.n_steps + 1) for row in self.rows_of(step)]


def settings(n_rows: int, n_steps: int, *, seed: int, dropout: float, batch_rows: int = 16) -> LoraSpec:
    """The settings that all contestants share. No warm-up: its first step differs between libraries."""
    return LoraSpec(
        epochs=n_steps * batch_rows / n_rows,
        lr=1e-3,
        batch_rows=batch_rows,
        warmup=0.0,
        rank=16,
        alpha=32,
        dropout=dropout,
        seed=seed,
        checkpoint_every=n_steps,
    )


def whole_steps(rows: Sequence[TokenRow], batch_rows: int = 16) -> tuple[TokenRow, ...]:
    """As many of the rows as make up steps of equal size."""
    return tuple(rows[: len(rows) // batch_rows * batch_rows])


def rows_of_tasks(names: Sequence[str], split: Literal["train", "validation"], model: Path) -> list[TokenRow]:
    """The rows of shipped tasks as the harness renders them, tasks one after the other."""
    tokenizer = load_tokenizer(model, None, thinking=False)
    rows = []
    for name in names:
        folder = find_task(name)
        task = TaskSpec.model_validate(dict(read_toml(folder / "task.toml")))
        renderer = Renderer(tokenizer, task.prompting)
        rows += [renderer.train_row(sample) for sample in read(task, folder, drop_bad=False).split(split)]
    return rows


def write_model(folder: Path, vocabulary: int = 16_384) -> Path:
    """A Llama of random weights, 22 million with 16,384 embeddings, and the demo model's tokenizer beside it."""
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=384,
        intermediate_size=1_024,
        num_hidden_layers=9,
        num_attention_heads=6,
        num_key_value_heads=6,
        max_position_embeddings=2_048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )
    return write_llama(folder, config, torch.float32)


def write_llama(folder: Path, config: LlamaConfig, dtype: torch.dtype) -> Path:
    """Random weights from a fixed seed, and the demo model's tokenizer."""
    with torch.random.fork_rng(), quietly():
        torch.manual_seed(0)
        LlamaForCausalLM(config).to(dtype).save_pretrained(folder)
    for file in DEMO_FOLDER.iterdir():
        if file.name.startswith(("tokenizer", "chat_template")):
            (folder / file.name).write_bytes(file.read_bytes())
    return folder
