"""Commands that work on a task: run, resume, check, show. Model libraries are imported when work begins, not before."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from pydantic import JsonValue

from harness import registry
from harness.cli.display import choose_display
from harness.cli.summary import show_result
from harness.cli.terminal import echo, echo_json, show_table
from harness.core.errors import EnvironmentFault, HarnessError
from harness.core.protocols import BackendKind, Reporter

if TYPE_CHECKING:
    from harness.config import Settings
    from harness.pipeline.prepare import Identified, Plugins, Prepared

_SECTIONS = "data prompting generation metrics trainer model backend select, and seed, n_resamples, out"
Words = Annotated[
    list[str],
    typer.Argument(help=f"task=NAME|FOLDER and settings: model=... trainer.lr=1e-4 ... (sections: {_SECTIONS})"),
]
AsJson = Annotated[bool, typer.Option("--json", help="for programs")]
AllowFailures = Annotated[bool, typer.Option("--allow-failures", help="exit 0 even if samples failed")]

# What the exit of the process depends on once a command is done; main() reads both.
exit_code = 0
resume_command = ""


def run(
    words: Words,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show the plan, do nothing")] = False,
    drop_bad: Annotated[bool, typer.Option("--drop-bad", help="leave bad rows out, counted")] = False,
    allow_failures: AllowFailures = False,
    as_json: AsJson = False,
) -> None:
    """Audit, baseline, tune, evaluate, select, compare, report. Typed again, it continues or says it is done."""
    from harness.config import resolve

    settings = resolve(words, drop_bad=drop_bad)
    _run(settings, dry_run=dry_run, as_json=as_json, allow_failures=allow_failures)


def resume(
    name: Annotated[str, typer.Argument(metavar="RUN", help="task/id, id, or folder")],
    allow_failures: AllowFailures = False,
    as_json: AsJson = False,
) -> None:
    """Continue a run from where it stopped, with the settings it was started with."""
    from harness.config import resolve
    from harness.store.view import find_run, read_environment

    folder = find_run(name, Path("runs")).resolve()
    environment = read_environment(folder)
    words, drop_bad, home = (environment.get(key) for key in ("words", "drop_bad", "folder"))
    if not isinstance(words, list) or not isinstance(drop_bad, bool):
        raise HarnessError(
            f"{folder} does not say how it was started (environment.json is missing)",
            fix="type its original `harness run` command again",
            code="E-NORUN",
        )
    if isinstance(home, str) and Path(home).is_dir():
        # The words may hold paths, and these began where the run did.
        os.chdir(home)
    settings = resolve([str(word) for word in words], drop_bad=drop_bad)
    _run(settings, dry_run=False, as_json=as_json, allow_failures=allow_failures, expected=folder)


def check(
    words: Words,
    drop_bad: Annotated[bool, typer.Option("--drop-bad", help="as run would")] = False,
    as_json: AsJson = False,
) -> None:
    """Audit a task's data, and give every metric the references themselves: it must find them perfect."""
    global exit_code
    from harness.config import resolve
    from harness.pipeline.check import check_metrics
    from harness.pipeline.prepare import describe

    settings = resolve(words, drop_bad=drop_bad)
    prepared = _prepare(settings)[1]
    results = check_metrics(prepared)
    if as_json:
        echo_json({"audit": prepared.audit, "data": prepared.dataset.record, "metrics": results})
    else:
        for finding in prepared.audit.findings:
            echo("\n".join(describe(finding)))
        show_table(["metric", "of the references", "best", "verdict"], [result.row() for result in results])
        _show_counts(prepared)
        echo(_detectable(prepared))
    failed = bool(prepared.audit.fatal) or any(not result.ok for result in results)
    exit_code = 2 if failed else 0


def show(
    words: Words,
    sample: Annotated[str, typer.Option("--sample", help="id of a sample; the first of train otherwise")] = "",
    as_json: AsJson = False,
) -> None:
    """The exact prompt and token ids of a sample, as trained and as asked, side by side."""
    from harness.config import resolve
    from harness.pipeline.check import show_sample

    shown = show_sample(_prepare(resolve(words))[1], sample)
    if as_json:
        echo_json(shown)
        return
    for line in shown.lines():
        echo(line)


