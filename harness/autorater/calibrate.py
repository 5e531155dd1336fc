"""From a judge and people's labels to the judge's card: calibrated, compared, probed and graded.

All that is said of the judge is said of scores out of fold: no label has a part in the score it is compared with.
Axes: N labelled items with a verdict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol, TypeAlias

import numpy as np

from harness.autorater import gate
from harness.autorater.controls import control_scores
from harness.autorater.evidence import system_counts, transports
from harness.autorater.rated import Rated, features_of, require_one_question
from harness.autorater.rating import failures_of, items_of, rate
from harness.core.errors import HarnessError
from harness.core.judging import Item, Label, LabelKind, Verdict, is_simulated
from harness.core.licences import Bin, Figure, JudgeCard, Licence, Probe, Transport
from harness.core.protocols import Generator, Judge, Progress
from harness.core.types import FloatArray
from harness.data.display import quote
from harness.stats import agreement, calibration, raters, reliability
from harness.stats.annotators import alt_test
from harness.stats.calibration import CrossFit, FittedMap
from harness.stats.resampling import cluster_ids

N_FOLDS = 5
# With two annotators there is nobody left to stand for the others.
LEAST_ANNOTATORS = 3

Predict: TypeAlias = Callable[[Sequence[Verdict]], FloatArray]


class ProbeRunner(Protocol):
    """Puts changed answers before the judge: `probes.run_probes`."""

    def __call__(
        self,
        judge: Judge,
        items: Sequence[Item],
        human_N: FloatArray,
        verdicts: Sequence[Verdict],
        generator: Generator,
        *,
        calibrated: Predict,
        delta: float,
        seed: int,
        progress: Progress,
        own_systems: Collection[str],
        held_out_N: FloatArray | None,
    ) -> Sequence[Probe]: ...


@dataclass(frozen=True)
class Calibrated:
    """A judge's card, and its scores on the human scale.

    predict: for items without a label. held_out: item id -> score of a labelled item, by maps that did not see its
    prompt; what a label may be compared with. Empty where the judge could not be calibrated.
    """

    card: JudgeCard
    predict: Predict
    held_out: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _How:
    """How carefully the judge is looked at, against what, and which judge it is exactly."""

    controls: Mapping[str, Judge]
    probes: Sequence[Probe] | ProbeRunner
    own_systems: Collection[str]
    delta: float
    fingerprint: Mapping[str, str]
    model: str
    n_resamples: int
    seed: int
    progress: Progress

    def rng(self) -> np.random.Generator:
        """The same for every figure, so that none hangs on which were asked for before it."""
        return np.random.default_rng(self.seed)


@dataclass(frozen=True)
class _Findings:
    """What was found out about a judge that could be calibrated; of another there is nothing of it."""

    maps: tuple[FittedMap, ...] = ()
    transport: tuple[Transport, ...] = ()
    probes: tuple[Probe, ...] = ()
    agreement: tuple[Figure, ...] = ()
    human: tuple[Figure, ...] = ()
    controls: Mapping[str, tuple[Figure, ...]] = field(default_factory=dict)
    control_notes: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    reliability: tuple[Bin, ...] = ()


def calibrate(
    judge: Judge,
    labels: Sequence[Label],
    generator: Generator,
    *,
    controls: Mapping[str, Judge],
    probes: Sequence[Probe] | ProbeRunner,
    delta: float,
    fingerprint: Mapping[str, str],
    model: str,
    n_resamples: int,
    seed: int,
    progress: Progress,
    own_systems: Collection[str] = (),
    criterion: str = "",
    label_kind: LabelKind | None = None,
) -> Calibrated:
    """Everything that people's labels say about a judge.

    Labels of the final round are left out: they judge claims. controls: judges that this one has to beat, by name.
    own_systems: whose answers come from the judge's own model. criterion, label_kind: of a judge without labels.
    HarnessError E-LABELS for labels that answer different questions, E-JUDGE for labels of what it does not take.
    Without labels, or with too few or too uniform ones, the grade is `uncalibrated` and scores stay as they are.
    """
    how = _How(controls, probes, own_systems, delta, fingerprint, model, n_resamples, seed, progress)
    used = tuple(label for label in labels if label.round != "final")
    require_one_question(used)
    outcomes = rate(judge, items_of(used), generator, progress)
    if used:
        rated = Rated(judge, used, used[0].criterion, used[0].kind, used[0].scale, outcomes)
    else:
        kind = label_kind or ("pair" if judge.takes == "pair" else "likert")
        rated = Rated(judge, (), criterion, kind, 5, outcomes)
    if rated.why_not is None:
        fitted = _cross_fit(rated, seed)
        card = _examined(rated, fitted, how, generator)
        held_out = dict(zip((item.id for item in rated.items), fitted.scores_N.tolist(), strict=True))
    else:
        card = _card(rated, how, _Findings(), _uncalibrated(rated, how, rated.why_not))
        held_out = {}
    return Calibrated(card, lambda verdicts: predict(card, verdicts), held_out)


def predict(card: JudgeCard, verdicts: Sequence[Verdict]) -> FloatArray:
    """Scores (N,) on the human scale, the mean of the card's maps; the judge's own scores where there is no map.

    HarnessError E-UNCALIBRATED for a judge that has no score of its own before labels calibrate it.
    """
    if not verdicts:
        return np.zeros(0)
    if card.maps:
        maps = tuple(FittedMap.from_json(stored) for stored in card.maps)
        return calibration.mean_of_maps(maps, features_of(verdicts))
    scores_N = np.array([verdict.score for verdict in verdicts], dtype=np.float64)
    if not np.isfinite(scores_N).all():
        raise HarnessError(
            f"judge {quote(card.judge)} has no scores of its own, and no labels have calibrated it",
            fix="label some answers first: harness label",
            code="E-UNCALIBRATED",
        )
    return scores_N


def _examined(rated: Rated, fitted: CrossFit, how: _How, generator: Generator) -> JudgeCard:
    """The card of a judge that could be calibrated."""
    human = _human(rated, fitted.scores_N, how)
    controls = control_scores(rated, fitted.folds_N, how.controls, generator, n_folds=N_FOLDS, seed=how.seed)
    evidence = rated.evidence(fitted.scores_N, controls.scores, _ceiling_ratio(human))
    transport = transports(evidence, how.delta)
    probes = _probed(rated, fitted, how, generator)
    licence = gate.grade(
        rated.judge.name,
        evidence,
        transport=transport,
        probes=probes,
        delta=how.delta,
        fingerprint=how.fingerprint,
        n_resamples=how.n_resamples,
        rng=how.rng(),
    )
    levels, confusion = agreement.confusion(rated.human, fitted.scores_N, rated.label_kind, rated.scale)
    findings = _Findings(
        maps=fitted.maps,
        transport=transport,
        probes=probes,
        agreement=(*_agreement(rated, fitted.scores_N, how), *_as_chances(rated, fitted.scores_N, how)),
        human=human,
        controls={name: _agreement(rated, scores_N, how) for name, scores_N in controls.scores.items()},
        control_notes=controls.notes,
        levels=levels,
        confusion=confusion,
        reliability=reliability.bins(rated.human, fitted.scores_N, rated.clusters),
    )
    return _card(rated, how, findings, licence)


def _cross_fit(rated: Rated, seed: int) -> CrossFit:
    features_NF = rated.features
    kind = calibration.choose_map(rated.label_kind, n=len(features_NF), n_features=features_NF.shape[1])
    return calibration.cross_fit(features_NF, rated.human, rated.clusters, kind=kind, n_folds=N_FOLDS, seed=seed)


def _probed(rated: Rated, fitted: CrossFit, how: _How, generator: Generator) -> tuple[Probe, ...]:
    if not callable(how.probes):
        return tuple(how.probes)
    return tuple(
        how.probes(
            rated.judge,
            rated.items,
            rated.human,
            rated.verdicts,
            generator,
            calibrated=lambda verdicts: fitted.predict(features_of(verdicts)),
            delta=how.delta,
            seed=how.seed,
            progress=how.progress,
            own_systems=how.own_systems,
            held_out_N=fitted.scores_N,
        )
    )


def _agreement(rated: Rated, scores_N: FloatArray, how: _How) -> tuple[Figure, ...]:
    """Figures of scores with people's; items without a score (nan) count for nothing."""
    rows = np.flatnonzero(np.isfinite(scores_N))
    return agreement.agreement(
        rated.human[rows],
        scores_N[rows],
        [rated.clusters[i] for i in rows],
        label_kind=rated.label_kind,
        scale=rated.scale,
        n_resamples=how.n_resamples,
        rng=how.rng(),
        systems=None if rated.systems is None else [rated.systems[i] for i in rows],
    )


