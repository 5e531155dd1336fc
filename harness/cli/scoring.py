"""Commands that tune nothing: evaluate; score completions again; choose among checkpoints again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import execution
from harness.cli.display import choose_display
from harness.cli.running import AllowFailures, AsJson, Words
from harness.cli.terminal import echo
from harness.core.errors import HarnessError

if TYPE_CHECKING:
    from harness.config import Settings
    from harness.pipeline.prepare import Prepared
    from harness.pipeline.rescore import Rescoring
    from harness.pipeline.stages import Stages

# Sections and keys that a rescore takes; `metric` is metrics.primary. A new choice may have to generate, with the seed
# that was used before.
_MAY_DIFFER = ("metrics", "metric", "select", "seed", "n_resamples")
_MAY_DIFFER_IN_CHOICE = ("metrics", "metric", "select", "n_resamples")


def evaluate(
    words: Words,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show the plan, do nothing")] = False,
    drop_bad: Annotated[bool, typer.Option("--drop-bad", help="leave bad rows out, counted")] = False,
    allow_failures: AllowFailures = False,
    as_json: AsJson = False,
) -> None:
    """Evaluate without tuning: the model with every prompt of the task, or adapter=FOLDER against them."""
    from harness.config import resolve

    settings = resolve(_without_tuning(words), drop_bad=drop_bad)
    execution.execute(settings, dry_run=dry_run, as_json=as_json, allow_failures=allow_failures)


def rescore(
    name: Annotated[str, typer.Argument(metavar="RUN", help="task/id, id, or folder")],
    words: Annotated[
        list[str] | None,
        typer.Argument(help="what to change: metrics.primary=... metrics.slices=... metrics.options.NAME.KEY=..."),
    ] = None,
    allow_failures: AllowFailures = False,
    as_json: AsJson = False,
) -> None:
    """Score a run's stored completions again, with other metrics or slices; no model is needed, unless a judge is."""
    from harness.pipeline.rescore import rescore as score_again
    from harness.store.layout import RESCORED

    def work(asked: _Again, stages: Stages) -> None:
        rescoring = asked.rescoring
        execution.announce_judges(rescoring.metrics, lambda: rescoring.backend, list(rescoring.answered()))
        score_again(rescoring, stages, asked.runs)

    _again(_found(name), words or [], RESCORED, work, as_json=as_json, allow_failures=allow_failures)


def select(
    name: Annotated[str, typer.Argument(metavar="RUN", help="task/id, id, or folder")],
    words: Annotated[list[str] | None, typer.Argument(help="what to change, as for rescore; often nothing")] = None,
    allow_failures: AllowFailures = False,
    as_json: AsJson = False,
) -> None:
    """Choose again among a run's checkpoints with the labels there are now, and ask the chosen one the test samples."""
    from harness.pipeline.prepare import identify, prepare, require_sound
    from harness.pipeline.rescore import Recorded, reselect
    from harness.store.layout import SELECTED, origin_of

    found = _found(name)
    folder = found.with_name(origin_of(found.name))
    if folder != found:
        echo(f"note: {found.name} was made from {folder.name}, whose checkpoints these are", error=True)

    def work(asked: _Again, stages: Stages) -> None:
        settings, rescoring = asked.settings, asked.rescoring
        prepared = prepare(identify(settings.spec, rescoring.plugins, settings.task_folder), rescoring.plugins)
        require_sound(prepared)
        _announce_costs(prepared, rescoring)
        reselect(rescoring, prepared, stages, asked.runs)

    Recorded(folder).require_weights()
    _again(folder, words or [], SELECTED, work, as_json=as_json, allow_failures=allow_failures)


def _announce_costs(prepared: Prepared, rescoring: Rescoring) -> None:
    """What a new choice will ask backends that are paid by call or token, before they are asked."""
    from harness.core.protocols import Metered
    from harness.pipeline.check import planned_anew, requests_of

    rounds = planned_anew(prepared, rescoring.recorded)
    if rounds and isinstance(prepared.backend, Metered):
        execution.say_costs("this choice", prepared.backend.estimate(list(requests_of(prepared, rounds))))
    answered = [*rescoring.answered(), *(sample for _, samples in rounds for sample in samples)]
    execution.announce_judges(rescoring.metrics, lambda: prepared.backend, answered)


def _found(name: str) -> Path:
    from harness.store.view import find_run

    return find_run(name, Path("runs")).resolve()


