"""LoRA-tuned on people's labels by the harness's own trainer: an adapter a fold, each blind to that fold's prompts.

The input is the judge's prompt, the target one label token, and only that token carries loss. Every annotator's label
is a row of its own, which is cross-entropy with the annotators' histogram. A prompt that people labelled is rated by
the adapter that never saw it, any other prompt by the mean of all.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Literal, cast

from pydantic import BaseModel, Field, JsonValue, ValidationError

from harness import registry
from harness.core.errors import HarnessError
from harness.core.judging import Item, Label, LabelScores, Pair, Verdict
from harness.core.protocols import Backend, Generator, JudgeContext, JudgeKind, Progress, Trainer
from harness.core.types import Checkpoint, Failure, Request, Sampling, TokenRow
from harness.data.display import escape
from harness.stats.calibration import folds_of
from harness.store.checkpoints import Checkpoints
from harness.store.encoding import fingerprint
from judges.asking import Expected, PromptOptions, Question, base_identity, expected, frame_of, pairs, singles
from judges.likert import likert_question
from judges.options import named_in_options, option_error, parse_options
from judges.pairwise import pair_question
from judges.pass_fail import yes_no_question
from judges.prompt import Frame, identity_hash, json_string, nonce_of, prompt_text
from judges.rendering import JudgeRenderer
from judges.tuning_rows import Example, examples_of, held_out_prompts
from judges.verdicts import pair_verdict, single_verdict

KIND = "tuned"
VERSION = "tuned:1"
FEWEST_PROMPTS = 10
# Prompts are made and asked this many at a time: a judged run may have 100,000 items.
_CHUNK = 1024
_TRAINER: Mapping[str, JsonValue] = {"epochs": 4, "lr": 1e-3, "rank": 16, "alpha": 32, "dropout": 0.0}


class Options(PromptOptions):
    """What a tuned judge can be told beyond what every prompt has."""

    instructed: bool = Field(
        False, description="show criterion, rubric and question as prompted judges do; labels teach them without"
    )
    folds: int = Field(5, ge=2, le=20, description="adapters, each trained without one part of the prompts")
    negatives: float = Field(
        0.3, ge=0, le=2, description="known bad answers (empty, cut, of another question, orders) for each label"
    )
    dressed: float = Field(
        0.3, ge=0, le=2, description="labelled answers in another layout, boasting or said twice, for each label"
    )
    held_out: float = Field(0.15, gt=0, lt=0.5, description="share of a training part's prompts that choose the epoch")
    trainer_name: str = Field("lora", description="`harness list trainers`")
    trainer: dict[str, JsonValue] = Field(default_factory=lambda: dict(_TRAINER), description="settings of the trainer")


@dataclass(frozen=True)
class TunedJudge:
    """Not yet fitted it cannot rate; `fit` gives the judge that can.

    adapters: one for each fold; none before `fit`. fold_of: the fold of each labelled prompt, by its cluster.
    """

    context: JudgeContext
    options: Options
    adapters: tuple[Checkpoint, ...] = ()
    fold_of: Mapping[str, int] | None = None

    kind = KIND

    @property
    def name(self) -> str:
        """The judge's own name."""
        return self.context.name

    @property
    def takes(self) -> Literal["single", "pair"]:
        """What the labels are about."""
        return "pair" if self.context.label_kind == "pair" else "single"

    @property
    def uses_references(self) -> bool:
        """Whether it is shown the right answers."""
        return self.options.references

    @property
    def identity(self) -> Mapping[str, JsonValue]:
        """All that decides a verdict but the base model: the prompt, and the adapters by their hashes."""
        return {**self._untuned_identity, "adapters": [adapter.sha256 for adapter in self.adapters]}

    def require(self, labels: Sequence[Label], backend: str) -> None:
        """What `fit` will refuse, before there is a model: E-TUNING for a backend that cannot train, E-LABELS.

        Without any labels there is nothing to fit.
        """
        if labels:
            _require_trainable(self._trainer(), self.options.trainer_name, backend)
            _require_prompts({label.cluster for label in labels if label.round != "final"})

    def fit(self, labels: Sequence[Label], backend: Backend, folder: Path, progress: Progress) -> TunedJudge:
        """The judge that these labels teach; adapters are kept under `folder` and not trained again.

        HarnessError E-LABELS for labels of too few prompts, E-TUNING where the backend's model cannot be trained.
        """
        trainer = self._trainer()
        _require_trainable(trainer, self.options.trainer_name, str(backend.identity.get("backend")))
        used = tuple(sorted((label for label in labels if label.round != "final"), key=lambda label: label.id))
        clusters = tuple(sorted({label.cluster for label in used}))
        _require_prompts(clusters)
        folds = folds_of(clusters, n_folds=self.options.folds, seed=self.context.seed)
        fold_of = {cluster: int(fold) for cluster, fold in zip(clusters, folds, strict=True)}
        training = _Training(self, trainer, backend, folder, used, fold_of, progress)
        n_folds = max(fold_of.values()) + 1
        return replace(self, adapters=tuple(training.adapter(k, n_folds) for k in range(n_folds)), fold_of=fold_of)

    def rate(self, items: Sequence[Item], generator: Generator) -> Iterator[tuple[str, Verdict | Failure]]:
        """(item id, verdict), in the items' order; HarnessError E-UNTUNED before `fit`."""
        if self.fold_of is None:
            raise HarnessError(
                f"judge {escape(self.name)!r} has not been tuned yet",
                fix="harness judge tune; a run that uses it does so by itself",
                code="E-UNTUNED",
            )
        if not items:
            return
        if self.takes == "single":
            for item, found in zip(items, self._ask(singles(items), generator), strict=True):
                yield item.id, found if isinstance(found, Failure) else single_verdict(found)
            return
        shown = [each for item in pairs(items) for each in (item, item.swapped)]
        answers = self._ask(shown, generator)
        for item, forth, back in zip(items, answers, answers, strict=True):
            yield item.id, _of_both(forth, back)

    def prompt(self, item: Item) -> str:
        """The words that the model is given for an item."""
        frame = frame_of(self.context, self.options, identity_hash(self._untuned_identity))
        if self.options.instructed:
            return prompt_text(frame, item, self.question.closing)
        return _brief_text(frame, item)

    @property
    def question(self) -> Question:
        """The labels, and what each is worth."""
        if self.context.label_kind == "pair":
            return pair_question()
        if self.context.label_kind == "pass_fail":
            return yes_no_question("Does the answer meet the criterion?")
        return likert_question(self.context.scale)

    def _trainer(self) -> Trainer:
        return cast(Trainer, registry.load("trainers", self.options.trainer_name, folder=self.context.folder))

    @property
    def _untuned_identity(self) -> dict[str, JsonValue]:
        own: dict[str, JsonValue] = {"tuned": VERSION, "label": self.context.label_kind, "scale": self.context.scale}
        options = self.options.model_dump(mode="json")
        return {**base_identity(self.context, self.options), **own, "options": options}

    def _ask(self, items: Sequence[Item], generator: Generator) -> Iterator[Expected | Failure]:
        """What the model expects of each item: of a labelled prompt by the one adapter that never saw it."""
        renderer = JudgeRenderer(generator.tokenizer)
        labels = renderer.label_ids(self.question.labels)
        for start in range(0, len(items), _CHUNK):
            chunk = items[start : start + _CHUNK]
            found = self._scores(chunk, generator, renderer, labels)
            for row, item in enumerate(chunk):
                yield _mean([found[f"{row}/{fold}"] for fold in self._folds(item)], self.question.values)

    def _scores(
        self, items: Sequence[Item], generator: Generator, renderer: JudgeRenderer, labels: Sequence[tuple[int, ...]]
    ) -> dict[str, LabelScores | Failure]:
        """Of each item's place and each of its folds, as "place/fold"."""
        sampling = Sampling(max_tokens=max(map(len, labels)), seed=self.context.seed)
        requests: list[Request] = []
        found: dict[str, LabelScores | Failure] = {}
        for row, item in enumerate(items):
            prompt = _prompt_ids(renderer, self.prompt(item))
            for fold in self._folds(item):
                if isinstance(prompt, Failure):
                    found[f"{row}/{fold}"] = prompt
                else:
                    requests.append(Request(f"{row}/{fold}", prompt, sampling, (), self.adapters[fold]))
        return {**found, **dict(generator.label_scores(requests, labels))} if requests else found

    def _folds(self, item: Item) -> Sequence[int]:
        assert self.fold_of is not None
        own = self.fold_of.get(item.cluster)
        return range(len(self.adapters)) if own is None else (own,)


