"""Specs: what was asked. Text from task.toml and the command line becomes these values, once, and is then trusted."""

from __future__ import annotations

import difflib
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from harness.core.judging import LabelKind

Fraction = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")]


# A metric of this name is a judge's score.
JUDGE_PREFIX = "judge:"


class Spec(BaseModel):
    """Unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)


class SplitSpec(Spec):
    """How one file is cut: by fractions, whole groups together, with a fixed seed."""

    train: Fraction = Field(0.8, description="share of rows trained on")
    validation: Fraction = Field(0.1, description="share that chooses the checkpoint")
    test: Fraction = Field(0.1, description="share that is compared on, once")
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _sums_to_one(self) -> SplitSpec:
        if abs(self.train + self.validation + self.test - 1) > 1e-9:
            raise ValueError("train, validation and test must add up to 1")
        return self


class DataSpec(Spec):
    """Where the rows are and how a row becomes a sample.

    Give `source` (one file, cut by `split`) or `train`, `test` and if possible `validation`
    (without one, the validation share of `split` is cut from train).
    """

    source: str | None = Field(
        None, description="one file with all rows, or hf:owner/name/config@revision#split; cut by [data.split]"
    )
    train: str | None = None
    validation: str | None = None
    test: str | None = None
    prompt: str | None = Field(None, description="template of the user's turn, with {field} or {first|second} holes")
    reference: str | None = Field(None, description="template of the right answer; a hole that is a list gives several")
    messages: str | None = Field(None, description="field with OpenAI messages, if not 'messages'")
    system: str | None = Field(None, description="template of the row's own system instruction")
    id: str = Field("id", description="field with the row's id; made from split and number where absent")
    group: str | None = Field(None, description="field: rows of one value stay in one split and one cluster")
    labels: tuple[str, ...] | None = Field(None, description="the complete set of allowed references")
    format: Literal["auto", "messages", "gemini", "prompt-completion", "alpaca", "sharegpt", "columns"] = Field(
        "auto", description="how rows are written; auto: told from their fields"
    )
    where: dict[str, JsonValue] = Field(
        default_factory=dict,
        description='keep only rows whose fields match: language = "en", quality = ">=4", source = ["a", "b"]',
    )
    train_where: dict[str, JsonValue] = Field(
        default_factory=dict, description="the same, for training rows only, after the cut"
    )
    split: SplitSpec = SplitSpec()
    train_on: Literal["last", "all"] = Field("last", description="which assistant turns carry loss")
    allow_empty: bool = Field(False, description="accept empty references")
    max_record_bytes: int = Field(16 * 2**20, gt=0)

    @model_validator(mode="after")
    def _one_way_in(self) -> DataSpec:
        if (self.source is None) == (self.train is None):
            raise ValueError("give either source, or train and test")
        if self.train is not None and self.test is None:
            raise ValueError('train without test: add test = "file", or give one file as source')
        if (self.prompt is None) != (self.reference is None):
            raise ValueError("prompt and reference templates go together")
        return self


class PromptingSpec(Spec):
    """What stands around the user's turn."""

    system: str | None = Field(None, description="system instruction, where the row has none of its own")
    instruction: str | None = Field(None, description="text put before the last user turn")
    instructions: tuple[str, ...] = Field(
        (), description="other wordings of the instruction, tried untuned on validation: prompting has its fair chance"
    )
    form: Literal["chat", "text"] = Field("chat", description="chat template, or text that the answer follows at once")
    system_role: Literal["system", "user"] = Field("system", description="user: fold it into the first user turn")
    thinking: bool = Field(False, description="what templates with enable_thinking are told")
    shots: tuple[Annotated[int, Field(ge=0, le=64)], ...] = Field((0, 4), description="untuned baselines, by shots")
    draws: int = Field(3, ge=1, le=20, description="sets and orders of shots averaged in a few-shot baseline")
    shot_separator: str = Field("\n\n", description="between shots, in form = text")

    @model_validator(mode="after")
    def _wordings_differ(self) -> PromptingSpec:
        wordings = [self.instruction or "", *self.instructions]
        if len(set(wordings)) < len(wordings) or not all(text.strip() for text in self.instructions):
            raise ValueError("instructions must differ from each other and from instruction, and say something")
        return self

    @model_validator(mode="after")
    def _zero_shot_is_there(self) -> PromptingSpec:
        if 0 not in self.shots:
            raise ValueError("shots must contain 0: the tuned model is compared with the same prompt untuned")
        return self


class GenerationSpec(Spec):
    """How completions are decoded; greedy unless asked otherwise."""

    max_tokens: int = Field(256, ge=1)
    temperature: float = Field(0.0, ge=0)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=0, description="0: no limit")
    repetition_penalty: float = Field(1.0, gt=0)
    stop: tuple[Annotated[str, Field(min_length=1)], ...] = ()