def _run(
    settings: Settings, *, dry_run: bool, as_json: bool, allow_failures: bool, expected: Path | None = None
) -> None:
    global exit_code, resume_command
    from harness.pipeline.prepare import identify, prepare, require_sound

    plugins = _plugins(settings)
    identified = identify(settings.spec, plugins, settings.task_folder)
    folder = expected or settings.out / settings.spec.task.name / identified.run_id
    if expected is not None and expected.name != identified.run_id:
        raise _drift(expected, identified)
    if not dry_run and _is_finished(folder):
        echo("this run is finished; nothing was done", error=True)
        _finish(folder, as_json=as_json, allow_failures=allow_failures)
        return
    prepared = prepare(identified, plugins)
    require_sound(prepared)
    if dry_run:
        _announce(settings, prepared)
        _show_plan(prepared, plugins, as_json=as_json)
        return
    _announce(settings, prepared)
    # Loads the model: what it refuses (device, dtype, vocabulary) is refused before anything is written.
    _ = prepared.backend.identity
    resume_command = f"harness resume {shlex.quote(str(folder))}"
    _execute(settings, prepared, plugins, folder)
    resume_command = ""
    _finish(folder, as_json=as_json, allow_failures=allow_failures)


def _execute(settings: Settings, prepared: Prepared, plugins: Plugins, folder: Path) -> None:
    from harness.pipeline.run import run as run_pipeline
    from harness.pipeline.stages import Stages
    from harness.store import disk, layout
    from harness.store.encoding import canonical
    from harness.store.events import EventLog
    from harness.store.reports import write_reports
    from harness.store.run import RunFolder

    with RunFolder(folder) as run_folder, choose_display() as display:
        disk.write_atomic(folder / layout.ENVIRONMENT, canonical(_environment(settings)))
        stages = Stages(run_folder, EventLog(folder), display)
        try:
            run_pipeline(prepared, plugins, stages)
        finally:
            prepared.backend.close()
        with stages.timed("report"):
            write_reports(folder, plugins.reporters)


def _finish(folder: Path, *, as_json: bool, allow_failures: bool) -> None:
    global exit_code
    from harness.store.view import StoredView

    result = StoredView(folder).result
    if as_json:
        echo_json(result)
    else:
        show_result(result, folder)
    exit_code = 0 if result.conclusion.coverage_met or allow_failures else 3


def _is_finished(folder: Path) -> bool:
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
    return checkpoints.intact(folder, [checkpoint.sha256 for checkpoint in result.checkpoints])


def _plugins(settings: Settings) -> Plugins:
    from harness.pipeline.prepare import MetricMaker, Plugins

    return Plugins(
        backend=cast(BackendKind, registry.load("backends", settings.spec.backend.name)),
        trainer=settings.trainer,
        trainer_spec=settings.trainer_spec,
        metrics={name: cast(MetricMaker, registry.load("metrics", name)) for name in settings.spec.task.metrics.names},
        reporters={name: cast(Reporter, registry.load("reporters", name)) for name in registry.names("reporters")},
    )


def _prepare(settings: Settings) -> tuple[Plugins, Prepared]:
    from harness.pipeline.prepare import identify, prepare

    plugins = _plugins(settings)
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
        details=details or ["the model's files or the harness itself have changed"],
    )


def _environment(settings: Settings) -> dict[str, JsonValue]:
    packages = ("torch", "transformers", "peft", "accelerate", "numpy", "sft-harness")
    return {
        "words": list(settings.words),
        "folder": str(Path.cwd()),
        "drop_bad": settings.spec.drop_bad,
        "origins": dict(settings.origins),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
        "packages": {name: version(name) for name in packages},
        "argv": list(sys.argv),
    }


def _announce(settings: Settings, prepared: Prepared) -> None:
    """What was noticed about the data and what this test set can show, before anything is spent."""
    for note in settings.notes:
        echo(f"note: {note}", error=True)
    for finding in prepared.audit.findings:
        echo(f"{finding.severity}[{finding.code}]: {finding.what}", error=True)
    echo(_detectable(prepared), error=True)


def _show_counts(prepared: Prepared) -> None:
    record = prepared.dataset.record
    counts = ", ".join(f"{n} {split}" for split, n in record.n_samples.items())
    dropped = ", ".join(f"{n} dropped for {reason}" for reason, n in record.n_dropped.items())
    echo(f"{record.n_rows} rows: {counts}" + (f"; {dropped}" if dropped else ""))


def _detectable(prepared: Prepared) -> str:
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
    _show_counts(prepared)
