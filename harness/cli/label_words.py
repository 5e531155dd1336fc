"""The words of `harness label`: what is asked of people, about which answers, and which file gets their labels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, ValidationError

from harness.cli import execution
from harness.core.errors import HarnessError
from harness.core.judging import LabelKind
from harness.core.specs import JudgeSpec, Spec
from harness.data.display import quote

if TYPE_CHECKING:
    from harness.config import Settings


class LabelWords(Spec):
    """The words of `harness label` that are its own."""

    n: int = Field(200, ge=1, le=100_000, description="answers on the sheet, or pairs")
    round: Literal["calibration", "gate", "final"] = Field(
        "calibration", description="gate: answers of the shortlist; final: test answers, blind, of one RUN"
    )
    judge: str | None = Field(None, description="whose rubric, criterion and scale are asked; the task's only one")
    criterion: str | None = Field(None, description="without a judge: what is asked, in a few words")
    label: LabelKind | None = Field(None, description="with criterion=: likert, pass_fail or pair")
    scale: int | None = Field(None, ge=2, le=10, description="with criterion=: highest Likert value")
    annotator: str = Field("", description="who labels; the page asks otherwise")
    run: str | None = Field(None, description="whose answers; the task's newest finished run")
    form: Literal["page", "html", "csv"] = Field("page", alias="as", description="page, or an offline sheet: html, csv")
    seed: int = Field(0, ge=0, description="another one draws other answers, such as have no label")
    port: int = Field(0, ge=0, le=65535, description="of the page; any free one")
    source: str | None = Field(None, alias="import", description="file of labels to add: .jsonl, .csv, .json")
    target: str | None = Field(None, alias="export", description="file to write all labels to: .jsonl, .csv, .json")


_OWN = {field.alias or name: field for name, field in LabelWords.model_fields.items()}


@dataclass(frozen=True)
class Asked:
    """What is labelled where. judge: whose question it is, empty for criterion=. labels: the file that gets them.

    here: the folder that the command was typed in; all paths are whole.
    """

    settings: Settings
    words: LabelWords
    judge: str
    question: JudgeSpec
    rubric: str
    run: Path | None
    labels: Path
    typed: tuple[str, ...]
    here: Path

    @property
    def is_final(self) -> bool:
        """Whether people judge a run's test answers."""
        return self.words.round == "final"

    @property
    def task(self) -> str:
        """The task's name."""
        return self.settings.spec.task.name

    @property
    def task_runs(self) -> Path:
        """The folder of the task's runs."""
        return (self.settings.out / self.task).resolve()

    @property
    def task_word(self) -> str:
        """The word that names the task wherever it is typed."""
        return f"task={self.shown(self.settings.task_folder.resolve())}"

    def shown(self, path: Path) -> str:
        """A path as it can be typed where the command was."""
        return str(path.relative_to(self.here) if path.is_relative_to(self.here) else path)


def help_of_words() -> str:
    """The words with what they mean and their defaults, a line each."""
    lines = []
    for name, field in _OWN.items():
        default = f" ({field.default})" if field.default not in (None, "", 0) else ""
        lines.append(f"  {name + '=':<11} {field.description}{default}")
    return "\n".join(lines)


def asked_for(typed: Sequence[str]) -> Asked:
    """Everything that the words settle; the first may name a run instead of a task.

    Where a run is named, this leaves the process in the folder that the run was started in, for its relative paths.
    """
    from harness.config import resolve
    from harness.store import layout

    here = Path.cwd()
    words, rest = _own_words(typed)
    run, rest = _named_run(words, rest)
    if words.round == "final" and run is None:
        raise HarnessError(
            "the final round is of one run's test answers", fix="harness label RUN round=final", code="E-USAGE"
        )
    settings = resolve(rest)
    judge, question, rubric, labels = _question(words, settings)
    if run is None:
        run = _newest(settings)
    elif words.round == "final":
        labels = run / layout.LABELS
    return Asked(settings, words, judge, question, rubric, run, labels.absolute(), tuple(typed), here)


