"""Commands about judges: calibrate, probe, card, plan, tune and compare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from harness import registry
from harness.cli.display import choose_display
from harness.cli.running import AsJson
from harness.cli.terminal import echo, echo_json, show_table
from harness.core.errors import HarnessError
from harness.core.licences import Figure, JudgeCard, Probe
from harness.core.protocols import BackendKind, CardRenderer

if TYPE_CHECKING:
    from harness.autorater.configuration import ConfiguredJudge
    from harness.autorater.licensing import Licensing
    from harness.config import Settings
    from harness.core.protocols import Backend, Progress

judge = typer.Typer(help="What a judge is worth: calibrate, probe, card, plan, tune, compare.", no_args_is_help=True)
Words = Annotated[list[str], typer.Argument(help="task=NAME [judge=NAME] and settings as for harness run")]
_MARKS = {"pass": "pass", "fail": "FAIL", "inconclusive": "open", "not run": "not run"}
# Enough resamples for two digits of an interval's end.
_N_RESAMPLES = 2000
_NUMBERS: tuple[str, ...] = ("effect", "sd", "rho", "judged", "power")


@dataclass(frozen=True)
class _Bench:
    """A task's judges and the model they ask, before any of them was asked. folder: where their cards are kept."""

    settings: Settings
    judges: tuple[ConfiguredJudge, ...]
    how: Licensing

    def folder(self, name: str) -> Path:
        """Where the card of a judge is kept."""
        return self.settings.out / self.settings.spec.task.name / "judges" / name


@judge.command()
def calibrate(words: Words, as_json: AsJson = False) -> None:
    """Hold a judge to its labels: agreement, calibration, probes, grade; writes its card."""
    cards = [_examined(bench, configured, probing=True) for bench, configured in _each(words)]
    if as_json:
        echo_json(cards)
        return
    for card in cards:
        show_card(card)


@judge.command()
def probe(words: Words, as_json: AsJson = False) -> None:
    """Try what should not move a judge: position, length, format, authority, injection, empty answers and more."""
    cards = [_examined(bench, configured, probing=True) for bench, configured in _each(words)]
    if as_json:
        echo_json({card.judge: card.probes for card in cards})
        return
    for card in cards:
        echo(f"{card.judge} ({card.kind})")
        _show_probes(card.probes)


@judge.command()
def card(words: Words, as_json: AsJson = False) -> None:
    """Show the card of a judge as it was last calibrated, and whether its licence still holds."""
    from harness.autorater.licensing import lapsed_parts
    from harness.store.encoding import parse

    for bench, configured in _each(words):
        file = bench.folder(configured.name) / "card.json"
        if not file.is_file():
            raise HarnessError(
                f"judge {configured.name!r} was not calibrated for this task yet",
                fix=f"harness judge calibrate {' '.join(words)}",
                code="E-NOCAL",
            )
        found = parse(JudgeCard, file.read_bytes(), name=str(file))
        changed = lapsed_parts(configured, found.licence)
        if as_json:
            echo_json({"card": found, "lapsed": changed})
            continue
        show_card(found)
        if changed:
            echo(f"LAPSED: its {' and '.join(changed)} changed since; calibrate it again")
        else:
            echo("The licence holds for these settings, rubric and labels; a run compares the model too.")


@judge.command()
def tune(words: Words, as_json: AsJson = False) -> None:
    """Train a judge that learns from labels (kind = tuned), fold by fold, and say what it gained."""
    from harness.autorater.licensing import LearningJudge

    for bench, configured in _each(words):
        if not isinstance(configured.make(bench.how.seed), LearningJudge):
            raise HarnessError(
                f"judge {configured.name!r} is of kind {configured.spec.kind!r}, which is calibrated but not trained",
                fix='give it kind = "tuned" in judge.toml',
                code="E-JUDGE",
            )
        found = _examined(bench, configured, probing=False)
        if as_json:
            echo_json(found)
            continue
        echo(f"{found.judge}: {found.n_labels} labels of {found.n_clusters} prompts, each prompt held out once")
        _show_agreement(found)


@judge.command()
def compare(words: Words, as_json: AsJson = False) -> None:
    """Several judges on the same labels, side by side with the controls that any judge must beat."""
    cards = [_examined(bench, configured, probing=False) for bench, configured in _each(words, several=True)]
    if as_json:
        echo_json(cards)
        return
    for criterion in dict.fromkeys(card.criterion for card in cards):
        _show_side_by_side(criterion, [card for card in cards if card.criterion == criterion])


