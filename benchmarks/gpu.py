"""Tuning and generation on an NVIDIA GPU: how much of its arithmetic is used, and what transformers alone reaches.

python -m benchmarks.gpu
python -m benchmarks.gpu --device cpu --tiny

A Llama of random weights in the shape of a model of half a billion, 151,936 embeddings, bfloat16. Without a GPU it says
so and ends with status 2; the second command runs everything in little, to see that it runs.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from accelerate.state import AcceleratorState
from transformers import AutoModelForCausalLM, LlamaConfig

from benchmarks.contestants import Outcome, harness, trainer
from benchmarks.material import Material, settings, write_llama
from benchmarks.measuring import RESULTS, table, write
from harness.backends.hf import HFKind
from harness.core.specs import BackendSpec, ModelSpec
from harness.core.types import Completion, Request, Sampling, TokenRow
from harness.models.forward import padded
from harness.models.weights import quietly

_LIBRARIES = ("torch", "transformers", "peft", "accelerate")
# Words of the tokenizer that lies beside the model.
_WORDS = range(300, 16_000)
OURS = "harness"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Size:
    """How large everything is. rows: tokens of the shortest and the longest; prompts alike."""

    config: LlamaConfig
    square: int
    batch_rows: int
    tokens_per_batch: int
    per_batch: int
    rows: tuple[int, int]
    n_prompts: int
    prompts: tuple[int, int]
    n_new: int


@dataclass(slots=True)
class Peak:
    """What a GPU holds after the first step, and the most above it until the last; None where there is no GPU."""

    before: int = 0
    n_steps: int = field(default=0)

    def __call__(self) -> None:
        self.n_steps += 1
        if self.n_steps == 1 and torch.cuda.is_available():
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            self.before = torch.cuda.memory_allocated()

    @property
    def mib(self) -> float | None:
        """Of a step, above weights, moments and what else stays."""
        if not torch.cuda.is_available():
            return None
        return (torch.cuda.max_memory_allocated() - self.before) / 2**20


@dataclass(frozen=True, slots=True)
class Speed:
    """One piece of work: tokens and useful operations a second, and MiB above what stays, where that is known."""

    tokens_per_s: float
    flop_per_s: float | None
    peak_mib: float | None


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print a table, write the results; status 2 without the device."""
    asked = _arguments(words)
    if asked.device == "cuda" and not torch.cuda.is_available():
        sys.stderr.write("there is no NVIDIA GPU here; --device cpu --tiny runs everything in little\n")
        raise SystemExit(2)
    size = tiny() if asked.tiny else half_a_billion()
    ceiling = matmul_ceiling(asked.device, size.square)
    with tempfile.TemporaryDirectory() as scratch, quietly():
        model = write_llama(Path(scratch) / "model", size.config, torch.bfloat16)
        found: dict[str, dict[str, list[Speed]]] = {"tuning": {}, "generation": {}}
        for number in range(asked.repeats):
            for part, name, speed in one_round(size, asked, model, Path(scratch) / str(number)):
                found[part].setdefault(name, []).append(speed)
                sys.stderr.write(f"{number + 1}/{asked.repeats} {part}, {name}: {speed.tokens_per_s:.0f} tokens/s\n")
    chosen = {key: value for key, value in vars(asked).items() if key != "out"}
    device = torch.cuda.get_device_name() if asked.device == "cuda" else "cpu"
    results = {
        part: {name: _document(speeds, lines[OURS], ceiling) for name, speeds in lines.items()}
        for part, lines in found.items()
    }
    write(asked.out, {**chosen, "device": device}, _LIBRARIES, {"matmul_flop_per_s": ceiling, **results})
    sys.stdout.write(f"{device}: matrix products reach {ceiling / 1e12:.1f} TFLOP/s\n\n{shown(results)}\n")


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="everything in little")
    parser.add_argument("--repeats", type=int, default=5, help="rounds of all contestants")
    parser.add_argument("--steps", type=int, default=6, help="optimiser steps of a training")
    parser.add_argument("--kernels", choices=("none", "liger"), default="none", help="trainer.kernels of the harness")
    parser.add_argument("--out", type=Path, default=RESULTS / "gpu.json")
    return parser.parse_args(words)


