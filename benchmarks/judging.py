"""How long a judge's examination takes beside the same figures as a script with pandas and scikit-learn makes them.

python -m benchmarks.judging

1,000 labels calibrate a judge, which is graded and then rates 100,000 items whose mean people's score is estimated;
every interval by 2,000 bootstrap draws of whole prompts. Both ways run in one process, one after the other.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Literal, cast

# Idle OpenMP threads that spin take the processor from whoever is measured next.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import pandas as pd
from pydantic import JsonValue

from benchmarks.machine import machine
from harness.autorater.calibrate import calibrate
from harness.core.judging import Item, Label, Verdict
from harness.core.protocols import Generator, JudgeContext
from harness.core.types import Failure, FloatArray
from harness.stats import ppi
from judges.length import kind as length

_RESULTS = Path(__file__).parent / "results" / "judging.json"
_LIBRARIES = ("numpy", "scipy", "pandas", "scikit-learn", "statsmodels")
_SYSTEMS = ("base", "tuned")
_FIGURES = ("accuracy", "balanced_accuracy", "weighted_f1", "kappa", "weighted_kappa", "spearman", "kendall", "pearson")
_LEVEL = (2.5, 97.5)


@dataclass(frozen=True)
class Material:
    """Labels, the judge's score of each labelled item by its id, and (M,) of all other items with their prompts."""

    labels: tuple[Label, ...]
    scores: Mapping[str, float]
    judged: FloatArray
    prompts: tuple[str, ...]


@dataclass(frozen=True)
class Stored:
    """A judge that said everything before: what is timed is what comes after judging."""

    scores: Mapping[str, float]

    name = "stored"
    kind = "stored"
    takes: Literal["single"] = "single"
    identity: Mapping[str, JsonValue] = field(default_factory=dict)

    def rate(self, items: Sequence[Item], generator: Generator) -> Iterator[tuple[str, Verdict | Failure]]:
        """Out of the table."""
        for item in items:
            yield item.id, Verdict(self.scores[item.id], (self.scores[item.id],))


