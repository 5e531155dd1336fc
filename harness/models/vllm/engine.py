"""A vLLM engine: started quietly, asked by token ids, closed so that its memory is free again.

vLLM is imported when an engine starts. It leaves this process as it found it: its random numbers, its number of
threads, its environment, its terminal.
"""

from __future__ import annotations

import os
import random
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO, Any, ClassVar, NoReturn, Protocol

import numpy as np
import torch

from harness.core.errors import EnvironmentFault, HarnessError
from harness.models.memory import free_memory, is_out_of_memory
from harness.models.vllm.adapters import Adapter

# What vLLM says in errors of its own where there is not enough memory (v1/core/kv_cache_utils.py, v1/worker/).
_MEMORY_SIGNS = ("out of memory", "available memory", "memory for the cache", "max seq len", "can't allocate memory")
# The last line of a traceback, as an engine's process leaves it in its log.
_RAISED = re.compile(r"\w*(?:Error|Exception): (\S.*)")
# Characters of a reason that are shown; some list every model there is.
_LONGEST_CAUSE = 300
# What vLLM raises where the reason is in its log.
_LOOK_ELSEWHERE = ("root cause", "EngineCore encountered an issue")


@dataclass(frozen=True, slots=True)
class LoraRoom:
    """How many adapters an engine holds at once, and of what rank at most."""

    adapters: int
    rank: int


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What an engine is started with. device: `cpu` or `cuda`.

    gpu_memory_utilization: the share of a GPU that it takes. kv_cache_gib, threads: on a CPU.
    """

    folder: Path
    device: str
    dtype: str
    max_model_len: int
    enforce_eager: bool
    tensor_parallel_size: int = 1
    data_parallel_size: int = 1
    max_num_seqs: int | None = None
    gpu_memory_utilization: float = 0.9
    kv_cache_gib: float = 1.0
    threads: int = 1
    lora: LoraRoom | None = None

    @property
    def in_process(self) -> bool:
        """Whether the engine computes in this process: on a CPU it starts in two seconds then, instead of thirteen."""
        return self.device == "cpu" and self.tensor_parallel_size == self.data_parallel_size == 1


@dataclass(frozen=True, slots=True)
class Question:
    """A prompt, how to go on with it (fields of vLLM's SamplingParams), and the adapter that should be on.

    streamed: every token is told as it comes; else all when the last one is there.
    """

    ids: tuple[int, ...]
    decoding: Mapping[str, object]
    adapter: Adapter | None = None
    streamed: bool = False


@dataclass(frozen=True, slots=True)
class News:
    """New tokens of an answer. ended: why vLLM is done with it; log_probs: of tokens in place of the first new one."""

    name: str
    ids: tuple[int, ...]
    ended: str | None = None
    log_probs: Mapping[int, float] = field(default_factory=dict)


class Engine(Protocol):
    """What is asked of an engine."""

    @property
    def settings(self) -> EngineSettings: ...
    @property
    def closed(self) -> bool:
        """Whether it has ended, or will answer no more."""
        ...

    def add(self, name: str, question: Question) -> None:
        """Hand in a question, under a name that was never used before: its news may come after it was aborted."""
        ...

    def step(self) -> Sequence[News]:
        """Compute on, and what has come of it."""
        ...

    def abort(self, names: Iterable[str]) -> None:
        """Drop questions that need no further answer."""
        ...

    def forget(self, numbers: Iterable[int]) -> None:
        """Take adapters off; nothing may be under way."""
        ...

    def close(self) -> None:
        """End the engine and give its memory back."""
        ...


class VLLMEngine:
    """`Engine` over `vllm.LLMEngine`, started at once.

    EnvironmentFault E-DEVICE, E-OOM or E-ENGINE, with vLLM's own reason in one line, if it cannot start or go on. Where
    it computes in this process it ends the one before: they would share what the first to end takes down.
    """

    _here: ClassVar[VLLMEngine | None] = None

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._log_starts = _log().seek(0, os.SEEK_END)
        self._set_threads = torch.set_num_threads
        self._engine: Any = None
        self._failed = False
        if settings.in_process and VLLMEngine._here is not None:
            VLLMEngine._here.close()
        fault: HarnessError | None = None
        try:
            with _environment(settings), _said_to(_log()), _random_numbers_kept(), self._threads():
                self._engine = _start(settings)
        except HarnessError as err:
            fault = err
        except Exception as err:
            fault = _fault("vLLM could not start", err, self._said(), settings)
        finally:
            # On a CPU vLLM puts a function in its place that does nothing.
            torch.set_num_threads = self._set_threads
        if fault is not None:
            # Outside of the except clause: its traceback would keep what the engine has taken.
            free_memory()
            raise fault
        if settings.in_process:
            VLLMEngine._here = self

    @property
    def settings(self) -> EngineSettings:
        """What it was started with."""
        return self._settings

    @property
    def closed(self) -> bool:
        """Whether it has ended, or will answer no more."""
        return self._engine is None or self._failed

    def add(self, name: str, question: Question) -> None:
        """As the protocol says."""
        from vllm import SamplingParams, TokensPrompt
        from vllm.lora.request import LoRARequest
        from vllm.sampling_params import RequestOutputKind

        kind = RequestOutputKind.DELTA if question.streamed else RequestOutputKind.FINAL_ONLY
        on = question.adapter
        try:
            self._engine.add_request(
                name,
                TokensPrompt(prompt_token_ids=list(question.ids)),
                SamplingParams(**question.decoding, detokenize=False, output_kind=kind),
                lora_request=None if on is None else LoRARequest(on.name, on.number, str(on.folder)),
            )
        except Exception as err:
            self._stop("vLLM refused a request", err)

    def step(self) -> list[News]:
        """As the protocol says."""
        if self._engine is None:
            raise EnvironmentFault(
                "this vLLM engine has ended while it was asked: another model's has taken its place",
                fix="backend=hf for one of the two models",
                code="E-ENGINE",
            )
        try:
            with self._threads():
                return [_news(output) for output in self._engine.step()]
        except Exception as err:
            self._stop("vLLM stopped", err)

    def abort(self, names: Iterable[str]) -> None:
        """As the protocol says."""
        if not self.closed:
            self._engine.abort_request(list(names))

    def forget(self, numbers: Iterable[int]) -> None:
        """As the protocol says."""
        for number in set(numbers) & set(self._engine.list_loras()):
            self._engine.remove_lora(number)

    def close(self) -> None:
        """As the protocol says."""
        if self._engine is None:
            return
        if VLLMEngine._here is self:
            VLLMEngine._here = None
        with _said_to(_log()):
            self._engine.engine_core.shutdown()
        self._engine = None
        free_memory()

    @contextmanager
    def _threads(self) -> Iterator[None]:
        """The engine's own number of threads, where it computes in this process."""
        before = torch.get_num_threads()
        if not self._settings.in_process or before == self._settings.threads:
            yield
            return
        self._set_threads(self._settings.threads)
        try:
            yield
        finally:
            self._set_threads(before)

    def _said(self) -> str:
        """What the engine has written where the terminal would be."""
        _log().seek(self._log_starts)
        return _log().read().decode(errors="replace")

    def _stop(self, what: str, err: Exception) -> NoReturn:
        self._failed = True
        raise _fault(what, err, self._said(), self._settings) from err


def engine_arguments(settings: EngineSettings) -> dict[str, object]:
    """vLLM's arguments: tokens in and tokens out, no code and no generation settings from the model's folder."""
    found: dict[str, object] = {
        "model": str(settings.folder),
        "skip_tokenizer_init": True,
        "trust_remote_code": False,
        "load_format": "safetensors",
        "generation_config": "vllm",
        "dtype": settings.dtype,
        "max_model_len": settings.max_model_len,
        "enforce_eager": settings.enforce_eager,
        "tensor_parallel_size": settings.tensor_parallel_size,
        "enable_prefix_caching": True,
        "disable_log_stats": True,
        "seed": 0,
    }
    if settings.max_num_seqs is not None:
        found["max_num_seqs"] = settings.max_num_seqs
    if settings.device == "cpu":
        found["kv_cache_memory_bytes"] = int(settings.kv_cache_gib * 2**30)
        # A seeded request whose prompt is computed in parts ends vLLM's engine on a CPU: its generator has no offset.
        found["enable_chunked_prefill"] = False
    else:
        found["gpu_memory_utilization"] = settings.gpu_memory_utilization
    if settings.lora is not None:
        # vLLM's kernels for CPUs take the last slot for the base in a mixed batch: one slot more stays empty.
        slots = settings.lora.adapters + (settings.device == "cpu")
        found |= {"enable_lora": True, "max_loras": slots, "max_lora_rank": settings.lora.rank}
    return found


@contextmanager
def _environment(settings: EngineSettings) -> Iterator[None]:
    """What vLLM reads from the environment while it starts, unless the user has said otherwise."""
    wanted = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
    if settings.in_process:
        # In one process, more OpenMP threads than that wait for each other: ten times slower on a busy machine.
        wanted |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "OMP_NUM_THREADS": str(settings.threads)}
    ours = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