def half_a_billion() -> Size:
    """24 layers of 896 with 14 heads, 2 of them for keys, as in Qwen 2.5 0.5B."""
    config = _llama(896, 4_864, 24, 14, 2, 151_936)
    return Size(config, 8_192, 64, 16_384, 16, (128, 768), 256, (32, 512), 64)


def tiny() -> Size:
    """Seconds on a CPU."""
    config = _llama(64, 128, 2, 2, 2, 16_384)
    return Size(config, 256, 8, 256, 4, (10, 40), 6, (5, 20), 4)


def _llama(hidden: int, inner: int, n_layers: int, n_heads: int, n_key_heads: int, vocabulary: int) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=n_layers,
        num_attention_heads=n_heads,
        num_key_value_heads=n_key_heads,
        max_position_embeddings=2_048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=1,
        pad_token_id=0,
    )


def matmul_ceiling(device: str, n: int) -> float:
    """Operations a second in products of square bfloat16 matrices; the median of ten behind three that warm up."""
    one, other = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    times = [_timed(lambda: one @ other)[1] for _ in range(13)][3:]
    return 2 * n**3 / statistics.median(times)


def one_round(size: Size, asked: argparse.Namespace, model: Path, scratch: Path) -> Iterator[tuple[str, str, Speed]]:
    """Every contestant once: what it did, its name, and how fast."""
    material = material_of(size, asked, model)
    tuners: Mapping[str, Callable[..., Outcome]] = {
        OURS: harness,
        "Trainer": partial(trainer, per_batch=size.per_batch),
        "Trainer, group_by_length": partial(trainer, per_batch=size.per_batch, sampling="group_by_length"),
    }
    for name, tune in tuners.items():
        # accelerate keeps one number format for a process.
        AcceleratorState._reset_state(reset_partial_state=True)
        yield "tuning", name, tuned(tune, size.config, material, scratch / name)
    requests = requests_of(size)
    yield "generation", OURS, generated(by_harness(asked.device, model), requests)
    yield "generation", "generate, in input order", generated(by_transformers(asked.device, model), requests)


def tuned(tune: Callable[..., Outcome], config: LlamaConfig, material: Material, scratch: Path) -> Speed:
    """All steps but the first of one training."""
    peak = Peak()
    outcome = tune(material, scratch, after_step=peak)
    rows = [row for seen in outcome.seen[1:] for row in seen.rows]
    useful = flop(config, material.spec.rank, rows, material)
    return Speed(outcome.n_tokens / outcome.wall_s, useful / outcome.wall_s, peak.mib)


def generated(answer: Callable[[Sequence[Request]], int], requests: Sequence[Request]) -> Speed:
    """All requests, behind two that warm up."""
    answer(requests[:2])
    peak = Peak()
    peak()
    n_tokens, seconds = _timed(lambda: answer(requests))
    return Speed(n_tokens / seconds, None, peak.mib)


