"""Labels and verdicts side by side, as the arrays that calibration and the gate work on.

Axes: N labelled items with a verdict, M rows (see `evidence.Evidence`), F features.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from harness.autorater.evidence import Evidence
from harness.autorater.rating import items_of
from harness.core.errors import HarnessError
from harness.core.judging import Item, Label, LabelKind, Pair, Verdict, text_hash
from harness.core.licences import Figure
from harness.core.protocols import Judge
from harness.core.types import Failure, FloatArray
from harness.data.display import escape

# Fewer than these cannot even say which way a map should go.
LEAST_TO_FIT = 10


@dataclass(frozen=True)
class Rated:
    """Labels that answer one question, and what a judge says of their items, by item id."""

    judge: Judge
    labels: tuple[Label, ...]
    criterion: str
    label_kind: LabelKind
    scale: int
    outcomes: Mapping[str, Verdict | Failure]

    @cached_property
    def items(self) -> tuple[Item, ...]:
        """The N items with a verdict."""
        return tuple(item for item in items_of(self.labels) if isinstance(self.outcomes[item.id], Verdict))

    @cached_property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Their verdicts."""
        found = (self.outcomes[item.id] for item in self.items)
        return tuple(verdict for verdict in found if isinstance(verdict, Verdict))

    @cached_property
    def ratings(self) -> tuple[Mapping[str, float], ...]:
        """Annotator -> score of each of the N items; of an annotator's scores of one item the last."""
        by_item: dict[str, dict[str, float]] = {}
        for label in self.labels:
            by_item.setdefault(label.item, {})[label.annotator] = label.score
        return tuple(by_item[item.id] for item in self.items)

    @cached_property
    def human(self) -> FloatArray:
        """(N,) means over annotators."""
        return np.array([sum(scores.values()) / len(scores) for scores in self.ratings])

    @cached_property
    def features(self) -> FloatArray:
        """(N, F), what calibration maps."""
        return features_of(self.verdicts)

    @cached_property
    def clusters(self) -> tuple[str, ...]:
        """The N items' prompts."""
        return tuple(item.cluster for item in self.items)

    @cached_property
    def systems(self) -> tuple[str, ...] | None:
        """Who wrote each of the N answers, the first label's word for it; None of pairs, which two systems wrote."""
        first = {label.item: label.systems[0] for label in reversed(self.labels)}
        return None if self.label_kind == "pair" else tuple(first[item.id] for item in self.items)

    @cached_property
    def n_unscored(self) -> int:
        """Items without a verdict."""
        return sum(isinstance(outcome, Failure) for outcome in self.outcomes.values())

    @cached_property
    def n_repeats(self) -> int:
        """How often an item came up again before somebody who had judged it; several people at once count once."""
        ids = {label.id for label in self.labels}
        # One answer of several systems that was shown once has a label for each, named ID, ID.1 and so on.
        given = (label for label in self.labels if label.id.rpartition(".")[0] not in ids)
        times = Counter((label.item, label.annotator) for label in given)
        most: dict[str, int] = {}
        for (item, _), n in times.items():
            most[item] = max(most.get(item, 0), n - 1)
        return sum(most.values())

    @cached_property
    def label_mass(self) -> float | None:
        """Median over the items; None for judges that have no labels to choose from."""
        masses = [verdict.label_mass for verdict in self.verdicts if verdict.label_mass is not None]
        return float(np.median(masses)) if masses else None

    @property
    def why_not(self) -> str | None:
        """Why the judge cannot be calibrated, in a sentence; None where it can."""
        if not self.labels:
            return "there are no human labels for it"
        if not self.items:
            return "none of the labelled items has a verdict"
        if len(self.items) < LEAST_TO_FIT:
            found = "1 labelled item has" if len(self.items) == 1 else f"{len(self.items)} labelled items have"
            return f"only {found} a verdict; {LEAST_TO_FIT} are the least to calibrate on"
        if len(set(self.clusters)) < 2:
            return "all labels are of one prompt, so none is left to try out what the others teach"
        if np.ptp(self.human) < 1e-12:
            return "people gave every item the same score, so there is nothing to follow"
        return None

    def evidence(self, scores_N: FloatArray, controls: Mapping[str, FloatArray], ceiling: Figure | None) -> Evidence:
        """What the gate looks at: an answer that several systems gave stands for each of them."""
        place = {item.id: i for i, item in enumerate(self.items)}
        told = ((place[label.item], label.systems) for label in self.labels if label.item in place)
        rows = sorted(dict.fromkeys(told), key=lambda row: row[0])
        at_M = np.array([i for i, _ in rows], dtype=np.int64)
        return Evidence(
            human=self.human[at_M],
            judged=scores_N[at_M],
            raw=np.array([verdict.score for verdict in self.verdicts])[at_M],
            clusters=tuple(self.clusters[i] for i in at_M),
            systems=tuple(systems for _, systems in rows),
            controls={name: control_N[at_M] for name, control_N in controls.items()},
            n_unscored=self.n_unscored,
            label_mass=self.label_mass,
            ceiling=ceiling,
            calibrated_from_one=self.features.shape[1] == 1,
            items=tuple(_in_either_order(self.items[i]) for i in at_M),
            twins=tuple(_twins(self.items[i]) for i in at_M),
        )


def _in_either_order(item: Item) -> str:
    """Its id, or of a pair a name that does not depend on which answer stands first."""
    return text_hash(item.question, *sorted(item.answers)) if isinstance(item, Pair) else item.id


def _twins(item: Item) -> bool:
    return isinstance(item, Pair) and item.answers[0] == item.answers[1]


def features_of(verdicts: Sequence[Verdict]) -> FloatArray:
    """(N, F)."""
    return np.array([verdict.features for verdict in verdicts], dtype=np.float64)


def require_one_question(labels: Sequence[Label]) -> None:
    """HarnessError E-LABELS for labels of several criteria, kinds or scales."""
    asked = {(label.criterion, label.kind, label.scale if label.kind == "likert" else 0) for label in labels}
    if len(asked) > 1:
        shown = sorted(f"{criterion} ({kind}{f' 1-{scale}' if scale else ''})" for criterion, kind, scale in asked)
        raise HarnessError(
            f"the labels answer {len(asked)} different questions: {', '.join(map(escape, shown))}",
            fix="calibrate on labels of one criterion, kind and scale",
            code="E-LABELS",
        )
