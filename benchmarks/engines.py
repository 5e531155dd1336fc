"""Generating with vLLM through the harness beside vLLM alone, adapters side by side, and transformers beside both.

python -m benchmarks.engines        in an environment with vLLM

Every contestant has a process of its own, one thread and an engine that was started before; all get the prompts of a
round in turn, none of them the same ones twice.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import distributions, version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

# Before torch: one thread, and none that spins while another contestant is measured.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np

from benchmarks import measuring
from benchmarks.measuring import Measured, faster_by, in_process, median_of
from harness.backends.vllm import DISTRIBUTIONS
from harness.core.types import Checkpoint, Completion, Outcome, Request, Sampling

_LIBRARIES = ("torch", "transformers", "peft")
_VOCABULARY = 16_384
_KV_CACHE_GIB = 1.0
_N_ADAPTERS = 3
# What is asked of whom: name, contestant, which of base (0) and adapters (1, 2, 3) the requests go to in turn, and
# which prompts: no engine gets the same ones twice for the same weights.
WORK = (
    ("raw vLLM, base", "raw", (0,), 0),
    ("harness vllm, base", "vllm", (0,), 0),
    ("raw vLLM, one adapter", "raw with adapters", (1,), 1),
    ("harness vllm, one adapter", "vllm with adapters", (1,), 1),
    ("harness vllm, three adapters in one batch", "vllm with adapters", (1, 2, 3), 2),
    ("harness vllm, base, room for adapters", "vllm with adapters", (0,), 0),
    ("harness hf, base", "hf", (0,), 0),
    ("harness hf, one adapter", "hf", (1,), 1),
)
# (what is compared, its work, whose time is divided by the work's: above 1 the work is faster)
RATIOS = (
    ("harness vllm over raw vLLM, base: throughput", "harness vllm, base", "raw vLLM, base"),
    ("harness vllm over raw vLLM, one adapter: throughput", "harness vllm, one adapter", "raw vLLM, one adapter"),
    ("three adapters: cost of one", "harness vllm, one adapter", "harness vllm, three adapters in one batch"),
    ("vllm: cost of hf, base", "harness hf, base", "harness vllm, base"),
    ("vllm: cost of hf, one adapter", "harness hf, one adapter", "harness vllm, one adapter"),
)
# Of two works with the same prompts: how many answers are the same.
COMPARED = (
    ("harness vllm, base", "raw vLLM, base"),
    ("harness vllm, base", "harness hf, base"),
    ("harness vllm, one adapter", "raw vLLM, one adapter"),
    ("harness vllm, one adapter", "harness hf, one adapter"),
)
Texts = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Material:
    """A model, and checkpoints with adapters of random weights."""

    model: Path
    adapters: tuple[Checkpoint, ...]


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print, write the results."""
    asked = _arguments(words)
    with tempfile.TemporaryDirectory() as folder:
        material = material_of(Path(folder))
        times, texts = measured(material, asked.rounds, asked.requests, asked.tokens)
    shares = {f"{one} / {other}": agreement(texts[one], texts[other]) for one, other in COMPARED}
    n_tokens = asked.requests * asked.tokens
    sys.stdout.write(f"{report(times, n_tokens)}\n\n{ratios_table(times)}\n\n{_shares_table(shares)}\n")
    settings = {"rounds": asked.rounds, "requests": asked.requests, "new tokens": asked.tokens, "dtype": "float32"}
    found = {
        "ratios": {name: ratio(times, ours, theirs) for name, ours, theirs in RATIOS},
        "equal answers": shares,
        "median": {name: median_of(each) for name, each in times.items()},
        "rounds": times,
    }
    measuring.write(asked.out, settings | {"threads": 1, "vllm": _vllm()}, _LIBRARIES, found)


def _vllm() -> str:
    """The build of vLLM: it has another name for CPUs."""
    found = [name for name in DISTRIBUTIONS if any(distributions(name=name))]
    return ", ".join(f"{name} {version(name)}" for name in found)


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=24, help="in each round; a multiple of three")
    parser.add_argument("--tokens", type=int, default=16, help="new tokens of each request")
    parser.add_argument("--out", type=Path, default=measuring.RESULTS / "engines.json")
    return parser.parse_args(words)


