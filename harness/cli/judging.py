"""Commands about judges: calibrate, probe, card, plan, tune and compare."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from pydantic import Field, ValidationError

from harness import registry
from harness.cli.display import choose_display
from harness.cli.execution import say_costs
from harness.cli.judge_tables import show_agreement, show_card, show_probes, show_side_by_side
from harness.cli.running import AsJson
from harness.cli.terminal import echo, echo_json, show_table
from harness.core.errors import HarnessError
from harness.core.licences import JudgeCard
from harness.core.protocols import BackendKind, CardRenderer
from harness.core.specs import Spec

if TYPE_CHECKING:
    from harness.autorater.configuration import ConfiguredJudge
    from harness.autorater.licensing import Licensing
    from harness.config import Settings
    from harness.core.protocols import Backend, Progress

judge = typer.Typer(help="What a judge is worth: calibrate, probe, card, plan, tune, compare.", no_args_is_help=True)
Words = Annotated[list[str], typer.Argument(help="task=NAME [judge=NAME] and settings as for harness run")]
# Enough resamples for two digits of an interval's end.
_N_RESAMPLES = 2000
_JUDGE = "judge="
# Scores differ by 1 at most; the deviation of a few differences, divided by one less than their number, is below 2.
_MOST_SD = 2
# Smaller differences would take more labels than there are people.
_LEAST_EFFECT = 1e-6
# A test at 5 % finds something in so many cases where nothing is: no labels are needed for that.
_BY_CHANCE = 0.05


@dataclass(frozen=True)
class _Bench:
    """A task's judges and the model they ask, before any of them was asked. folder: where their cards are kept."""

    settings: Settings
    judges: tuple[ConfiguredJudge, ...]
    how: Licensing

    def folder(self, name: str) -> Path:
        """Where the card of a judge is kept."""
        return self.settings.out / self.settings.spec.task.name / "judges" / name


class PlanWords(Spec):
    """The words of `harness judge plan` that are its own. The bounds are those of scores from 0 to 1."""

    effect: float = Field(ge=_LEAST_EFFECT, le=1, allow_inf_nan=False, description="the difference that is to be seen")
    sd: float | None = Field(None, gt=0, le=_MOST_SD, allow_inf_nan=False, description="of one difference, by people")
    rho: float | None = Field(None, ge=0, le=1, allow_inf_nan=False, description="correlation of judge and people")
    judged: int = Field(2000, ge=1, le=10**9, description="items with a verdict only")
    power: float = Field(0.8, gt=_BY_CHANCE, lt=1, allow_inf_nan=False, description="chance to see the difference")


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
        show_probes(card.probes)


@judge.command()
def card(words: Words, as_json: AsJson = False) -> None:
    """Show the card of a judge as it was last calibrated, and whether its licence still holds."""
    from harness.autorater.licensing import lapsed_parts
    from harness.store.encoding import parse

    shown: list[dict[str, object]] = []
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
            shown.append({"card": found, "lapsed": changed})
            continue
        show_card(found)
        if changed:
            echo(f"LAPSED: its {' and '.join(changed)} changed since; calibrate it again")
        else:
            echo(
                "Nothing it was graded on (settings, rubric, labels) has changed since; a run also compares the model."
            )
    if as_json:
        echo_json(shown)


@judge.command()
def tune(words: Words, as_json: AsJson = False) -> None:
    """Train a judge that learns from labels (kind = tuned), fold by fold, and say what it gained."""
    from harness.autorater.licensing import LearningJudge

    judges = list(_each(words))
    for bench, configured in judges:
        if not isinstance(configured.make(bench.how.seed), LearningJudge):
            raise HarnessError(
                f"judge {configured.name!r} is of kind {configured.spec.kind!r}, which is calibrated but not trained",
                fix='give it kind = "tuned" in judge.toml',
                code="E-JUDGE",
            )
    cards = [_examined(bench, configured, probing=False) for bench, configured in judges]
    if as_json:
        echo_json(cards)
        return
    for found in cards:
        echo(f"{found.judge}: {found.n_labels} labels of {found.n_clusters} prompts, each prompt held out once")
        show_agreement(found)


