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
        (10**400, "no finite"),
        pytest.param(10**5000, "no finite", id="more digits than Python shows"),
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


class Created:
    """A metric as a file of a user's may make it, one part of it broken."""

    name, signature, higher_is_better, best, worst = "mine", "mine", True, 1.0, 0.0

    def __init__(self, result):
        self.result = result

    def measure(self, samples, completions):
        return self.result(samples)

    def value(self, totals):
        return totals[..., 0] / totals[..., 1]

    def per_sample(self, statistics):
        return statistics[:, 0]


def fails(*given):
    raise KeyError("colour")


def leaves(*given):
    raise SystemExit(3)


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (lambda samples: [[1.0, 1.0] for _ in samples], "as list"),
        (lambda samples: np.ones(len(samples)), r"shape \(2,\)"),
        (lambda samples: np.ones((1, 2)), r"shape \(1, 2\)"),
        (lambda samples: np.array([["a"], ["b"]]), "no|row of numbers"),
        (lambda samples: np.array([[1.0, 1.0], [np.nan, 1.0]]), r"data\.jsonl:2"),
        (fails, "failed in measure: KeyError"),
        (leaves, "failed in measure: SystemExit: 3"),
    ],
)
def test_what_a_created_metric_measures_is_checked(samples_of, result, said):
    samples = samples_of(["x", "y"])
    metric = adapted(lambda context: Created(result), samples)
    with pytest.raises(HarnessError, match=said) as caught:
        metric.measure(samples, ["x", "y"])
    assert caught.value.code == "E-METRIC"
    assert "metric.py:score" in caught.value.what


@pytest.mark.parametrize(("result", "said"), [(fails, "KeyError"), (leaves, "SystemExit"), (lambda s, c: "1", "'1'")])
def test_a_recomputed_metric_that_fails_is_an_error_with_its_line(samples_of, result, said):
    class Mine:
        name, signature, higher_is_better, best, worst = "mine", "mine", True, 1.0, 0.0
        score = staticmethod(result)

    samples = samples_of(["x"])
    with pytest.raises(HarnessError, match=said) as caught:
        adapted(lambda context: Mine(), samples).score(samples, ["x"])
    assert caught.value.code == "E-METRIC"


@pytest.mark.parametrize("create", [fails, leaves])
def test_a_create_that_fails_is_an_error_with_its_line(samples_of, create):
    with pytest.raises(HarnessError, match="failed in create") as caught:
        adapted(lambda context: create(context), samples_of(["x"]))
    assert caught.value.code == "E-METRIC"
    assert f"in {create.__name__}, line" in caught.value.details[0]
    assert __file__ in caught.value.details[0]


def test_a_function_of_an_answer_alone_is_told_what_it_gets(samples_of):
    def score(completion):
        return len(completion) / 10

    with pytest.raises(HarnessError, match="TypeError") as caught:
        adapted(score, samples_of(["x"]))
    assert "score(completion, references) -> float" in caught.value.fix
    assert "in score, line" in caught.value.details[0]


def test_a_function_that_wants_more_by_keyword_names_its_place(samples_of):
    def score(completion, references, *, weight):
        return weight

    samples = samples_of(["x"])
    with pytest.raises(HarnessError, match="TypeError") as caught:
        adapted(score, samples).measure(samples, ["y"])
    assert caught.value.details[0].startswith("calling score, line")


def test_a_function_that_ends_the_program_is_an_error_of_its_sample(samples_of):
    samples = samples_of(["x", "y"])
    with pytest.raises(HarnessError, match=r"data\.jsonl:1.*SystemExit") as caught:
        adapted(lambda completion, references: leaves(), samples).measure(samples, ["a", "b"])
    assert "in leaves, line" in caught.value.details[0]
