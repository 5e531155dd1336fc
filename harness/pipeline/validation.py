"""What people said of a finished run's claim, on its own test answers: the validated claim."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.autorater.estimates import TestSample, matched, validate
from harness.autorater.labels import read_labels
from harness.core.errors import HarnessError
from harness.core.judging import Label, is_simulated, latest, text_hash
from harness.core.licences import JudgeCard, Validation
from harness.core.records import RunResult, SampleRow
from harness.core.specs import JUDGE_PREFIX, JudgeSpec
from harness.data.display import quote
from harness.pipeline.parts import Spreads, judge_for, parted, spreads, verdicts, weighed
from harness.store import disk, layout
from harness.store.claims import keep_claim
from harness.store.places import is_file
from harness.store.view import StoredView

_DEFAULT_EFFECT = 0.02


@dataclass(frozen=True, slots=True)
class Said:
    """What the labels of the final round come to. claim: None where they make none; notes: why, for people."""

    claim: Validation | None
    notes: tuple[str, ...] = ()


def write_validation(folder: Path) -> Said:
    """Compute the claim from the labels of the final round in a run's folder, and keep it there.

    Labels that make no claim, as the first few do not, take nothing from the run's own conclusion. E-LABELS where the
    file holds something else than labels.
    """
    file = folder / layout.LABELS
    labels = read_labels(file).labels if is_file(file) else ()
    said = said_by_people(StoredView(folder), [label for label in labels if label.round == "final"])
    if said.claim is None:
        disk.remove(folder / layout.VALIDATION)
    else:
        keep_claim(folder, said.claim)
    return said


def said_by_people(view: StoredView, final: Sequence[Label]) -> Said:
    """What final labels make of a run: they count where they are for what its judges rate, or for one thing of all."""
    if not final:
        return Said(None)
    if not view.result.comparisons:
        return Said(None, ("people's labels validate nothing: the run compared nothing",))
    own = _criteria(view.judges)
    counts = Counter(label.criterion for label in final)
    criterion = next((each for each in own or [each for each, _ in counts.most_common()] if each in counts), None)
    others = [label for label in final if label.criterion != criterion]
    notes = [_unused(others, own or [str(criterion)])] if others else []
    if criterion is None:
        return Said(None, tuple(notes))
    try:
        return Said(_validated(view, final, criterion), tuple(notes))
    except HarnessError as error:
        return Said(None, (*notes, f"nothing is validated yet: {error.what}"))


def final_spreads(view: StoredView, final: Sequence[Label], question: JudgeSpec) -> Spreads:
    """By part of a run's test samples, what the judge left unexplained in the final labels that there are."""
    card = _calibrated(view.judges, question.criterion)
    samples = _test_samples(view, question.criterion, card, pairs=question.label == "pair")
    own = [label for label in final if label.criterion == question.criterion and label.kind == question.label]
    return spreads(own, samples, _sides(view.result))


def require_final(labels: Sequence[Label], folder: Path, question: JudgeSpec) -> None:
    """E-LABELS unless all labels answer this question about answers that the run gave on test."""
    view = StoredView(folder)
    require_own_criterion(view, question)
    sides = _sides(view.result)
    samples = [_test_sample(row, sides, None) for row in view.samples() if _both(row, sides)]
    reasons = [_why_not(label, question, sides) for label in labels]
    fitting = [label for label, reason in zip(labels, reasons, strict=True) if reason is None]
    strange = sum(sample is None for _, sample in matched(fitting, samples, sides))
    counts = Counter(reason for reason in reasons if reason is not None)
    if strange:
        counts["they judge answers that the run did not give on test"] = strange
    if counts:
        raise HarnessError(
            f"{counts.total()} of {len(labels)} labels are not of the final round of {folder.name}",
            fix=f"leave them out; labels of its own answers are made by: harness label {folder.name} round=final",
            code="E-LABELS",
            details=[f"{n} labels: {reason}" for reason, n in counts.items()],
        )


def require_own_criterion(view: StoredView, question: JudgeSpec) -> None:
    """What people can be asked about a run's claim. E-USAGE where it has none, E-CONFLICT for what no judge rates."""
    if not view.result.comparisons:
        raise HarnessError(
            "the run compared nothing, so there is no claim for people to validate",
            fix="a final round needs a run with a tuned model, or with several prompts",
        )
    own = _criteria(view.judges)
    if own and question.criterion not in own:
        raise HarnessError(
            f"the run's claim is about {_named(own)}, and people would be asked about {quote(question.criterion)}",
            fix="name one of the run's own judges, or leave judge= and criterion= out",
            code="E-CONFLICT",
        )


def _calibrated(judges: Sequence[JudgeCard], criterion: str) -> JudgeCard | None:
    return next((card for card in judges if card.criterion == criterion and card.maps), None)


def _criteria(judges: Sequence[JudgeCard]) -> list[str]:
    return list(dict.fromkeys(card.criterion for card in judges))