@dataclass(frozen=True)
class _Training:
    """All adapters of one judge: what they are trained from, and where they are kept."""

    judge: TunedJudge
    trainer: Trainer
    backend: Backend
    folder: Path
    labels: tuple[Label, ...]
    fold_of: Mapping[str, int]
    progress: Progress

    def adapter(self, fold: int, n_folds: int) -> Checkpoint:
        """The adapter of a fold: of its checkpoints, the best on prompts held out of its own training part."""
        known = [label for label in self.labels if self.fold_of[label.cluster] != fold]
        held = held_out_prompts(known, share=self.judge.options.held_out, seed=self.judge.context.seed)
        options = self.judge.options
        examples = examples_of(
            [label for label in known if label.cluster not in held],
            negatives=options.negatives,
            dressed=options.dressed,
            seed=self.judge.context.seed,
        )
        rows = self._rows(examples)
        validation = self._rows(_plain(label for label in known if label.cluster in held))
        spec, _ = self.trainer.settle(rows, self._spec(), self.backend.identity)
        key = fingerprint(
            {"model": self._model, "rows": _hash(rows), "validation": _hash(validation), **_settings(spec)}
        )
        sink = Checkpoints(self.folder / key[:32], key)
        last = self.trainer.plan(rows, spec).checkpoint_steps[-1]
        done = list(sink.finished())
        if not done or done[-1].step < last:
            progress = _told(self.progress, fold, n_folds)
            done = list(self.trainer.train(self.backend.model, rows, validation, spec, sink, progress))
        sink.drop_state()
        return min(done, key=lambda checkpoint: (checkpoint.validation_loss or 0.0, checkpoint.step))

    @property
    def _model(self) -> dict[str, JsonValue]:
        """What is trained; threads and versions of libraries move no more than the last bits."""
        names = ("backend", "model", "tokenizer", "dtype")
        return {name: value for name, value in self.backend.identity.items() if name in names}

    def _spec(self) -> BaseModel:
        settings = {"seed": self.judge.context.seed, **self.judge.options.trainer}
        return _typed_settings(self.judge.context, self.trainer, settings)

    def _rows(self, examples: Sequence[Example]) -> tuple[TokenRow, ...]:
        """Training rows: the judge's prompt and one label token, which alone carries loss."""
        renderer = JudgeRenderer(self.backend.tokenizer)
        labels = renderer.label_ids(self.judge.question.labels)
        rows = []
        for number, example in enumerate(examples):
            prompt = _prompt_ids(renderer, self.judge.prompt(example.item))
            target = labels[_label_number(self.judge.question, example.score)]
            room = self.backend.context_length
            if not isinstance(prompt, Failure) and len(prompt) + len(target) <= room:
                loss = (*(False for _ in prompt), *(True for _ in target))
                rows.append(TokenRow(f"{example.id}/{number}", (*prompt, *target), loss))
        return tuple(rows)


