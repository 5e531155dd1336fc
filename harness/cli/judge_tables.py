"""A judge's card as tables on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.cli.terminal import echo, show_table
from harness.core.licences import Figure, JudgeCard, Probe

_MARKS = {"pass": "pass", "fail": "FAIL", "inconclusive": "open", "not run": "not run"}


def show_card(card: JudgeCard) -> None:
    """A card on the terminal: the grade and why, then what it rests on."""
    echo(f"{card.judge} ({card.kind}, {card.criterion}): {card.licence.grade.upper()}")
    for reason in card.licence.reasons[:1]:
        echo(f"  {reason}")
    echo(_by_whom(card))
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
    show_agreement(card)
    show_probes(card.probes)
    for note in card.notes:
        echo(f"Note: {note}")


def _by_whom(card: JudgeCard) -> str:
    """What people labelled, and who they were."""
    if not card.n_labels:
        return "no labels yet: harness label"
    people = ", ".join(f"{name} {n}" for name, n in card.annotators.items())
    simulated = " (SIMULATED annotators)" if card.simulated else ""
    return f"{card.n_labels} labels of {card.n_items} answers to {card.n_clusters} prompts by {people}{simulated}"


def show_agreement(card: JudgeCard) -> None:
    """The judge's figures beside those of people among themselves and of the controls."""
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


def show_probes(probes: Sequence[Probe]) -> None:
    """What each probe found and what it would take to pass."""
    if probes:
        show_table(
            ["probe", "", "value", "n", "passes if"],
            [[each.name, _MARKS[each.passed], _interval(each), str(each.n), each.limit] for each in probes],
            numbers=False,
        )


def show_side_by_side(criterion: str, cards: Sequence[JudgeCard]) -> None:
    """Several judges of one criterion, and the controls, in one table."""
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
