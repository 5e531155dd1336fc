"""Generates with transformers in this process: any causal language model, on CPU or GPU, adapters switched in place.

Batches are packed by length under a token budget and halved when memory runs out. In float32 on a CPU the outputs do
not depend on how requests are batched or ordered. The tokenizer is there at once; weights (and torch) are loaded when
they are first needed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import JsonValue

from harness.backends.scoring import Labels, check_labels, prompt_failure
from harness.core.judging import LabelScores
from harness.core.protocols import AdapterProof, BackendKind
from harness.core.specs import BackendSpec, ModelSpec
from harness.core.types import Checkpoint, Failure, FloatArray, Outcome, Request
from harness.models.context import context_length
from harness.models.location import locate, model_identity, parameter_count
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
        return {**model_identity(folder), **_size(folder), **template}

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
        }

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[str, Outcome]]:
        """(request id, outcome) for every request, batch by batch; longest prompts first within a checkpoint."""
        failures = {r.id: prompt_failure(r, r.sampling.max_tokens, self._context_length) for r in requests}
        yield from _failed(failures)
        if fitting := [request for request in requests if failures[request.id] is None]:
            yield from self._answers(batches(fitting, self._options.tokens_per_batch), self._complete)

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

    def _complete(self, batch: Sequence[Request]) -> list[Outcome]:
        from harness.models.running import complete

        return complete(self.model, self._tokenizer, batch)

    def _scoring(
        self, requests: Sequence[Request], labels: Labels
    ) -> tuple[Iterator[list[Request]], Callable[[Sequence[Request]], list[LabelScores | Failure]]]:
        """Batches, and what answers one."""
        from harness.models import running, scoring

        as_tree = scoring.computes_shared(self.model, requests, labels)
        compute = partial(scoring.score_labels, self.model, labels=labels, as_tree=as_tree)
        found = scoring.batches(requests, labels, self._options.tokens_per_batch, as_tree=as_tree)
        return found, lambda batch: running.computed(self.model, batch, compute)

    def _reading(
        self, requests: Sequence[Request]
    ) -> tuple[Iterator[list[Request]], Callable[[Sequence[Request]], list[FloatArray | Failure]]]:
        """Batches, and what answers one."""
        from harness.models import running, scoring

        as_tree = scoring.computes_shared(self.model, requests, ())
        compute = partial(scoring.last_states, self.model, as_tree=as_tree)
        found = scoring.batches(requests, (), self._options.tokens_per_batch, as_tree=as_tree)
        return found, lambda batch: running.computed(self.model, batch, compute)


def batches(requests: Sequence[Request], tokens_per_batch: int) -> Iterator[list[Request]]:
    """Requests of one checkpoint and similar length together, padded prompts and new tokens under the budget.

    A request that is larger than the budget travels alone. Longest first: memory runs out early or not at all.
    """

    def size(request: Request) -> tuple[int, int]:
        return len(request.ids), request.sampling.max_tokens

    for _, same in groupby(sorted(requests, key=_checkpoint_key), key=_checkpoint_key):
        batch: list[Request] = []
        for request in sorted(same, key=size, reverse=True):
            n_prompt = len((batch or [request])[0].ids)
            n_new = max(other.sampling.max_tokens for other in (*batch, request))
            if batch and (n_prompt + n_new) * (len(batch) + 1) > tokens_per_batch:
                yield batch
                batch = []
            batch.append(request)
        if batch:
            yield batch


def _failed(failures: Mapping[str, Failure | None]) -> Iterator[tuple[str, Failure]]:
    return ((identifier, failure) for identifier, failure in failures.items() if failure is not None)


def _checkpoint_key(request: Request) -> tuple[str, str]:
    checkpoint = request.checkpoint
    return ("", "") if checkpoint is None else (checkpoint.name, checkpoint.sha256)


def _size(folder: Path) -> dict[str, JsonValue]:
    """The number of parameters, where it is known."""
    count = parameter_count(folder)
    return {} if count is None else {"parameters": count}


def _sha256(file: Path) -> str:
    from harness.models.template import read_template

    return hashlib.sha256(read_template(file).encode()).hexdigest()