@judge.command()
def compare(words: Words, as_json: AsJson = False) -> None:
    """Several judges on the same labels, side by side with the controls that any judge must beat."""
    cards = [_examined(bench, configured, probing=False) for bench, configured in _each(words, several=True)]
    if as_json:
        echo_json(cards)
        return
    for criterion in dict.fromkeys(card.criterion for card in cards):
        show_side_by_side(criterion, [card for card in cards if card.criterion == criterion])


@judge.command()
def plan(
    words: Annotated[
        list[str], typer.Argument(help="effect=0.1 and task=NAME judge=NAME, or sd=0.45 rho=0.6 judged=2000 power=0.8")
    ],
    as_json: AsJson = False,
) -> None:
    """How many labels show an effect of this size, by themselves and beside a judge's verdicts."""
    from harness.stats.planning import labels_needed

    asked, rest = _plan_words(words)
    if asked.sd is not None and asked.rho is not None:
        _refuse_idle(rest)
        sd, rho = asked.sd, asked.rho
    else:
        card_rho, card_sd = _from_card(rest)
        sd, rho = asked.sd or card_sd, card_rho if asked.rho is None else asked.rho
    effect, judged, power = asked.effect, asked.judged, asked.power
    rhos = sorted({0.0, 0.3, 0.6, 0.8, 0.9, round(rho, 2)})
    rows = {each: labels_needed(effect, sd=sd, rho=each, n_judged=judged, power=power) for each in rhos}
    if as_json:
        echo_json({"effect": effect, "sd": sd, "judged": judged, "power": power, "labels": rows})
        return
    echo(f"labels for a difference of {effect:g} (sd {sd:.2g} of one difference, {judged} judged, power {power:g})")
    show_table(
        ["correlation of judge and people", "labels", ""],
        [
            [f"{each:g}", str(n), "<- this judge" if each == round(rho, 2) else "no judge" if each == 0 else ""]
            for each, n in rows.items()
        ],
    )


def _each(words: Sequence[str], *, several: bool = False) -> Iterator[tuple[_Bench, ConfiguredJudge]]:
    """The judges that the words name: judge=a,b, else the task's metrics', else all in the task's folder."""
    bench = _bench(words)
    if not several and len(bench.judges) > 1 and not any(word.startswith(_JUDGE) for word in words):
        names = ", ".join(each.name for each in bench.judges)
        echo(f"note: judges {names}; judge=NAME takes one", error=True)
    for configured in bench.judges:
        yield bench, configured


def _bench(words: Sequence[str]) -> _Bench:
    from harness.autorater.configuration import configured_judge, own_judges
    from harness.autorater.licensing import Licensing
    from harness.config import resolve

    settings = resolve([word for word in words if not word.startswith(_JUDGE)])
    metrics, folder = settings.spec.task.metrics, settings.task_folder
    names = _named(words) or own_judges(folder) or metrics.judges
    if not names:
        raise HarnessError(
            f"task {settings.spec.task.name} has no judges",
            fix=f"name one: judge=NAME, or write {folder}/judges/NAME/judge.toml (judges/README.md)",
            code="E-UNKNOWN",
        )
    n_resamples = min(settings.spec.n_resamples, _N_RESAMPLES)
    how = Licensing(settings.out, folder, metrics.plain, settings.spec.seed, n_resamples, settings.spec.model.name)
    judges = tuple(configured_judge(name, folder) for name in names)
    for each in judges:
        each.require_sound(how.seed, settings.spec.backend.name)
    return _Bench(settings, judges, how)


def _named(words: Sequence[str]) -> tuple[str, ...]:
    """The names in judge=a,b, each once, in the order typed; nothing where the word was not typed."""
    typed = [word.removeprefix(_JUDGE) for word in words if word.startswith(_JUDGE)]
    if len(typed) > 1:
        raise HarnessError("judge is given twice", fix="name all of them in one judge=A,B", code="E-CONFLICT")
    names = [name.strip() for text in typed for name in text.split(",")]
    if not all(names):
        raise HarnessError(f"judge={typed[0]} leaves a name out", fix="type judge=NAME or judge=A,B", code="E-OPTION")
    return tuple(dict.fromkeys(names))


