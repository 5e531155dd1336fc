"""The metrics suite: the harness's own metrics pass it, and each promise's check notices a metric that breaks it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from harness import registry
from harness.core.errors import HarnessError
from harness.core.protocols import Part
from harness.metrics.context import MetricContext, NoOptions, parse_options
from harness.testing import SAMPLE_SETS, ConformanceError, check_metric, samples_of
from harness.testing.metrics import check_on_any_samples

# `hf` wraps other libraries' metrics and is tried with them; the others need a setting before they mean anything.
ELSEWHERE = {"hf"}
SETTINGS: dict[str, dict[str, Any]] = {
    "f1": {"label": "red"},
    "precision": {"label": "red"},
    "recall": {"label": "red"},
    "json_schema": {"schema": {"type": "object", "required": ["colour"]}},
    "length_within": {"min": 1, "max": 200},
    "regex_match": {"pattern": ".+"},
}
LABELS = ("accuracy", "macro_", "micro_f1", "weighted_f1", "f1", "precision", "recall")
OBJECTS = ("field_f1", "json_valid", "json_schema")
NUMBERS = ("mae", "mse", "rmse", "pearson", "r2")


def set_for(name: str) -> str:
    """The references a metric is for."""
    if name in OBJECTS:
        return "JSON objects"
    if name in NUMBERS:
        return "numbers"
    return "labels" if name.startswith(LABELS) else "sentences"


def maker(name: str) -> Any:
    return registry.load("metrics", name)


@pytest.mark.parametrize("name", [name for name in registry.names("metrics") if name not in ELSEWHERE])
def test_every_metric_of_the_harness_keeps_every_promise(name: str) -> None:
    samples = samples_of(SAMPLE_SETS[set_for(name)])
    check_metric(maker(name), name=name, samples=samples, options=SETTINGS.get(name))


@pytest.mark.parametrize("name", ["bleu", "chrf", "exact_match", "squad_f1"])
def test_a_metric_with_several_references_keeps_every_promise(name: str) -> None:
    one = SAMPLE_SETS["sentences"]
    check_metric(maker(name), name=name, samples=samples_of([(a, b) for a, b in zip(one, one[::-1], strict=True)]))


def test_a_metric_is_tried_on_samples_that_it_can_read() -> None:
    assert check_on_any_samples(maker("exact_match"), name="exact_match") == "sentences"
    assert check_on_any_samples(maker("field_f1"), name="field_f1") == "JSON objects"


def test_too_few_samples_to_say_anything_are_refused() -> None:
    with pytest.raises(ValueError, match="at least four"):
        check_metric(maker("exact_match"), samples=samples_of(["a", "b"]))


@dataclass
class Sound:
    """Exact match, written out: what the broken ones are made from."""

    context: MetricContext
    higher_is_better = True
    best = 1.0
    worst = 0.0

    def __post_init__(self) -> None:
        parse_options(self.context, NoOptions)

    @property
    def name(self) -> str:
        return self.context.name

    @property
    def signature(self) -> str:
        return "sound|1"

    def measure(self, samples: Sequence[Any], completions: Sequence[str]) -> Any:
        rows = [(float(c in s.references), 1.0) for s, c in zip(samples, completions, strict=True)]
        return np.array(rows, dtype=np.float64).reshape(-1, 2)

    def value(self, totals: Any) -> Any:
        with np.errstate(invalid="ignore"):
            return totals[..., 0] / totals[..., 1]

    def per_sample(self, statistics: Any) -> Any:
        return self.value(statistics)


class OtherName(Sound):
    name = "something else"


class NoSignature(Sound):
    signature = " "


class ChangingSignature(Sound):
    signature = property(lambda self: f"made|{id(self)}")


class UpsideDown(Sound):
    best, worst = 0.0, 1.0


class BoundlessBest(Sound):
    best = float("inf")


class Heedless(Sound):
    def __post_init__(self) -> None:
        """Takes any option and does nothing with it."""


class Forgiving(Sound):
    """Half a point for saying nothing."""

    def measure(self, samples: Sequence[Any], completions: Sequence[str]) -> Any:
        rows = super().measure(samples, completions)
        rows[[i for i, text in enumerate(completions) if not text], 0] = 0.5
        return rows


def test_a_metric_that_documents_what_silence_gets_may_say_so() -> None:
    check_metric(Forgiving, silence_is_worst=False)


class OneNumber(Sound):
    def measure(self, samples: Sequence[Any], completions: Sequence[str]) -> Any:
        return super().measure(samples, completions).sum(axis=0)


class Integers(Sound):
    def measure(self, samples: Sequence[Any], completions: Sequence[str]) -> Any:
        return super().measure(samples, completions).astype(int)


class Minus(Sound):
    """Scores an empty answer as not a number."""

    def measure(self, samples: Sequence[Any], completions: Sequence[str]) -> Any:
        rows = super().measure(samples, completions)
        rows[[completion == "" for completion in completions]] = np.nan
        return rows


class Moody(Sound):
    counter = itertools.count()

    def measure(self, samples: Sequence[Any], completions: Sequence[str]) -> Any:
        return super().measure(samples, completions) + next(self.counter) % 2


class Positional(Sound):
    """A row depends on where it stands: the transposed references of sacrebleu's issues 272 and 275."""

    def measure(self, samples: Sequence[Any], completions: Sequence[str]) -> Any:
        rows = super().measure(samples, completions)
        rows[:1] = 0.0
        return rows


