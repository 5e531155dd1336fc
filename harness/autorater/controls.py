"""Judges that anybody could have, held to the same labels in the same folds: what a judge has to beat.

Axes: N labelled items with a verdict of the judge.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.autorater.rated import LEAST_TO_FIT, Rated, features_of
from harness.autorater.rating import rate
from harness.core.errors import BackendUnreachable, EnvironmentFault, HarnessError
from harness.core.judging import Verdict
from harness.core.protocols import Generator, Judge
from harness.core.types import Failure, FloatArray, IntArray
from harness.data.display import escape
from harness.stats import calibration
from harness.stats.calibration import MapKind

CONSTANT = "constant"
_LONGEST_REASON = 200


@dataclass(frozen=True)
class Controlled:
    """scores: name -> scores (N,) out of fold, nan where a control has no verdict. notes: why others have none."""

    scores: Mapping[str, FloatArray]
    notes: tuple[str, ...]


def control_scores(
    rated: Rated, folds_N: IntArray, controls: Mapping[str, Judge], generator: Generator, *, n_folds: int, seed: int
) -> Controlled:
    """What controls say of the judge's items; the constant is always among them.

    Left out is one that has too few verdicts to be calibrated, such as a metric where labels have no right answers, or
    that cannot rate these items at all. folds_N: the judge's own folds, which a control with a verdict on every item
    has too.
    """
    found, notes = {CONSTANT: constant_scores(rated.human, folds_N)}, []
    for name, control in controls.items():
        try:
            outcomes = rate(control, rated.items, generator, _silent)
        except (EnvironmentFault, BackendUnreachable):
            raise
        except HarnessError as err:
            notes.append(not_compared(name, reason_of(err)))
            continue
        scores_N = _out_of_fold(rated, [outcomes[item.id] for item in rated.items], n_folds=n_folds, seed=seed)
        if np.isfinite(scores_N).any():
            found[name] = scores_N
        else:
            notes.append(not_compared(name, "it has too few verdicts on the labelled items"))
    return Controlled(found, tuple(notes))


def not_compared(name: str, why: str) -> str:
    """What a card says of a control that the judge did not have to beat."""
    return f"not compared with {escape(name)}: {why}"


def reason_of(err: HarnessError) -> str:
    """Why a control could not be made or asked, on one line that is safe to show."""
    return escape("; ".join((err.what, *err.details)), _LONGEST_REASON)


def constant_scores(human_N: FloatArray, folds_N: IntArray) -> FloatArray:
    """The mean of people's scores in all other folds: what there is to say without looking.

    >>> constant_scores(np.array([0.0, 1.0, 1.0]), np.array([0, 1, 1])).tolist()
    [1.0, 0.0, 0.0]
    """
    means = np.array([human_N[folds_N != fold].mean() for fold in range(int(folds_N.max()) + 1)])
    return np.asarray(means[folds_N])


def _out_of_fold(rated: Rated, outcomes: Sequence[Verdict | Failure], *, n_folds: int, seed: int) -> FloatArray:
    """The best that the control can do: by all its features, by its score, or by its score turned round.

    Which of them is chosen in favour of the control, on the very labels that it is held to.
    """
    rows = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, Verdict)]
    clusters = [rated.clusters[i] for i in rows]
    scores_N = np.full(len(outcomes), np.nan)
    if len(rows) < LEAST_TO_FIT or len(set(clusters)) < 2:
        return scores_N
    human_R = rated.human[rows]
    tries = [
        calibration.cross_fit(features_RF, human_R, clusters, kind=kind, n_folds=n_folds, seed=seed).scores_N
        for kind, features_RF in _ways(rated, [outcome for outcome in outcomes if isinstance(outcome, Verdict)])
    ]
    scores_N[rows] = min(tries, key=lambda tried_R: float(((tried_R - human_R) ** 2).sum()))
    return scores_N


def _ways(rated: Rated, verdicts: Sequence[Verdict]) -> list[tuple[MapKind, FloatArray]]:
    """What a control's verdicts can be read as, (R, F) each, and by which maps."""
    features_RF, scores_R1 = features_of(verdicts), np.array([[verdict.score] for verdict in verdicts])
    several = features_RF.shape[1] > 1
    own: list[tuple[MapKind, FloatArray]] = []
    if several or not np.isfinite(scores_R1).all():
        kind = calibration.choose_map(rated.label_kind, n=len(verdicts), n_features=features_RF.shape[1])
        own = [(kind, features_RF)]
    if not np.isfinite(scores_R1).all():
        return own
    kinds: tuple[MapKind, ...] = ("symmetric",) if rated.label_kind == "pair" else ("platt", "isotonic")
    return [*own, *((kind, sided_R1) for kind in kinds for sided_R1 in (scores_R1, 1 - scores_R1))]


def _silent(done: int, total: int, live: str) -> None:
    """Controls take no time worth showing."""
