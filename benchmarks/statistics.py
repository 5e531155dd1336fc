"""Statistics beside sacrebleu's own, every metric on 100,000 samples, and what each command takes to start.

python -m benchmarks.statistics

1. Corpus BLEU of two systems on 3,000 samples with 10,000 paired resamples: sacrebleu's `PairedTest` with one job, and
   the harness, which makes the same figures; both start from texts and nothing is kept between rounds.
2. Every metric, in one process and in as many as there are processors.
3. Commands of the harness, each in a process of its own, in a folder with one finished run.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import entry_points
from pathlib import Path

# Idle OpenMP threads that spin take the processor from whoever is measured next.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
from pydantic import JsonValue

from benchmarks.growth import Cell, write_task
from benchmarks.measuring import RESULTS, Measured, faster_by, in_child, in_process, median_of, table, write
from harness.core.protocols import Metric
from harness.core.types import FloatArray, IntArray, Message, Sample
from harness.metrics.context import MetricContext
from harness.metrics.parallel import measured
from harness.stats.paired import compare
from harness.stats.resampling import resampled_totals

_ROOT = Path(__file__).resolve().parents[1]
_LIBRARIES = ("numpy", "scipy", "sacrebleu", "rouge-score", "nltk", "rapidfuzz")
_NEEDED: Mapping[str, Mapping[str, JsonValue]] = {
    "precision": {"label": "red"},
    "recall": {"label": "red"},
    "f1": {"label": "red"},
    "length_within": {"min": 20, "max": 40},
    "regex_match": {"pattern": r"[A-Z].*\."},
    "json_schema": {"schema": {"type": "object", "required": ["a", "b"]}},
}
_LABELS = ("red", "green", "blue", "amber")
_OF_LABELS = {
    "accuracy",
    "macro_f1",
    "micro_f1",
    "weighted_f1",
    "macro_precision",
    "macro_recall",
    "precision",
    "recall",
    "f1",
}
_OF_NUMBERS = {"mae", "mse", "rmse", "r2", "pearson"}
_OF_JSON = {"json_valid", "json_schema", "field_f1"}
COMMANDS: Mapping[str, tuple[str, ...]] = {
    "--help": ("--help",),
    "list tasks": ("list", "tasks"),
    "list metrics": ("list", "metrics"),
    "list runs": ("list", "runs"),
    "check": ("check", "task=growth", "backend=fake", "model=fake", "trainer=fake"),
    "check, demo model": ("check", "task=growth"),
    "show": ("show", "task=growth", "backend=fake", "model=fake", "trainer=fake"),
    "run --dry-run": ("run", "task=growth", "backend=fake", "model=fake", "trainer=fake", "--dry-run"),
    "run, finished": ("run", "task=growth", "backend=fake", "model=fake", "trainer=fake", "--allow-failures"),
    "report": ("report", "growth/fake-fake"),
}


@dataclass(frozen=True, slots=True)
class Texts:
    """References of N samples, and what two systems say: of their words, a fifth and two fifths are others."""

    references: tuple[str, ...]
    one: tuple[str, ...]
    other: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Paired:
    """What one way found and took. halves: half the width of each system's interval; resampling: without statistics."""

    scores: tuple[float, float]
    halves: tuple[float, float]
    p: float
    statistics: Measured
    resampling: Measured

    @property
    def whole(self) -> Measured:
        """From texts to figures."""
        return Measured(self.statistics.wall_s + self.resampling.wall_s, self.statistics.cpu_s + self.resampling.cpu_s)


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print tables, write the results."""
    asked = _arguments(words)
    found: dict[str, object] = {}
    settings = {name: value for name, value in vars(asked).items() if name != "out"}
    # A process begins with the memory of the one that starts it, so commands come before what takes much.
    for part, measure in (("commands", commands_part), ("bleu", bleu_part), ("metrics", metrics_part)):
        if part in asked.parts:
            shown, found[part] = measure(asked)
            sys.stdout.write(f"{shown}\n\n")
            sys.stdout.flush()
            write(asked.out, settings, _LIBRARIES, found)


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="*", default=["commands", "bleu", "metrics"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=3000, help="of the comparison with sacrebleu")
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--metric-rounds", type=int, default=3, help="in one process and in several, on --rows")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--all-rows", type=int, default=100_000, help="once, in as many processes as there are")
    parser.add_argument("--metrics", nargs="*", help="these only")
    parser.add_argument("--out", type=Path, default=RESULTS / "statistics.json")
    return parser.parse_args(words)


def texts_of(n: int, *, seed: int) -> Texts:
    """Sentences of 20 to 40 words out of 5,000, rare words rare as in language."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    words = np.array(["".join(rng.choice(letters, rng.integers(2, 10))) for _ in range(5000)])
    shares = 1 / np.arange(2, 5002)
    lengths = rng.integers(20, 41, n)
    drawn = rng.choice(words, lengths.sum(), p=shares / shares.sum())

    def changed(share: float) -> tuple[str, ...]:
        others = rng.choice(words, len(drawn), p=shares / shares.sum())
        return _sentences(np.where(rng.random(len(drawn)) < share, others, drawn), lengths)

    return Texts(_sentences(drawn, lengths), changed(0.2), changed(0.4))


