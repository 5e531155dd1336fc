"""A judge card laid out as tables, before it is HTML or Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from harness.core.licences import Bin, Figure, GateLine, JudgeCard
from reports.numbers import finite
from reports.tables import flatten
from reports.text import one_line

# What the ceiling's figures begin with: people with people, the judge in a person's place, the one over the other.
_HUMAN, _IN_PLACE, _RATIO = "human_human_", "judge_", "ceiling_ratio_"
# The figures of agreement to look at first, of whichever kind the labels are.
_FIRST = ("pearson_within_system", "weighted_kappa", "kappa", "balanced_accuracy", "accuracy_without_ties", "spearman")
# Shades of a confusion matrix: tenths of a row.
_SHADES = 10
# Conditions of the gate that are shown at once; of more, those that passed are folded away.
_MOST_LINES = 8
# Of the labels that fitted a judge, the first are shown: a card may rest on thousands.
_MOST_IDS = 12


@dataclass(frozen=True, slots=True)
class AgreementRow:
    """One figure: of the judge, of people among themselves, and of each control in the card's order."""

    name: str
    judge: Figure | None
    people: Figure | None
    controls: tuple[Figure | None, ...]


@dataclass(frozen=True, slots=True)
class CeilingRow:
    """One figure on answers that several people labelled: people with people, the judge with them, and the share."""

    name: str
    people: Figure | None
    judge: Figure | None
    share: Figure | None


@dataclass(frozen=True, slots=True)
class Share:
    """A cell of the confusion matrix. shade: its share of the row, in tenths."""

    count: int
    shade: int


@dataclass(frozen=True, slots=True)
class CardTables:
    """A judge card as tables. place: what its charts' ids begin with; charted: which of them there are.

    lead: what the grade permits; reasons: what else was said that no condition of the gate says.
    gate: the conditions to show at once; passed: those to fold away. agreement: the figures to look at first.
    """

    card: JudgeCard
    place: str
    charted: tuple[str, ...]
    lead: str
    reasons: tuple[str, ...]
    gate: tuple[GateLine, ...]
    passed: tuple[GateLine, ...]
    agreement: tuple[AgreementRow, ...]
    more_agreement: tuple[AgreementRow, ...]
    ceiling: tuple[CeilingRow, ...]
    confusion: tuple[tuple[str, tuple[Share, ...]], ...]
    bins: tuple[Bin, ...]
    probes: str
    figure_notes: tuple[str, ...]
    maps: tuple[tuple[str, str], ...]
    identity: tuple[tuple[str, str], ...]

    @property
    def who(self) -> str:
        """Who labelled."""
        return who(self.card)

    @property
    def used(self) -> str:
        """The labels that fitted it, the first by their ids."""
        ids = self.card.labels_used
        more = f" and {len(ids) - _MOST_IDS:,} more" if len(ids) > _MOST_IDS else ""
        return ", ".join(one_line(each, 40) for each in ids[:_MOST_IDS]) + more


def who(card: JudgeCard) -> str:
    """Who made the labels behind a card."""
    return "simulated annotators" if card.simulated else "people"


def card_tables(card: JudgeCard, place: str, charted: Sequence[str]) -> CardTables:
    """The card, laid out."""
    lines = card.licence.lines
    rows = agreement_rows(card)
    first = tuple(row for name in _FIRST for row in rows if row.name == name)
    folded = tuple(line for line in lines if line.passed == "pass") if len(lines) > _MOST_LINES else ()
    return CardTables(
        card=card,
        place=place,
        charted=tuple(charted),
        lead=lead(card),
        reasons=own_reasons(card),
        gate=tuple(line for line in lines if line not in folded),
        passed=folded,
        agreement=first or rows,
        more_agreement=tuple(row for row in rows if first and row not in first),
        ceiling=ceiling_rows(card),
        confusion=confusion_rows(card),
        bins=card.reliability,
        probes=probe_summary(card),
        figure_notes=figure_notes(card),
        maps=tuple(flatten({f"fold {fold + 1}": dict(each) for fold, each in enumerate(card.maps)})),
        identity=tuple(flatten(card.identity)),
    )


def lead(card: JudgeCard) -> str:
    """What the grade permits, as the licence puts it."""
    return next(iter(card.licence.reasons), f"Its grade is {card.licence.grade}.")


def own_reasons(card: JudgeCard) -> tuple[str, ...]:
    """The other reasons, without those that repeat a condition of the gate."""
    told = tuple(f"{line.code}: {line.what}" for line in card.licence.lines)
    return tuple(reason for reason in card.licence.reasons[1:] if not reason.startswith(told))


def agreement_rows(card: JudgeCard) -> tuple[AgreementRow, ...]:
    """Every figure that the judge, people or a control has, the judge's first."""
    judge = {figure.name: figure for figure in card.agreement}
    ours = (figure for figure in card.human if not figure.name.startswith((_IN_PLACE, _RATIO)))
    people = {figure.name.removeprefix(_HUMAN): figure for figure in ours}
    controls = [{figure.name: figure for figure in figures} for figures in card.controls.values()]
    names = dict.fromkeys(name for column in (judge, people, *controls) for name in column)
    return tuple(
        AgreementRow(name, judge.get(name), people.get(name), tuple(column.get(name) for column in controls))
        for name in names
    )


def ceiling_rows(card: JudgeCard) -> tuple[CeilingRow, ...]:
    """The judge in a person's place, for every figure that has it."""
    found = {figure.name: figure for figure in card.human}
    names = [name.removeprefix(_IN_PLACE) for name in found if name.startswith(_IN_PLACE)]
    return tuple(
        CeilingRow(name, found.get(_HUMAN + name), found.get(_IN_PLACE + name), found.get(_RATIO + name))
        for name in names
    )


def figure_notes(card: JudgeCard) -> tuple[str, ...]:
    """How the figures were computed, each sentence once; of an undefined one the reason stands in its place."""
    found = [each for each in (*card.agreement, *card.human) if each.note and each.value is not None]
    return tuple(dict.fromkeys(f"{each.name.replace('_', ' ')}: {each.note}" for each in found))


def confusion_rows(card: JudgeCard) -> tuple[tuple[str, tuple[Share, ...]], ...]:
    """(level that people gave, what the judge gave instead), a row a level."""
    return tuple((level, _shares(row)) for level, row in zip(card.levels, card.confusion, strict=False))


def _shares(row: Sequence[int]) -> tuple[Share, ...]:
    total = sum(row) or 1
    return tuple(Share(count, round(_SHADES * count / total)) for count in row)


def probe_summary(card: JudgeCard) -> str:
    """How many probes ended how.

    >>> from types import SimpleNamespace as Some
    >>> probe_summary(Some(probes=[Some(passed="pass"), Some(passed="fail"), Some(passed="pass")]))
    '1 fail, 2 pass'
    """
    counts = Counter(probe.passed for probe in card.probes)
    return ", ".join(f"{counts[each]} {each}" for each in ("fail", "inconclusive", "pass", "not run") if counts[each])


def drawable(bins: Sequence[Bin]) -> tuple[Bin, ...]:
    """The bars whose place in a diagram is known."""
    return tuple(each for each in bins if finite(each.predicted) is not None and finite(each.observed) is not None)