def _named(criteria: Sequence[str]) -> str:
    return " and ".join(quote(each) for each in criteria)


def _unused(labels: Sequence[Label], criteria: Sequence[str]) -> str:
    others = _named(sorted({label.criterion for label in labels}))
    return f"{len(labels)} final labels are for {others} and were left out: the claim is about {_named(criteria)}"


def _why_not(label: Label, question: JudgeSpec, sides: tuple[str, str]) -> str | None:
    """Why a label is not one of the final round, told by itself; None where it may be."""
    if label.round != "final":
        return f"their round is {label.round}"
    if label.criterion != question.criterion:
        return f"they are for {quote(label.criterion)}, not for {quote(question.criterion)}"
    if label.kind != question.label:
        return f"they are of kind {label.kind}, not {question.label}"
    if label.kind == "likert" and label.scale != question.scale:
        return f"their scale ends at {label.scale}, not at {question.scale}"
    if label.split not in ("", "test"):
        return f"they are of {quote(label.split)} answers"
    if not set(label.systems) <= set(sides):
        return f"they judge answers of {_named(label.systems)}, not of {_named(sides)}"
    return None


def _sides(result: RunResult) -> tuple[str, str]:
    """Candidate and baseline of the run's claim."""
    compared = result.comparisons[-1]
    return compared.candidate, compared.baseline


def _validated(view: StoredView, labels: Sequence[Label], criterion: str) -> Validation:
    """The claim of a run's last comparison, by people. The judge of their criterion, if calibrated, shortens it."""
    result, sides = view.result, _sides(view.result)
    card = _calibrated(view.judges, criterion)
    held_out = view.held_out(card.judge) if card is not None else {}
    own = [label for label in latest(labels) if label.criterion == criterion]
    samples = _test_samples(view, criterion, card, pairs=own[0].kind == "pair")
    own = weighed(own, samples, sides)
    samples = [replace(sample, stratum="") for sample in samples]
    samples = _out_of_fold(samples, matched(own, samples, sides), held_out)
    return validate(
        own,
        samples,
        candidate=sides[0],
        baseline=sides[1],
        criterion=criterion,
        smallest_effect=_effect(result, card),
        fitted_on=card.labels_used if card is not None else (),
        fitted_items={(item, criterion) for item in held_out},
        out_of_fold=[label.id for label, sample in matched(own, samples, sides) if _is_clean(label, sample, held_out)],
        simulated=any(is_simulated(label.annotator) for label in own),
    )


def _test_samples(view: StoredView, criterion: str, card: JudgeCard | None, *, pairs: bool) -> list[TestSample]:
    """Test samples that both sides answered, in the parts that labels are drawn from."""
    sides, judge = _sides(view.result), judge_for(view.judges, criterion)
    rows = [row for row in view.samples() if _both(row, sides)]
    said = verdicts(rows, judge.judge, sides) if judge is not None else {}
    return parted([_test_sample(row, sides, card) for row in rows], said, pairs=pairs)


def _out_of_fold(
    samples: Sequence[TestSample], labelled: Sequence[tuple[Label, TestSample | None]], held_out: Mapping[str, float]
) -> list[TestSample]:
    """The samples, without the judge's scores of answers that fitted it and were not scored as held out."""
    leaked = {sample.id for label, sample in labelled if sample is not None and not _is_clean(label, sample, held_out)}
    return [replace(sample, scores=None) if sample.id in leaked else sample for sample in samples]


def _is_clean(label: Label, sample: TestSample | None, held_out: Mapping[str, float]) -> bool:
    """Whether what was labelled did not fit the score that the label corrects."""
    if label.item not in held_out or sample is None or sample.scores is None:
        return True
    return held_out[label.item] in sample.scores


def _effect(result: RunResult, card: JudgeCard | None) -> float:
    """What is worth having in people's scores: as the task says where they are its primary metric."""
    primary = card is not None and result.primary == JUDGE_PREFIX + card.judge
    return result.comparisons[-1].smallest_effect if primary else _DEFAULT_EFFECT


def _both(row: SampleRow, sides: tuple[str, str]) -> bool:
    return all(row.outputs.get(side) is not None for side in sides)


def _test_sample(row: SampleRow, sides: tuple[str, str], card: JudgeCard | None) -> TestSample:
    one, other = (str(row.outputs[side]) for side in sides)
    scores = None
    if card is not None:
        found = [row.scores.get(side, {}).get(JUDGE_PREFIX + card.judge) for side in sides]
        if found[0] is not None and found[1] is not None:
            scores = (found[0], found[1])
    if scores is not None and card is not None and card.label_kind == "pair":
        # Each was judged against the reference; between the two, the difference of their chances speaks.
        lead = (scores[0] - scores[1]) / 2
        scores = (0.5 + lead, 0.5 - lead)
    cluster = row.group if row.group is not None else text_hash(row.prompt)
    return TestSample(row.id, cluster, (one, other), scores)
