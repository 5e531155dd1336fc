"""From a configured judge to what it may do: fitted if it learns, calibrated, probed, graded, its canaries heard."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Literal, Protocol, cast, runtime_checkable

import numpy as np
from pydantic import JsonValue

from harness import registry
from harness.autorater.calibrate import calibrate, predict
from harness.autorater.canaries import canaries, middle_of, verdict_on_canaries
from harness.autorater.configuration import ConfiguredJudge
from harness.autorater.controls import not_compared, reason_of
from harness.autorater.gate import CANARIES, reasons_for
from harness.autorater.probes import run_probes
from harness.autorater.rating import rate
from harness.autorater.scores import CachedGenerator
from harness.core.errors import BackendUnreachable, EnvironmentFault, HarnessError
from harness.core.judging import Item, Label, Verdict, latest
from harness.core.licences import GateLine, Grade, JudgeCard, Licence
from harness.core.protocols import Backend, Generator, Judge, JudgeContext, JudgeKind, Progress
from harness.core.types import CHECKPOINT_PREFIX, Failure
from harness.store.encoding import canonical, fingerprint, sha256

N_CANARIES = 12
# How the candidates of a run are named: untuned ones and checkpoints.
OF_A_RUN = ("base-", CHECKPOINT_PREFIX)
# Below the folder of runs: what judges that learn have learnt. May be deleted at any time.
FITTED = ".cache/judges"


@runtime_checkable
class LearningJudge(Protocol):
    """A judge that is trained on labels before it can rate."""

    def fit(self, labels: Sequence[Label], backend: Backend, folder: Path, progress: Progress) -> Judge:
        """The judge that can rate; what it learnt is kept in `folder` and not learnt again."""
        ...


@dataclass(frozen=True)
class Licensing:
    """Where and how carefully judges are looked at.

    runs: the folder of runs, which keeps what judges learn. model: name of the run's base model.
    metrics: the metrics that the judge must beat, with their options. task: the task's folder, where such a metric or
    what its options name may lie.
    """

    runs: Path
    task: Path
    metrics: Mapping[str, Mapping[str, JsonValue]]
    seed: int
    n_resamples: int
    model: str
    probing: bool = True


@dataclass(frozen=True)
class Examined:
    """What came of holding a judge to its labels.

    held_out: item -> score of what people labelled, by a calibration that did not see its prompt.
    """

    card: JudgeCard
    held_out: Mapping[str, float]


@dataclass(frozen=True)
class LicensedJudge:
    """A judge that can rate, and all that is known of it."""

    judge: Judge
    examined: Examined

    @property
    def card(self) -> JudgeCard:
        """What was found out about it."""
        return self.examined.card

    def scores(self, verdicts: Mapping[str, Verdict]) -> dict[str, float]:
        """Item -> score, on the human scale where labels calibrated the judge, else as the judge has it.

        An answer that people labelled is scored by a calibration that did not see its prompt, as any other is.
        """
        if not self.card.maps:
            return {item: verdict.score for item, verdict in verdicts.items() if math.isfinite(verdict.score)}
        found = dict(zip(verdicts, map(float, predict(self.card, list(verdicts.values()))), strict=True))
        held_out = self.examined.held_out
        return found | {item: held_out[item] for item in found if item in held_out}


@dataclass(frozen=True)
class Untaught:
    """A judge that learns, with nothing to learn from: it has no verdict on anything."""

    judge: Judge
    why: str

    @property
    def name(self) -> str:
        """The judge's."""
        return self.judge.name

    @property
    def kind(self) -> str:
        """The judge's."""
        return self.judge.kind

    @property
    def takes(self) -> Literal["single", "pair"]:
        """The judge's."""
        return self.judge.takes

    @property
    def identity(self) -> Mapping[str, JsonValue]:
        """The judge's."""
        return self.judge.identity

    def rate(self, items: Sequence[Item], generator: Generator) -> Iterator[tuple[str, Verdict | Failure]]:
        """A failure for every item."""
        return ((item.id, Failure("judge", self.why)) for item in items)


def fitted(configured: ConfiguredJudge, backend: Backend, how: Licensing, progress: Progress) -> Judge:
    """The judge, trained first if it is one that learns."""
    judge = configured.make(how.seed)
    if not isinstance(judge, LearningJudge):
        return judge
    if not configured.labels:
        return Untaught(judge, "it has no labels to learn from")
    return judge.fit(latest(configured.labels), backend, how.runs / FITTED, progress)


def license_judge(
    configured: ConfiguredJudge, judge: Judge, generator: Generator, how: Licensing, progress: Progress
) -> Examined:
    """Everything that can be found out about a judge from its labels: its card, with the licence."""
    labels = latest(configured.labels)
    controls, missing = _controls(configured, how)
    found = calibrate(
        judge,
        configured.labels,
        generator,
        controls=controls,
        probes=run_probes if how.probing else (),
        delta=configured.spec.delta,
        fingerprint=fingerprint_of(configured, judge, generator),
        model=_model_name(generator),
        n_resamples=how.n_resamples,
        seed=how.seed,
        progress=progress,
        own_systems=_own_systems(how, configured, labels),
        criterion=configured.spec.criterion,
        label_kind=configured.spec.label,
    )
    absent = missing if found.card.maps else ()
    notes = (*found.card.notes, *absent, *configured.notes, *_same_model(how, configured, judge, generator))
    card = replace(found.card, judge=configured.name, notes=notes, sd_difference=sd_of_differences(labels))
    return Examined(_heard(card, judge, labels, generator, how) if card.maps else card, found.held_out)


