"""What people said and what a judge may do, in Markdown: parts of summary.md, and card.md."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence

from harness.core.licences import Corrected, Figure, JudgeCard, Validation
from reports import cards, judges
from reports.markdown_parts import escape, section, table
from reports.numbers import interval, number, p_value

_SHOWN_EXAMPLES = 3
_ESTIMATE_HEAD = (
    *("", "value", "95 % interval", "labels", "judged only", "prompts"),
    *("rho", "lambda", "worth labels", "method", "it is about"),
)
_CORRECTED_HEAD = ("candidate", "value, 95 % interval", "labels", "judged only", "rho", "worth labels", "method")


def people_lines(validation: Validation) -> Iterator[str]:
    """The validated claim: both scores, their difference, and all that they rest on."""
    who = ", ".join(f"{escape(name)} {count}" for name, count in validation.annotators.items())
    simulated = "**The annotators were simulated.** " if validation.simulated else ""
    yield f"{simulated}{escape(validation.criterion)}; labels by {who or 'nobody'}."
    for warning in judges.warnings(validation):
        yield from ("", f"**Mind: {escape(warning)}**")
    yield ""
    yield from table(_ESTIMATE_HEAD, (_estimate(*each) for each in judges.estimates(validation)))
    counts = f"{validation.wins} wins, {validation.ties} ties, {validation.losses} losses"
    p = html.escape(p_value(validation.difference.p), quote=False)
    yield from ("", f"{counts}; {p}; answer: {validation.answer}.")


def _estimate(name: str, it: Corrected, signed: bool) -> list[str]:
    return [
        escape(name),
        number(it.value, signed=signed),
        interval(it.low, it.high, signed=signed) or number(None),
        str(it.n_labels),
        str(it.n_judged),
        str(it.n_clusters),
        number(it.rho, 2),
        number(it.lam, 2),
        number(it.effective_labels, 0),
        escape(it.method),
        judges.TARGETS[it.target],
    ]


def corrected_lines(found: Sequence[Corrected]) -> Iterator[str]:
    """What people would say of each candidate on validation, by their labels and a judge's verdicts."""
    for each in found:
        if each.warning:
            yield from (f"**Mind, {escape(each.name)}: {escape(each.warning)}**", "")
    yield from table(_CORRECTED_HEAD, (_corrected(each) for each in found))


def _corrected(it: Corrected) -> list[str]:
    return [
        escape(it.name),
        f"{number(it.value)} {interval(it.low, it.high)}".rstrip(),
        str(it.n_labels),
        str(it.n_judged),
        number(it.rho, 2),
        number(it.effective_labels, 0),
        escape(it.method),
    ]


def judge_lines(card: JudgeCard) -> Iterator[str]:
    """A judge in a run's summary: its grade, why, and the gate."""
    yield f"**{escape(card.judge)}: {card.licence.grade}.** {escape(cards.lead(card))}"
    if card.simulated:
        yield from ("", "**Its labels come from simulated annotators, not from people.**")
    reasons = cards.own_reasons(card)
    if reasons:
        yield from ("", *(f"- {escape(reason)}" for reason in reasons))
    yield ""
    yield from _gate(card)


def card_lines(card: JudgeCard) -> Iterator[str]:
    """card.md: everything on a judge card that a table can hold."""
    yield f"# {escape(card.judge)}: {card.licence.grade}"
    yield ""
    yield from judge_lines(card)
    yield from section("What it is", _about(card))
    yield from section(f"Agreement with {cards.who(card)}", _agreement(card))
    yield from section("In a person's place", _ceiling(card))
    yield from section("Probes", _probes(card))
    yield from section("Systems", _transport(card))
    yield from section("Confusion", _confusion(card))
    yield from section("Calibration", _bins(card))
    yield from section("Notes", (f"- {escape(note)}" for note in card.notes))


def _gate(card: JudgeCard) -> Iterator[str]:
    head = ["gate", "outcome", "what was found", "more labels"]
    rows = (
        [f"{line.code} {escape(line.name)}", line.passed, escape(line.what), _more(line.more_labels)]
        for line in card.licence.lines
    )
    yield from table(head, rows)


