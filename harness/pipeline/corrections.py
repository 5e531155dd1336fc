"""What people would say of each candidate on validation: their labels, made to go further by the judge's verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from harness.autorater.estimates import Judged as JudgedItem
from harness.autorater.estimates import corrected
from harness.core.errors import HarnessError
from harness.core.judging import Label, latest
from harness.core.licences import Corrected
from harness.core.types import Completion
from harness.pipeline.estimates import clusters_of
from harness.pipeline.evaluate import ValidationEvaluation
from harness.pipeline.judging import Judged, JudgedMetric


def corrections(judging: Judged, evaluations: Sequence[ValidationEvaluation]) -> tuple[Corrected, ...]:
    """One for every judge and candidate with enough labels of its own answers.

    A candidate without any is left out, for a judge may err otherwise on it; unless the judge's settings say that it
    does not (assume_transport), which is then said wherever the number is shown.
    """
    judges = [metric for metric in judging.metrics if isinstance(metric, JudgedMetric) and metric.card.maps]
    return tuple(found for metric in judges for each in evaluations for found in _corrected(metric, each))


def _corrected(metric: JudgedMetric, evaluation: ValidationEvaluation) -> Iterator[Corrected]:
    arm, labels = evaluation.arm.name, latest(metric.configured.labels)
    items = _items(metric, evaluation)
    # Of an arm of several draws, the first is what people see.
    names = (arm, f"{arm}-draw0")
    own = [label for label in labels if set(label.systems) & set(names) and label.item in items]
    system = next((name for label in own for name in label.systems if name in names), arm)
    systems = (system,) if metric.card.label_kind != "pair" else own[0].systems if own else (system, "")
    used, extra = own, dict[str, JudgedItem]()
    if not own and metric.configured.spec.assume_transport:
        used = list(labels)
        extra = _foreign(metric, labels)
    if not used:
        return
    held_out, known = metric.licensed.examined.held_out, {**extra, **items}
    blind = [label.id for label in used if held_out.get(label.item) == known[label.item].score]
    try:
        yield corrected(
            used,
            list(known.values()),
            name=f"{metric.name} of {arm}",
            systems=systems,
            fitted_on=metric.card.labels_used,
            out_of_fold=blind,
            assume_transport=metric.configured.spec.assume_transport,
        )
    except HarnessError:
        # Too few labels, or all alike: there is nothing honest to say, and the card says how many there are.
        return


def _items(metric: JudgedMetric, evaluation: ValidationEvaluation) -> dict[str, JudgedItem]:
    """Every answer of the first draw with the judge's score; labelled ones by a calibration blind to their prompt."""
    samples, outcomes = evaluation.samples, evaluation.outcomes[0]
    scores = evaluation.statistics[metric.name][0][:, 0]
    clusters = clusters_of(samples)
    found: dict[str, JudgedItem] = {}
    for place, (sample, outcome) in enumerate(zip(samples, outcomes, strict=True)):
        if isinstance(outcome, Completion):
            item = metric.item(sample, outcome.text)
            score = float(scores[place]) if np.isfinite(scores[place]) else None
            found[item.id] = JudgedItem(item.id, item.cluster if clusters is None else clusters[place], score)
    return found


def _foreign(metric: JudgedMetric, labels: Sequence[Label]) -> dict[str, JudgedItem]:
    held_out = metric.licensed.examined.held_out
    return {label.item: JudgedItem(label.item, label.cluster, held_out.get(label.item)) for label in labels}
