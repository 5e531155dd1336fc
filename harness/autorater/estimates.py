"""What people's labels and a judge's verdicts say of a system, or of two, with the interval that it has earned."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from harness.autorater.rows import (
    DIFFERENCE,
    SCORE,
    Row,
    Target,
    estimate,
    finite,
    foreign_systems,
    missing_warning,
    named,
    record,
    refuse_few,
    refuse_leak,
    transport_error,
    transport_warning,
    transported,
)
from harness.core.errors import HarnessError
from harness.core.judging import Label, latest, text_hash
from harness.core.licences import Corrected, Validation
from harness.core.records import Answer
from harness.data.display import escape, quote
from harness.stats import ppi
from harness.stats.decision import decide
from harness.stats.ppi import PPI


@dataclass(frozen=True, slots=True)
class Judged:
    """An item that a claim is about, or that is labelled in its stead.

    item: as `Label.item`. score: the judge's, calibrated, in [0, 1]; None or nan where there is no verdict. stratum:
    the part that labels were drawn from, if known of every item.
    """

    item: str
    cluster: str
    score: float | None
    stratum: str = ""


@dataclass(frozen=True, slots=True)
class TestSample:
    """A test sample with what both systems answered, candidate first.

    cluster: of its prompt. scores: the judge's, calibrated; of a judge of pairs, the candidate's chance to be the
    better one and the rest of it; None without a verdict on both.
    """

    __test__ = False  # not a test case, whatever pytest makes of the name

    id: str
    cluster: str
    answers: tuple[str, str]
    scores: tuple[float, float] | None = None
    stratum: str = ""


@dataclass(frozen=True, slots=True)
class _Voted:
    """What people said of one test sample: mean scores of candidate and baseline, or of the pair as its two sides."""

    candidate: float
    baseline: float
    probability: float


def corrected(
    labels: Sequence[Label],
    judged: Sequence[Judged],
    *,
    name: str,
    systems: tuple[str, ...],
    fitted_on: Collection[str] = (),
    fitted_items: Collection[tuple[str, str]] = (),
    out_of_fold: Collection[str] = (),
    assume_transport: bool = False,
    target: Target = "population",
) -> Corrected:
    """People's mean score of one system's answers (of a pair of systems: how often the first is better).

    judged: all items that the claim is about, labelled or not, and the labelled ones if they are another system's.
    systems: whose answers the claim is about, one name, or for pairs two. fitted_on: ids of the labels that fitted
    the judge; fitted_items: item and criterion of those; out_of_fold: ids of the labels here whose item's score came
    from a fold without its prompt.
    assume_transport: take labels of other systems' answers, supposing that the judge errs alike on all; said in
    `warning`. target: whether the interval is about these items, or what they were drawn from (always, if
    transported).

    HarnessError E-LEAK; E-TRANSPORT, whatever is assumed where labels are few or all alike, or there are no verdicts on
    the claimed system; E-LABELS for fewer than two labelled items, or labels of items not in `judged`.
    """
    labels = latest(labels)
    refuse_leak(labels, fitted_on, out_of_fold, fitted_items)
    foreign = foreign_systems(labels, systems)
    if foreign and not assume_transport:
        raise transport_error(foreign, systems)
    people = _means(_item(label, systems) for label in labels)
    _refuse_unknown(people, {each.item for each in judged})
    chances = {_item(label, systems)[0]: label.probability for label in labels}
    rows = [
        Row(people.get(each.item), finite(each.score), each.cluster, each.stratum, chances.get(each.item, 1.0))
        for each in judged
    ]
    refuse_few(rows)
    found = transported(rows, foreign, systems) if foreign else estimate(rows, bounds=SCORE, target=target)
    return record(
        name,
        found,
        target="population" if foreign else target,
        systems=tuple(sorted({system for label in labels for system in label.systems})),
        warnings=[*transport_warning(foreign, systems), *missing_warning(rows)],
        p=None,
    )


def validate(
    labels: Sequence[Label],
    samples: Sequence[TestSample],
    *,
    candidate: str,
    baseline: str,
    criterion: str,
    smallest_effect: float,
    fitted_on: Collection[str] = (),
    fitted_items: Collection[tuple[str, str]] = (),
    out_of_fold: Collection[str] = (),
    target: Target = "population",
    simulated: bool = False,
) -> Validation:
    """What people said, blind, of candidate and baseline on the same test prompts.

    labels: of these, the ones of the final round and this criterion count: single labels on both systems' answers, or
    labels of pairs. samples: the whole test split; without scores the labels speak alone. The three estimates share
    one weight of the verdicts, so that the difference is candidate minus baseline to the last digit, but where one of
    them has to do without verdicts. fitted_on, fitted_items, out_of_fold: as in `corrected`. simulated: whether
    annotators were.

    HarnessError E-LABELS: no such labels, other kinds mixed in, answers that are not this run's, fewer than two
    samples with both sides labelled. E-LEAK: a final label, or another one of the same thing, fitted the judge.
    E-TRANSPORT: all labels are of other systems; where some are, they are left out and counted in `warning`.
    """
    final = _final(labels, criterion)
    refuse_leak(final, fitted_on, out_of_fold, fitted_items)
    own = _own(final, candidate, baseline)
    votes = _votes(own, samples, (candidate, baseline))
    voted = {sample: vote for sample, vote in votes.items() if vote is not None}
    rows = [_difference_row(sample, voted.get(sample.id)) for sample in samples]
    refuse_few(rows, of="both systems")
    difference = estimate(rows, bounds=DIFFERENCE, target=target)
    sides = _sides(samples, voted, difference, target, is_pair=own[0].kind == "pair")
    warnings = [
        *missing_warning(rows),
        *_one_sided_warning(len(votes) - len(voted)),
        *_unused_warning(len(final) - len(own), foreign_systems(final, (candidate, baseline))),
    ]
    records = _records((*sides, difference), (candidate, baseline), target, warnings)
    wins, ties, losses = _tally(voted.values())
    found = Validation(
        criterion=criterion,
        candidate=candidate,
        baseline=baseline,
        candidate_score=records[0],
        baseline_score=records[1],
        difference=records[2],
        wins=wins,
        ties=ties,
        losses=losses,
        answer=_answer(difference, smallest_effect),
        sentence="",
        annotators=dict(Counter(label.annotator for label in own)),
        simulated=simulated,
    )
    return replace(found, sentence=_sentence(found, samples))


def _final(labels: Sequence[Label], criterion: str) -> list[Label]:
    """Everybody's last words in the final round on this criterion; E-LABELS where nothing can be said by them."""
    final = [label for label in latest(labels) if label.round == "final" and label.criterion == criterion]
    _refuse_unfit(final, criterion)
    return final


