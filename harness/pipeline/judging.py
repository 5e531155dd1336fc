"""A judge as a metric: what it says of an answer, on the human scale, and whether it may decide anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import JsonValue

from harness.autorater.configuration import ConfiguredJudge
from harness.autorater.gate import obstacle
from harness.autorater.licensing import Examined, LicensedJudge, Licensing, fingerprint_of, fitted, license_judge
from harness.autorater.rating import failures_of, rate
from harness.autorater.rehearsal import Rehearsal, rehearsed
from harness.autorater.scores import CachedGenerator
from harness.core.judging import Item, Pair, Single, Verdict, latest, text_hash
from harness.core.licences import JudgeCard
from harness.core.protocols import AnyMetric, Backend, Generator, Progress
from harness.core.records import Selection
from harness.core.specs import JUDGE_PREFIX, RunSpec
from harness.core.types import Completion, FloatArray, Outcome, Sample
from harness.pipeline.select import JudgeRole
from harness.pipeline.stages import Stages
from harness.store import layout
from harness.store.encoding import canonical, fingerprint
from harness.store.scores import ScoreCache

# Resamples of prompts behind a judge's figures: their intervals are wide, and there are many.
MOST_RESAMPLES = 2000


@dataclass(frozen=True)
class JudgeMetric:
    """Mean calibrated score of a judge in [0, 1]: what people would have said, as far as it can tell.

    Made before any model is there; `measure` needs one, see `judged`. spec: of the run that it is a metric of.
    """

    configured: ConfiguredJudge
    spec: RunSpec
    higher_is_better: bool = True
    best: float = 1.0
    worst: float = 0.0

    @property
    def name(self) -> str:
        """judge: and its name."""
        return JUDGE_PREFIX + self.configured.name

    @property
    def signature(self) -> str:
        """Kind and criterion; of which model, and calibrated on what, is known once there is a model."""
        return f"{self.name}|kind:{self.configured.spec.kind}|criterion:{self.configured.spec.criterion}"

    @cached_property
    def backend(self) -> Backend | None:
        """Its own, opened once; None where it asks for no other model than the run's."""
        own, run, kind = self.configured.spec, self.spec, self.configured.backend
        model, options = own.model or run.model, own.backend or run.backend
        if kind is None or (model == run.model and options == run.backend):
            return None
        return kind.create(model, options, thinking=False)

    def rehearsed(self, backend: Backend, samples: Sequence[Sample]) -> Rehearsal:
        """What it asks to be calibrated, and of an answer to each of the samples; their references stand in for these.

        samples: each as often as it is answered.
        """
        takes: Literal["single", "pair"] = "pair" if self.configured.spec.label == "pair" else "single"
        items = (item_of(sample, sample.references[0], takes) for sample in samples)
        named = [replace(item, id=f"answer {n}") for n, item in enumerate(items)]
        return rehearsed(self.configured, backend, self.spec.seed, named)

    def measure(self, samples: Sequence[Sample], completions: Sequence[str]) -> FloatArray:
        """There is no model yet."""
        raise RuntimeError(f"{self.name} was asked before it was calibrated")

    def value(self, totals: FloatArray) -> FloatArray:
        """Mean score."""
        with np.errstate(invalid="ignore", divide="ignore"):
            mean: FloatArray = totals[..., 0] / totals[..., 1]
        return mean

    def per_sample(self, statistics: FloatArray) -> FloatArray:
        """The score of each answer."""
        return statistics[:, 0]


@dataclass(frozen=True)
class JudgedMetric(JudgeMetric):
    """The same with a judge that is fitted, calibrated and graded, and a model to ask."""

    licensed: LicensedJudge = field(kw_only=True)
    generator: Generator = field(kw_only=True)
    stages: Stages = field(kw_only=True)

    @property
    def card(self) -> JudgeCard:
        """What is known of the judge."""
        return self.licensed.card

    @property
    def signature(self) -> str:
        """Everything that changes a score: the judge's fingerprint, and how it was calibrated."""
        card = self.card
        digest = fingerprint(dict(card.licence.fingerprint))[:12]
        return f"{super().signature}|judge:{digest}|labels:{card.n_labels}|map:{card.map_kind}|{card.licence.grade}"

    def measure(self, samples: Sequence[Sample], completions: Sequence[str]) -> FloatArray:
        """Rows (score, 1); nan where the judge has no verdict, which is never a score."""
        items = apart([self.item(sample, text) for sample, text in zip(samples, completions, strict=True)])
        with self.stages.timed(f"{self.name}: {len(items)} answers") as progress:
            verdicts = rate(self.licensed.judge, items, self.generator, progress)
        found = {name: verdict for name, verdict in verdicts.items() if isinstance(verdict, Verdict)}
        if lost := failures_of(verdicts):
            reasons = "; ".join(f"{reason} ({n})" for reason, n in lost.items())
            self.stages.note(f"{self.name}: {sum(lost.values())} of {len(items)} without a verdict: {reasons}")
        scores = self.licensed.scores(found)
        rows: FloatArray = np.array([[scores.get(item.id, np.nan), 1.0] for item in items]).reshape(len(items), 2)
        return rows

    def by_people(self, samples: Sequence[Sample], outcomes: Sequence[Outcome]) -> FloatArray:
        """(N,) mean score that people gave these very answers; nan where nobody judged one."""
        found: dict[str, list[float]] = {}
        for label in latest(self.configured.labels):
            found.setdefault(label.item, []).append(label.score)
        means = {item: float(np.mean(scores)) for item, scores in found.items()}
        return np.array(
            [
                means.get(self.item(sample, outcome.text).id, np.nan) if isinstance(outcome, Completion) else np.nan
                for sample, outcome in zip(samples, outcomes, strict=True)
            ]
        )

    def item(self, sample: Sample, answer: str) -> Item:
        """The answer as the judge and people meet it."""
        return item_of(sample, answer, self.licensed.judge.takes)


