"""What every task folder promises: it loads, its rows are sound, and its metrics find its references perfect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from harness import registry
from harness.autorater.configuration import ConfiguredJudge, configured_judge
from harness.config import Settings, resolve
from harness.core.errors import HarnessError
from harness.core.protocols import BackendKind
from harness.core.specs import JUDGE_PREFIX, BackendSpec
from harness.pipeline.check import check_metrics
from harness.pipeline.prepare import MetricMaker, Plugins, Prepared, describe, identify, prepare
from harness.testing.promises import ConformanceError, require, shown

# No model is needed to know whether a task is sound; `harness check` knows its token lengths besides.
_WITHOUT_MODEL = ("model=fake", "backend=fake", "trainer=fake")


def check_task(folder: Path, *, words: Sequence[str] = (), smallest_split: int = 1) -> None:
    """ConformanceError unless the task folder keeps every promise.

    words: further settings as typed after `harness check`. smallest_split: rows that train and test must have.
    """
    prepared = _prepare(folder, words)
    spec = prepared.spec.task
    told = bool(spec.summary.strip() and spec.licence.strip())
    require(told, "a task says what it is and under which licence", f"{spec.summary!r}, {spec.licence!r}")
    require((folder / "README.md").is_file(), "a task has a data card", f"{folder.name} has no README.md")
    fatal = [line for finding in prepared.audit.fatal for line in describe(finding)]
    require(not fatal, "every row can be read and used", "; ".join(fatal[:3]))
    for split in ("train", "test"):
        n = prepared.dataset.record.n_samples.get(split, 0)
        require(n >= smallest_split, f"there are at least {smallest_split} rows to {split}", f"{split} has {n}")
    for result in check_metrics(prepared):
        example = f"{result.metric} gives {result.value}, best is {result.best}: {result.verdict}"
        require(result.ok, "every metric finds the references perfect", example)


def _prepare(folder: Path, words: Sequence[str]) -> Prepared:
    try:
        settings = resolve([f"task={folder}", *_WITHOUT_MODEL, *words])
        plugins = _plugins(settings)
        return prepare(identify(settings.spec, plugins, settings.task_folder), plugins)
    except HarnessError as err:
        raise ConformanceError("a task loads", shown("; ".join([err.what, *err.details[:3]]))) from err


def _plugins(settings: Settings) -> Plugins:
    folder, asked = settings.task_folder, settings.spec.task.metrics
    judges = {JUDGE_PREFIX + name: _as_run(configured_judge(name, folder)) for name in asked.judges}
    names = [name for name in asked.names if name not in judges]
    return Plugins(
        backend=cast(BackendKind, registry.load("backends", settings.spec.backend.name, folder=folder)),
        trainer=settings.trainer,
        trainer_spec=settings.trainer_spec,
        metrics={name: cast(MetricMaker, registry.load("metrics", name, folder=folder)) for name in names},
        reporters={},
        sources={},
        folder=folder,
        judges=judges,
    )


def _as_run(judge: ConfiguredJudge) -> ConfiguredJudge:
    """The judge on the backend it would have in a run: what stands in for the task's model here can learn nothing."""
    spec = judge.spec
    return replace(judge, spec=spec.model_copy(update={"backend": spec.backend or BackendSpec()}))
