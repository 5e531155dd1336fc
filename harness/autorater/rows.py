"""Units of an estimate, with what people and the judge say of each, and what must not be estimated from them.

Two things are refused that would make an interval short and wrong: correcting a judge by labels that fitted it, and
correcting one system's verdicts by labels on another's answers.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeAlias

import numpy as np

from harness.core.errors import HarnessError
from harness.core.judging import Label
from harness.core.licences import Corrected
from harness.core.types import FloatArray
from harness.data.display import quote
from harness.stats import ppi, rates
from harness.stats.ppi import PPI
from harness.stats.resampling import is_zero_one

Target: TypeAlias = Literal["population", "test set"]
SCORE = (0.0, 1.0)
DIFFERENCE = (-1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Row:
    """One unit of an estimate: by people (None without a label), by the judge (None without a verdict)."""

    human: float | None
    judged: float | None
    cluster: str
    stratum: str
    probability: float


def estimate(
    rows: Sequence[Row],
    *,
    bounds: tuple[float, float],
    target: Target,
    lam: float | Mapping[Hashable, float] | None = None,
) -> PPI:
    """The mean over all rows; rates of 0/1 labels with Wilson's interval."""
    labelled, others = [row for row in rows if row.human is not None], [row for row in rows if row.human is None]
    human_n = np.array([row.human for row in labelled], dtype=np.float64)
    strata_n, strata_N = _strata(labelled, others)
    fill = _mean_verdict(rows)
    if ppi.too_few(human_n, [row.cluster for row in labelled]):
        lam = None
    estimator = rates.rate if bounds == SCORE and is_zero_one(human_n) else partial(ppi.mean, bounds=bounds)
    found = estimator(
        human_n,
        _verdicts(labelled, fill),
        _verdicts(others, fill),
        clusters_n=[row.cluster for row in labelled],
        clusters_N=[row.cluster for row in others],
        strata_n=strata_n,
        strata_N=strata_N,
        probabilities_n=_chances(labelled) if strata_n is None else None,
        pool=len(rows) if target == "test set" else None,
        lam=lam,
    )
    return replace(found, N=0) if fill is None else found


def transported(rows: Sequence[Row], foreign: Sequence[str], systems: tuple[str, ...]) -> PPI:
    """The verdicts' mean on the claimed system, less the judge's mean error on what was labelled.

    The verdicts weigh 1: with any other weight their mean would be mixed with another system's level.
    """
    labelled, others = [row for row in rows if row.human is not None], [row for row in rows if row.human is None]
    fill = _mean_verdict(rows)
    human_n = np.array([row.human for row in labelled], dtype=np.float64)
    if fill is None or not others or ppi.too_few(human_n, [row.cluster for row in labelled]):
        why = f"without verdicts on both, and {ppi.LEAST_LABELS} labels that are not all alike, nothing carries over"
        raise transport_error(foreign, systems, why)
    return ppi.mean(
        human_n,
        _verdicts(labelled, fill),
        _verdicts(others, fill),
        clusters_n=[row.cluster for row in labelled],
        clusters_N=[row.cluster for row in others],
        bounds=SCORE,
        lam=1.0,
    )


def _mean_verdict(rows: Sequence[Row]) -> float | None:
    """What stands where a judge has no verdict: any rule will do that asks no label. None without any verdict."""
    scores = [row.judged for row in rows if row.judged is not None]
    return sum(scores) / len(scores) if scores else None


def _verdicts(rows: Sequence[Row], fill: float | None) -> FloatArray:
    return np.array([(fill or 0.0) if row.judged is None else row.judged for row in rows], dtype=np.float64)


def _strata(labelled: Sequence[Row], others: Sequence[Row]) -> tuple[list[Hashable] | None, list[Hashable] | None]:
    """Strata where every item has one, and there are two labelled clusters or more in each; else none."""
    clusters: dict[str, set[str]] = {}
    for row in labelled:
        clusters.setdefault(row.stratum, set()).add(row.cluster)
    names = {row.stratum for row in (*labelled, *others)}
    if len(names) < 2 or "" in names or any(len(clusters.get(name, ())) < 2 for name in names):
        return None, None
    return [row.stratum for row in labelled], [row.stratum for row in others]


