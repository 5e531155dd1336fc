"""The harness's training loop and those of others, each with its speed settings, on the same material.

Every contestant says when each optimiser step ended, how many tokens it had, and where its adapter is. The time of
the first step, with all that is set up in it, does not count; nor does writing the adapter.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    DataCollatorForSeq2Seq,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from benchmarks.material import Material
from harness.backends.hf import HFKind
from harness.core.specs import BackendSpec, ModelSpec
from harness.core.types import Checkpoint, TokenRow
from harness.models.weights import quietly
from trainers import lora
from trainers.loop import accumulate

_CPU = torch.device("cpu")
_IGNORED = -100
_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True, slots=True)
class Moment:
    """The end of an optimiser step on two clocks, in seconds: the wall's, and the processor's time in this process."""

    wall_s: float
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Seen:
    """What a model was given in one step: tokens of rows, places computed with padding, and the rows, sorted."""

    n_tokens: int
    n_places: int
    rows: tuple[tuple[int, ...], ...] = ()

    def __add__(self, other: Seen) -> Seen:
        rows = tuple(sorted((*self.rows, *other.rows)))
        return Seen(self.n_tokens + other.n_tokens, self.n_places + other.n_places, rows)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One training: the end and the content of each step, and the adapter's folder."""

    ends: tuple[Moment, ...]
    seen: tuple[Seen, ...]
    adapter: Path

    @property
    def n_tokens(self) -> int:
        """Tokens, padding aside, of the steps that are timed."""
        return sum(seen.n_tokens for seen in self.seen[1:])

    @property
    def places_per_token(self) -> float:
        """Places computed for a token: above 1 by padding, below 1 where tokens of several rows are computed once."""
        return sum(seen.n_places for seen in self.seen[1:]) / self.n_tokens

    @property
    def wall_s(self) -> float:
        """Seconds that passed."""
        return self.ends[-1].wall_s - self.ends[0].wall_s

    @property
    def cpu_s(self) -> float:
        """Seconds of processor time."""
        return self.ends[-1].cpu_s - self.ends[0].cpu_s


Contestant = Callable[[Material, Path], Outcome]


def contestants(*, with_trl: bool) -> Mapping[str, Contestant]:
    """All by name. The first is the harness, whose default settings are its fastest here."""
    found: dict[str, Contestant] = {
        "harness": harness,
        "Trainer": trainer,
        "Trainer, 4 x 4 rows, batch_rebalance": partial(trainer, per_batch=4, sampling="batch_rebalance"),
        "Trainer, group_by_length": partial(trainer, sampling="group_by_length"),
    }
    if not with_trl:
        return found
    quick: dict[str, object] = {"gradient_checkpointing": False}
    joined = {**quick, "padding_free": True, "max_length": None}
    return found | {
        "SFTTrainer": partial(sft, options={}),
        "SFTTrainer, no checkpointing": partial(sft, options=quick),
        "SFTTrainer, no checkpointing, group_by_length": partial(sft, options=quick, sampling="group_by_length"),
        "SFTTrainer, no checkpointing, padding_free": partial(sft, options=joined),
        "SFTTrainer, no checkpointing, packing": partial(sft, options={**quick, "packing": True}),
    }


def harness(material: Material, out: Path, *, after_step: Callable[[], None] = lambda: None) -> Outcome:
    """The project's own `lora` trainer, through its own door."""
    model = ModelSpec.model_validate({"name": str(material.model), "dtype": material.dtype, "device": material.device})
    loaded = HFKind().create(model, BackendSpec(), thinking=False).model
    ends: list[Moment] = []
    sink = _Sink(out)

    def note(*_: object) -> None:
        ends.append(_now())
        after_step()

    list(lora.trainer.train(loaded, material.pool, (), material.spec, sink, note))
    return Outcome(tuple(ends), tuple(_seen_by_harness(material.rows_of(i + 1)) for i in range(len(ends))), out)


def trainer(
    material: Material,
    out: Path,
    *,
    per_batch: int = 16,
    sampling: str = "sequential",
    after_step: Callable[[], None] = lambda: None,
) -> Outcome:
    """transformers' Trainer on a peft model."""
    arguments = TrainingArguments(**_arguments(material, out, per_batch, sampling))
    model, tokenizer = _peft_model(material), AutoTokenizer.from_pretrained(material.model)
    log = _Log(after_step)
    loop = _counting(Trainer, log)(
        model=model,
        args=arguments,
        train_dataset=_dataset(material, sampling),
        data_collator=DataCollatorForSeq2Seq(tokenizer, label_pad_token_id=_IGNORED),
        processing_class=tokenizer,
        callbacks=[log],
    )
    return _run(loop, model, log, out)


def sft(material: Material, out: Path, *, options: Mapping[str, object], sampling: str = "sequential") -> Outcome:
    """TRL's SFTTrainer on a peft model; its loss on completions, as it is for the others."""
    from trl import SFTConfig, SFTTrainer  # type: ignore[import-not-found]

    # Its defaults, but for the number format: bfloat16 would not be what the others compute in.
    arguments = {**_arguments(material, out, 16, sampling), "bf16": material.dtype == "bfloat16", **options}
    if options.get("packing"):
        # One pack a step, as long as the tokens of 16 rows.
        n_tokens = sum(len(row.ids) for row in material.in_order)
        arguments |= {"per_device_train_batch_size": 1, "max_length": round(n_tokens / material.n_steps)}
    model, tokenizer = _peft_model(material), AutoTokenizer.from_pretrained(material.model)
    log = _Log(lambda: None)
    loop = _counting(SFTTrainer, log)(
        model=model,
        args=SFTConfig(**arguments),
        train_dataset=_dataset(material, sampling),
        processing_class=tokenizer,
        callbacks=[log],
    )
    return _run(loop, model, log, out)