def _as_chances(rated: Rated, scores_N: FloatArray, how: _How) -> tuple[Figure, ...]:
    """How good the scores are as predictions of people's."""
    return reliability.brier(rated.human, scores_N, rated.clusters, n_resamples=how.n_resamples, rng=how.rng())


def _human(rated: Rated, scores_N: FloatArray, how: _How) -> tuple[Figure, ...]:
    """Agreement between people, the judge in the place of each, and of each person with themselves."""
    if not any(len(scores) > 1 for scores in rated.ratings):
        return _self_agreement(rated.labels, how)
    between = agreement.ceiling(
        rated.ratings,
        rated.clusters,
        label_kind=rated.label_kind,
        scale=rated.scale,
        n_resamples=how.n_resamples,
        rng=how.rng(),
        judge_N=scores_N,
        systems=rated.systems,
    )
    return (*between, *_alternative(rated, scores_N), *_self_agreement(rated.labels, how))


def _alternative(rated: Rated, scores_N: FloatArray) -> tuple[Figure, ...]:
    """Whether the judge could stand in for one of three people or more: the alternative-annotator test."""
    if len({annotator for scores in rated.ratings for annotator in scores}) < LEAST_ANNOTATORS:
        return ()
    found = alt_test(
        rated.ratings,
        scores_N,
        scoring="accuracy" if rated.label_kind == "pass_fail" else "rmse",
        clusters=rated.clusters,
    )
    n, n_clusters = len(rated.items), len(set(rated.clusters))
    outcome = found.why or ("passed" if found.passed else "not passed")
    note = f"epsilon {found.epsilon:g}, {found.n_annotators} annotators: {outcome}"
    return (
        Figure("alt_test_winning_rate", found.winning_rate, None, None, n, n_clusters, note),
        Figure("alt_test_advantage", found.advantage_probability, None, None, n, n_clusters, note),
    )


