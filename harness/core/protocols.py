"""The doors: what a tokenizer, metric, backend, judge, trainer and reporter must be able to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from pydantic import BaseModel, JsonValue

from harness.core.judging import Item, LabelKind, LabelScores, Verdict
from harness.core.licences import Corrected, JudgeCard, Validation
from harness.core.records import AuditRecord, DataRecord, RunResult, SampleRow
from harness.core.specs import BackendSpec, ModelSpec
from harness.core.types import Checkpoint, Failure, FloatArray, Message, Outcome, Request, Sample, Sampling, TokenRow

# Done so far, of how many, and a short live figure ("rouge_l 0.41", "loss 1.32").
Progress = Callable[[int, int, str], None]


class Tokenizer(Protocol):
    """Text to token ids and back, and the model's own chat template."""

    @property
    def eos_id(self) -> int | None: ...
    @property
    def bos_id(self) -> int | None: ...
    @property
    def special_ids(self) -> frozenset[int]: ...
    @property
    def counts_bytes(self) -> bool:
        """Whether its tokens stand for bytes of a model whose own tokens nobody here knows."""
        ...

    @property
    def sha256(self) -> str:
        """Hash of vocabulary, rules and chat template."""
        ...

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Ids of `text`, nothing added around it. special: whether spelled-out control tokens become control ids."""
        ...

    def prefix_ids(self) -> list[int]:
        """What this tokenizer puts before plain text by itself (a BOS, or nothing)."""
        ...

    def decode(self, ids: Sequence[int], *, skip_special: bool) -> str: ...

    def apply_template(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> str:
        """The conversation as the template writes it; HarnessError where the template refuses it."""
        ...


@runtime_checkable
class Metric(Protocol):
    """A small vector of statistics per sample, and a formula on their sum.

    Every interval, paired test and checkpoint comparison works on the statistics alone.
    """

    @property
    def name(self) -> str: ...
    @property
    def signature(self) -> str:
        """Everything that changes the number: variant, tokenizer, normaliser, library and version."""
        ...

    @property
    def higher_is_better(self) -> bool: ...
    @property
    def best(self) -> float:
        """The value that perfect answers get."""
        ...

    @property
    def worst(self) -> float:
        """The value of the worst possible answers, used only to bound what missing samples could do."""
        ...

    def measure(self, samples: Sequence[Sample], completions: Sequence[str]) -> FloatArray:
        """Statistics (N, K), row i of sample i. Rows do not depend on each other."""
        ...

    def value(self, totals: FloatArray) -> FloatArray:
        """The score of summed statistics (..., K) -> (...); nan where it is undefined."""
        ...

    def per_sample(self, statistics: FloatArray) -> FloatArray:
        """A score for each row (N, K) -> (N,), for wins, ties, losses and flips; nan where there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Part:
    """One component of a metric, such as a class's recall: a metric over some of its statistics' columns."""

    metric: Metric
    columns: tuple[int, ...]


@runtime_checkable
class MetricWithParts(Metric, Protocol):
    """A metric whose statistics also tell its components apart; they are reported beside it."""

    def parts(self) -> Sequence[Part]: ...


class RecomputedMetric(Protocol):
    """A metric with no sum behind it (AUROC, most published ones): scored anew on every resample's rows.

    Same results as an additive metric would give, slower; resamples are capped at RECOMPUTED_RESAMPLES.
    """

    @property
    def name(self) -> str: ...
    @property
    def signature(self) -> str: ...
    @property
    def higher_is_better(self) -> bool: ...
    @property
    def best(self) -> float: ...
    @property
    def worst(self) -> float: ...

    def score(self, samples: Sequence[Sample], completions: Sequence[str]) -> float:
        """The score of these rows, which may repeat; nan where it is undefined."""
        ...


RECOMPUTED_RESAMPLES = 1000
AnyMetric: TypeAlias = Metric | RecomputedMetric


@dataclass(frozen=True, slots=True)
class AdapterProof:
    """Evidence that a checkpoint is really on: how far it moves the logits, and that all its keys were used."""

    sha256: str
    max_logit_change: float
    n_keys: int