def material_of(folder: Path) -> Material:
    """The model that all benchmarks share, and adapters of rank 16 on all of its linear layers."""
    from benchmarks.material import write_model

    model = write_model(folder / "model")
    return Material(model, tuple(_adapter(model, folder / f"adapter-{seed}", seed) for seed in range(_N_ADAPTERS)))


def _adapter(model: Path, folder: Path, seed: int) -> Checkpoint:
    """Random in both of its factors, and small: B of an untrained adapter would be zero."""
    import hashlib

    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = LoraConfig(r=16, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
        tuned = get_peft_model(AutoModelForCausalLM.from_pretrained(model), config)
        for name, parameter in tuned.named_parameters():
            if ".lora_B." in name:
                torch.nn.init.normal_(parameter, std=0.02)
        tuned.save_pretrained(folder)
    sha256 = hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()
    return Checkpoint(seed + 1, 1.0, folder, "adapter", sha256, None, None, None, None)


def requests_of(number: int, prompts: int, size: tuple[int, int], sides: Sequence[Checkpoint | None]) -> list[Request]:
    """Requests of a round that go to the sides in turn; no answer ends early.

    Prompts have 40 to 200 tokens, those of a round the same lengths. size: requests, and new tokens of each.
    """
    lengths = np.random.default_rng(number).integers(40, 200, size[0]).tolist()
    rng = np.random.default_rng((number, prompts))
    return [
        Request(
            f"{number} {place}",
            tuple(rng.integers(10, _VOCABULARY, n).tolist()),
            Sampling(size[1]),
            (),
            sides[place % len(sides)],
        )
        for place, n in enumerate(lengths)
    ]


def measured(
    material: Material, n_rounds: int, n_requests: int, n_new: int
) -> tuple[dict[str, list[Measured]], dict[str, dict[str, str]]]:
    """Of each work, what it took in each round and what was answered; a small round before them does not count."""
    sides = (None, *material.adapters)
    times: dict[str, list[Measured]] = {name: [] for name, *_ in WORK}
    texts: dict[str, dict[str, str]] = {name: {} for name, *_ in WORK}
    workers = {who: Worker(who, material) for who in dict.fromkeys(who for _, who, *_ in WORK)}
    try:
        for number in range(n_rounds + 1):
            # Who comes first differs from round to round.
            for name, who, places, prompts in WORK[number % len(WORK) :] + WORK[: number % len(WORK)]:
                size = (n_requests, n_new) if number else (len(places), 2)
                asked = requests_of(number, prompts, size, [sides[place] for place in places])
                answered, took = workers[who].ask(asked)
                if number:
                    times[name].append(took)
                    texts[name].update(answered)
            sys.stderr.write(f"round {number} of {n_rounds}\n")
    finally:
        for worker in workers.values():
            worker.close()
    return times, texts


class Worker:
    """A contestant in a process of its own, which has started when this returns."""

    def __init__(self, who: str, material: Material) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(who, material, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._connection.recv()

    def ask(self, requests: Sequence[Request]) -> tuple[Texts, Measured]:
        """Its answers by request, and what they took there."""
        self._connection.send(list(requests))
        found: tuple[Texts, Measured] = self._connection.recv()
        return found

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.join(timeout=30)


@dataclass(frozen=True, slots=True)
class Contestant:
    """What is timed, and what makes texts of it that can be compared."""

    answer: Callable[[Sequence[Request]], Any]
    texts: Callable[[Sequence[Request], Any], Texts]


def _serve(who: str, material: Material, connection: Connection) -> None:
    contestant = CONTESTANTS[who](material)
    connection.send("ready")
    while True:
        try:
            requests: list[Request] = connection.recv()
        except EOFError:
            return
        answered, took = in_process(partial(contestant.answer, requests))
        connection.send((contestant.texts(requests, answered), took))


def _raw(material: Material, *, adapters: bool) -> Contestant:
    """`LLM.generate` with the harness's engine settings, as a script would call it; it makes texts of its own."""
    from harness.models.vllm.engine import EngineSettings, LoraRoom, engine_arguments

    os.environ.update(VLLM_NO_USAGE_STATS="1", VLLM_LOGGING_LEVEL="ERROR", VLLM_ENABLE_V1_MULTIPROCESSING="0")
    room = LoraRoom(max(4, _N_ADAPTERS), 16) if adapters else None
    settings = EngineSettings(
        material.model, "cpu", "float32", 2048, enforce_eager=True, kv_cache_gib=_KV_CACHE_GIB, lora=room
    )
    from vllm import LLM, SamplingParams, TokensPrompt
    from vllm.lora.request import LoRARequest

    arguments: dict[str, Any] = {**engine_arguments(settings), "skip_tokenizer_init": False}
    llm = LLM(**arguments)
    numbered = {None: None} | {
        checkpoint.sha256: LoRARequest(checkpoint.sha256, number, str(checkpoint.folder))
        for number, checkpoint in enumerate(material.adapters, start=1)
    }

    def answer(requests: Sequence[Request]) -> Any:
        return llm.generate(
            [TokensPrompt(prompt_token_ids=list(request.ids)) for request in requests],
            [SamplingParams(temperature=0, max_tokens=r.sampling.max_tokens, ignore_eos=True) for r in requests],
            lora_request=[numbered[r.checkpoint.sha256 if r.checkpoint else None] for r in requests],
            use_tqdm=False,
        )

    def texts(requests: Sequence[Request], outputs: Any) -> Texts:
        from harness.models.endings import continuation_text
        from harness.models.tokenizer import load_tokenizer

        tokenizer = load_tokenizer(material.model, None, thinking=False)
        pairs = zip(requests, outputs, strict=True)
        return {r.id: continuation_text(tokenizer, r.ids, output.outputs[0].token_ids) for r, output in pairs}

    return Contestant(answer, texts)


def _backend(material: Material, name: str) -> Contestant:
    """A backend of the harness."""
    from harness.backends.hf import backend as hf
    from harness.backends.vllm import backend as vllm
    from harness.core.protocols import BackendKind
    from harness.core.specs import BackendSpec, ModelSpec

    kind: BackendKind = vllm if name == "vllm" else hf
    options = {"kv_cache_gib": _KV_CACHE_GIB} if name == "vllm" else {}
    spec = BackendSpec.model_validate({"name": name, "threads": 1, "options": options})
    opened = kind.create(ModelSpec(name=str(material.model), device="cpu", dtype="float32"), spec, thinking=False)

    def answer(requests: Sequence[Request]) -> dict[str, Outcome]:
        return dict(opened.generate(requests))

    def texts(requests: Sequence[Request], found: Mapping[str, Outcome]) -> Texts:
        return {name: outcome.text for name, outcome in found.items() if isinstance(outcome, Completion)}

    return Contestant(answer, texts)


CONTESTANTS: Mapping[str, Callable[[Material], Contestant]] = {
    "raw": lambda material: _raw(material, adapters=False),
    "raw with adapters": lambda material: _raw(material, adapters=True),
    "vllm": lambda material: _backend(material, "vllm"),
    "vllm with adapters": lambda material: _backend(material, "vllm"),
    "hf": lambda material: _backend(material, "hf"),
}


def ratio(times: Mapping[str, Sequence[Measured]], ours: str, theirs: str) -> dict[str, float]:
    """How many times as long the others took, by each clock."""
    return {
        "wall": round(faster_by(times[ours], times[theirs], "wall_s"), 3),
        "cpu": round(faster_by(times[ours], times[theirs], "cpu_s"), 3),
    }


def agreement(ours: Texts, theirs: Texts) -> float:
    """The share of answers that are the same."""
    return statistics.fmean(ours[name] == theirs[name] for name in theirs)


def report(times: Mapping[str, Sequence[Measured]], n_tokens: int) -> str:
    """Seconds and new tokens a second."""
    medians = {name: median_of(each) for name, each in times.items()}
    rows = [
        [name, f"{each.wall_s:.2f}", f"{each.cpu_s:.2f}", f"{n_tokens / each.wall_s:.0f}"]
        for name, each in medians.items()
    ]
    return measuring.table(["", "wall s", "CPU s", "new tokens/s"], rows)


def ratios_table(times: Mapping[str, Sequence[Measured]]) -> str:
    """The comparisons."""
    rows = []
    for name, ours, theirs in RATIOS:
        found = ratio(times, ours, theirs)
        rows.append([name, f"{found['wall']:.2f}", f"{found['cpu']:.2f}"])
    return measuring.table(["", "wall", "CPU"], rows)


def _shares_table(shares: Mapping[str, float]) -> str:
    return measuring.table(["same answers", "share"], [[name, f"{share:.3f}"] for name, share in shares.items()])


if __name__ == "__main__":
    main()