def _sentences(words: np.ndarray[tuple[int], np.dtype[np.str_]], lengths: IntArray) -> tuple[str, ...]:
    parts = np.split(words, np.cumsum(lengths)[:-1])
    return tuple(", ".join([" ".join(part[:9]), " ".join(part[9:])]).capitalize() + "." for part in parts)


def samples_of(references: Sequence[str]) -> list[Sample]:
    """One sample for each text."""
    question = (Message("user", "Say it."),)
    return [Sample(str(i), "test", question, (reference,)) for i, reference in enumerate(references)]


def bleu_part(asked: argparse.Namespace) -> tuple[str, object]:
    """Both ways in turn, `--rounds` times."""
    texts, few = texts_of(asked.samples, seed=0), texts_of(20, seed=1)
    for warm_up in (by_sacrebleu, by_harness):
        warm_up(few, 10)
    ours, theirs, whole_tests = [], [], []
    for _ in range(asked.rounds):
        theirs.append(by_sacrebleu(texts, asked.resamples))
        ours.append(by_harness(texts, asked.resamples))
        whole_tests.append(with_permutation(texts, asked.resamples))
    agreement(ours[0], theirs[0])
    rows = []
    ratios: dict[str, float] = {}
    for what in ("statistics", "resampling", "whole"):
        mine, others = ([getattr(each, what) for each in way] for way in (ours, theirs))
        ratios |= {f"{what}_wall": faster_by(mine, others), f"{what}_cpu": faster_by(mine, others, "cpu_s")}
        middle, their_middle = median_of(mine), median_of(others)
        rows.append(
            [
                what,
                *(f"{value:.2f}" for value in (middle.wall_s, middle.cpu_s, their_middle.wall_s, their_middle.cpu_s)),
                *(f"{ratios[f'{what}_{clock}']:.1f}" for clock in ("wall", "cpu")),
            ]
        )
    middle = median_of(whole_tests)
    rows.append(
        ["permutation test and interval of the difference", f"{middle.wall_s:.2f}", f"{middle.cpu_s:.2f}"] + ["-"] * 4
    )
    head = [f"{asked.samples} samples, {asked.resamples} resamples", "harness s", "CPU s", "sacrebleu s", "CPU s"]
    found = {
        "ratios": ratios,
        "harness": [asdict(each) for each in ours],
        "sacrebleu": [asdict(each) for each in theirs],
        "harness_compare": whole_tests,
    }
    return table([*head, "faster", "by CPU"], rows), found


