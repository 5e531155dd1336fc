"""How fast the hf backend answers beside transformers' `generate`, with the same tokens.

python -m benchmarks.generation

Cases: prompts of 20 to 300 tokens whose answers end by themselves within 64; prompts that begin with the same 480
tokens of examples, with 8 and with 32 new tokens; adapters, one and three in turn; the demo model on a shipped task.
All contestants answer in one process, in turn, in rounds; one whose tokens differ ends the benchmark.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

# As the command line has it, for all contestants: threads that wait spin for some microseconds only.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, DynamicCache

from benchmarks.material import rows_of_tasks, write_model
from benchmarks.measuring import RESULTS, Measured, faster_by, in_process, median_of, table, write
from harness.backends.hf import HFBackend, HFKind
from harness.core.specs import BackendSpec, ModelSpec
from harness.core.types import Checkpoint, Completion, Request, Sampling
from harness.models.endings import continuation_text
from harness.models.files import ADAPTER_WEIGHTS
from harness.models.location import DEMO_FOLDER
from harness.models.weights import quietly

# A contestant answers requests: the text and the number of tokens, end token included, of each by its id.
Answers = dict[str, tuple[str, int]]
Answer = Callable[[Sequence[Request]], Answers]
OURS = "harness"


@dataclass(frozen=True, slots=True)
class Case:
    """Requests, answered by all; and who answers."""

    name: str
    requests: tuple[Request, ...]
    contestants: Mapping[str, Answer]


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print a table, write the results."""
    asked = _arguments(words)
    torch.set_num_threads(asked.threads)
    with tempfile.TemporaryDirectory() as scratch, quietly():
        cases = cases_of(Path(scratch), asked.prompts, asked.batch_rows)
        wanted = [case for case in cases if asked.only is None or case.name in asked.only]
        found = {case.name: measured(case, asked.rounds) for case in wanted}
    settings = {key: value for key, value in vars(asked).items() if key not in ("out", "only")}
    lines = {name: document(times) for name, times in found.items()}
    write(asked.out, settings, ("torch", "transformers", "peft"), {"cases": lines})
    for name, times in found.items():
        sys.stdout.write(f"\n{name}\n\n{shown(times)}\n")


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="times that each contestant answers everything")
    parser.add_argument(
        "--prompts",
        type=int,
        default=64,
        help="prompts of mixed lengths, and of the demo model; half as many elsewhere",
    )
    parser.add_argument("--batch-rows", type=int, default=32, help="prompts that a peer answers at once")
    parser.add_argument("--threads", type=int, default=2, help="of torch")
    parser.add_argument("--only", nargs="+", help="cases by name")
    parser.add_argument("--out", type=Path, default=RESULTS / "generation.json")
    return parser.parse_args(words)


def measured(case: Case, n_rounds: int) -> dict[str, list[Measured]]:
    """Times of each contestant, round by round, behind two requests to warm up; tokens are compared in the first."""
    times: dict[str, list[Measured]] = {name: [] for name in case.contestants}
    expected: Answers = {}
    for answer in case.contestants.values():
        answer(case.requests[:2])
    for number in range(n_rounds):
        for name, answer in case.contestants.items():
            found, taken = in_process(partial(answer, case.requests))
            expected = expected or found
            differing = [request.id for request in case.requests if found[request.id] != expected[request.id]]
            if differing:
                raise SystemExit(f"{case.name}: {name} gives other tokens for {len(differing)} of {len(expected)}")
            times[name].append(taken)
            clocks = f"{taken.wall_s:.2f} s, {taken.cpu_s:.2f} s of processor time"
            sys.stderr.write(f"{number + 1}/{n_rounds} {case.name}, {name}: {clocks}\n")
    return times


def document(times: Mapping[str, Sequence[Measured]]) -> dict[str, object]:
    """Medians, and how many times the harness's time each took."""
    return {
        name: {
            "median": median_of(own),
            "harness_faster_by": faster_by(times[OURS], own),
            "harness_faster_by_cpu": faster_by(times[OURS], own, "cpu_s"),
        }
        for name, own in times.items()
    }


def shown(times: Mapping[str, Sequence[Measured]]) -> str:
    """A case as Markdown."""
    rows = [
        [
            name,
            f"{median_of(own).wall_s:.2f}",
            f"{faster_by(times[OURS], own):.2f}",
            f"{faster_by(times[OURS], own, 'cpu_s'):.2f}",
        ]
        for name, own in times.items()
    ]
    return table(["", "seconds", "harness faster by", "by CPU time"], rows)


