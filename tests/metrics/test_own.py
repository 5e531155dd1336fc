"""Metrics from a user's file."""

from __future__ import annotations

import numpy as np
import pytest

from harness.core.errors import HarnessError
from harness.metrics.context import MetricContext
from harness.metrics.mean import MeanMetric
from harness.metrics.own import adapt

DIGEST = "0123456789abcdef" * 4


def adapted(attr, samples, **options):
    return adapt(attr, MetricContext("metric.py:score", samples, options), origin="metric.py:score", digest=DIGEST)


def test_a_plain_function_becomes_the_mean_of_its_scores(samples_of):
    samples = samples_of([("a", "b"), "c"])
    metric = adapted(lambda completion, references: completion in references, samples)
    statistics = metric.measure(samples, ["b", "x"])
    assert statistics.tolist() == [[1, 1], [0, 1]]
    assert float(metric.value(statistics.sum(0))) == 0.5
    assert metric.signature == "own|file:metric.py:score|sha256:0123456789ab|mean|0-1|harness:1"
    assert (metric.name, metric.higher_is_better, metric.best, metric.worst) == ("metric.py:score", True, 1, 0)


def test_options_say_what_the_numbers_mean(samples_of):
    samples = samples_of(["abc"])
    metric = adapted(lambda c, r: abs(len(c) - len(r[0])), samples, higher_is_better=False, worst=100)
    assert (metric.best, metric.worst, metric.higher_is_better) == (0, 100, False)
    assert metric.measure(samples, ["a"]).tolist() == [[2, 1]]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (float("nan"), "no finite"),
        (float("inf"), "no finite"),
        (None, "no finite"),
        ("1", "no finite"),
        (37, "outside"),
    ],
)
def test_a_value_that_cannot_be_names_the_sample(samples_of, value, said):
    samples = samples_of(["good", "bad"])
    metric = adapted(lambda completion, references: value if references[0] == "bad" else 1.0, samples)
    with pytest.raises(HarnessError, match=said) as caught:
        metric.measure(samples, ["x", "x"])
    assert "data.jsonl:2" in caught.value.what
    assert caught.value.code == "E-METRIC"


@pytest.mark.parametrize("value", [1, 0.5, True, np.float32(0.5), np.int64(1), np.bool_(True)])
def test_numbers_of_any_kind_are_taken(samples_of, value):
    samples = samples_of(["x"])
    assert adapted(lambda completion, references: value, samples).measure(samples, ["y"])[0, 0] == float(value)


def test_an_error_in_the_function_names_the_sample_and_the_line(samples_of):
    def score(completion, references):
        return 1 / len(completion)

    samples = samples_of(["x", "y"])
    with pytest.raises(HarnessError, match=r"data\.jsonl:2.*ZeroDivisionError") as caught:
        adapted(score, samples).measure(samples, ["a", ""])
    assert "in score, line" in caught.value.details[0]


def test_create_gets_the_context_and_the_files_hash_joins_its_signature(samples_of):
    def create(context):
        return MeanMetric(context.name, f"mine|{context.options['k']}", lambda completion, references: 1.0)

    samples = samples_of(["x"])
    metric = adapted(create, samples, k=3)
    assert metric.signature == "mine|3|file:metric.py:score|sha256:0123456789ab"
    assert float(metric.value(metric.measure(samples, ["x"]).sum(0))) == 1
    assert not hasattr(metric, "parts")


def test_a_recomputed_metric_is_taken(samples_of):
    class Auroc:
        name, signature, higher_is_better, best, worst = "auroc", "auroc", True, 1.0, 0.0

        def score(self, samples, completions):
            return 0.75

    samples = samples_of(["x"])
    metric = adapted(lambda context: Auroc(), samples)
    assert metric.score(samples, ["x"]) == 0.75
    assert not hasattr(metric, "measure")


@pytest.mark.parametrize(
    ("attr", "said"),
    [
        (3, "is int, not a function"),
        (lambda: 0, "not a function of one or two"),
        (lambda a, b, c: 0, "not a function of one or two"),
        (lambda context: None, "lacks name, signature"),
        (lambda context: object(), "lacks name, signature"),
    ],
)
def test_what_is_no_metric_is_an_error_that_says_what_one_is(samples_of, attr, said):
    with pytest.raises(HarnessError, match=said) as caught:
        adapted(attr, samples_of(["x"]))
    assert "score(completion, references) -> float" in caught.value.fix


@pytest.mark.parametrize("options", [{"best": 0}, {"higher_is_better": False, "best": 2}, {"colour": 1}])
def test_contradictory_or_unknown_options_are_refused(samples_of, options):
    with pytest.raises(HarnessError) as caught:
        adapted(lambda completion, references: 0, samples_of(["x"]), **options)
    assert caught.value.code == "E-OPTION"
    assert '[metrics.options."metric.py:score"]' in caught.value.fix