def _start(settings: EngineSettings) -> object:
    from vllm import EngineArgs, LLMEngine
    from vllm.platforms import current_platform
    from vllm.usage.usage_lib import UsageContext

    if current_platform.device_type != settings.device:
        raise EnvironmentFault(
            f"this build of vLLM computes on {current_platform.device_type or 'nothing here'}, not {settings.device}",
            fix=f"backend=hf, or install vLLM's build for {settings.device}",
            code="E-DEVICE",
        )
    arguments = EngineArgs(**engine_arguments(settings))
    return LLMEngine.from_engine_args(arguments, usage_context=UsageContext.LLM_CLASS)


def _news(output: Any) -> News:
    """From vLLM's RequestOutput."""
    answer = output.outputs[0]
    first = answer.logprobs[0] if answer.logprobs else {}
    log_probs = {token: float(found.logprob) for token, found in first.items()}
    return News(output.request_id, tuple(answer.token_ids), answer.finish_reason, log_probs)


def _fault(what: str, err: Exception, said: str, settings: EngineSettings) -> EnvironmentFault:
    """One line that says why, and what to do. said: what the engine has written."""
    cause = _cause(err, said)
    shown = f"{what}: {cause[:_LONGEST_CAUSE]}"
    if is_out_of_memory(err) or any(sign in cause.lower() for sign in _MEMORY_SIGNS):
        room = "kv_cache_gib" if settings.device == "cpu" else "gpu_memory_utilization"
        fix = f"another backend.options.{room}, a smaller backend.options.max_model_len, or backend=hf"
        return EnvironmentFault(shown, fix=fix, code="E-OOM")
    if "torchvision" in cause:
        fix = "pip uninstall -y torchvision torchaudio torchcodec triton, which do not fit this torch; or backend=hf"
        return EnvironmentFault(shown, fix=fix, code="E-ENGINE")
    return EnvironmentFault(shown, fix="backend=hf", code="E-ENGINE")