def by_sacrebleu(texts: Texts, n_resamples: int) -> Paired:
    """Its paired bootstrap with one job. What one resample takes is not resampling."""
    _, statistics = in_process(lambda: _paired_test(texts, 1))
    results, whole = in_process(lambda: _paired_test(texts, n_resamples))
    one, other = results
    resampling = Measured(whole.wall_s - statistics.wall_s, whole.cpu_s - statistics.cpu_s)
    return Paired((one.score, other.score), (one.ci, other.ci), other.p_value, statistics, resampling)


def _paired_test(texts: Texts, n_resamples: int):  # type: ignore[no-untyped-def]  # sacrebleu has no types
    from sacrebleu.metrics import BLEU
    from sacrebleu.significance import PairedTest

    systems = [("one", list(texts.one)), ("other", list(texts.other))]
    metric = BLEU(references=[list(texts.references)], force=True)
    _, scores = PairedTest(systems, {"BLEU": metric}, None, "bs", n_samples=n_resamples, n_jobs=1)()
    return scores["BLEU"]


def by_harness(texts: Texts, n_resamples: int) -> Paired:
    """The same figures: both scores, the half widths of their percentile intervals, the p value of the bootstrap."""
    (metric, both_NK), statistics = in_process(lambda: _statistics(texts))
    figures, resampling = in_process(lambda: _figures(metric, both_NK, n_resamples))
    return Paired(*figures, statistics, resampling)


def _statistics(texts: Texts) -> tuple[Metric, FloatArray]:
    """A metric made anew, whose tokenizers remember nothing, and the statistics (N, 2K) of both systems."""
    samples = samples_of(texts.references)
    metric = metric_of("bleu", samples)
    return metric, np.hstack([measured(metric, samples, texts.one), measured(metric, samples, texts.other)])


def _figures(
    metric: Metric, both_NK: FloatArray, n_resamples: int
) -> tuple[tuple[float, float], tuple[float, float], float]:
    k = both_NK.shape[1] // 2
    chunks = resampled_totals(both_NK, n_resamples=n_resamples, rng=np.random.default_rng(12345))
    one_R, other_R = np.concatenate(
        [np.stack([metric.value(chunk[:, :k]), metric.value(chunk[:, k:])]) for chunk in chunks], axis=1
    )
    one, other = (float(metric.value(both_NK[:, part].sum(axis=0))) for part in (slice(0, k), slice(k, None)))
    distances_R = np.abs(other_R - one_R)
    n_extreme = int((distances_R - distances_R.mean() > abs(other - one)).sum())
    return (one, other), (_half(one_R), _half(other_R)), (n_extreme + 1) / (n_resamples + 1)


def _half(values_R: FloatArray) -> float:
    low, high = np.quantile(values_R, [0.025, 0.975])
    return float(high - low) / 2


def with_permutation(texts: Texts, n_resamples: int) -> Measured:
    """What a run does for a pair of arms: a permutation test, and a bootstrap interval of the difference."""
    metric, both_NK = _statistics(texts)
    k, rng = both_NK.shape[1] // 2, np.random.default_rng(0)
    return in_process(
        lambda: compare(metric, both_NK[:, :k], both_NK[:, k:], clusters=None, n_resamples=n_resamples, rng=rng)
    )[1]


def agreement(ours: Paired, theirs: Paired) -> None:
    """Stop where the two ways do not say the same: scores to rounding, intervals as far as chance allows."""
    scores = np.allclose(ours.scores, theirs.scores, rtol=1e-12, atol=1e-12)
    halves = np.allclose(ours.halves, theirs.halves, rtol=0.1)
    if not scores or not halves:
        raise SystemExit(f"the two ways disagree:\n{ours}\n{theirs}")


def metric_of(name: str, samples: Sequence[Sample]) -> Metric:
    """A metric by its entry point."""
    (found,) = (point for point in entry_points(group="harness.metrics") if point.name == name)
    create: Callable[[MetricContext], Metric] = found.load()
    return create(MetricContext(name, samples, _NEEDED.get(name, {})))