class Generator(Protocol):
    """What judges ask of a model: text, how likely each of a few labels is, or what it makes of a prompt inside."""

    @property
    def tokenizer(self) -> Tokenizer: ...
    @property
    def context_length(self) -> int:
        """Most tokens a prompt and its completion may have together."""
        ...

    @property
    def identity(self) -> Mapping[str, JsonValue]:
        """What produced the completions: model hash or revision, dtype, device kind, library versions."""
        ...

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[str, Outcome]]:
        """(request id, outcome) for every request, in any order, as they come."""
        ...

    def label_scores(
        self, requests: Sequence[Request], labels: Sequence[tuple[int, ...]]
    ) -> Iterator[tuple[str, LabelScores | Failure]]:
        """(request id, how likely each label is to come next) for every request, in any order.

        labels: token ids of each, none the beginning of another. Of a request's sampling only the seed matters, and
        that only where probabilities have to be sampled. E-BACKEND where a backend can do nothing of the kind.
        """
        ...

    def hidden(self, requests: Sequence[Request]) -> Iterator[tuple[str, FloatArray | Failure]]:
        """(request id, (H,) the last layer's state at the prompt's last token), for judges with a head."""
        ...


class Backend(Generator, Protocol):
    """The only way to get text out of a model."""

    @property
    def trains_in_place(self) -> bool:
        """Whether a trainer may work on `model` between two calls at no cost.

        False for an engine that must give its memory away first: its run trains before it generates anything.
        """
        ...

    @property
    def model(self) -> object:
        """The loaded base model, for a trainer of the same family."""
        ...

    def prove(self, checkpoint: Checkpoint, probes: Sequence[tuple[int, ...]]) -> AdapterProof:
        """Show on a few prompts that the checkpoint changes the logits; EnvironmentFault if it does not."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class Selective(Protocol):
    """A backend that cannot compute everything a trainer can make: it says so before anything is trained."""

    def require_servable(self, trainer_settings: Mapping[str, JsonValue], sampling: Sampling) -> None:
        """HarnessError where checkpoints of such settings, or such decoding, are beyond it."""
        ...


@runtime_checkable
class Metered(Protocol):
    """A backend whose calls cost somebody something: it says beforehand how much."""

    def estimate(
        self, requests: Sequence[Request], scored: Sequence[tuple[Request, Sequence[tuple[int, ...]]]] = ()
    ) -> object:
        """What some requests take at most; its text is shown to people.

        requests: for text. scored: with the labels of which it is asked how likely each is to come next.
        """
        ...


class BackendKind(Protocol):
    """How a backend enters: it can say what a model is without loading it, and open it."""

    def identify(self, model: ModelSpec, options: BackendSpec) -> Mapping[str, JsonValue]:
        """What the model is (hash of its bytes, or its revision), without importing torch."""
        ...

    def create(self, model: ModelSpec, options: BackendSpec, *, thinking: bool) -> Backend:
        """The backend, with its tokenizer; weights are loaded when first needed."""
        ...


class Judge(Protocol):
    """Says how good an answer is, or which of two is better."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def takes(self) -> Literal["single", "pair"]: ...
    @property
    def identity(self) -> Mapping[str, JsonValue]:
        """All that decides a verdict but the model: hashes of prompt and rubric, scale, decoding."""
        ...

    def rate(self, items: Sequence[Item], generator: Generator) -> Iterator[tuple[str, Verdict | Failure]]:
        """(item id, verdict) for every item, in any order. What cannot be read is a Failure, never a score."""
        ...


@dataclass(frozen=True, slots=True)
class JudgeContext:
    """What a judge is made from.

    criterion: what people are asked about, in a few words; rubric: the text they and the judge are given.
    label_kind, scale: what a label says. folder: where relative paths among the options start.
    """

    name: str
    criterion: str
    rubric: str
    label_kind: LabelKind
    scale: int
    options: Mapping[str, JsonValue]
    folder: Path
    seed: int = 0


class JudgeKind(Protocol):
    """How a judge enters: makes one from its configuration; E-OPTION that lists every mistake."""

    def create(self, context: JudgeContext) -> Judge: ...