def _own_words(typed: Sequence[str]) -> tuple[LabelWords, list[str]]:
    """The command's own words, and the others."""
    bare = next((word for word in typed if word in _OWN), None)
    if bare is not None:
        raise HarnessError(f"{bare!r} has no value", fix=f"type {bare}=..., see harness label --help", code="E-OPTION")
    values: dict[str, str] = {}
    rest = []
    for word in typed:
        key, equals, value = word.partition("=")
        if not equals or key not in _OWN:
            rest.append(word)
        elif values.setdefault(key, value) != value:
            raise HarnessError(
                f"{key} is given twice: {values[key]!r} and {value!r}", fix="keep one of them", code="E-CONFLICT"
            )
    words = _validated(values)
    _refuse_conflicts(words)
    return words, rest


def _validated(values: dict[str, str]) -> LabelWords:
    try:
        return LabelWords.model_validate(values)
    except ValidationError as err:
        details = [f"{each['loc'][0] if each['loc'] else 'label'}: {each['msg']}" for each in err.errors()]
        raise HarnessError(
            "the words of harness label are wrong", fix="harness label --help", code="E-OPTION", details=details
        ) from err


def _refuse_conflicts(words: LabelWords) -> None:
    own = [name for name in ("criterion", "label", "scale") if getattr(words, name) is not None]
    if words.judge is not None and own:
        raise HarnessError(
            f"a judge says itself what is asked, so judge= and {own[0]}= contradict each other",
            fix="leave one of them out",
            code="E-CONFLICT",
        )
    if own and words.criterion is None:
        raise HarnessError(
            f"{own[0]}= says how to ask about something that criterion= names, and there is no criterion=",
            fix=f'add criterion="how helpful the answer is", or leave {own[0]}= out to ask what the judge asks',
            code="E-CONFLICT",
        )
    if words.source is not None and words.target is not None:
        raise HarnessError("import= and export= are two commands", fix="type one after the other", code="E-CONFLICT")


def _named_run(words: LabelWords, rest: list[str]) -> tuple[Path | None, list[str]]:
    """The run that the words name, and the words that it was started with before the rest of those typed."""
    from harness.store.view import find_run

    first = rest[0] if rest and "=" not in rest[0] else None
    if first is not None and words.run is not None:
        raise HarnessError(f"two runs are named: {first!r} and {words.run!r}", fix="keep one", code="E-CONFLICT")
    named = first or words.run
    if named is None:
        return None, rest
    run = find_run(named, Path("runs")).resolve()
    started, _, home = execution.started_with(run)
    if home is not None:
        os.chdir(home)
    return run, [*started, *(rest if first is None else rest[1:])]


def _question(words: LabelWords, settings: Settings) -> tuple[str, JudgeSpec, str, Path]:
    """(judge, what people are asked, rubric, the file for their labels): a judge's, or as the words say."""
    from harness.autorater.configuration import LABELS_FILE, find_judge, read_judge, written_to

    folder = settings.task_folder
    if words.criterion is not None:
        spec = JudgeSpec(kind="none", criterion=words.criterion, label=words.label or "likert", scale=words.scale or 5)
        return "", spec, words.criterion, folder / LABELS_FILE
    name = words.judge or _only_judge(settings)
    place = find_judge(name, folder)
    spec, rubric = read_judge(place)
    return name, spec, rubric, written_to(spec, place, folder)


def _only_judge(settings: Settings) -> str:
    """The judge that nobody need name: the one that decides, or the only one."""
    from harness.autorater.configuration import own_judges
    from harness.core.specs import JUDGE_PREFIX

    metrics = settings.spec.task.metrics
    if metrics.primary.startswith(JUDGE_PREFIX):
        return metrics.primary.removeprefix(JUDGE_PREFIX)
    names = metrics.judges or own_judges(settings.task_folder)
    if len(names) == 1:
        return names[0]
    if names:
        raise HarnessError(
            f"{settings.spec.task.name} has {len(names)} judges, who may ask different things: "
            + ", ".join(map(quote, names)),
            fix=f"name one: judge={names[0]}",
            code="E-USAGE",
        )
    raise HarnessError(
        f"task {settings.spec.task.name} has no judge, so nothing says what people are to be asked",
        fix='type criterion="how helpful the answer is" label=likert, or judge=NAME (judges/README.md)',
        code="E-USAGE",
    )


def _newest(settings: Settings) -> Path | None:
    """The run of the task that finished last."""
    from harness.store import layout

    files = (settings.out / settings.spec.task.name).resolve().glob(f"*/{layout.RESULT}")
    return max((file.parent for file in files), key=lambda run: (run / layout.RESULT).stat().st_mtime, default=None)