class Relative(Sound):
    """A row is measured against the mean of its batch."""

    def measure(self, samples: Sequence[Any], completions: Sequence[str]) -> Any:
        rows = super().measure(samples, completions)
        rows[:, 0] -= rows[:, 0].mean() if len(rows) else 0.0
        return rows


class OneTotal(Sound):
    def value(self, totals: Any) -> Any:
        return np.float64(np.ravel(totals)[0] / max(np.ravel(totals)[1], 1e-9))


class PooledTotals(Sound):
    """The right shape, but every total is divided by all of them."""

    def value(self, totals: Any) -> Any:
        with np.errstate(invalid="ignore"):
            return totals[..., 0] / totals[..., 1].max()


class OneScore(Sound):
    def per_sample(self, statistics: Any) -> Any:
        return statistics[:1, 0]


class ZeroForNothing(Sound):
    def value(self, totals: Any) -> Any:
        return totals[..., 0] / np.maximum(totals[..., 1], 1.0)


class Noisy(Sound):
    def value(self, totals: Any) -> Any:
        return totals[..., 0] / totals[..., 1]


class Fragile(Sound):
    def measure(self, samples: Sequence[Any], completions: Sequence[str]) -> Any:
        _ = [completion.encode() for completion in completions]
        return super().measure(samples, completions)


class Divided(Sound):
    """Says what it is made of: here itself, on the columns it has."""

    columns: tuple[tuple[int, ...], ...] = ((0, 1),)

    def parts(self) -> Sequence[Part]:
        return [Part(Sound(self.context), columns) for columns in self.columns]


class Overreaching(Divided):
    columns = ((0, 2),)


class Namesakes(Divided):
    columns = ((0, 1), (0, 1))


class Swapped(Divided):
    columns = ((1, 0),)


class OutOfRange(Sound):
    def value(self, totals: Any) -> Any:
        return 100 * super().value(totals)


class Ungenerous(Sound):
    best = 1.5


BROKEN = [
    (OtherName, "name is the one it was made with"),
    (NoSignature, "has a signature"),
    (ChangingSignature, "same settings give the same signature"),
    (UpsideDown, "direction agrees"),
    (BoundlessBest, "best is finite"),
    (Heedless, "option that the metric does not know"),
    (Forgiving, "no answer at all is no better than the worst"),
    (OneNumber, "a row for each sample"),
    (Integers, "float64"),
    (Minus, "finite float64"),
    (Moody, "same answers give the same statistics"),
    (Positional, "order of the samples"),
    (Relative, "samples measured with it"),
    (OneTotal, r"value takes totals"),
    (PooledTotals, r"value takes totals"),
    (OneScore, "per_sample gives one score"),
    (ZeroForNothing, "undefined value"),
    (Noisy, "no warning"),
    (Fragile, "never an error"),
    (Overreaching, "columns of the statistics"),
    (Namesakes, "name of its own"),
    (Swapped, "part's value lies between"),
    (OutOfRange, "between worst and best"),
    (Ungenerous, "references themselves get the best"),
]