def _own(labels: Sequence[Label], candidate: str, baseline: str) -> Sequence[Label]:
    """The labels that are of these two alone; E-TRANSPORT where all are of other systems."""
    foreign = foreign_systems(labels, (candidate, baseline))
    labels = [label for label in labels if set(label.systems) <= {candidate, baseline}]
    if not labels:
        raise transport_error(foreign, (candidate, baseline))
    return labels


def _votes(
    labels: Sequence[Label], samples: Sequence[TestSample], systems: tuple[str, str]
) -> dict[str, _Voted | None]:
    """Each labelled sample's vote by its id, in the samples' order; None where one side has no label."""
    by_sample = _by_sample(labels, samples, systems)
    return {sample.id: _vote(by_sample[sample.id], sample, systems[0]) for sample in samples if sample.id in by_sample}


def _records(
    found: tuple[PPI, PPI, PPI], systems: tuple[str, str], target: Target, warnings: Sequence[str]
) -> tuple[Corrected, Corrected, Corrected]:
    """Candidate's and baseline's scores, and their difference, which alone has a p value."""
    candidate, baseline = systems
    *sides, difference = found
    return (
        record(candidate, sides[0], target=target, systems=(candidate,), warnings=warnings, p=None),
        record(baseline, sides[1], target=target, systems=(baseline,), warnings=warnings, p=None),
        record(
            f"{candidate} - {baseline}", difference, target=target, systems=systems, warnings=warnings, p=difference.p
        ),
    )