def item_of(sample: Sample, answer: str, takes: Literal["single", "pair"]) -> Item:
    """An answer as a judge and people meet it: by itself, or beside the reference."""
    question, cluster = sample.question, text_hash(sample.question)
    if takes == "pair":
        texts = (answer, sample.references[0])
        return Pair(text_hash(question, *texts), cluster, ("", "reference"), question, texts, sample.references)
    return Single(text_hash(question, answer), cluster, "", question, answer, sample.references)


def apart(items: Sequence[Item]) -> list[Item]:
    """The same items, those of one text with different references under names of their own."""
    references: dict[str, tuple[str, ...]] = {}
    return [
        item
        if references.setdefault(item.id, item.references) == item.references
        else replace(item, id=text_hash(item.id, *item.references))
        for item in items
    ]


@dataclass(frozen=True)
class Judged:
    """The run's metrics with their judges ready, what decides first, and what the named judge may do."""

    metrics: tuple[AnyMetric, ...]
    cards: tuple[JudgeCard, ...]
    role: JudgeRole | None


@dataclass(frozen=True)
class Asking:
    """What judges of a run are asked through. backend: opens the run's own, for judges that name no model of theirs."""

    spec: RunSpec
    backend: Callable[[], Backend]
    stages: Stages
    scores: ScoreCache
    licensing: Licensing


def asking(spec: RunSpec, backend: Callable[[], Backend], stages: Stages, runs: Path, task: Path) -> Asking:
    """How the judges of a run are asked. runs: the folder of runs. task: the task's."""
    plain = spec.task.metrics.plain
    licensing = Licensing(runs, task, plain, spec.seed, min(spec.n_resamples, MOST_RESAMPLES), spec.model.name)
    return Asking(spec, backend, stages, ScoreCache(runs), licensing)


def judged(metrics: Sequence[AnyMetric], asking: Asking) -> Judged:
    """Calibrate and grade every judge, and put first what may decide: the judge if licensed to, else the fallback."""
    ready = tuple(_ready(m, asking) if isinstance(m, JudgeMetric) else m for m in metrics)
    cards = tuple(m.card for m in ready if isinstance(m, JudgedMetric))
    primary = ready[0]
    if not isinstance(primary, JudgedMetric):
        return Judged(ready, cards, None)
    grade = primary.card.licence.grade
    role = JudgeRole(primary, grade, primary.by_people)
    if grade == "drive":
        return Judged(ready, cards, role)
    fallback = ready[1]
    return Judged((fallback, *(m for m in ready if m is not fallback)), cards, role)


def _ready(metric: JudgeMetric, asking: Asking) -> JudgedMetric:
    configured, stages = metric.configured, asking.stages
    backend = metric.backend or asking.backend()
    generator = CachedGenerator(backend, asking.scores, stages.folder.folder / layout.label_scores(configured.name))
    with stages.timed(f"{metric.name}: fit") as progress:
        judge = fitted(configured, backend, asking.licensing, progress)
    how = asking.licensing
    inputs: dict[str, JsonValue] = {
        "judge": dict(fingerprint_of(configured, judge, generator)),
        "seed": how.seed,
        "n_resamples": how.n_resamples,
        "metrics": {name: dict(options) for name, options in how.metrics.items()},
        "delta": configured.spec.delta,
    }
    file, held_out = layout.judge_card(configured.name), layout.held_out(configured.name)

    def make(progress: Progress) -> Mapping[str, bytes]:
        found = license_judge(configured, judge, generator, how, progress)
        return {file: canonical(found.card), held_out: canonical(dict(found.held_out))}

    stages.run(f"{metric.name}: calibrate", inputs, make)
    if generator.note is not None:
        stages.note(generator.note)
    found = Examined(stages.folder.load(JudgeCard, file), stages.folder.load(dict[str, float], held_out))
    licensed = LicensedJudge(judge, found)
    return JudgedMetric(configured, metric.spec, licensed=licensed, generator=generator, stages=stages)


def caveats_of(judged_: Judged, selection: Selection) -> Iterator[str]:
    """What must be said beside a conclusion about the judge that the task named: what it did, and why no more."""
    role = judged_.role
    if role is None or not isinstance(role.metric, JudgedMetric):
        return
    name, card, decides = role.metric.name, role.metric.card, judged_.metrics[0].name
    who = "simulated annotators" if card.simulated else "people"
    if role.grade == "drive":
        yield f"{name} decides, as graded on {card.n_labels} labels of {who}; not validated by people on test"
        return
    why = obstacle(card.licence) or "it has no labels"
    if selection.by_people:
        did = f"{who} chose among the {len(selection.shortlist)} checkpoints it kept, by {selection.by_people} prompts"
    elif selection.shortlist:
        did = f"{decides} chose among the {len(selection.shortlist)} checkpoints it kept"
    else:
        did = "it had no say"
    yield f"{name} is graded {role.grade}, so {did}, and {decides} is what is compared: {why}"
