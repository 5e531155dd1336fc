"""Exact match, accuracy and F1 over classes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import HarnessError
from harness.metrics.normalise import normalise

NAMES = ["unicode", "case", "punctuation", "articles", "whitespace"]


@pytest.mark.parametrize(
    ("completion", "reference", "options", "expected"),
    [
        ("yes", "yes", {}, 1),
        (" yes\n", "yes", {}, 1),
        ("Yes", "yes", {}, 0),
        ("Yes", "yes", {"normalise": ["case"]}, 1),
        ("yes.", "yes", {"normalise": ["punctuation"]}, 1),
        ("yes。", "yes", {"normalise": ["punctuation"]}, 1),
        ("the  yes", "yes", {"normalise": ["articles"]}, 1),
        ("a  b", "a b", {}, 0),
        ("a  b", "a b", {"normalise": ["whitespace"]}, 1),
        ("ｙｅｓ", "yes", {"normalise": ["unicode"]}, 1),
        ("", "", {}, 1),
        ("", "yes", {}, 0),
        ("yes", "", {}, 0),
    ],
)
def test_exact_match_table(score, completion, reference, options, expected):
    assert score("exact_match", [completion], [reference], **options)[0] == expected


def test_any_reference_counts(score):
    assert score("exact_match", ["b", "c"], [("a", "b"), ("a", "b")])[1] == [1, 0]


@given(text=st.text(), names=st.lists(st.sampled_from(NAMES), unique=True))
def test_normalising_twice_is_normalising_once(text, names):
    once = normalise(text, names)
    assert normalise(once, names) == once


def test_unknown_normaliser_is_refused(make, samples_of):
    with pytest.raises(HarnessError, match="normalise"):
        make("exact_match", samples_of(["a"]), normalise=["stem"])


def test_accuracy_reads_a_field_of_a_json_answer(score):
    references = ['{"queue": "billing", "priority": 1}'] * 5
    completions = [
        '{"priority": 2, "queue": " billing "}',
        '{"queue": "tech"}',
        '{"priority": 1}',
        "billing",
        '{"queue": "billing", "queue": "billing"}',
    ]
    assert score("accuracy", completions, references, field="queue")[1] == [1, 0, 0, 0, 0]


def test_field_values_of_other_types_are_compared_as_json(score):
    assert score("accuracy", ['{"n": 1.0}', '{"n": "1"}', '{"n": true}'], ['{"n": 1}'] * 3, field="n")[1] == [1, 1, 0]


@pytest.mark.parametrize("name", ["accuracy", "macro_f1"])
def test_a_reference_without_the_field_is_an_error_with_its_place(make, samples_of, name):
    with pytest.raises(HarnessError, match=r"data\.jsonl:2"):
        make(name, samples_of(['{"a": 1}', '{"b": 1}']), field="a")


AVERAGES = ["macro", "micro", "weighted"]


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("seed", range(5))
def test_f1_equals_scikit_learn(make, samples_of, average, seed):
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(seed)
    true = [str(label) for label in rng.choice(6, 80, p=[0.5, 0.2, 0.15, 0.1, 0.04, 0.01])]
    out = [t if rng.random() < 0.6 else str(rng.integers(0, 8)) for t in true]  # 6 and 7 are no classes
    samples = samples_of(true)
    metric = make(f"{average}_f1", samples)
    classes = sorted(set(true))
    statistics = metric.measure(samples, out)
    for rows in (slice(None), slice(0, 7)):  # in seven rows most classes are absent
        theirs = f1_score(true[rows], out[rows], labels=classes, average=average, zero_division=np.nan)
        assert float(metric.value(statistics[rows].sum(0))) == pytest.approx(theirs, abs=1e-12)


def test_f1_by_hand(score):
    # a: TP 1, predicted 2, true 1 -> 2/3; b: TP 1, predicted 1, true 2 -> 2/3; c: 0 of true 1 -> 0.
    completions, references = ["a", "a", "b", "other"], ["a", "b", "b", "c"]
    assert score("macro_f1", completions, references)[0] == pytest.approx((2 / 3 + 2 / 3 + 0) / 3)
    assert score("weighted_f1", completions, references)[0] == pytest.approx((2 / 3 + 2 * 2 / 3 + 0) / 4)
    assert score("micro_f1", completions, references)[0] == pytest.approx(2 * 2 / (3 + 4))
    assert score("macro_f1", completions, references)[1] == [1, 0, 1, 0]


def test_macro_and_micro_are_not_mixed_up(score):
    """One class of 90, one of 10, the small one always missed: micro .9, macro far less."""
    references = ["big"] * 90 + ["small"] * 10
    assert score("micro_f1", ["big"] * 100, references)[0] == pytest.approx(0.9)
    assert score("macro_f1", ["big"] * 100, references)[0] == pytest.approx((2 * 90 / 190 + 0) / 2)


def test_absent_classes_are_left_out_of_the_macro_mean_and_the_signature_says_so(make, samples_of):
    samples = samples_of(["a", "b", "c"])
    metric = make("macro_f1", samples)
    assert float(metric.value(metric.measure(samples[:1], ["a"])[0])) == 1.0
    assert "absent-classes:left-out" in metric.signature
    assert "classes:3" in metric.signature


def test_several_references_take_the_one_that_was_said(score):
    assert score("macro_f1", ["b", "x"], [("a", "b"), ("a", "b")])[1] == [1, 0]


def test_free_text_is_refused_as_labels(make, samples_of):
    with pytest.raises(HarnessError, match="1001 different values"):
        make("macro_f1", samples_of([str(i) for i in range(1001)]))