@judge.command()
def plan(
    words: Annotated[
        list[str], typer.Argument(help="effect=0.1 and task=NAME judge=NAME, or sd=0.45 rho=0.6 judged=2000 power=0.8")
    ],
    as_json: AsJson = False,
) -> None:
    """How many labels show an effect of this size, by themselves and beside a judge's verdicts."""
    from harness.stats.allocation import labels_needed

    typed = dict(word.split("=", 1) for word in words if "=" in word)
    numbers: dict[str, float] = {key: _number(key, typed.pop(key)) for key in _NUMBERS if key in typed}
    if "effect" not in numbers:
        raise HarnessError(
            "no effect was named", fix="type effect=0.1: the difference, on a scale of 0 to 1, to be seen"
        )
    if "sd" not in numbers or "rho" not in numbers:
        numbers = {**_from_card([f"{key}={value}" for key, value in typed.items()]), **numbers}
    effect, sd, power = numbers["effect"], numbers["sd"], numbers.get("power", 0.8)
    judged = int(numbers.get("judged", 2000))
    rhos = sorted({0.0, 0.3, 0.6, 0.8, 0.9, round(numbers["rho"], 2)})
    rows = {rho: labels_needed(effect, sd=sd, rho=rho, n_judged=judged, power=power) for rho in rhos}
    if as_json:
        echo_json({"effect": effect, "sd": sd, "judged": judged, "power": power, "labels": rows})
        return
    echo(f"labels for a difference of {effect:g} (sd {sd:.2g} of one difference, {judged} judged, power {power:g})")
    show_table(
        ["correlation of judge and people", "labels", ""],
        [
            [f"{rho:g}", str(n), "<- this judge" if rho == round(numbers["rho"], 2) else "no judge" if rho == 0 else ""]
            for rho, n in rows.items()
        ],
    )


def show_card(card: JudgeCard) -> None:
    """A card on the terminal: the grade and why, then what it rests on."""
    echo(f"{card.judge} ({card.kind}, {card.criterion}): {card.licence.grade.upper()}")
    for reason in card.licence.reasons[:1]:
        echo(f"  {reason}")
    people = ", ".join(f"{name} {n}" for name, n in card.annotators.items())
    simulated = " (SIMULATED annotators)" if card.simulated else ""
    echo(f"{card.n_labels} labels of {card.n_items} answers to {card.n_clusters} prompts by {people}{simulated}")
    if card.n_failures:
        echo(f"{card.n_failures} verdicts failed: {', '.join(f'{n} {why}' for why, n in card.failures.items())}")
    show_table(
        ["gate", "", "what", "more labels"],
        [
            [
                f"{line.code} {line.name}",
                _MARKS[line.passed],
                line.what,
                "" if line.more_labels is None else str(line.more_labels),
            ]
            for line in card.licence.lines
        ],
        numbers=False,
    )
    _show_agreement(card)
    _show_probes(card.probes)
    for note in card.notes:
        echo(f"Note: {note}")


def _show_agreement(card: JudgeCard) -> None:
    others = {"people among themselves": card.human, **card.controls}
    columns = {name: {_same_figure(each.name): each for each in found} for name, found in others.items()}
    rows = [
        [figure.name, _figure(figure), *(_figure(found.get(figure.name)) for found in columns.values())]
        for figure in card.agreement
    ]
    if rows:
        show_table([f"agreement with people, n = {card.n_items}", card.judge, *columns], rows)
    for figure in card.human:
        if figure.name.startswith("alt_test"):
            echo(f"{figure.name}: {_figure(figure)} ({figure.note})")


def _same_figure(name: str) -> str:
    """The figure of people among themselves is named after the judge's that it stands beside."""
    return name.removeprefix("human_human_")


def _show_probes(probes: Sequence[Probe]) -> None:
    if probes:
        show_table(
            ["probe", "", "value", "n", "passes if"],
            [[each.name, _MARKS[each.passed], _interval(each), str(each.n), each.limit] for each in probes],
            numbers=False,
        )


def _show_side_by_side(criterion: str, cards: Sequence[JudgeCard]) -> None:
    controls: Mapping[str, tuple[Figure, ...]] = {k: v for card in cards for k, v in card.controls.items()}
    columns = {**{card.judge: card.agreement for card in cards}, **controls}
    by_name = {column: {figure.name: figure for figure in figures} for column, figures in columns.items()}
    names = dict.fromkeys(figure.name for figures in columns.values() for figure in figures)
    rows = [[name, *(_figure(found.get(name)) for found in by_name.values())] for name in names]
    rows.append(["grade", *(card.licence.grade for card in cards), *("control" for _ in controls)])
    show_table([f"{criterion}: agreement with people", *columns], rows)


def _figure(figure: Figure | None) -> str:
    if figure is None or figure.value is None:
        return "-"
    interval = "" if figure.low is None else f" [{figure.low:.2f}, {figure.high:.2f}]"
    return f"{figure.value:.3f}{interval}"


def _interval(probe: Probe) -> str:
    if probe.value is None:
        return "-"
    return f"{probe.value:.3f}" + ("" if probe.low is None else f" [{probe.low:.3f}, {probe.high:.3f}]")