def _answer(difference: PPI, smallest_effect: float) -> Answer:
    return decide(
        delta=difference.value,
        low=difference.low,
        high=difference.high,
        p_adjusted=difference.p,
        smallest_effect=smallest_effect,
    )


def _tally(votes: Collection[_Voted]) -> tuple[int, int, int]:
    """Samples on which people put the candidate first, neither, and the baseline."""
    wins = sum(vote.candidate > vote.baseline for vote in votes)
    losses = sum(vote.candidate < vote.baseline for vote in votes)
    return wins, len(votes) - wins - losses, losses


def _sentence(found: Validation, samples: Sequence[TestSample]) -> str:
    """The claim on one line, its interval and n with it; names from outside escaped."""
    who = "Simulated annotators" if found.simulated else "People"
    difference = found.difference
    unit = "prompts" if len({sample.cluster for sample in samples}) == len(samples) else "samples"
    scores = (
        f"{escape(found.criterion)} {found.candidate_score.value:.2f} with {escape(found.candidate)} "
        f"against {found.baseline_score.value:.2f} with {escape(found.baseline)}"
    )
    interval = f"{difference.value:+.2f} [{difference.low:+.2f}, {difference.high:+.2f}]"
    return (
        f"{who}, blind, on {difference.n_labels} of {len(samples)} test {unit}: {scores} "
        f"({found.answer}: {interval}; {_how(difference, unit)})"
    )


def _how(found: Corrected, unit: str) -> str:
    """The method for people, with the verdicts' part in it."""
    if found.method.startswith(ppi.LABELS_ALONE) or found.effective_labels is None:
        return found.method
    return (
        f"{found.method} with {found.n_labels} labelled and {found.n_judged} judged {unit}, "
        f"{found.effective_labels:.0f} effective labels"
    )


def _sides(
    samples: Sequence[TestSample], voted: Mapping[str, _Voted], difference: PPI, target: Target, *, is_pair: bool
) -> tuple[PPI, PPI]:
    """Candidate's and baseline's scores with the weight that the verdicts have in the difference."""
    if is_pair:
        return _side_of_pair(difference, 1), _side_of_pair(difference, -1)
    alone = difference.method.startswith(ppi.LABELS_ALONE)
    found = []
    for side in (0, 1):
        rows = [_side_row(sample, voted.get(sample.id), side, alone=alone) for sample in samples]
        found.append(estimate(rows, bounds=SCORE, target=target, lam=None if alone else difference.lams))
    return found[0], found[1]


def _side_of_pair(difference: PPI, sign: int) -> PPI:
    """How often one side is better, ties half: the win score, (1 + difference) / 2 for the candidate."""
    ends = sorted((1 + sign * end) / 2 for end in (difference.low, difference.high))
    return replace(difference, value=(1 + sign * difference.value) / 2, low=ends[0], high=ends[1], se=difference.se / 2)


def _side_row(sample: TestSample, vote: _Voted | None, side: int, *, alone: bool) -> Row:
    human = None if vote is None else (vote.candidate, vote.baseline)[side]
    judged = None if sample.scores is None or alone else finite(sample.scores[side])
    return Row(human, judged, sample.cluster, sample.stratum, 1.0 if vote is None else vote.probability)


def _difference_row(sample: TestSample, vote: _Voted | None) -> Row:
    human = None if vote is None else vote.candidate - vote.baseline
    judged = None if sample.scores is None else finite(sample.scores[0] - sample.scores[1])
    return Row(human, judged, sample.cluster, sample.stratum, 1.0 if vote is None else vote.probability)


def _item(label: Label, systems: tuple[str, ...]) -> tuple[str, float]:
    """What was judged, and its score, with a pair turned so that the first of `systems` comes first."""
    if len(label.systems) == 2 and label.systems == systems[::-1] and label.systems != systems:
        return text_hash(label.question, *label.answers[::-1]), 1 - label.score
    return label.item, label.score


