"""Maps from what a judge says to what people say, fitted on some prompts and used on others.

A map is judged only on prompts that did not fit it: in sample, twenty features explain any fifty labels.
Axes: N labelled items, M items, F features, T points or thresholds of a map. Features and human scores in [0, 1], but
for the features of a ridge map, which may be anything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from pydantic import JsonValue

from harness.core.judging import LabelKind
from harness.core.types import FloatArray, IntArray
from harness.stats import maps as map_kinds
from harness.stats.folds import folds_of as folds_of
from harness.stats.maps import MapKind as MapKind
from harness.stats.maps import Parameters

ENOUGH_FOR_STEPS = 200  # labels from which an isotonic map, free in form, beats one of two parameters


def choose_map(label_kind: LabelKind, *, n: int, n_features: int) -> MapKind:
    """The map for n labels: as free as they can support, and symmetric where a pair may be turned round.

    One feature: pass/fail takes Platt's two parameters, a Likert scale the ordinal model's scale + 1, both isotonic
    from 200 labels. Several features: ridge, whose penalty keeps twenty of them from fitting fifty labels.

    >>> choose_map("pair", n=500, n_features=1), choose_map("pass_fail", n=100, n_features=1)
    ('symmetric', 'platt')
    """
    if label_kind == "pair":
        return "symmetric"
    if n_features > 1:
        return "ridge"
    if n >= ENOUGH_FOR_STEPS:
        return "isotonic"
    return "platt" if label_kind == "pass_fail" else "ordinal"


@dataclass(frozen=True, slots=True)
class FittedMap:
    """A calibration map with all that it takes to use it again: plain numbers, evaluated without scikit-learn.

    No map of a single feature falls: a judge that says the opposite of people gets a constant, not a cure.
    """

    kind: MapKind
    parameters: Parameters

    def __call__(self, features_NF: FloatArray) -> FloatArray:
        """Scores (N,) in [0, 1] on the human scale. ValueError for features that are not finite or too many or few."""
        features_NF = _checked(features_NF)
        n_features = self.parameters["n_features"]
        if features_NF.shape[1] != n_features:
            raise ValueError(f"{features_NF.shape[1]} features for a map of {n_features}")
        return np.clip(map_kinds.EVALUATE[self.kind](self.parameters, features_NF), 0.0, 1.0)

    def as_json(self) -> dict[str, JsonValue]:
        """The map as `from_json` reads it back, to the last digit."""
        return {"kind": self.kind, "parameters": dict(self.parameters)}

    @staticmethod
    def from_json(stored: Mapping[str, JsonValue]) -> FittedMap:
        """The map that was stored; ValueError if this is none."""
        kinds = {kind: kind for kind in get_args(MapKind)}
        kind, parameters = stored.get("kind"), stored.get("parameters")
        if kind not in kinds or not isinstance(parameters, dict):
            raise ValueError(f"not a calibration map: {stored!r}")
        return FittedMap(kinds[kind], parameters)


def fit_map(
    kind: MapKind, features_NF: FloatArray, human_N: FloatArray, *, clusters: Sequence[str] | None = None
) -> FittedMap:
    """The map of this kind from features to human scores that fits best.

    clusters: with several features a penalty is chosen by cross-validation over whole clusters.
    An ordinal map that cannot be fitted becomes isotonic (with several features ridge), and its parameters say so
    ("instead_of", "why").
    ValueError for numbers that are not finite, for no items, or for several features where the kind takes one.
    """
    features_NF, human_N = _checked(features_NF), np.asarray(human_N, dtype=np.float64)
    if not np.isfinite(human_N).all() or len(human_N) != len(features_NF) or not len(human_N):
        raise ValueError(f"{len(features_NF)} items with {len(human_N)} finite human scores cannot fit a map")
    if kind in ("platt", "isotonic", "linear") and features_NF.shape[1] != 1:
        raise ValueError(f"a map of kind {kind!r} takes one feature, not {features_NF.shape[1]}")
    names = clusters if clusters is not None else [str(i) for i in range(len(human_N))]
    fitted_kind, parameters = map_kinds.FIT[kind](features_NF, human_N, names)
    return FittedMap(fitted_kind, {"n_features": features_NF.shape[1], "n_labels": len(human_N), **parameters})


@dataclass(frozen=True, slots=True)
class CrossFit:
    """Calibrated scores of labelled items, each from a map that never saw its prompt.

    folds_N: which fold each item is in; maps: by fold, each fitted on all other folds.
    """

    scores_N: FloatArray
    folds_N: IntArray
    maps: tuple[FittedMap, ...]

    def predict(self, features_MF: FloatArray) -> FloatArray:
        """Scores (M,) of items without a label: the mean of the maps."""
        return mean_of_maps(self.maps, features_MF)


def mean_of_maps(maps: Sequence[FittedMap], features_MF: FloatArray) -> FloatArray:
    """What the maps of all folds say on average, (M,)."""
    means: FloatArray = np.mean([fitted(features_MF) for fitted in maps], axis=0)
    return means


def cross_fit(
    features_NF: FloatArray,
    human_N: FloatArray,
    clusters: Sequence[str],
    *,
    kind: MapKind,
    n_folds: int = 5,
    seed: int = 0,
) -> CrossFit:
    """Fit a map for each fold on the other folds, and use it on that fold.

    ValueError with fewer than two clusters: then nothing is left to fit on.
    """
    features_NF = _checked(features_NF)
    folds_N = folds_of(clusters, n_folds=n_folds, seed=seed)
    if len(set(clusters)) < 2:
        raise ValueError("cross-fitting needs labels on two prompts or more")
    scores_N, maps = np.zeros(len(human_N)), list[FittedMap]()
    for fold in range(int(folds_N.max()) + 1):
        held_N = folds_N == fold
        others = [cluster for cluster, held in zip(clusters, held_N, strict=True) if not held]
        maps.append(fit_map(kind, features_NF[~held_N], human_N[~held_N], clusters=others))
        scores_N[held_N] = maps[-1](features_NF[held_N])
    return CrossFit(scores_N, folds_N, tuple(maps))


def _checked(features_NF: FloatArray) -> FloatArray:
    features_NF = np.asarray(features_NF, dtype=np.float64)
    if features_NF.ndim != 2 or features_NF.shape[1] < 1:
        raise ValueError(f"features come as a table of items and features, not in the shape {features_NF.shape}")
    if not np.isfinite(features_NF).all():
        raise ValueError("a feature that is not a finite number: leave such items out before calibrating")
    return features_NF