def _cause(err: Exception, said: str) -> str:
    """The error in one line; of an engine in another process, what was first raised there."""
    own = " ".join(str(err).split()) or type(err).__name__
    if not any(sign in own for sign in _LOOK_ELSEWHERE):
        return own
    raised = (cause for cause in _RAISED.findall(said) if not any(sign in cause for sign in _LOOK_ELSEWHERE))
    return " ".join(next(raised, own).split())


@cache
def _log() -> IO[bytes]:
    """Where vLLM writes in place of the terminal, for as long as the process lives: its logger holds on to it."""
    return tempfile.TemporaryFile("a+b", prefix="harness-vllm-")


@contextmanager
def _said_to(log: IO[bytes]) -> Iterator[None]:
    """What is written to the terminal goes to a file: by this process, by C++ in it, and by child processes."""
    with ExitStack() as stack:
        for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
            if _is_open(number):
                _flush(stream)
                saved = os.dup(number)
                os.dup2(log.fileno(), number)
                stack.callback(os.close, saved)
                stack.callback(os.dup2, saved, number)
        text = open(log.fileno(), "a", encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115
        stack.callback(text.flush)
        stack.enter_context(redirect_stdout(text))
        stack.enter_context(redirect_stderr(text))
        yield


def _flush(stream: IO[str] | None) -> None:
    if stream is not None:
        stream.flush()


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


@contextmanager
def _random_numbers_kept() -> Iterator[None]:
    """vLLM seeds every generator it knows."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