def _means(scores: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Mean score of each item over its annotators."""
    by_item: dict[str, list[float]] = {}
    for item, score in scores:
        by_item.setdefault(item, []).append(score)
    return {item: sum(values) / len(values) for item, values in by_item.items()}


def matched(
    labels: Sequence[Label], samples: Sequence[TestSample], systems: tuple[str, str]
) -> list[tuple[Label, TestSample | None]]:
    """Each label with the test sample whose very answers it judged, by its id or its prompt; None for other answers."""
    by_id = {sample.id: sample for sample in samples}
    by_cluster: dict[str, list[TestSample]] = {}
    for sample in samples:
        by_cluster.setdefault(sample.cluster, []).append(sample)
    found = []
    for label in labels:
        known = [by_id[label.sample]] if label.sample in by_id else by_cluster.get(label.cluster, [])
        found.append((label, next((sample for sample in known if _is_of(label, sample, systems)), None)))
    return found


def _by_sample(
    labels: Sequence[Label], samples: Sequence[TestSample], systems: tuple[str, str]
) -> dict[str, list[Label]]:
    """Labels of each test sample by its id. E-LABELS for other texts."""
    found: dict[str, list[Label]] = {}
    strangers = []
    for label, sample in matched(labels, samples, systems):
        if sample is None:
            strangers.append(label)
        else:
            found.setdefault(sample.id, []).append(label)
    if strangers:
        raise HarnessError(
            f"{len(strangers)} of {len(labels)} final labels judge answers that this run did not give on test, "
            f"the first of them label {quote(strangers[0].id)}",
            fix="label this run's own answers: harness label RUN round=final",
            code="E-LABELS",
        )
    return found


def _is_of(label: Label, sample: TestSample, systems: tuple[str, str]) -> bool:
    """Whether the label judged this sample's very answers."""
    answers = dict(zip(systems, sample.answers, strict=True))
    return label.answers == tuple(answers.get(system) for system in label.systems)


def _vote(labels: Sequence[Label], sample: TestSample, candidate: str) -> _Voted | None:
    """People's mean scores of both sides of one sample; None where nobody judged one of them."""
    probability = labels[0].probability
    if labels[0].kind == "pair":
        share = _mean([label.score if label.systems[0] == candidate else 1 - label.score for label in labels])
        return _Voted(share, 1 - share, probability)
    if sample.answers[0] == sample.answers[1]:
        # One text: whoever judged it judged both, and that one person's two scores of it differ is chance.
        share = _mean([label.score for label in labels])
        return _Voted(share, share, probability)
    of_candidate = [label.score for label in labels if label.systems == (candidate,)]
    of_baseline = [label.score for label in labels if label.systems != (candidate,)]
    if not of_candidate or not of_baseline:
        return None
    return _Voted(_mean(of_candidate), _mean(of_baseline), probability)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _one_sided_warning(n: int) -> list[str]:
    return [f"samples left out because only one side has a label: {n}"] if n else []


def _unused_warning(n: int, foreign: Sequence[str]) -> list[str]:
    return [f"labels left out because they are of {named(foreign)}: {n}"] if n else []


def _refuse_unknown(people: Collection[str], judged: Collection[str]) -> None:
    unknown = len(set(people) - set(judged))
    if unknown:
        raise HarnessError(
            f"{unknown} of {len(people)} labelled items are not among the {len(judged)} that were judged",
            fix="have the judge rate the labelled answers too, or leave these labels out",
            code="E-LABELS",
        )


def _refuse_unfit(labels: Sequence[Label], criterion: str) -> None:
    kinds = sorted({label.kind for label in labels})
    if not labels:
        raise HarnessError(
            f"there are no labels of the final round for {quote(criterion)}",
            fix="let people judge the chosen checkpoint and its baseline on test: harness label RUN round=final",
            code="E-LABELS",
        )
    if len(kinds) > 1:
        raise HarnessError(
            f"final labels for {quote(criterion)} are of several kinds: {', '.join(kinds)}",
            fix="keep the labels of one kind, or give the other kind a criterion of its own",
            code="E-LABELS",
        )
    splits = {label.split for label in labels} - {"", "test"}
    if splits:
        raise HarnessError(
            f"final labels for {quote(criterion)} are on {named(sorted(splits))}, where the checkpoint was chosen",
            fix="label answers on test: harness label RUN round=final",
            code="E-LABELS",
        )