def _self_agreement(labels: Sequence[Label], how: _How) -> tuple[Figure, ...]:
    """How often people who judged an item again said the same; nothing where nobody did."""
    told: dict[tuple[str, str], list[Label]] = {}
    for label in labels:
        told.setdefault((label.annotator, label.item), []).append(label)
    again = [both for given in told.values() for both in pairwise(given)]
    if not again:
        return ()
    clusters = [one.cluster for one, _ in again]
    same_N = np.array([float(one.value == other.value) for one, other in again])
    ids_N, n_clusters = cluster_ids(len(again), clusters)
    note = "people who judged an item again and said the same"
    measure = raters.Measure("self_agreement", raters.share(same_N, np.ones(len(again)), clusters), 0.0, note)
    return raters.figures([measure], ids_N, n_clusters, n_resamples=how.n_resamples, rng=how.rng())


def _ceiling_ratio(human: Sequence[Figure]) -> Figure | None:
    """The judge's agreement as a share of people's, within systems where that is known."""
    named = {figure.name: figure for figure in human}
    return named.get("ceiling_ratio_pearson_within_system") or named.get("ceiling_ratio_pearson")


def _uncalibrated(rated: Rated, how: _How, why: str) -> Licence:
    return gate.uncalibrated(
        rated.judge.name, why, delta=how.delta, fingerprint=how.fingerprint, n_items=len(rated.items)
    )


def _card(rated: Rated, how: _How, found: _Findings, licence: Licence) -> JudgeCard:
    annotators = _counted(label.annotator for label in rated.labels)
    return JudgeCard(
        judge=rated.judge.name,
        kind=rated.judge.kind,
        criterion=rated.criterion,
        label_kind=rated.label_kind,
        model=how.model,
        licence=licence,
        n_labels=len(rated.labels),
        n_items=len(rated.outcomes),
        n_clusters=len({label.cluster for label in rated.labels}),
        n_repeats=rated.n_repeats,
        n_failures=rated.n_unscored,
        failures=failures_of(rated.outcomes),
        annotators=annotators,
        systems=system_counts([systems for _, systems in {(label.item, label.systems) for label in rated.labels}]),
        agreement=found.agreement,
        human=found.human,
        controls=found.controls,
        levels=found.levels,
        confusion=found.confusion,
        reliability=found.reliability,
        transport=found.transport,
        probes=found.probes,
        map_kind=found.maps[0].kind if found.maps else "none",
        maps=tuple(each.as_json() for each in found.maps),
        label_mass=rated.label_mass,
        labels_used=tuple(dict.fromkeys(label.id for label in rated.labels)) if found.maps else (),
        simulated=any(map(is_simulated, annotators)),
        identity=dict(rated.judge.identity),
        notes=_notes(rated, found),
    )


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _notes(rated: Rated, found: _Findings) -> tuple[str, ...]:
    """What a reader of the card should know beside its figures."""
    notes = []
    if rated.n_repeats:
        notes.append(
            f"{rated.n_repeats} times an item came up again for somebody who had judged it; the last label counts"
        )
    if rated.ratings and all(len(scores) == 1 for scores in rated.ratings):
        notes.append("one annotator an item: how well people agree with each other is not known")
    notes.extend(found.control_notes)
    for fitted in found.maps[:1]:
        if "instead_of" in fitted.parameters:
            wanted, why = fitted.parameters["instead_of"], fitted.parameters["why"]
            notes.append(f"the calibration is {fitted.kind} in place of {wanted}: {why}")
    return tuple(notes)