def _chances(labelled: Sequence[Row]) -> FloatArray | None:
    """Chances of being labelled, where they are not all the same."""
    chances = [row.probability for row in labelled]
    return np.array(chances, dtype=np.float64) if len(set(chances)) > 1 else None


def record(
    name: str, found: PPI, *, target: Target, systems: tuple[str, ...], warnings: Sequence[str], p: float | None
) -> Corrected:
    return Corrected(
        name=name,
        value=found.value,
        low=found.low,
        high=found.high,
        p=p,
        n_labels=found.n,
        n_judged=found.N,
        n_clusters=found.n_clusters,
        lam=found.lam,
        rho=found.rho,
        effective_labels=found.effective_labels,
        method=found.method,
        target=target,
        label_systems=systems,
        warning="; ".join(warnings),
    )


def finite(score: float | None) -> float | None:
    return score if score is not None and math.isfinite(score) else None


def foreign_systems(labels: Sequence[Label], systems: tuple[str, ...]) -> list[str]:
    """Names of systems that were labelled and are not those of the claim."""
    return sorted({system for label in labels for system in label.systems} - set(systems))


def refuse_leak(
    labels: Sequence[Label],
    fitted_on: Collection[str],
    out_of_fold: Collection[str],
    fitted_items: Collection[tuple[str, str]] = (),
) -> None:
    """E-LEAK where a label, or another one of the same thing, fitted the judge.

    fitted_on, out_of_fold: ids of labels. fitted_items: item and criterion of those that fitted it: a label that comes
    back under another id is no new one.
    """
    used = [label for label in labels if label.id in fitted_on or (label.item, label.criterion) in fitted_items]
    leaked = sorted({label.id for label in used} - set(out_of_fold))
    if leaked:
        raise HarnessError(
            f"{len(leaked)} of {len(labels)} labels fitted the judge and would correct it as well, "
            f"the first of them label {quote(leaked[0])}: its errors would look smaller than they are",
            fix="correct by labels that the judge has not seen, such as those of harness label RUN round=final",
            code="E-LEAK",
        )


def transport_error(
    foreign: Sequence[str],
    systems: tuple[str, ...],
    why: str = "a judge may err differently on the two, which these labels cannot show",
) -> HarnessError:
    return HarnessError(
        f"people judged answers of {named(foreign)}, and the claim is about {named(systems)}: {why}",
        fix="label answers of the systems that the claim is about: harness label RUN round=final",
        code="E-TRANSPORT",
    )


def transport_warning(foreign: Sequence[str], systems: tuple[str, ...]) -> list[str]:
    if not foreign:
        return []
    return [
        f"corrected by labels on answers of {named(foreign)}, not of {named(systems)}: "
        "valid only if the judge errs alike on both"
    ]


def missing_warning(rows: Sequence[Row]) -> list[str]:
    missing = sum(row.judged is None for row in rows)
    if not missing or missing == len(rows):
        return []
    return [f"{missing} of {len(rows)} items have no verdict and stand at the mean of the others"]


def named(systems: Sequence[str]) -> str:
    return " and ".join(quote(system, 40) for system in systems)


def refuse_few(rows: Sequence[Row], *, of: str = "labels") -> None:
    """E-LABELS where fewer than two prompts have labels. of: what a prompt must have to count."""
    n = len({row.cluster for row in rows if row.human is not None})
    if n < 2:
        raise HarnessError(
            f"people's labels so far cover {n} prompt{'' if n == 1 else 's'} with {of}; 2 are needed",
            fix="label 30 prompts or more, 100 to compare two systems; harness judge plan says how many are needed",
            code="E-LABELS",
        )