def _more(more_labels: int | None) -> str:
    return "" if more_labels is None else f"about {more_labels}"


def _about(card: JudgeCard) -> Iterator[str]:
    yield f"- criterion: {escape(card.criterion)}"
    yield f"- kind: {escape(card.kind)}; labels: {card.label_kind}; model: {escape(card.model)}"
    yield f"- labels: {card.n_labels} on {card.n_items} answers to {card.n_clusters} prompts, {card.n_repeats} repeats"
    yield f"- annotators: {_counts(card.annotators)}"
    yield f"- systems: {_counts(card.systems)}"
    yield f"- without a verdict: {card.n_failures}" + (f" ({_counts(card.failures)})" if card.failures else "")
    yield f"- probability on the labels, median: {number(card.label_mass)}"
    yield f"- calibrated by: {escape(card.map_kind)}, {len(card.maps)} folds; {len(card.labels_used)} labels fitted it"
    if card.sd_difference is not None:
        yield f"- standard deviation of the difference of two systems' answers: {number(card.sd_difference)}"
    yield f"- smallest difference that matters: {number(card.licence.delta)}"
    yield from (f"- {escape(key)}: {escape(value)}" for key, value in card.licence.fingerprint.items())


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{escape(name)} {count}" for name, count in counts.items()) or "none"


def _agreement(card: JudgeCard) -> Iterator[str]:
    head = ["figure", "judge", f"{cards.who(card)} among themselves", *(escape(name) for name in card.controls), "n"]
    rows = (
        [
            escape(row.name.replace("_", " ")),
            *(_figure(each) for each in (row.judge, row.people, *row.controls)),
            str(row.judge.n) if row.judge else number(None),
        ]
        for row in cards.agreement_rows(card)
    )
    yield from table(head, rows)


def _ceiling(card: JudgeCard) -> Iterator[str]:
    head = ["figure", "one with the others", "the judge with them", "share of the ceiling"]
    rows = (
        [escape(row.name.replace("_", " ")), *(_figure(each) for each in (row.people, row.judge, row.share))]
        for row in cards.ceiling_rows(card)
    )
    yield from table(head, rows)


def _figure(figure: Figure | None) -> str:
    if figure is None:
        return number(None)
    if figure.value is None:
        return f"{number(None)} {escape(figure.note)}".rstrip()
    return f"{number(figure.value)} {interval(figure.low, figure.high)}".rstrip()


def _probes(card: JudgeCard) -> Iterator[str]:
    head = ["probe", "outcome", "what was done", "found", "limit", "n"]
    rows = (
        [
            escape(probe.name),
            probe.passed,
            escape(probe.what),
            f"{number(probe.value)} {interval(probe.low, probe.high)}".rstrip(),
            escape(probe.limit),
            str(probe.n),
        ]
        for probe in card.probes
    )
    yield from table(head, rows)
    for probe in card.probes:
        for example in probe.examples[:_SHOWN_EXAMPLES]:
            yield from ("", f"{escape(probe.name)}: {escape(example)}")


def _transport(card: JudgeCard) -> Iterator[str]:
    head = ["systems", f"judge minus {cards.who(card)}, difference", "90 % interval", "outcome", "items"]
    rows = (
        [
            f"{escape(pair.system)} minus {escape(pair.other)}",
            number(pair.difference, signed=True),
            interval(pair.low, pair.high, signed=True) or number(None),
            pair.passed,
            f"{pair.n[0]} and {pair.n[1]}",
        ]
        for pair in card.transport
    )
    yield from table(head, rows)


def _confusion(card: JudgeCard) -> Iterator[str]:
    rows = ([escape(level), *map(str, counts)] for level, counts in zip(card.levels, card.confusion, strict=False))
    yield from table([f"{cards.who(card)} down, judge across", *(escape(level) for level in card.levels)], rows)


def _bins(card: JudgeCard) -> Iterator[str]:
    head = ["judge, calibrated", cards.who(card), "95 % interval", "items"]
    rows = (
        [number(each.predicted), number(each.observed), interval(each.low, each.high) or number(None), str(each.n)]
        for each in card.reliability
    )
    yield from table(head, rows)