def test_the_metrics_that_the_broken_ones_are_made_from_are_sound() -> None:
    check_metric(Sound)
    check_metric(Divided)


@pytest.mark.parametrize(("broken", "promise"), BROKEN, ids=[kind.__name__ for kind, _ in BROKEN])
def test_a_broken_promise_is_named_with_an_example(broken: type[Sound], promise: str) -> None:
    with pytest.raises(ConformanceError, match=promise) as caught:
        check_metric(broken)
    assert caught.value.example


def test_a_metric_that_asks_for_something_else_than_the_reference_may_say_so() -> None:
    check_metric(Ungenerous, references_are_best=False)


@dataclass
class Recomputed:
    """Exact match as one number over all rows."""

    context: MetricContext
    higher_is_better = True
    best = 1.0
    worst = 0.0
    signature = "recomputed|1"

    def __post_init__(self) -> None:
        parse_options(self.context, NoOptions)

    @property
    def name(self) -> str:
        return self.context.name

    def score(self, samples: Sequence[Any], completions: Sequence[str]) -> float:
        right = [c in s.references for s, c in zip(samples, completions, strict=True)]
        return sum(right) / len(right) if right else float("nan")


class FirstOnly(Recomputed):
    def score(self, samples: Sequence[Any], completions: Sequence[str]) -> float:
        n = max(1, len(samples) - 1)
        return super().score(samples[:n], completions[:n])


class Dividing(Recomputed):
    def score(self, samples: Sequence[Any], completions: Sequence[str]) -> float:
        return sum(c in s.references for s, c in zip(samples, completions, strict=True)) / len(samples)


class Wavering(Recomputed):
    counter = itertools.count()

    def score(self, samples: Sequence[Any], completions: Sequence[str]) -> float:
        return super().score(samples, completions) / (1 + next(self.counter) % 2)


class Coding(Recomputed):
    def score(self, samples: Sequence[Any], completions: Sequence[str]) -> float:
        _ = [completion.encode() for completion in completions]
        return super().score(samples, completions)


def test_a_recomputed_metric_is_held_to_the_same_promises() -> None:
    check_metric(Recomputed)


@pytest.mark.parametrize(
    ("broken", "promise"),
    [
        (FirstOnly, "in another order"),
        (Wavering, "scored again"),
        (Dividing, "without samples the score is nan"),
        (Coding, "never an error"),
    ],
)
def test_a_broken_promise_of_a_recomputed_metric_is_named(broken: type[Recomputed], promise: str) -> None:
    with pytest.raises(ConformanceError, match=promise):
        check_metric(broken)


def test_an_object_that_can_neither_be_summed_nor_recomputed_is_named() -> None:
    @dataclass
    class Halfway:
        """Statistics, and nothing to make of them."""

        context: MetricContext
        higher_is_better = True
        best = 1.0
        worst = 0.0
        name = "metric"
        signature = "halfway|1"
        measure = Sound.measure

        def __post_init__(self) -> None:
            parse_options(self.context, NoOptions)

    with pytest.raises(ConformanceError, match="measure, value and per_sample, or score"):
        check_metric(Halfway)  # type: ignore[arg-type]


def test_an_unknown_option_that_crashes_is_not_taken_for_a_refusal() -> None:
    def crashing(context: MetricContext) -> Sound:
        if context.options:
            raise KeyError("no_such_option")
        return Sound(context)

    with pytest.raises(ConformanceError, match="HarnessError"):
        check_metric(crashing)


def test_a_harness_error_of_the_maker_itself_reaches_the_caller() -> None:
    with pytest.raises(HarnessError, match="E-OPTION"):
        check_metric(maker("exact_match"), options={"colour": "red"})