def _brief_text(frame: Frame, item: Item) -> str:
    """The texts alone, each a JSON string on a line behind a mark that no text can spell."""
    answers = item.answers if isinstance(item, Pair) else (item.answer,)
    named = [("question", item.question)]
    named += [("reference", text) for text in item.references[:1]] if frame.references else []
    named += [("answer" if len(answers) == 1 else f"answer {'AB'[place]}", text) for place, text in enumerate(answers)]
    strings = [(name, json_string(text[: frame.max_characters])) for name, text in named]
    nonce = nonce_of(json.dumps([frame.judge, *strings]), [string for _, string in strings])
    return "\n".join(f"{nonce} {name}: {string}" for name, string in strings)


def _prompt_ids(renderer: JudgeRenderer, text: str) -> tuple[int, ...] | Failure:
    try:
        return renderer.prompt_ids(text)
    except HarnessError as err:
        if err.code != "E-SPECIAL-IN-TEXT":
            raise
        return Failure("judge", "the tokenizer would make control tokens of the text")


def _plain(labels: Iterable[Label]) -> list[Example]:
    return examples_of(tuple(labels), negatives=0, dressed=0, seed=0)


def _label_number(question: Question, score: float) -> int:
    """The label that is worth this score."""
    return min(range(len(question.values)), key=lambda place: abs(question.values[place] - score))