@dataclass(frozen=True)
class Outcome:
    """What one way took, in all and by stage, and its figures: value, low, high."""

    wall_s: float
    cpu_s: float
    stages_s: Mapping[str, float]
    figures: Mapping[str, tuple[float, float, float]]


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print, write the results."""
    asked = _arguments(words)
    material = material_of(asked.labels, asked.items, seed=0)
    load = round(os.getloadavg()[0], 1)
    ours = [harness(material, asked.draws) for _ in range(asked.repeats)]
    theirs = script(material, asked.draws)
    found = document(asked, ours, theirs, load)
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=1000)
    parser.add_argument("--items", type=int, default=100_000, help="judged items without a label")
    parser.add_argument("--draws", type=int, default=2000, help="bootstrap draws of every interval")
    parser.add_argument(
        "--repeats", type=int, default=3, help="of the harness, whose median is compared with one run of the script"
    )
    parser.add_argument("--out", type=Path, default=_RESULTS)
    return parser.parse_args(words)


def material_of(n_labels: int, n_items: int, *, seed: int) -> Material:
    """Answers of two systems to each prompt, judged from 1 to 5 by people and with a correlation of .7 by the judge."""
    rng = np.random.default_rng(seed)
    n = n_labels + n_items
    prompt_P, own_N = rng.standard_normal(-(-n // 2)), rng.standard_normal(n)
    quality_N = np.sqrt(0.3) * np.repeat(prompt_P, 2)[:n] + np.sqrt(0.7) * own_N
    human_N = np.clip(np.round(3 + 1.2 * quality_N[:n_labels]), 1, 5).astype(int)
    judged_N = 1 / (1 + np.exp(-1.2 * (0.7 * quality_N + np.sqrt(0.51) * rng.standard_normal(n))))
    labels = tuple(
        Label(
            id=str(i),
            kind="likert",
            criterion="quality",
            value=int(human_N[i]),
            annotator="somebody",
            question=f"prompt {i // 2}",
            answers=(f"answer {i} {'word ' * int(rng.integers(5, 60))}",),
            systems=(_SYSTEMS[i % 2],),
        )
        for i in range(n_labels)
    )
    scores = {label.item: float(judged_N[i]) for i, label in enumerate(labels)}
    prompts = tuple(f"prompt {i // 2}" for i in range(n_labels, n))
    return Material(labels, scores, judged_N[n_labels:], prompts)


class _Clock:
    """Seconds since the last stage ended, by name."""

    def __init__(self) -> None:
        self.stages: dict[str, float] = {}
        self._wall = self._last = time.perf_counter()
        self._cpu = time.process_time()

    def stage(self, name: str) -> None:
        """The stage that ends now."""
        now = time.perf_counter()
        self.stages[name] = round(now - self._last, 3)
        self._last = now

    def outcome(self, figures: Mapping[str, tuple[float, float, float]]) -> Outcome:
        """All of it."""
        return Outcome(time.perf_counter() - self._wall, time.process_time() - self._cpu, self.stages, figures)


def harness(material: Material, n_draws: int) -> Outcome:
    """The whole card with the length control and the gate; then all items on the human scale; then their mean."""
    clock = _Clock()
    made = calibrate(
        Stored(material.scores),
        material.labels,
        cast(Generator, None),
        controls={"length": length.create(JudgeContext("length", "quality", "", "likert", 5, {}, Path()))},
        probes=(),
        delta=0.1,
        fingerprint={},
        model="none",
        n_resamples=n_draws,
        seed=0,
        progress=lambda done, total, live: None,
    )
    clock.stage("calibration, agreement, controls and gate")
    judged_M = made.predict([Verdict(score, (score,)) for score in material.judged.tolist()])
    clock.stage("scores of all items")
    human_N = np.array([label.score for label in material.labels])
    held_out_N = np.array([made.held_out[label.item] for label in material.labels])
    prompts_N = [label.question for label in material.labels]
    mean = ppi.mean(human_N, held_out_N, judged_M, clusters_n=prompts_N, clusters_N=material.prompts)
    clock.stage("estimate")
    figures = {figure.name: figure for figure in made.card.agreement}
    shown = {name: _triple(figures[name].value, figures[name].low, figures[name].high) for name in _FIGURES}
    return clock.outcome({**shown, "mean": (mean.value, mean.low, mean.high)})


def _triple(*values: float | None) -> tuple[float, float, float]:
    value, low, high = (float("nan") if each is None else each for each in values)
    return value, low, high


def script(material: Material, n_draws: int) -> Outcome:
    """The same figures of judge and length, draw by draw: what a careful notebook does, and no more of the card.

    Isotonic calibration over five folds of prompts, agreement with scikit-learn and scipy, and the mean by adding the
    labels' residual to the judge's mean, each draw on a table of the prompts that were drawn.
    """
    from sklearn.isotonic import IsotonicRegression
    from sklearn.model_selection import GroupKFold

    clock, rng = _Clock(), np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "prompt": [label.question for label in material.labels],
            "human": [label.score for label in material.labels],
            "judge": [material.scores[label.item] for label in material.labels],
            "length": [float(len(label.answers[0])) for label in material.labels],
        }
    )
    judged_M = np.zeros(len(material.judged))
    for name in ("judge", "length"):
        out_of_fold = pd.Series(0.0, index=table.index)
        for train, held in GroupKFold(5, shuffle=True, random_state=0).split(table, groups=table["prompt"]):
            model = IsotonicRegression(out_of_bounds="clip").fit(table[name].iloc[train], table["human"].iloc[train])
            out_of_fold.iloc[held] = model.predict(table[name].iloc[held])
            judged_M += model.predict(material.judged) / 5 if name == "judge" else 0
        table[f"{name} calibrated"] = out_of_fold
    clock.stage("calibration")
    figures = {}
    for name in ("judge calibrated", "length calibrated"):
        found = bootstrapped(table, partial(figures_of, name=name), n_draws, rng)
        figures.update(found if name == "judge calibrated" else {})
        clock.stage(f"agreement of {name}")
    rows = pd.Series(judged_M).groupby(pd.Series(material.prompts)).agg(["sum", "size"]).to_numpy()

    def mean(drawn: pd.DataFrame) -> dict[str, float]:
        chosen = rows[rng.integers(0, len(rows), len(rows))]
        judged = chosen[:, 0].sum() / chosen[:, 1].sum()
        return {"mean": judged + float((drawn["human"] - drawn["judge calibrated"]).mean())}

    figures.update(bootstrapped(table, mean, n_draws, rng))
    clock.stage("estimate")
    return clock.outcome(figures)


def bootstrapped(
    table: pd.DataFrame,
    statistic: Callable[[pd.DataFrame], Mapping[str, float]],
    n_draws: int,
    rng: np.random.Generator,
) -> dict[str, tuple[float, float, float]]:
    """Each statistic of the table, and the 95 % percentiles of those of drawn prompts."""
    groups = [group for _, group in table.groupby("prompt")]
    drawn = [
        statistic(pd.concat([groups[g] for g in rng.integers(0, len(groups), len(groups))])) for _ in range(n_draws)
    ]
    own = statistic(table)
    ends = {name: np.percentile([each[name] for each in drawn], _LEVEL) for name in own}
    return {name: (own[name], float(ends[name][0]), float(ends[name][1])) for name in own}


def figures_of(table: pd.DataFrame, name: str) -> dict[str, float]:
    """Of one column with people's, by the reference libraries, on levels 1 to 5 and on scores."""
    from scipy import stats
    from sklearn import metrics

    human, judge = table["human"], table[name]
    rows, columns = ((4 * side).round().astype(int) for side in (human, judge))
    labels = range(5)
    with np.errstate(all="ignore"):
        return {
            "accuracy": metrics.accuracy_score(rows, columns),
            "balanced_accuracy": metrics.balanced_accuracy_score(rows, columns),
            "weighted_f1": metrics.f1_score(rows, columns, average="weighted", labels=labels, zero_division=0),
            "kappa": metrics.cohen_kappa_score(rows, columns, labels=labels),
            "weighted_kappa": metrics.cohen_kappa_score(rows, columns, labels=labels, weights="quadratic"),
            "spearman": float(stats.spearmanr(human, judge).statistic),
            "kendall": float(stats.kendalltau(human, judge).statistic),
            "pearson": float(stats.pearsonr(human, judge).statistic),
        }


def document(asked: argparse.Namespace, ours: Sequence[Outcome], theirs: Outcome, load: float) -> dict[str, object]:
    """Everything a reader needs to judge the numbers; no host, no path."""
    wall_s, cpu_s = (statistics.median(getattr(each, clock) for each in ours) for clock in ("wall_s", "cpu_s"))
    return {
        "machine": {**machine(), "load_before": load},
        "libraries": {name: version(name) for name in _LIBRARIES},
        "material": {"labels": asked.labels, "items": asked.items, "draws": asked.draws},
        "harness": {"runs": [_times(each) for each in ours], "figures": ours[0].figures},
        "script": {"runs": [_times(theirs)], "figures": theirs.figures},
        "script_over_harness_wall": round(theirs.wall_s / wall_s, 1),
        "script_over_harness_cpu": round(theirs.cpu_s / cpu_s, 1),
    }


def _times(outcome: Outcome) -> dict[str, object]:
    return {"wall_s": round(outcome.wall_s, 3), "cpu_s": round(outcome.cpu_s, 3), "stages_s": outcome.stages_s}


if __name__ == "__main__":
    main()