def cases_of(scratch: Path, n: int, batch_rows: int) -> list[Case]:
    """All cases, with the models that they need written to the scratch folder."""
    folder = lively(write_model(scratch / "model"))
    adapters = [adapter(folder, scratch / f"adapter-{seed}", seed) for seed in range(3)]
    ours, theirs = opened(folder), Peer(folder, adapters, batch_rows)
    demo, demo_peer = opened(DEMO_FOLDER), Peer(DEMO_FOLDER, [], batch_rows)
    rng = np.random.default_rng(0)
    examples = prompt(rng, 480)
    mixed = [Request(f"mixed-{i}", prompt(rng, int(rng.integers(20, 301))), Sampling(64), ENDS) for i in range(n)]
    short, longer = (
        [
            Request(f"shared-{i}", (*examples, *prompt(rng, int(rng.integers(20, 61)))), Sampling(most), ())
            for i in range(n // 2)
        ]
        for most in (8, 32)
    )
    three = [replace(r, id=f"{r.id}-{i}", checkpoint=one) for i, one in enumerate(adapters) for r in mixed[: n // 8]]
    tickets = [
        Request(row.id, prompt_of(row.ids, row.loss), Sampling(16), ends_of(demo))
        for row in rows_of_tasks(["tickets"], "validation", DEMO_FOLDER)[:n]
    ]
    return [
        Case("mixed lengths", tuple(mixed), {OURS: answers(ours), **theirs.contestants()}),
        Case("480 shared tokens, 8 new", tuple(short), {OURS: answers(ours), **theirs.contestants(480)}),
        Case("480 shared tokens, 32 new", tuple(longer), {OURS: answers(ours), **theirs.contestants(480)}),
        Case(
            "one adapter, mixed lengths",
            tuple(replace(r, checkpoint=adapters[0]) for r in mixed[: n // 2]),
            {OURS: answers(ours), **theirs.contestants()},
        ),
        Case("three adapters, one after the other", tuple(three), {OURS: answers(ours), **theirs.contestants()}),
        Case(
            "demo model, tickets, 16 new",
            tuple(tickets),
            {OURS: answers(demo), **demo_peer.contestants(shared([r.ids for r in tickets]))},
        ),
    ]


_FIGURES = ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy")
# One id in 32 ends an answer: after 32 tokens in the mean, as far as 64 allow.
ENDS = tuple(range(1, 16_384, 32))


def prompt(rng: np.random.Generator, n_tokens: int) -> tuple[int, ...]:
    """Random tokens."""
    return tuple(int(token) for token in rng.integers(10, 16_384, n_tokens))


def prompt_of(ids: tuple[int, ...], loss: tuple[bool, ...]) -> tuple[int, ...]:
    """What comes before the first token with loss."""
    return ids[: loss.index(True)]


def ends_of(backend: HFBackend) -> tuple[int, ...]:
    """The tokenizer's end of text, which ends the demo model's turns too."""
    end = backend.tokenizer.eos_id
    return () if end is None else (end,)


def shared(prompts: Sequence[tuple[int, ...]]) -> int:
    """How many tokens all prompts begin with."""
    first, last = min(prompts), max(prompts)
    return next(i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)


def lively(folder: Path) -> Path:
    """Its layers' weights larger: a fresh model with tied embeddings says one token again and again."""
    file = folder / "model.safetensors"
    tensors = load_file(file)
    larger = {name: tensor * 3 if "layers" in name and tensor.ndim > 1 else tensor for name, tensor in tensors.items()}
    save_file(larger, file, metadata={"format": "pt"})
    return folder


def adapter(model: Path, folder: Path, seed: int) -> Checkpoint:
    """An adapter of rank 16 on all linear layers that changes what the model says."""
    torch.manual_seed(seed)
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    config = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    tuned = get_peft_model(base, config)
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(parameter, std=0.02)
    tuned.save_pretrained(str(folder))
    digest = hashlib.sha256((folder / ADAPTER_WEIGHTS).read_bytes()).hexdigest()
    return Checkpoint(step=seed + 1, epoch=1.0, folder=folder, kind="adapter", sha256=digest, **dict.fromkeys(_FIGURES))


def opened(folder: Path) -> HFBackend:
    """The hf backend on a folder, loaded."""
    spec = ModelSpec.model_validate({"name": str(folder), "dtype": "float32", "device": "cpu"})
    backend = HFKind().create(spec, BackendSpec(), thinking=False)
    _ = backend.model
    return backend


def answers(backend: HFBackend) -> Answer:
    """The harness as a contestant."""

    def answer(requests: Sequence[Request]) -> Answers:
        outcomes = dict(backend.generate(requests))
        completions = {key: each for key, each in outcomes.items() if isinstance(each, Completion)}
        return {key: (each.text, each.n_tokens) for key, each in completions.items()}

    return answer


class Peer:
    """transformers' `generate`, with peft where there are adapters, as its documentation has it."""

    def __init__(self, folder: Path, adapters: Sequence[Checkpoint], batch_rows: int) -> None:
        self._batch_rows = batch_rows
        self._tokenizer = opened(folder).tokenizer
        self._base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        tuned = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        for i, one in enumerate(adapters):
            if i == 0:
                tuned = PeftModel.from_pretrained(tuned, str(one.folder), adapter_name=one.sha256)
            else:
                tuned.load_adapter(str(one.folder), one.sha256)
        self._tuned = tuned.eval()

    def contestants(self, n_shared: int = 0) -> dict[str, Answer]:
        """Batches in the requests' order and by length; or with what all prompts begin with computed once."""
        plain: dict[str, Answer] = {"generate, in order": lambda requests: self._answers(requests)}
        if n_shared:
            return plain | {"generate, prefix cache": lambda requests: self._answers(by_length(requests), n_shared)}
        return plain | {"generate, by length": lambda requests: self._answers(by_length(requests))}

    def _answers(self, requests: Sequence[Request], n_shared: int = 0) -> Answers:
        found: Answers = {}
        for checkpoint in dict.fromkeys(request.checkpoint for request in requests):
            model = self._base if checkpoint is None else self._tuned
            if checkpoint is not None:
                self._tuned.set_adapter(checkpoint.sha256)
            same = [request for request in requests if request.checkpoint == checkpoint]
            prefix = prefix_cache(model, same[0].ids[:n_shared]) if n_shared else None
            for start in range(0, len(same), self._batch_rows):
                found |= self._batch(model, same[start : start + self._batch_rows], n_shared, prefix)
        return found

    def _batch(self, model: nn.Module, batch: Sequence[Request], n_shared: int, prefix: DynamicCache | None) -> Answers:
        width = max(len(request.ids) for request in batch)
        ids_BT = torch.zeros(len(batch), width, dtype=torch.long)
        mask_BT = torch.zeros(len(batch), width, dtype=torch.long)
        for i, request in enumerate(batch):
            own = width - len(request.ids) + n_shared
            for span, ids in (
                (slice(0, n_shared), request.ids[:n_shared]),
                (slice(own, width), request.ids[n_shared:]),
            ):
                ids_BT[i, span] = torch.tensor(ids, dtype=torch.long)
                mask_BT[i, span] = 1
        inputs: dict[str, object] = {"input_ids": ids_BT, "attention_mask": mask_BT}
        if prefix is not None:
            cache = copy.deepcopy(prefix)
            cache.batch_repeat_interleave(len(batch))
            inputs["past_key_values"] = cache
        sampling, ends = batch[0].sampling, batch[0].stop_ids
        found_BT: Tensor = model.generate(  # type: ignore[operator]
            **inputs,
            max_new_tokens=sampling.max_tokens,
            do_sample=False,
            eos_token_id=list(ends) or None,
            pad_token_id=0,
        )
        return {
            request.id: self._ended(request, row)
            for request, row in zip(batch, found_BT[:, width:].tolist(), strict=True)
        }

    def _ended(self, request: Request, ids: list[int]) -> tuple[str, int]:
        """Text and number of tokens as the harness counts them: the end token is one, and no text."""
        end = next((i for i, token in enumerate(ids) if token in request.stop_ids), None)
        kept = ids if end is None else ids[:end]
        return continuation_text(self._tokenizer, request.ids, kept), len(kept) + (end is not None)


def by_length(requests: Sequence[Request]) -> list[Request]:
    """The longest first."""
    return sorted(requests, key=lambda request: len(request.ids), reverse=True)


def prefix_cache(model: nn.Module, ids: tuple[int, ...]) -> DynamicCache:
    """What the documentation of transformers recommends for prompts that begin alike."""
    cache = DynamicCache(config=model.config)
    with torch.no_grad():
        return cast(DynamicCache, model(input_ids=torch.tensor([ids]), past_key_values=cache).past_key_values)


if __name__ == "__main__":
    main()