class CheckpointSink(Protocol):
    """Where a trainer leaves its checkpoints: durable when `save` returns."""

    def saved(self) -> Sequence[Checkpoint]:
        """Complete checkpoints of this run, oldest first."""
        ...

    def save(
        self, checkpoint: Checkpoint, weights: Callable[[Path], None], state: Callable[[Path], None]
    ) -> Checkpoint:
        """Store weights and the state needed to train on. Both callables write files into the folder they get.

        Returns the checkpoint with its final folder and hash. The state of older checkpoints is dropped.
        """
        ...

    def state(self, checkpoint: Checkpoint) -> Path:
        """Folder of the training state saved with the newest checkpoint."""
        ...


@dataclass(frozen=True, slots=True)
class TrainPlan:
    """What training will cost, known before it starts. n_steps is 0 where checkpoints come from elsewhere."""

    n_rows: int
    n_steps: int
    n_tokens: int
    n_target_tokens: int
    checkpoint_steps: tuple[int, ...]


class Trainer(Protocol):
    """Turns rows into checkpoints. Must give the same bytes whether or not it was interrupted."""

    @property
    def spec_type(self) -> type[BaseModel]:
        """Its settings: the keys under `trainer.`"""
        ...

    @property
    def backends(self) -> tuple[str, ...]:
        """Names of the backends whose models it can train; none named: any, because it looks at no model."""
        ...

    def settle(
        self, rows: Sequence[TokenRow], spec: BaseModel, model: Mapping[str, JsonValue]
    ) -> tuple[BaseModel, tuple[str, ...]]:
        """The settings with everything decided that depends on the data or the model, and the reasons for people.

        model: the backend's identity of the base model. A trainer with nothing to decide returns `spec` and no reason.
        """
        ...

    def plan(self, rows: Sequence[TokenRow], spec: BaseModel) -> TrainPlan: ...

    def train(
        self,
        model: object,
        train_rows: Sequence[TokenRow],
        validation_rows: Sequence[TokenRow],
        spec: BaseModel,
        sink: CheckpointSink,
        progress: Progress,
    ) -> Iterator[Checkpoint]:
        """Yield each checkpoint once it is durable, those already in the sink first; stop early on `close()`.

        Between two checkpoints the caller may generate with the model; that must not change what is trained.
        """
        ...


class RunView(Protocol):
    """What a report may read of a finished run, lazily."""

    @property
    def result(self) -> RunResult: ...
    @property
    def spec(self) -> Mapping[str, JsonValue]:
        """The run's settings, nested as in `spec.json`."""
        ...

    @property
    def origins(self) -> Mapping[str, str]:
        """Dotted key -> where its value came from."""
        ...

    @property
    def data(self) -> DataRecord: ...
    @property
    def audit(self) -> AuditRecord: ...
    @property
    def environment(self) -> Mapping[str, JsonValue]: ...
    @property
    def timings(self) -> Sequence[tuple[str, float]]:
        """(stage, seconds), in order."""
        ...

    @property
    def reused(self) -> Sequence[tuple[str, int]]:
        """(stage, answers that an earlier run had and that were not generated again), in order."""
        ...

    @property
    def looks(self) -> Sequence[str]:
        """Ids of the runs beside this one, itself among them, that compared on the same test split."""
        ...

    @property
    def judges(self) -> Sequence[JudgeCard]:
        """What was found out about each judge of the run, before it rated anything that counts."""
        ...

    @property
    def corrected(self) -> Sequence[Corrected]:
        """What people would say of the candidates on validation, by their labels and the judges' verdicts."""
        ...

    @property
    def validation(self) -> Validation | None:
        """What people said of the chosen candidate and its baseline on test; None where nobody was asked."""
        ...

    def samples(self) -> Iterator[SampleRow]:
        """Every test sample, in the data's order."""
        ...


class Reporter(Protocol):
    """Renders a finished run: file name -> bytes. The store writes them."""

    def render(self, view: RunView) -> Mapping[str, bytes]: ...


class CardRenderer(Protocol):
    """Renders a judge's card by itself: file name -> bytes."""

    def render(self, card: JudgeCard) -> Mapping[str, bytes]: ...