def material_of(size: Size, asked: argparse.Namespace, model: Path) -> Material:
    """Rows of random words, of unequal length, that begin with nothing in common; the last third carries loss."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(size.batch_rows * asked.steps):
        n = int(rng.integers(*size.rows))
        ids = tuple(int(word) for word in rng.choice(_WORDS, n))
        rows.append(TokenRow(str(i), ids, tuple(t >= n - max(1, n // 3) for t in range(n))))
    spec = settings(len(rows), asked.steps, seed=0, dropout=0.0, batch_rows=size.batch_rows)
    spec = spec.model_copy(update={"tokens_per_batch": size.tokens_per_batch, "kernels": asked.kernels})
    return Material(model, tuple(rows), (), asked.steps, spec, "bfloat16", asked.device)


def flop(config: LlamaConfig, rank: int, rows: Sequence[tuple[int, ...]], material: Material) -> float:
    """Useful operations of training on these rows: no padding, nothing computed twice, no gradient of frozen weights.

    A product with a frozen matrix is needed forward and for its input's gradient, an adapter's also for its own;
    causal attention is half a square, twice, and its backward pass twice that; the vocabulary counts at labels only.
    """
    hidden, inner, vocabulary = config.hidden_size, config.intermediate_size, config.vocab_size
    keys = hidden // config.num_attention_heads * config.num_key_value_heads
    shapes = [(hidden, hidden), (hidden, keys), (hidden, keys), (hidden, hidden)]
    shapes += [(hidden, inner), (hidden, inner), (inner, hidden)]
    frozen = config.num_hidden_layers * sum(a * b for a, b in shapes)
    added = config.num_hidden_layers * rank * sum(a + b for a, b in shapes)
    n_targets = {row.ids: row.n_targets for row in material.pool}
    n_tokens, squares = sum(map(len, rows)), sum(len(row) ** 2 for row in rows)
    attention = 6 * config.num_hidden_layers * hidden * squares
    labels = 4 * vocabulary * hidden * sum(n_targets[row] for row in rows)
    return float((4 * frozen + 6 * added) * n_tokens + attention + labels)


def requests_of(size: Size) -> list[Request]:
    """Prompts of random words, of unequal length, that begin with nothing in common."""
    rng = np.random.default_rng(1)
    lengths = rng.integers(*size.prompts, size=size.n_prompts)
    prompts = [tuple(int(word) for word in rng.choice(_WORDS, int(n))) for n in lengths]
    return [Request(str(i), ids, Sampling(size.n_new), ()) for i, ids in enumerate(prompts)]


def by_harness(device: str, model: Path) -> Callable[[Sequence[Request]], int]:
    """The hf backend, with room for a GPU's batches; how many tokens it has generated."""
    spec = ModelSpec.model_validate({"name": str(model), "dtype": "bfloat16", "device": device})
    backend = HFKind().create(spec, BackendSpec(tokens_per_batch=65_536), thinking=False)

    def answer(requests: Sequence[Request]) -> int:
        outcomes = dict(backend.generate(requests)).values()
        return sum(outcome.n_tokens for outcome in outcomes if isinstance(outcome, Completion))

    return answer


def by_transformers(device: str, model: Path, n_rows: int = 64) -> Callable[[Sequence[Request]], int]:
    """`generate` on batches in the order in which the prompts come."""
    loaded = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16).to(device).eval()
    loaded.generation_config.eos_token_id = None

    def answer(requests: Sequence[Request]) -> int:
        n_tokens = 0
        for start in range(0, len(requests), n_rows):
            batch = requests[start : start + n_rows]
            ids_BT, mask_BT, _ = padded([request.ids for request in batch], torch.device(device), side="left")
            found_BT = loaded.generate(
                input_ids=ids_BT,
                attention_mask=mask_BT,
                max_new_tokens=batch[0].sampling.max_tokens,
                do_sample=False,
                pad_token_id=0,
            )
            n_tokens += len(batch) * (found_BT.shape[1] - ids_BT.shape[1])
        return n_tokens

    return answer


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    """What the work gives, and seconds until the device has done it."""
    _wait()
    start = time.perf_counter()
    made = work()
    _wait()
    return made, time.perf_counter() - start


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _document(speeds: Sequence[Speed], ours: Sequence[Speed], ceiling: float) -> dict[str, float | None]:
    """Medians over rounds; the ratio is the median of those within a round."""
    useful = [speed.flop_per_s for speed in speeds if speed.flop_per_s is not None]
    peaks = [speed.peak_mib for speed in speeds if speed.peak_mib is not None]
    return {
        "tokens_per_s": statistics.median(speed.tokens_per_s for speed in speeds),
        "harness_faster_by": statistics.median(
            a.tokens_per_s / b.tokens_per_s for a, b in zip(ours, speeds, strict=True)
        ),
        "share_of_matmul": statistics.median(useful) / ceiling if useful else None,
        "peak_mib": statistics.median(peaks) if peaks else None,
    }


def shown(results: Mapping[str, Mapping[str, Mapping[str, float | None]]]) -> str:
    """Markdown."""
    rows = [
        [
            f"{part}: {name}",
            f"{line['tokens_per_s']:.0f}",
            f"{line['harness_faster_by']:.2f}",
            *("" if line[key] is None else f"{line[key]:.{digits}f}" for key, digits in _OPTIONAL),
        ]
        for part, lines in results.items()
        for name, line in lines.items()
    ]
    return table(["", "tokens/s", "harness faster by", "share of the products' FLOP/s", "MiB above the rest"], rows)


_OPTIONAL = (("share_of_matmul", 2), ("peak_mib", 0))


if __name__ == "__main__":
    main()
