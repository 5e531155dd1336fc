"""Generates with transformers in this process: any causal language model, on CPU or GPU, adapters switched in place.

Requests travel with those of their checkpoint, beginning and length, under a token budget that is halved when memory
runs out. In float32 on a CPU the outputs do not depend on how requests are batched or ordered. The tokenizer is there
at once; weights (and torch) are loaded when they are first needed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import JsonValue

from harness.backends.scoring import Labels, check_labels, prompt_failure
from harness.core.judging import LabelScores
from harness.core.protocols import AdapterProof, BackendKind
from harness.core.specs import BackendSpec, ModelSpec
from harness.core.types import Checkpoint, Failure, FloatArray, Outcome, Request
from harness.models.context import context_length
from harness.models.location import locate, model_identity, parameter_count, quantization_identity
from harness.models.tokenizer import HFTokenizer, load_tokenizer

if TYPE_CHECKING:
    from harness.models.loading import LoadedModel

T = TypeVar("T")


class HFKind:
    """How the hf backend enters."""

    def identify(self, model: ModelSpec, options: BackendSpec) -> Mapping[str, JsonValue]:
        """Hash of the model's files or its commit on the Hub, its size, and the chat template given beside it."""
        template = {} if model.template is None else {"template": _sha256(Path(model.template).expanduser())}
        folder = locate(model)
        return {**model_identity(folder), **_size(folder), **quantization_identity(model), **template}

    def create(self, model: ModelSpec, options: BackendSpec, *, thinking: bool) -> HFBackend:
        """The backend of a model. thinking: what chat templates that ask are told."""
        folder = locate(model)
        template = Path(model.template).expanduser() if model.template is not None else None
        return HFBackend(model, options, folder, load_tokenizer(folder, template, thinking=thinking))


backend: BackendKind = HFKind()