def fingerprint_of(configured: ConfiguredJudge, judge: Judge, generator: Generator) -> dict[str, str]:
    """What a licence is for, part by part: where one changes, it has lapsed."""
    return {
        "model": fingerprint(_model(generator)),
        "prompt": fingerprint({"kind": judge.kind, "code": configured.code, **judge.identity}),
        **_parts(configured),
    }


def lapsed(licence: Licence, now: Mapping[str, str]) -> tuple[str, ...]:
    """The parts in which a judge is no longer the one that was licensed; empty if the licence holds."""
    return tuple(part for part in now if licence.fingerprint.get(part) != now[part])


def lapsed_parts(configured: ConfiguredJudge, licence: Licence) -> tuple[str, ...]:
    """The same without a model: which of settings, rubric and labels changed. The model is compared in every run."""
    now = _parts(configured)
    return tuple(part for part in now if licence.fingerprint.get(part) != now[part])


def _parts(configured: ConfiguredJudge) -> dict[str, str]:
    labels = (canonical(label, indent=None) for label in configured.labels)
    return {
        "rubric": sha256(configured.rubric.encode()),
        "settings": fingerprint(configured.spec.model_dump(mode="json")),
        "labels": sha256(b"".join(labels)),
    }


def sd_of_differences(labels: Sequence[Label]) -> float | None:
    """Standard deviation, by people, of the difference between two systems' answers to one prompt.

    None where too few prompts have labels of two systems. Of pairs, that of their scores, which are differences.
    """
    if not labels:
        return None
    if labels[0].kind == "pair":
        scores = [label.score for label in labels]
        return float(np.std(scores, ddof=1)) if len(scores) > 1 else None
    found: dict[str, dict[str, list[float]]] = {}
    for label in labels:
        found.setdefault(label.cluster, {}).setdefault(label.systems[0], []).append(label.score)
    differences = [
        float(np.mean(one)) - float(np.mean(other))
        for systems in found.values()
        for one, other in combinations(systems.values(), 2)
    ]
    return float(np.std(differences, ddof=1)) if len(differences) > 2 else None


def _own_systems(how: Licensing, configured: ConfiguredJudge, labels: Sequence[Label]) -> tuple[str, ...]:
    """Systems whose answers come from the judge's own model: a run's, where the judge is the run's base model."""
    if configured.spec.model is not None and configured.spec.model.name != how.model:
        return ()
    systems = {system for label in labels for system in label.systems}
    return tuple(sorted(system for system in systems if system.startswith(OF_A_RUN)))


def _same_model(how: Licensing, configured: ConfiguredJudge, judge: Judge, generator: Generator) -> Iterator[str]:
    """A note where the judge and those that it judges are one model; none for a judge that asked no model."""
    own = _own_systems(how, configured, configured.labels)
    if not own or (isinstance(generator, CachedGenerator) and not generator.n_asked):
        return
    taught = "tuned on labels" if isinstance(judge, LearningJudge) else "untuned"
    others = {system for label in configured.labels for system in label.systems} - set(own)
    unknown = "" if others else "; whether it prefers its own answers cannot be seen among nothing but its own"
    yield f"the judge is the same model as the candidates, {taught}{unknown}"


def _model(generator: Generator) -> dict[str, JsonValue]:
    """The model behind a judge, without what changes from machine to machine and moves no verdict."""
    passing = ("threads", "context_source")
    return {key: value for key, value in generator.identity.items() if key not in passing}


def _model_name(generator: Generator) -> str:
    model = generator.identity.get("model")
    name = model.get("name") if isinstance(model, dict) else model
    return str(name) if name else fingerprint(_model(generator))[:12]


def _controls(configured: ConfiguredJudge, how: Licensing) -> tuple[dict[str, Judge], tuple[str, ...]]:
    """Judges that anybody could have: one that is no better is not worth its price. And notes of those that are not."""
    made = {"length": _control(configured, how, "length", "length", {})}
    notes: list[str] = []
    for name, options in how.metrics.items():
        try:
            made[name] = _control(configured, how, name, "reference", {"metric": name, "options": dict(options)})
        except (EnvironmentFault, BackendUnreachable):
            raise
        except HarnessError as err:
            notes.append(not_compared(name, reason_of(err)))
    return made, tuple(notes)


def _control(
    configured: ConfiguredJudge, how: Licensing, name: str, kind: str, options: Mapping[str, JsonValue]
) -> Judge:
    spec = configured.spec
    context = JudgeContext(name, spec.criterion, "", spec.label, spec.scale, options, how.task)
    return cast(JudgeKind, registry.load("judges", kind)).create(context)


def _heard(card: JudgeCard, judge: Judge, labels: Sequence[Label], generator: Generator, how: Licensing) -> JudgeCard:
    """The card after answers that are known to be bad were put among the others."""
    from harness.autorater.rating import items_of

    items = items_of(labels)
    real_N, false_N = (
        predict(card, [v for v in rate(judge, asked, generator, _silent).values() if isinstance(v, Verdict)])
        for asked in (items, canaries(items, n=N_CANARIES, seed=how.seed))
    )
    if not len(real_N):
        return card
    threshold = 0.5 if judge.takes == "pair" else middle_of(real_N)
    why = verdict_on_canaries(false_N, threshold=threshold)
    if why is None:
        return card
    grade: Grade = card.licence.grade if card.licence.grade == "uncalibrated" else "advisory"
    lines = card.licence.lines
    reasons = (f"{why[0].upper()}{why[1:]}.", *reasons_for(grade, lines))
    lines = (*lines, GateLine("G4", CANARIES, "fail", why))
    return replace(card, licence=replace(card.licence, grade=grade, lines=lines, reasons=reasons))


def _silent(done: int, total: int, live: str) -> None:
    """No progress for what takes a moment."""