class MetricsSpec(Spec):
    """What is measured. `primary` chooses the checkpoint on validation and is tested once on test."""

    primary: str
    report: tuple[str, ...] = ()
    fallback: str | None = Field(
        None, description="where primary is a judge: the metric that chooses and is compared if the judge may not"
    )
    smallest_effect: float | None = Field(
        None, gt=0, description="what would be worth having, in the primary metric's unit; 2 % of its range by default"
    )
    slices: tuple[str, ...] = Field((), description="metadata fields to report by")
    options: dict[str, dict[str, JsonValue]] = Field(
        default_factory=dict, description="settings by metric name; of metrics in primary and report only"
    )

    @model_validator(mode="after")
    def _options_are_of_these_metrics(self) -> MetricsSpec:
        for name in sorted(self.options.keys() - set(self.names)):
            known = ", ".join(self.names)
            close = difflib.get_close_matches(name.casefold(), self.names, n=1)
            meant = f"did you mean {close[0]}?" if close else f"name it in report, or set options of {known}"
            raise ValueError(f"options for {name!r}, which is not measured (metrics: {known}); {meant}")
        return self

    @model_validator(mode="after")
    def _a_judge_has_a_fallback(self) -> MetricsSpec:
        judged = self.primary.startswith(JUDGE_PREFIX)
        if judged and self.fallback is None:
            raise ValueError(
                f"primary = {self.primary!r} needs a fallback: the metric that decides if the judge may not"
            )
        if self.fallback is not None and self.fallback.startswith(JUDGE_PREFIX):
            raise ValueError("fallback stands in for a judge that may not decide, so it cannot be a judge itself")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Primary first, then what decides in its place, each once."""
        fallback = () if self.fallback is None else (self.fallback,)
        return tuple(dict.fromkeys((self.primary, *fallback, *self.report)))

    @property
    def plain(self) -> dict[str, dict[str, JsonValue]]:
        """The options of each that is not a judge, by name."""
        return {name: self.options.get(name, {}) for name in self.names if not name.startswith(JUDGE_PREFIX)}

    @property
    def judges(self) -> tuple[str, ...]:
        """Names of the judges among the metrics, as they are configured under `judges/`."""
        return tuple(name.removeprefix(JUDGE_PREFIX) for name in self.names if name.startswith(JUDGE_PREFIX))


class TaskSpec(Spec):
    """A task.toml. `[trainer]` and `[generation]` are defaults that the command line may override."""

    name: Name
    summary: str = ""
    licence: str = ""
    data: DataSpec
    prompting: PromptingSpec = PromptingSpec()
    generation: GenerationSpec = GenerationSpec()
    metrics: MetricsSpec
    trainer: dict[str, JsonValue] = Field(default_factory=dict, description="defaults for the trainer's settings")


class ModelSpec(Spec):
    """The base model: an id on the Hub, a folder, `demo` or `demo-small`."""

    name: str = Field("demo", description="Hugging Face id, folder, demo or demo-small")
    revision: str | None = Field(None, description="commit, tag or branch; the resolved commit is recorded")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field("auto", description="auto: bfloat16 on a GPU")
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    quantization: Literal["none", "nf4", "int8"] = Field(
        "none", description="bits of the base in every arm: nf4 or int8 by bitsandbytes, for tuning in less memory"
    )
    template: str | None = Field(None, description="file with a chat template, where the model has none")


class BackendSpec(Spec):
    """What generates."""

    name: str = Field("hf", description="hf, vllm, openai, ...; `harness list backends`; a run's own can be auto")
    tokens_per_batch: int = Field(16_384, ge=1, description="prompt and completion tokens in one batch")
    threads: int | None = Field(None, ge=1, description="CPU threads; part of what makes runs repeatable")
    recording: str | None = Field(None, description="replay: file with recorded completions")
    base_url: str | None = Field(None, description="openai: where the server is, such as http://localhost:8000/v1")
    options: dict[str, JsonValue] = Field(default_factory=dict, description="settings of other backends")


class JudgeSpec(Spec):
    """A judge.toml: a judge model, what it is asked, and the labels it has to answer to."""

    kind: str = Field(description="likert, pass_fail, pairwise, rubric, head, tuned, ...; `harness list judges`")
    criterion: str = Field(min_length=1, description="what is judged, in a few words: what people are asked about")
    label: LabelKind = Field("likert", description="what a label says: likert, pass_fail or pair")
    scale: int = Field(5, ge=2, le=10, description="highest Likert value; the lowest is 1")
    rubric: str = Field("rubric.md", description="file with what people and the judge are told, beside judge.toml")
    labels: str | None = Field(
        None, description="file of labels; labels.jsonl of the judge, else of the task, if there"
    )
    model: ModelSpec | None = Field(None, description="the judge's own model; the run's base model if left out")
    backend: BackendSpec | None = Field(None, description="what runs it; the run's own if left out")
    delta: float = Field(0.1, gt=0, lt=1, description="the largest difference in bias between systems to put up with")
    assume_transport: bool = Field(
        False, description="correct candidates that nobody labelled by labels of others; said wherever it is shown"
    )
    options: dict[str, JsonValue] = Field(default_factory=dict, description="settings of the kind of judge")


class SelectSpec(Spec):
    """How the checkpoint is chosen, and when training stops early."""

    rule: Literal["one_standard_error", "best", "last"] = "one_standard_error"
    patience: int | None = Field(None, ge=1, description="stop after this many checkpoints without a better one")
    race: bool = Field(False, description="leave checkpoints that fall behind on part of validation out of the rest")
    stop_on: Literal["metric", "loss"] = Field("metric", description="what patience watches on validation")
    min_coverage: Fraction = Field(0.95, description="share of samples a candidate must have answered to be chosen")


class RunSpec(Spec):
    """One run, complete: the same RunSpec and the same data and model bytes give the same results."""

    task: TaskSpec
    model: ModelSpec = ModelSpec()
    backend: BackendSpec = BackendSpec()
    trainer_name: str = "lora"
    trainer: dict[str, JsonValue] = Field(default_factory=dict)
    select: SelectSpec = SelectSpec()
    seed: int = Field(0, ge=0, le=2**31 - 1)
    n_resamples: int = Field(10_000, ge=100, description="bootstrap and permutation resamples")
    drop_bad: bool = Field(False, description="leave unreadable rows out, counted, instead of stopping")