@dataclass(frozen=True)
class _Again:
    """A finished run that is looked at once more. runs: the folder of runs."""

    settings: Settings
    rescoring: Rescoring
    runs: Path


def _again(
    folder: Path,
    words: list[str],
    mark: str,
    work: Callable[[_Again, Stages], None],
    *,
    as_json: bool,
    allow_failures: bool,
) -> None:
    """Do the work in a folder of its own beside the run, unless it is done; then show what came out."""
    from harness.config import resolve
    from harness.pipeline.rescore import prepare_rescore
    from harness.pipeline.stages import Stages
    from harness.store.events import EventLog
    from harness.store.layout import RESCORED
    from harness.store.reports import write_reports
    from harness.store.run import RunFolder
    from harness.store.view import StoredView

    _refuse_other_words(words, _MAY_DIFFER if mark == RESCORED else _MAY_DIFFER_IN_CHOICE)
    started, drop_bad, home = execution.started_with(folder)
    here = Path.cwd()
    if home is not None:
        os.chdir(home)
    measured = StoredView(folder).result.metrics
    settings = resolve(_replaced(started, words, measured), drop_bad=drop_bad)
    plugins = execution.plugins_of(settings)
    rescoring = prepare_rescore(folder, settings.spec, settings.task_folder, plugins, mark=mark)
    target = folder.parent / rescoring.run_id
    if not execution.is_finished(target):
        with RunFolder(target) as run_folder, choose_display() as display:
            execution.write_environment(target, settings)
            work(_Again(settings, rescoring, folder.parent.parent), Stages(run_folder, EventLog(target), display))
            write_reports(target, plugins.reporters)
    os.chdir(here)
    execution.finish(target, as_json=as_json, allow_failures=allow_failures)


def _without_tuning(words: list[str]) -> list[str]:
    """The words of a run that trains nothing, or takes the adapter that `adapter=` names."""
    if any(word.partition("=")[0] in ("trainer", "trainer.name") for word in words):
        raise HarnessError(
            "harness evaluate tunes nothing, so it takes no trainer",
            fix="leave trainer= out, or use `harness run`",
            code="E-CONFLICT",
        )
    adapters = [word.partition("=")[2] for word in words if word.startswith("adapter=")]
    if len(set(adapters)) > 1 or "" in adapters:
        raise HarnessError("adapter= names one folder", fix="give it once: adapter=path/to/adapter", code="E-CONFLICT")
    rest = [word for word in words if not word.startswith("adapter=")]
    if not adapters:
        return [*rest, "trainer=none"]
    return [*rest, "trainer=given", f"trainer.path={Path(adapters[-1]).expanduser()}"]


def _refuse_other_words(words: list[str], allowed: Sequence[str]) -> None:
    """Only what scores may differ; anything else would be ignored, or would generate something else."""
    for word in words:
        key, equals, _ = word.partition("=")
        if equals and key.partition(".")[0] not in allowed:
            raise HarnessError(
                f"this takes what was generated as it is; {key}= would generate something else, or nothing",
                fix=f"leave it out ({', '.join(allowed)} may differ), or start a new `harness run`",
                code="E-CONFLICT",
            )


def _replaced(started: list[str], words: list[str], measured: Sequence[str]) -> list[str]:
    """The words a run was started with, those given now in place of theirs; `metric` and `metrics.primary` are one.

    What was measured before is reported beside a new primary metric, unless metrics.report says otherwise; options of
    metrics that are not asked for any more are left out.
    """
    names = {"metric": "metrics.primary"}
    now = {names.get(key, key): value for key, _, value in (word.partition("=") for word in words)}
    if "metrics.primary" in now and "metrics.report" not in now:
        words = [*words, f"metrics.report={json.dumps(list(measured))}"]
    kept = [word for word in started if names.get(key := word.partition("=")[0], key) not in now]
    if "metrics.report" in now:
        asked = (*now["metrics.report"].split(","), now.get("metrics.primary", ""))
        kept = [word for word in kept if _is_asked(word, (*asked, measured[0] if "metrics.primary" not in now else ""))]
    return [*kept, *words]


def _is_asked(word: str, metrics: Sequence[str]) -> bool:
    """Whether a word is no option of a metric, or of one of these."""
    if not word.startswith("metrics.options."):
        return True
    return any(name and word.removeprefix("metrics.options.").startswith(f"{name}.") for name in metrics)