def names_of_metrics() -> list[str]:
    """The harness's own that need no other package."""
    points = entry_points(group="harness.metrics")
    return sorted({point.name for point in points if point.value.startswith("harness.metrics.") and point.name != "hf"})


def material_of(name: str, n: int) -> tuple[list[Sample], Sequence[str]]:
    """Samples and completions that the metric can read, some of them right."""
    rng = np.random.default_rng(1)
    if name in _OF_LABELS:
        pair: Sequence[Sequence[str]] = [rng.choice(_LABELS, n).tolist() for _ in range(2)]
    elif name in _OF_NUMBERS:
        right = rng.integers(-4000, 9000, n) / 100
        pair = [[str(value) for value in right], [str(value) for value in np.round(right + rng.normal(0, 1, n), 2)]]
    elif name in _OF_JSON:
        pair = [[json.dumps({"a": _LABELS[i], "b": int(i)}) for i in rng.integers(0, 4, n)] for _ in range(2)]
    else:
        texts = texts_of(n, seed=2)
        pairs = enumerate(zip(texts.references, texts.one, strict=True))
        return samples_of(texts.references), [right if i % 3 == 0 else one for i, (right, one) in pairs]
    return samples_of(pair[0]), pair[1]


def metrics_part(asked: argparse.Namespace) -> tuple[str, object]:
    """Every metric on `--rows` in one process and in several, in turn, and once on `--all-rows` in several."""
    found: dict[str, Mapping[str, object]] = {}
    rows = []
    for name in asked.metrics or names_of_metrics():
        samples, completions = material_of(name, asked.rows)
        alone, together = [], []
        for _ in range(asked.metric_rounds):
            own, taken = in_process(lambda: metric_of(name, samples).measure(samples, completions))  # noqa: B023
            alone.append(taken)
            shared, taken = in_process(lambda: measured(metric_of(name, samples), samples, completions))  # noqa: B023
            together.append(taken)
            if not np.array_equal(own, shared, equal_nan=True):
                raise SystemExit(f"{name}: several processes measure something else than one")
        samples, completions = material_of(name, asked.all_rows)
        _, everything = in_process(lambda: measured(metric_of(name, samples), samples, completions))  # noqa: B023
        found[name] = {"alone": alone, "together": together, "all": everything, "faster": faster_by(together, alone)}
        one, several = median_of(alone), median_of(together)
        seconds = [one.wall_s, several.wall_s, everything.wall_s, everything.cpu_s]
        rows.append([name, *(f"{value:.2f}" for value in seconds), f"{faster_by(together, alone):.2f}"])
    head = ["metric", f"{asked.rows} rows, one process: s", "several: s", f"{asked.all_rows} rows, several: s"]
    return table([*head, "CPU s", "faster"], rows), found


def commands_part(asked: argparse.Namespace) -> tuple[str, object]:
    """Each command `--rounds` times, in turn."""
    environment = {"PYTHONPATH": str(_ROOT), "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    found: dict[str, list[Measured]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_task(folder / "growth", Cell("fake", 100, 3))
        _harness(COMMANDS["run, finished"], environment, folder)
        for _ in range(asked.rounds):
            for name, words in COMMANDS.items():
                found[name].append(_harness(words, environment, folder))
    rows = [
        [f"harness {name}", *(f"{value:.2f}" for value in (each.wall_s, each.cpu_s)), f"{each.peak_mib:.0f}"]
        for name, each in ((name, median_of(runs)) for name, runs in found.items())
    ]
    return table(["command", "wall s", "CPU s", "peak MiB"], rows), found


def _harness(words: Sequence[str], environment: Mapping[str, str], folder: Path) -> Measured:
    return in_child([sys.executable, "-m", "harness", *words], environment=environment, folder=folder)


if __name__ == "__main__":
    main()
