"""What racing over checkpoints saves, and what it costs: simulated runs whose truth is known.

python -m benchmarks.racing

Each run chooses twice from the same answers: after a race, and from everything. Regret is the true quality that
the race lost, in standard errors of the paired difference on all samples; the share is that of the generations.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

# Matrices are small: one thread each, or the processes get in each other's way.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from scipy import stats

from benchmarks.measuring import RESULTS, table, write
from harness.core.types import FloatArray
from harness.metrics.mean import MeanMetric
from harness.stats.racing import ALLOWANCE, LOOKS, Race, Standing

Shape = Literal["unordered", "rising", "peaked"]
Kind = Literal["scores", "right or wrong", "seldom right", "nearly always right", "scores in clusters of 5"]
SHAPES: tuple[Shape, ...] = ("unordered", "rising", "peaked")
KINDS: tuple[Kind, ...] = (
    "scores",
    "right or wrong",
    "seldom right",
    "nearly always right",
    "scores in clusters of 5",
)
CHECKPOINTS, SAMPLES, SPREADS = (3, 6, 10, 20), (100, 300, 1000), (0.0, 0.25, 0.5, 1.0, 2.0)
_METRIC = MeanMetric("simulated", "simulated", lambda completion, references: 0.0)
# How much of the noise of a sample's score all checkpoints share; correlation within clusters.
_SHARED, _WITHIN = 0.7, 0.3
# Share of right answers, of kinds of scores that are right or wrong. Where nearly all answers are of one kind, part of
# the samples often shows no difference at all.
_RIGHT: dict[Kind, float] = {"right or wrong": 0.6, "seldom right": 0.03, "nearly always right": 0.97}


@dataclass(frozen=True, slots=True)
class Setting:
    """Checkpoints, samples, and the standard deviation of true quality in standard errors."""

    n_checkpoints: int
    n_samples: int
    spread: float


@dataclass(frozen=True, slots=True)
class Truth:
    """One simulated run: scores (S, N), cluster of each sample, true quality (S,), standard error of a difference."""

    scores_SN: FloatArray
    clusters: tuple[str, ...] | None
    quality_S: FloatArray
    standard_error: float


@dataclass(frozen=True, slots=True)
class Cell:
    """Means over the runs of a setting. se: standard error of `regret`, by the simulation.

    regret: with the rule `best`; regret_one_se: with `one_standard_error`, which itself gives some quality away for
    an earlier checkpoint. of_all: what choosing from everything loses to the truly best, with `best`.
    """

    setting: Setting
    n_runs: int
    share: float
    regret: float
    se: float
    regret_one_se: float
    of_all: float
    n_kept: float


def main(words: Sequence[str] | None = None) -> None:
    """Simulate, print, write the results."""
    asked = _arguments(words)
    settings = [Setting(*each) for each in itertools.product(CHECKPOINTS, SAMPLES, SPREADS)]
    with ProcessPoolExecutor(asked.processes, mp_context=get_context("spawn")) as pool:
        cells = list(pool.map(cell, settings, itertools.repeat(asked.runs)))
    sys.stdout.write(shown(cells) + "\n")
    worst, share = max(cells, key=lambda one: one.regret), float(np.mean([one.share for one in cells]))
    sys.stdout.write(f"\nworst regret {worst.regret:.2f} (± {worst.se:.2f}), mean share {share:.0%}\n")
    found = {"cells": [asdict(one) for one in cells], "worst_regret": worst.regret, "mean_share": share}
    asking = {"runs": asked.runs, "allowance": ALLOWANCE, "looks": LOOKS, "shapes": SHAPES, "kinds": KINDS}
    write(asked.out, asking, ("numpy", "scipy"), found)


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=360, help="simulated runs of each setting")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS / "racing.json")
    return parser.parse_args(words)


def shown(cells: Sequence[Cell]) -> str:
    """Checkpoints and samples down, spreads across: share of the generations, regret with either rule."""
    head = ["checkpoints", "samples", *(f"spread {spread:g}" for spread in SPREADS)]
    by_setting = {one.setting: one for one in cells}
    rows = [
        [str(s), str(n), *(_text(by_setting[Setting(s, n, spread)]) for spread in SPREADS)]
        for s, n in itertools.product(CHECKPOINTS, SAMPLES)
    ]
    return table(head, rows)


def _text(one: Cell) -> str:
    return f"{one.share:.0%}, {one.regret:+.2f} ({one.regret_one_se:+.2f})"


def cell(setting: Setting, n_runs: int) -> Cell:
    """Simulate a setting: shapes and kinds in turn."""
    rng = np.random.default_rng([setting.n_checkpoints, setting.n_samples, round(100 * setting.spread)])
    kinds = itertools.cycle(itertools.product(SHAPES, KINDS))
    runs = np.array([outcome(truth, seed) for seed, truth in enumerate(_truths(setting, kinds, n_runs, rng))])
    share, regret, regret_one_se, of_all, n_kept = runs.mean(axis=0)
    se = runs[:, 1].std(ddof=1) / np.sqrt(n_runs) if n_runs > 1 else float("nan")
    return Cell(setting, n_runs, share, regret, float(se), regret_one_se, of_all, n_kept)


def _truths(
    setting: Setting, kinds: Iterator[tuple[Shape, Kind]], n_runs: int, rng: np.random.Generator
) -> Iterator[Truth]:
    for shape, kind in itertools.islice(kinds, n_runs):
        yield truth_of(setting, shape, kind, rng)


def truth_of(setting: Setting, shape: Shape, kind: Kind, rng: np.random.Generator) -> Truth:
    """A run of checkpoints that answer the same samples, alike on most."""
    n_steps, n = setting.n_checkpoints, setting.n_samples
    clusters = tuple(str(i // 5) for i in range(n)) if kind == "scores in clusters of 5" else None
    noise_SN = np.sqrt(_SHARED) * _noise((1, n), clusters, rng)
    noise_SN = noise_SN + np.sqrt(1 - _SHARED) * _noise((n_steps, n), clusters, rng)
    quality_S = setting.spread * _curve(n_steps, shape, rng)
    if kind in _RIGHT:
        standard_error = float(np.sqrt(_disagreement(_RIGHT[kind]) / n))
        right_S = np.clip(_RIGHT[kind] + standard_error * quality_S, 0.001, 0.999)
        scores_SN = (noise_SN < stats.norm.ppf(right_S)[:, None]).astype(float)
        return Truth(scores_SN, clusters, right_S, standard_error)
    inflation = 1 + 4 * _WITHIN if clusters else 1.0
    standard_error = float(np.sqrt(2 * (1 - _SHARED) * inflation / n))
    true_S = standard_error * quality_S
    return Truth(noise_SN + true_S[:, None], clusters, true_S, standard_error)


def _noise(shape: tuple[int, int], clusters: Sequence[str] | None, rng: np.random.Generator) -> FloatArray:
    own = rng.standard_normal(shape)
    if clusters is None:
        return own
    common = np.repeat(rng.standard_normal((shape[0], -(-shape[1] // 5))), 5, axis=1)[:, : shape[1]]
    return np.asarray(np.sqrt(_WITHIN) * common + np.sqrt(1 - _WITHIN) * own)


def _curve(n_steps: int, shape: Shape, rng: np.random.Generator) -> FloatArray:
    """True quality by step, of standard deviation 1: by chance, or a learning curve with little chance in it."""
    if shape == "unordered":
        return rng.standard_normal(n_steps)
    time = np.linspace(0, 1, n_steps)
    curve = 1 - np.exp(-4 * time) if shape == "rising" else -((time - rng.uniform(0.3, 0.8)) ** 2)
    curve = (curve - curve.mean()) / curve.std() + 0.2 * rng.standard_normal(n_steps)
    return np.asarray((curve - curve.mean()) / curve.std())


def _disagreement(right: float) -> float:
    """Probability that exactly one of two checkpoints, each right so often, is right."""
    at = float(stats.norm.ppf(right))
    both = float(stats.multivariate_normal([0, 0], [[1, _SHARED], [_SHARED, 1]]).cdf([at, at]))
    return 2 * (right - both)


def outcome(truth: Truth, seed: int) -> tuple[float, float, float, float, float]:
    """Share of the generations; regret by `best` and `one_standard_error`; that of all by `best`; how many ended."""
    standing, share = raced(truth, seed)
    everybody, left = list(range(len(truth.quality_S))), list(standing.kept)
    quality_S = truth.quality_S / truth.standard_error
    of_all = quality_S[_best(truth, everybody)]
    return (
        share,
        of_all - quality_S[_best(truth, left)],
        quality_S[_earliest(truth, everybody)] - quality_S[_earliest(truth, left)],
        quality_S.max() - of_all,
        len(left),
    )


def raced(truth: Truth, seed: int) -> tuple[Standing, float]:
    """Who has answered everything in the end, and the share of the generations."""
    n_steps, n = truth.scores_SN.shape
    race = Race.plan(n, truth.clusters, seed=seed)
    standing = race.start(range(n_steps))
    for n_rounds in range(1, len(race.rounds)):
        seen = list(race.seen(n_rounds))
        statistics = {s: np.column_stack([truth.scores_SN[s, seen], np.ones(len(seen))]) for s in standing.kept}
        clusters = None if truth.clusters is None else [truth.clusters[i] for i in seen]
        standing = race.keep(standing, n_rounds, _METRIC, statistics, clusters=clusters)
    return standing, race.share(standing)


def _best(truth: Truth, steps: Sequence[int]) -> int:
    return max(steps, key=lambda s: truth.scores_SN[s].mean())


def _earliest(truth: Truth, steps: Sequence[int]) -> int:
    """The earliest whose deficit to the best is at most its standard error, which is the true one here."""
    best = truth.scores_SN[_best(truth, steps)].mean()
    return next(s for s in steps if best - truth.scores_SN[s].mean() <= truth.standard_error)


if __name__ == "__main__":
    main()
