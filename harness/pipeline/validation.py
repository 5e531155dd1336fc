"""What people said of a finished run's claim, on its own test answers: the validated claim."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.autorater.estimates import TestSample, validate
from harness.autorater.labels import read_labels
from harness.core.judging import Label, text_hash
from harness.core.licences import JudgeCard, Validation
from harness.core.records import RunResult, SampleRow
from harness.core.specs import JUDGE_PREFIX
from harness.store import disk, layout
from harness.store.encoding import canonical
from harness.store.places import is_file
from harness.store.view import StoredView

# How annotators that are no people are named.
SIMULATED = "simulated"
_DEFAULT_EFFECT = 0.02


def write_validation(folder: Path) -> Validation | None:
    """Compute the claim from the labels of the final round in a run's folder, and keep it there; None without any."""
    file = folder / layout.LABELS
    labels = read_labels(file).labels if is_file(file) else ()
    final = [label for label in labels if label.round == "final"]
    if not final:
        disk.remove(folder / layout.VALIDATION)
        return None
    found = validated(StoredView(folder), final)
    disk.write_atomic(folder / layout.VALIDATION, canonical(found))
    return found


def validated(view: StoredView, labels: Sequence[Label]) -> Validation:
    """The claim of a run's last comparison, by people. The judge of their criterion, if calibrated, shortens it."""
    result, criterion = view.result, labels[0].criterion
    compared = result.comparisons[-1]
    card = next((card for card in view.judges if card.criterion == criterion and card.maps), None)
    sides = (compared.candidate, compared.baseline)
    return validate(
        labels,
        [_test_sample(row, sides, card) for row in view.samples() if _both(row, sides)],
        candidate=compared.candidate,
        baseline=compared.baseline,
        criterion=criterion,
        smallest_effect=_effect(result, card),
        fitted_on=card.labels_used if card is not None else (),
        simulated=any(label.annotator.startswith(SIMULATED) for label in labels),
    )


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