def validation_loss(material: Material, adapter: Path) -> float:
    """Mean loss of a completion token, computed alike for all: on padded rows, by peft's own layers."""
    with quietly():
        base = AutoModelForCausalLM.from_pretrained(material.model, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, adapter).eval()
    with torch.no_grad():
        return accumulate(
            model.get_base_model(),
            material.validation,
            4_096,
            device=_CPU,
            precision=nullcontext(),
            as_tree=False,
            backward=None,
        ).mean_loss


@dataclass(slots=True)
class _Sink:
    """Keeps the last checkpoint in one folder."""

    folder: Path

    def saved(self) -> Sequence[Checkpoint]:
        return ()

    def save(
        self, checkpoint: Checkpoint, weights: Callable[[Path], None], state: Callable[[Path], None]
    ) -> Checkpoint:
        self.folder.mkdir(parents=True, exist_ok=True)
        weights(self.folder)
        return replace(checkpoint, folder=self.folder)

    def state(self, checkpoint: Checkpoint) -> Path:
        raise AssertionError("no benchmark resumes")


@dataclass
class _Log(TrainerCallback):  # type: ignore[misc]
    """What a Trainer was given and when its steps ended."""

    after_step: Callable[[], None]
    ends: list[Moment] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    step: Seen = Seen(0, 0)

    def on_step_end(self, *_: object, **__: object) -> None:
        self.ends.append(_now())
        self.seen.append(self.step)
        self.step = Seen(0, 0)
        self.after_step()


def _counting(kind: type[Trainer], log: _Log) -> type[Trainer]:
    """The trainer, with every batch noted before it is computed."""

    class Counting(kind):  # type: ignore[misc]
        def training_step(self, model: nn.Module, inputs: dict[str, Tensor], *args: object, **kwargs: object) -> Tensor:
            log.step += _seen_in(inputs)
            loss: Tensor = super().training_step(model, inputs, *args, **kwargs)
            return loss

    return Counting


def _run(loop: Trainer, model: PeftModel, log: _Log, out: Path) -> Outcome:
    loop.train()
    model.save_pretrained(out)
    return Outcome(tuple(log.ends), tuple(log.seen), out)


def _arguments(material: Material, out: Path, per_batch: int, sampling: str) -> dict[str, object]:
    spec = material.spec
    return {
        "output_dir": str(out),
        "per_device_train_batch_size": per_batch,
        "gradient_accumulation_steps": spec.batch_rows // per_batch,
        "train_sampling_strategy": sampling,
        "learning_rate": spec.lr,
        "lr_scheduler_type": spec.schedule,
        "weight_decay": spec.weight_decay,
        "max_grad_norm": spec.clip,
        "max_steps": material.n_steps,
        "seed": spec.seed,
        "bf16": material.dtype == "bfloat16",
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": material.device == "cpu",
    }


def _dataset(material: Material, sampling: str) -> Dataset:
    """The harness's rows step after step, or the whole pool for a sampler that composes steps by length."""
    rows = material.pool if sampling == "group_by_length" else material.in_order
    labels = [[i if counts else _IGNORED for i, counts in zip(row.ids, row.loss, strict=True)] for row in rows]
    return Dataset.from_dict({"input_ids": [list(row.ids) for row in rows], "labels": labels})


def _peft_model(material: Material) -> PeftModel:
    """The same base and the same fresh adapter as the harness's."""
    spec = material.spec
    with quietly():
        base = AutoModelForCausalLM.from_pretrained(material.model, dtype=getattr(torch, material.dtype))
    config = LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha,
        lora_dropout=spec.dropout,
        target_modules=_TARGETS,
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(spec.seed)
    return get_peft_model(base, config)


def _seen_in(inputs: Mapping[str, Tensor]) -> Seen:
    """The rows in a batch: by the mask where they are padded, by positions that begin again where they are joined."""
    ids_BT, mask_BT = inputs["input_ids"], inputs.get("attention_mask")
    if mask_BT is not None:
        rows = [tuple(ids[mask.bool()].tolist()) for ids, mask in zip(ids_BT, mask_BT, strict=True)]
    else:
        starts = (inputs["position_ids"][0] == 0).nonzero()[1:, 0].tolist()
        rows = [tuple(part.tolist()) for part in ids_BT[0].tensor_split(starts)]
    return Seen(sum(len(row) for row in rows), ids_BT.numel(), tuple(sorted(rows)))


def _seen_by_harness(rows: Sequence[TokenRow]) -> Seen:
    """Each distinct beginning of a row is a place, as the loop's tree has it."""
    places = {row.ids[:n] for row in rows for n in range(1, len(row.ids) + 1)}
    return Seen(sum(len(row.ids) for row in rows), len(places), tuple(sorted(row.ids for row in rows)))


def _now() -> Moment:
    if torch.cuda.is_available():
        # What a step has asked of a GPU is done before the step is.
        torch.cuda.synchronize()
    return Moment(time.perf_counter(), time.process_time())