def _mean(found: Sequence[LabelScores | Failure], values: Sequence[float]) -> Expected | Failure:
    """The mean of several adapters' distributions; a Failure where one of them failed."""
    means: list[Expected] = []
    for scores in found:
        each = scores if isinstance(scores, Failure) else expected(scores, values)
        if isinstance(each, Failure):
            return each
        means.append(each)
    mean = fmean(each.mean for each in means)
    # Of a mixture: the mean variance, and how far the parts lie from each other.
    variance = fmean(each.variance + (each.mean - mean) ** 2 for each in means)
    return Expected(mean, variance, fmean(each.mass for each in means))


def _of_both(forth: Expected | Failure, back: Expected | Failure) -> Verdict | Failure:
    """back: asked with the answers swapped, so that its values are the second answer's."""
    if isinstance(forth, Failure):
        return forth
    return back if isinstance(back, Failure) else pair_verdict(forth, replace(back, mean=1 - back.mean))


def _typed_settings(context: JudgeContext, trainer: Trainer, settings: Mapping[str, JsonValue]) -> BaseModel:
    try:
        return trainer.spec_type.model_validate(dict(settings))
    except ValidationError as err:
        details = [
            escape(f"trainer.{'.'.join(map(str, each['loc']))}: {each['msg'].removeprefix('Value error, ')}", 200)
            for each in err.errors()
        ]
        known = ", ".join(trainer.spec_type.model_fields)
        fix = f"correct [options.trainer]; it knows: {known}"
        raise option_error(context, "its trainer's settings are wrong", fix=fix, details=details) from err


def _require_prompts(clusters: Collection[str]) -> None:
    if len(clusters) < FEWEST_PROMPTS:
        raise HarnessError(
            f"a judge is tuned on labels of {FEWEST_PROMPTS} prompts or more, and these are of {len(clusters)}",
            fix="label answers to more prompts (harness label), or use a judge of another kind",
            code="E-LABELS",
        )


def _require_trainable(trainer: Trainer, name: str, backend: str) -> None:
    if trainer.backends and backend not in trainer.backends:
        raise HarnessError(
            f"the trainer {name} cannot tune a judge whose model runs on the backend {backend}",
            fix=f"let a judge of kind tuned run on {' or '.join(trainer.backends)}, or choose another kind of judge",
            code="E-TUNING",
        )


def _settings(spec: BaseModel) -> dict[str, JsonValue]:
    return {"trainer": cast(JsonValue, spec.model_dump(mode="json"))}


def _hash(rows: Sequence[TokenRow]) -> str:
    return fingerprint({"rows": [[list(row.ids), list(row.loss)] for row in rows]})


def _told(progress: Progress, fold: int, n_folds: int) -> Progress:
    """Progress of one fold as progress of all."""
    return lambda done, total, live: progress(fold * total + done, n_folds * total, live)


class TunedKind:
    """How it enters."""

    def create(self, context: JudgeContext) -> TunedJudge:
        """An untuned judge of single answers or of pairs, as the labels are; E-OPTION for wrong settings."""
        options = parse_options(context, Options)
        trainer = cast(Trainer, named_in_options(context, "trainers", options.trainer_name))
        _typed_settings(context, trainer, {"seed": context.seed, **options.trainer})
        return TunedJudge(context, options)


kind: JudgeKind = TunedKind()
