"""Numbers against numbers, by scikit-learn and scipy, and what no number costs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import pearsonr
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score, root_mean_squared_error

from harness.core.errors import HarnessError
from harness.metrics.numeric import number_of

THEIRS = {
    "mse": mean_squared_error,
    "rmse": root_mean_squared_error,
    "mae": mean_absolute_error,
    "r2": r2_score,
    "pearson": lambda true, out: pearsonr(true, out).statistic,
}


@pytest.mark.parametrize("name", THEIRS)
@pytest.mark.parametrize(("seed", "shift"), [(0, 0), (1, 0), (2, 1e6), (3, -1e9)])
def test_scores_equal_scikit_learn_and_scipy(score, name, seed, shift):
    rng = np.random.default_rng(seed)
    true = rng.normal(3, 10, 60) + shift
    out = np.clip(true + rng.normal(1, 4, 60), true.min(), true.max())
    ours = score(name, [repr(float(x)) for x in out], [repr(float(x)) for x in true])[0]
    assert ours == pytest.approx(THEIRS[name](true, out), rel=1e-7 if shift else 1e-12)


def test_an_answer_that_is_no_number_is_as_wrong_as_can_be(score):
    # References span 1 to 5: the largest error is 4.
    value, rows = score("mae", ["1", "three", "4"], ["1", "2", "5"])
    assert rows == [0, 4, 1]
    assert value == pytest.approx(5 / 3)
    assert score("mse", ["1", "", "4"], ["1", "2", "5"])[0] == pytest.approx((0 + 16 + 1) / 3)


@pytest.mark.parametrize("name", ["mse", "rmse", "mae", "r2", "pearson"])
def test_silence_is_never_better_than_a_wrong_number(score, name):
    references = ["1", "2", "3", "4", "5", "2", "4"]
    right = list(references)
    worse = score(name, ["", *right[1:]], references)[0]
    for number in range(1, 6):
        better = score(name, [str(number), *right[1:]], references)[0]
        assert better >= worse if name in ("r2", "pearson") else better <= worse


# Two groups far apart: what moves away from the reference by a set amount still rises with it.
GROUPS = [10, 12, 9, 11, 1000, 990, 1010, 1005]


def numbers_of(metric, samples, answers):
    return float(metric.value(metric.measure(samples, [str(a) for a in answers]).sum(0)))


@pytest.mark.parametrize("largest", [{}, {"largest_error": 5}, {"largest_error": 5000}])
def test_silence_alone_has_the_worst_correlation_in_any_slice(make, samples_of, largest):
    samples = samples_of([str(g) for g in GROUPS])
    metric = make("pearson", samples, **largest)
    for rows in (slice(None), slice(4), slice(4, None), slice(2, 6)):
        assert numbers_of(metric, samples[rows], ["no idea"] * len(samples[rows])) == pytest.approx(metric.worst)


@pytest.mark.parametrize("largest", [{}, {"largest_error": 2}, {"largest_error": 400}])
@pytest.mark.parametrize("seed", range(5))
def test_silence_instead_of_answers_never_raises_a_correlation(make, samples_of, largest, seed):
    """Also where the answers left are on one side of all others, and where all of them rose with the references."""
    rng = np.random.default_rng(seed)
    references = np.array(GROUPS) if seed % 2 else rng.normal(0, 3, 8)
    samples = samples_of([repr(float(r)) for r in references])
    metric = make("pearson", samples, **largest)
    answers = references * rng.choice([0.2, 1.0, -1.0]) + rng.normal(0, 2, 8) - rng.choice([0, 500])
    shown = [repr(float(a)) for a in answers]
    for rows in (np.arange(8), np.arange(4), np.array([0, 1, 5, 6])):
        before = numbers_of(metric, [samples[i] for i in rows], [shown[i] for i in rows])
        left = list(rows)
        for silent in rng.permutation(rows):
            left.remove(silent)
            now = [shown[i] if i in left else "" for i in rows]
            after = numbers_of(metric, [samples[i] for i in rows], now)
            assert np.isnan(before) or after <= before + 1e-12
            before = after


def test_no_numbers_in_the_silent_places_correlate_less(make, samples_of):
    """The lower bound by search: random answers within the references' range and the largest error around it."""
    rng = np.random.default_rng(0)
    references = rng.normal(0, 3, 12)
    samples, shown = samples_of([repr(float(r)) for r in references]), references + rng.normal(0, 1, 12)
    metric = make("pearson", samples, largest_error=4)
    bound = numbers_of(metric, samples, [*map(float, shown[:9]), "", "", ""])
    low, high = references.min() - 4, references.max() + 4
    tried = [
        pearsonr([*shown[:9], *rng.choice([low, high, rng.uniform(low, high)], 3)], references)[0] for _ in range(500)
    ]
    assert -1 < bound <= min(tried) < pearsonr(shown, references)[0]
    one_in_many = make("pearson", many := samples_of([str(i) for i in range(1000)]))
    assert numbers_of(one_in_many, many, ["", *range(1, 1000)]) > 0.9


