"""What a finished run's arms scored on each test sample they answered, read back from its folder."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from harness import registry
from harness.autorater.configuration import configured_judge
from harness.config import Settings
from harness.core.licences import JudgeCard
from harness.core.protocols import AnyMetric
from harness.core.records import DataRecord, RunResult
from harness.core.specs import JUDGE_PREFIX, RunSpec
from harness.core.types import BoolArray, Completion, FloatArray, Sample
from harness.data import Dataset, read
from harness.metrics.context import MetricContext
from harness.pipeline.arms import untuned_arms
from harness.pipeline.judging import JudgeMetric
from harness.pipeline.outcomes import decode
from harness.store import layout
from harness.store.encoding import parse
from harness.store.run import FinishedRun


@dataclass(frozen=True)
class Finished:
    """A finished run, open for reading. ids: of the test samples, in order."""

    run: FinishedRun
    result: RunResult
    ids: tuple[str, ...]

    @property
    def test_sha256(self) -> str:
        """Hash of the test split that was compared on."""
        return self.run.load(DataRecord, layout.DATA).sha256.get("test", "")

    @property
    def judge(self) -> JudgeCard | None:
        """What is known of the judge that decided; None where a metric did."""
        primary = self.result.primary
        if not primary.startswith(JUDGE_PREFIX):
            return None
        return self.run.load(JudgeCard, layout.judge_card(primary.removeprefix(JUDGE_PREFIX)))


@dataclass(frozen=True)
class ArmScores:
    """Statistics (D, N, K) of the primary metric on test, one layer a draw of shots.

    scored: (N,) whether every draw was answered and could be scored; a judge may have no verdict on an answer.
    """

    ids: tuple[str, ...]
    statistics: FloatArray
    scored: BoolArray


@dataclass(frozen=True)
class Measure:
    """What decided in a task's runs, and its test samples by id."""

    metric: AnyMetric
    samples: dict[str, Sample]


def open_run(run: FinishedRun) -> Finished:
    """The run's result and the ids of its test samples."""
    ids = (json.loads(line)["id"] for line in run.read(layout.SAMPLES).split(b"\n") if line)
    return Finished(run, run.load(RunResult, layout.RESULT), tuple(ids))


def arm_scores(finished: Finished, arm: str) -> ArmScores:
    """One arm's statistics on test by the primary metric, verified as they are read."""
    result = finished.result
    name = f"{layout.evaluation(arm, 'test')}/{layout.STATISTICS}"
    stacked = np.load(io.BytesIO(finished.run.read(name)), allow_pickle=False)
    ends = np.cumsum([0, *finished.run.load(list[int], f"{name}.json")])
    place = result.metrics.index(result.primary)
    draws = [decode(finished.run.read(file)) for file in _outcome_files(finished, arm)]
    answered = [all(isinstance(outcome, Completion) for outcome in row) for row in zip(*draws, strict=True)]
    statistics = stacked[:, :, ends[place] : ends[place + 1]]
    scored = np.array(answered, bool) & np.isfinite(statistics).all(axis=(0, 2))
    return ArmScores(finished.ids, statistics, scored)


def _outcome_files(finished: Finished, arm: str) -> Iterator[str]:
    """Where the outcomes of each of the arm's draws are."""
    spec = parse(RunSpec, finished.run.read(layout.SPEC), name=layout.SPEC)
    untuned = {each.name: [candidate.name for candidate in each.candidates] for each in untuned_arms(spec)}
    for candidate in untuned.get(arm, [arm]):
        yield f"{layout.evaluation(candidate, 'test')}/{layout.OUTCOMES}"


def measure_of(settings: Settings, primary: str) -> Measure:
    """The metric of this name, made as the task's runs made it, and the task's test samples.

    primary: the task's own primary metric, or the fallback that decided in a judge's place.
    """
    task = settings.spec.task
    dataset = read(task, settings.task_folder, drop_bad=settings.spec.drop_bad)
    asked = [name for name in (task.metrics.primary, task.metrics.fallback) if name is not None]
    metrics = [_metric(name, settings, dataset) for name in asked]
    metric = next((metric for metric in metrics if metric.name == primary), metrics[0])
    return Measure(metric, {sample.id: sample for sample in dataset.split("test")})


def _metric(name: str, settings: Settings, dataset: Dataset) -> AnyMetric:
    """A judge's metric as it is before it has a model: its scores are read, not made."""
    folder = settings.task_folder
    if name.startswith(JUDGE_PREFIX):
        return JudgeMetric(configured_judge(name.removeprefix(JUDGE_PREFIX), folder), settings.spec)
    create = cast(Callable[[MetricContext], AnyMetric], registry.load("metrics", name, folder=folder))
    options = settings.spec.task.metrics.options.get(name, {})
    return create(MetricContext(name, dataset.samples, options, folder))


def common_ids(arms: Sequence[ArmScores]) -> tuple[str, ...]:
    """Ids of the samples on which every arm has a score, in the order of the first arm."""
    scored = [{id_ for id_, yes in zip(arm.ids, arm.scored, strict=True) if yes} for arm in arms]
    shared = set.intersection(*scored)
    return tuple(id_ for id_ in arms[0].ids if id_ in shared)


def rows_of(arm: ArmScores, ids: Sequence[str]) -> FloatArray:
    """The arm's statistics on these samples, (D, n, K), in this order."""
    places = {id_: index for index, id_ in enumerate(arm.ids)}
    rows: FloatArray = arm.statistics[:, [places[id_] for id_ in ids]]
    return rows