class HFBackend:
    """`harness.core.protocols.Backend` over a model folder."""

    trains_in_place = True

    def __init__(self, model: ModelSpec, options: BackendSpec, folder: Path, tokenizer: HFTokenizer) -> None:
        self._spec = model
        self._options = options
        self._folder = folder
        self._tokenizer = tokenizer
        self._context_length, self._context_source = context_length(folder, tokenizer.max_length)
        self._longest_in_place = 0

    @property
    def tokenizer(self) -> HFTokenizer:
        """The model's tokenizer."""
        return self._tokenizer

    @property
    def context_length(self) -> int:
        """Most tokens a prompt and its completion may have together."""
        return self._context_length

    @cached_property
    def model(self) -> LoadedModel:
        """The loaded base model, for generation and for a trainer; the first use loads it."""
        from harness.models.loading import load_model
        from harness.models.running import set_threads

        if self._options.threads is not None:
            set_threads(self._options.threads)
        return load_model(self._spec, self._folder, self._tokenizer)

    @property
    def identity(self) -> Mapping[str, JsonValue]:
        """What produced the completions: model, tokenizer, numbers and libraries; no path, no host."""
        from harness.models.running import device_kind, n_threads

        return {
            "backend": "hf",
            "model": {**self.model.identity, **_size(self._folder)},
            "tokenizer": self._tokenizer.sha256,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "device": device_kind(self.model),
            "threads": n_threads(self.model),
            "context_length": self._context_length,
            "context_source": self._context_source,
            **{name: version(name) for name in ("torch", "transformers", "peft")},
            **self._quantised(),
        }

    def _quantised(self) -> dict[str, JsonValue]:
        """Of a quantised base, who quantised it; in int8, outlier columns depend on who shares a batch."""
        if self._spec.quantization == "none":
            return {}
        batch: dict[str, JsonValue] = (
            {"tokens_per_batch": self._options.tokens_per_batch} if self._spec.quantization == "int8" else {}
        )
        return {"bitsandbytes": version("bitsandbytes"), **batch}

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[str, Outcome]]:
        """(request id, outcome) for every request, as they end; longest prompts first within a checkpoint."""
        failures = {r.id: prompt_failure(r, r.sampling.max_tokens, self._context_length) for r in requests}
        yield from _failed(failures)
        if fitting := [request for request in requests if failures[request.id] is None]:
            yield from self._completed(fitting)

    def label_scores(self, requests: Sequence[Request], labels: Labels) -> Iterator[tuple[str, LabelScores | Failure]]:
        """(request id, log-probabilities) for every request, by one forward pass a batch."""
        check_labels(labels)
        longest = max(map(len, labels))
        failures = {request.id: prompt_failure(request, longest, self._context_length) for request in requests}
        yield from _failed(failures)
        if fitting := [request for request in requests if failures[request.id] is None]:
            yield from self._answers(*self._scoring(fitting, labels))

    def hidden(self, requests: Sequence[Request]) -> Iterator[tuple[str, FloatArray | Failure]]:
        """(request id, what the output layer is given at the prompt's last token) for every request."""
        failures = {request.id: prompt_failure(request, 0, self._context_length) for request in requests}
        yield from _failed(failures)
        if fitting := [request for request in requests if failures[request.id] is None]:
            yield from self._answers(*self._reading(fitting))

    def prove(self, checkpoint: Checkpoint, probes: Sequence[tuple[int, ...]]) -> AdapterProof:
        """Compare logits with and without the checkpoint; E-ADAPTER unless they differ and are finite."""
        from harness.models.running import prove

        return prove(self.model, checkpoint, probes)

    def close(self) -> None:
        """Nothing is held but memory."""

    def _answers(
        self, batches: Iterable[list[Request]], answer: Callable[[Sequence[Request]], list[T]]
    ) -> Iterator[tuple[str, T]]:
        """Batch by batch; the base is on again afterwards."""
        try:
            for batch in batches:
                yield from zip((request.id for request in batch), answer(batch), strict=True)
        finally:
            self.model.switch.activate(None)

    def _completed(self, requests: Sequence[Request]) -> Iterator[tuple[str, Outcome]]:
        """Pool by pool; the base is on again afterwards."""
        from harness.models.batching import pools, sides
        from harness.models.rotary import switches_at
        from harness.models.running import Engine

        in_place = self._writes_in_place(max(len(r.ids) + r.sampling.max_tokens for r in requests))
        engine = Engine(self.model, self._tokenizer, in_place=in_place)
        try:
            for side in sides(requests, switches_at(self.model.model)):
                for pool in pools(side, self._options.tokens_per_batch, shares=in_place):
                    yield from engine.complete(pool)
        finally:
            self.model.switch.activate(None)

    def _writes_in_place(self, longest: int) -> bool:
        """Whether rows of this length are written in place; tried again only for longer ones than ever."""
        from harness.models.cache import writes_in_place

        if longest > self._longest_in_place:
            self.model.switch.activate(None)
            if not writes_in_place(self.model.model, self.model.device, longest):
                return False
            self._longest_in_place = longest
        return True

    def _scoring(
        self, requests: Sequence[Request], labels: Labels
    ) -> tuple[Iterator[list[Request]], Callable[[Sequence[Request]], list[LabelScores | Failure]]]:
        """Batches, and what answers one."""
        from harness.models import running, scoring

        as_tree = scoring.computes_shared(self.model, requests, labels)
        compute = partial(scoring.score_labels, self.model, labels=labels, as_tree=as_tree)
        return self._batches(requests, labels, as_tree), lambda batch: running.computed(self.model, batch, compute)

    def _reading(
        self, requests: Sequence[Request]
    ) -> tuple[Iterator[list[Request]], Callable[[Sequence[Request]], list[FloatArray | Failure]]]:
        """Batches, and what answers one."""
        from harness.models import running, scoring

        as_tree = scoring.computes_shared(self.model, requests, ())
        compute = partial(scoring.last_states, self.model, as_tree=as_tree)
        return self._batches(requests, (), as_tree), lambda batch: running.computed(self.model, batch, compute)

    def _batches(self, requests: Sequence[Request], labels: Labels, as_tree: bool) -> Iterator[list[Request]]:
        from harness.models.rotary import switches_at
        from harness.models.scoring import batches

        switch = switches_at(self.model.model)
        return batches(requests, labels, self._options.tokens_per_batch, as_tree=as_tree, switch=switch)


def _failed(failures: Mapping[str, Failure | None]) -> Iterator[tuple[str, Failure]]:
    return ((identifier, failure) for identifier, failure in failures.items() if failure is not None)


def _size(folder: Path) -> dict[str, JsonValue]:
    """The number of parameters, where it is known."""
    count = parameter_count(folder)
    return {} if count is None else {"parameters": count}


def _sha256(file: Path) -> str:
    from harness.models.template import read_template

    return hashlib.sha256(read_template(file).encode()).hexdigest()