def _each(words: Sequence[str], *, several: bool = False) -> Iterator[tuple[_Bench, ConfiguredJudge]]:
    """The judges that the words name: judge=a,b, else the task's metrics', else all in the task's folder."""
    bench = _bench(words)
    if not several and len(bench.judges) > 1 and not any(word.startswith("judge=") for word in words):
        names = ", ".join(each.name for each in bench.judges)
        echo(f"note: judges {names}; judge=NAME takes one", error=True)
    for configured in bench.judges:
        yield bench, configured


def _bench(words: Sequence[str]) -> _Bench:
    from harness.autorater.configuration import configured_judge, own_judges
    from harness.autorater.licensing import Licensing
    from harness.config import resolve
    from harness.core.specs import JUDGE_PREFIX

    typed = [word.removeprefix("judge=") for word in words if word.startswith("judge=")]
    settings = resolve([word for word in words if not word.startswith("judge=")])
    metrics, folder = settings.spec.task.metrics, settings.task_folder
    named = [name for text in typed for name in text.split(",") if name]
    names = named or own_judges(folder) or metrics.judges
    if not names:
        raise HarnessError(
            f"task {settings.spec.task.name} has no judges",
            fix=f"name one: judge=NAME, or write {folder}/judges/NAME/judge.toml (judges/README.md)",
            code="E-UNKNOWN",
        )
    plain = tuple(name for name in metrics.names if not name.startswith(JUDGE_PREFIX))
    how = Licensing(settings.out, plain, settings.spec.seed, min(settings.spec.n_resamples, _N_RESAMPLES))
    return _Bench(settings, tuple(configured_judge(name, folder) for name in names), how)


def _examined(bench: _Bench, configured: ConfiguredJudge, *, probing: bool) -> JudgeCard:
    """The card of a judge, made now and kept; what its model answered before is not asked again."""
    from dataclasses import replace

    from harness.autorater.licensing import fitted, license_judge
    from harness.autorater.scores import CachedGenerator
    from harness.store.scores import ScoreCache

    how = replace(bench.how, probing=probing)
    with choose_display() as display, _open(bench.settings, configured) as backend:

        def progress_of(stage: str) -> Progress:
            display.begin(stage)
            return lambda done, total, live: display.update(stage, done, total, live)

        name = f"judge {configured.name}"
        judge_ = fitted(configured, backend, how, progress_of(f"{name}: fit"))
        display.end(f"{name}: fit", "")
        generator = CachedGenerator(backend, ScoreCache(bench.settings.out))
        made = license_judge(configured, judge_, generator, how, progress_of(f"{name}: calibrate")).card
        display.end(f"{name}: calibrate", f"{generator.n_hits} of {generator.n_asked} answers were known")
    if probing:
        _keep(made, bench.folder(configured.name))
    return made


@contextmanager
def _open(settings: Settings, configured: ConfiguredJudge) -> Iterator[Backend]:
    spec = configured.spec
    own = cast(BackendKind, registry.load("backends", settings.spec.backend.name, folder=settings.task_folder))
    kind = configured.backend or own
    backend = kind.create(spec.model or settings.spec.model, spec.backend or settings.spec.backend, thinking=False)
    try:
        yield backend
    finally:
        backend.close()


def _keep(card: JudgeCard, folder: Path) -> None:
    from harness.store import disk
    from harness.store.encoding import canonical

    renderers = [cast(CardRenderer, registry.load("cards", name)) for name in registry.names("cards")]
    files = {"card.json": canonical(card)}
    for renderer in renderers:
        files |= renderer.render(card)
    disk.make_folder(folder)
    for name, content in files.items():
        disk.write_atomic(folder / name, content)
    echo(f"card: {folder / 'card.json'}", error=True)


def _from_card(words: Sequence[str]) -> dict[str, float]:
    """Spread of people's scores and the judge's correlation with them, from its card."""
    from harness.store.encoding import parse

    if not any(word.startswith("task=") for word in words):
        raise HarnessError("sd and rho are not known", fix="type sd=0.45 rho=0.6, or task=NAME judge=NAME with a card")
    for bench, configured in _each(words):
        file = bench.folder(configured.name) / "card.json"
        if file.is_file():
            found = parse(JudgeCard, file.read_bytes(), name=str(file))
            if found.sd_difference is None or not found.agreement:
                raise HarnessError("too few prompts have labels of two systems", fix="type sd=0.45", code="E-NOCAL")
            return {"rho": max(0.0, found.figure("pearson").value or 0.0), "sd": found.sd_difference}
    raise HarnessError(
        "no judge of this task has a card", fix="harness judge calibrate with the same words", code="E-NOCAL"
    )


def _number(key: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError as err:
        raise HarnessError(f"{key}={text} is no number", fix=f"type {key}=0.1") from err
    if not value >= 0:
        raise HarnessError(f"{key}={text} must not be below 0", fix=f"type {key}=0.1")
    return value