def test_one_slip_does_not_drown_the_rest_and_is_counted(make, samples_of):
    samples = samples_of(["1", "2", "5", "3"])
    metric = make("rmse", samples)
    totals = metric.measure(samples, ["1", "2", "1e300", "x"]).sum(0)
    assert float(metric.value(totals)) == pytest.approx(np.sqrt((16 + 16) / 4))
    shares = {part.metric.name: float(part.metric.value(totals[list(part.columns)])) for part in metric.parts()}
    assert shares == {"share of answers that are no number": 0.25, "share of answers off by more than 4": 0.25}
    assert not any(part.metric.higher_is_better for part in metric.parts())


def test_the_largest_error_can_be_set_and_stands_in_the_signature(make, samples_of):
    metric = make("mae", samples_of(["1", "5"]), largest_error=10)
    assert (metric.best, metric.worst) == (0, 10)
    assert "largest-error:10|" in metric.signature
    assert (make("mse", samples_of(["1", "5"])).worst, make("r2", samples_of(["1", "5"])).worst) == (16, 1 - 16 / 4)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("3", 3), (" -2.50\n", -2.5), ("+.5", 0.5), ("7.", 7), ("1e3", 1000), ("1E-2", 0.01), ("007", 7),
        ("", None), ("1,000", None), ("1 000", None), ("1_000", None), ("3,5", None), ("5 kg", None), ("about 5", None),
        ("nan", None), ("inf", None), ("-Infinity", None), ("1e999", None), ("9" * 5000, None),
        ("٣", None), ("３", None),
        ("0x10", None), ("--1", None), (".", None), ("e5", None), ("five", None), ("5.", 5), ("1\n2", None),
    ],
)  # fmt: skip
def test_numbers_are_read_strictly(text, number):
    assert number_of(text, None) == number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ('{"stars": 4}', 4), ('{"stars": 4.5, "why": "good"}', 4.5), ('{"stars": "4"}', 4), ('{"stars": true}', None),
        ('{"stars": null}', None), ('{"stars": [4]}', None), ('{"star": 4}', None), ("4", None),
        ('{"stars": NaN}', None),
        ('{"stars": 4, "stars": 5}', None), ("[4]", None), ('{"stars": "4 of 5"}', None), ("", None),
        ('{"stars": 1' + "0" * 400 + "}", None),
    ],
)  # fmt: skip
def test_numbers_of_a_json_field(text, number):
    assert number_of(text, "stars") == number


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_what_python_writes_is_read_back(number):
    assert number_of(repr(number), None) == number


def test_the_nearest_reference_counts(score):
    assert score("mae", ["4", "1"], [("1", "5"), ("1", "5")])[1] == [1, 0]


def test_a_reference_that_is_no_number_is_an_error_with_its_place(make, samples_of):
    with pytest.raises(HarnessError, match=r"data\.jsonl:2") as caught:
        make("mae", samples_of(["1", "two"]))
    assert caught.value.code == "E-OPTION"


def test_equal_references_have_no_range(make, samples_of):
    with pytest.raises(HarnessError, match="same number"):
        make("mae", samples_of(["2", "2"]))
    with pytest.raises(HarnessError, match="same number"):
        make("pearson", samples_of(["2", "2"]), largest_error=1)
    assert make("mae", samples_of(["2", "2"]), largest_error=1).worst == 1


def test_constant_answers_have_no_correlation(score):
    assert np.isnan(score("pearson", ["2", "2", "2"], ["1", "2", "3"])[0])
    for constant in ("0.1", "1e9", "-1e300"):
        assert np.isnan(score("pearson", [constant] * 3, ["1", "2", "3.3"])[0])


def test_correlation_sees_answers_off_the_scale_as_they_are(score):
    references, answers = ["1", "2", "3", "4", "5"], ["-2", "0", "2", "4", "6"]  # off by up to 3, range 4
    assert score("pearson", answers, references)[0] == pytest.approx(1)
    doubled = ["2", "4", "6", "8", "10"]  # off by up to 5
    assert score("pearson", doubled, references)[0] == pytest.approx(pearsonr([2, 4, 6, 8, 9], [1, 2, 3, 4, 5])[0])


answered = st.one_of(st.integers(-100, 100).map(str), st.sampled_from(["", "x", "1e300", "-1e300", "2.5"]))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(answered, st.integers(-20, 20).map(str)), min_size=2, max_size=8))
def test_errors_and_correlations_stay_within_best_and_worst(make, samples_of, pairs):
    references = [reference for _, reference in pairs]
    if len(set(references)) == 1:
        return
    samples = samples_of(references)
    for name in ("mse", "rmse", "mae", "pearson"):
        metric = make(name, samples)
        value = float(metric.value(metric.measure(samples, [out for out, _ in pairs]).sum(0)))
        assert np.isnan(value) or min(metric.best, metric.worst) <= value <= max(metric.best, metric.worst)