def _examined(bench: _Bench, configured: ConfiguredJudge, *, probing: bool) -> JudgeCard:
    """The card of a judge, made now and kept; what its model answered before is not asked again."""
    from dataclasses import replace

    from harness.autorater.licensing import fitted, license_judge
    from harness.autorater.scores import CachedGenerator
    from harness.store.scores import ScoreCache

    how = replace(bench.how, probing=probing)
    with _open(bench.settings, configured) as backend, choose_display() as display:
        _announce_costs(configured, backend, how)

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


def _announce_costs(configured: ConfiguredJudge, backend: Backend, how: Licensing) -> None:
    """What a judge will ask a backend that is paid by call or token, before it does; its probes depend on verdicts."""
    from harness.autorater.probes import MOST_ITEMS
    from harness.autorater.rehearsal import rehearsed
    from harness.core.protocols import Metered

    if not isinstance(backend, Metered):
        return
    asked = rehearsed(configured, backend, how.seed)
    if asked.requests or asked.scored:
        estimate = backend.estimate(asked.requests, asked.scored)
        probes = f", and what its probes ask (up to {MOST_ITEMS} answers for each change)" if how.probing else ""
        say_costs(f"judge {configured.name}", estimate, f"{probes}; what fails is asked again")


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


def _plan_words(words: Sequence[str]) -> tuple[PlanWords, list[str]]:
    """The words that are the plan's own, typed, and the others; one error that names every mistake."""
    own = [word for word in words if word.partition("=")[0] in PlanWords.model_fields]
    values: dict[str, str] = {}
    for key, _, value in (word.partition("=") for word in own):
        if values.setdefault(key, value) != value:
            raise HarnessError(
                f"{key} is given twice: {values[key]!r} and {value!r}", fix="keep one of them", code="E-CONFLICT"
            )
    try:
        asked = PlanWords.model_validate(values)
    except ValidationError as err:
        details = [f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in err.errors()]
        raise HarnessError(
            "the words of harness judge plan are wrong",
            fix="effect=0.1 is needed, above 0 and at most 1; sd above 0, rho from 0 to 1, power between 0.05 and 1, "
            "judged a whole number",
            code="E-OPTION",
            details=details,
        ) from err
    return asked, [word for word in words if word not in own]


def _refuse_idle(words: Sequence[str]) -> None:
    """E-OPTION for words that would change nothing: with sd and rho typed, no card is read."""
    if words:
        raise HarnessError(
            f"{' '.join(words)} would change nothing: with sd and rho typed, no judge is looked up",
            fix=f"leave it out, or leave out sd or rho; the plan's own words are {', '.join(PlanWords.model_fields)}",
            code="E-OPTION",
        )


def _from_card(words: Sequence[str]) -> tuple[float, float]:
    """The judge's correlation with people's scores, and the spread of these, from its card."""
    from harness.store.encoding import parse

    if not any(word.startswith("task=") for word in words):
        _refuse_unknown(words)
        raise HarnessError(
            "sd and rho are not both known", fix="type sd=0.45 rho=0.6, or task=NAME judge=NAME with a card"
        )
    for bench, configured in _each(words):
        file = bench.folder(configured.name) / "card.json"
        if file.is_file():
            found = parse(JudgeCard, file.read_bytes(), name=str(file))
            if found.sd_difference is None or not found.agreement:
                raise HarnessError("too few prompts have labels of two systems", fix="type sd=0.45", code="E-NOCAL")
            return max(0.0, found.figure("pearson").value or 0.0), found.sd_difference
    raise HarnessError(
        "no judge of this task has a card", fix="harness judge calibrate with the same words", code="E-NOCAL"
    )


def _refuse_unknown(words: Sequence[str]) -> None:
    """E-OPTION for the first word that is neither the plan's nor about a judge."""
    strange = next((word for word in words if not word.startswith(_JUDGE)), None)
    if strange is not None:
        raise HarnessError(
            f"{strange!r} is no word of harness judge plan",
            fix=f"type task=NAME judge=NAME, or {', '.join(PlanWords.model_fields)} with a number",
            code="E-OPTION",
        )
