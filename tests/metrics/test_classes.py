"""Precision, recall and F1: averages against scikit-learn, parts and single classes."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, precision_score, recall_score

from harness.core.errors import HarnessError

THEIRS = {"precision": precision_score, "recall": recall_score, "f1": f1_score}


def answers(seed):
    """Five classes, unevenly; answers of which two are no class."""
    rng = np.random.default_rng(seed)
    true = [str(label) for label in rng.choice(5, 90, p=[0.5, 0.25, 0.15, 0.07, 0.03])]
    return true, [t if rng.random() < 0.6 else str(rng.integers(0, 7)) for t in true]


@pytest.mark.parametrize("seed", range(5))
def test_macro_precision_and_recall_equal_scikit_learn(make, samples_of, seed):
    true, out = answers(seed)
    samples, classes = samples_of(true), sorted(set(true))
    for rows in (slice(None), slice(0, 6)):
        present = [c for c in classes if c in true[rows] + out[rows]]
        precision = precision_score(true[rows], out[rows], labels=present, average="macro", zero_division=0)
        recall = recall_score(true[rows], out[rows], labels=classes, average="macro", zero_division=np.nan)
        for name, theirs in (("macro_precision", precision), ("macro_recall", recall)):
            metric = make(name, samples)
            ours = metric.value(metric.measure(samples, out)[rows].sum(0))
            assert float(ours) == pytest.approx(theirs, abs=1e-12)


@pytest.mark.filterwarnings("ignore:y_pred contains classes")
def test_macro_recall_is_balanced_accuracy(score):
    true, out = answers(7)
    assert score("macro_recall", out, true)[0] == pytest.approx(balanced_accuracy_score(true, out), abs=1e-12)


@pytest.mark.parametrize("kind", ["precision", "recall", "f1"])
def test_one_class_equals_scikit_learn(score, kind):
    true, out = answers(3)
    for label in sorted(set(true)):
        theirs = THEIRS[kind](true, out, labels=[label], average="macro", zero_division=0)
        assert score(kind, out, true, label=label)[0] == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize("name", ["macro_f1", "weighted_f1"])
def test_parts_are_the_classes_own_scores_largest_class_first(make, samples_of, name):
    true, out = answers(1)
    samples = samples_of(true)
    metric = make(name, samples)
    totals = metric.measure(samples, out).sum(0)
    found = {part.metric.name: float(part.metric.value(totals[list(part.columns)])) for part in metric.parts()}
    assert list(found)[:3] == ["precision of '0'", "recall of '0'", "F1 of '0'"]
    for label in sorted(set(true)):
        for spelled, kind in (("precision", "precision"), ("recall", "recall"), ("F1", "f1")):
            theirs = THEIRS[kind](true, out, labels=[label], average="macro", zero_division=0)
            assert found[f"{spelled} of '{label}'"] == pytest.approx(theirs, abs=1e-12)


def test_a_class_that_is_never_predicted_costs_precision(score):
    """Left out, saying the common label to everything would have macro precision .9."""
    references = ["big"] * 90 + ["small"] * 10
    assert score("macro_precision", ["big"] * 100, references)[0] == pytest.approx((0.9 + 0) / 2)
    assert score("precision", ["big"] * 100, references, label="small")[0] == 0


def test_a_class_scores_only_the_samples_that_bear_on_it(score):
    # Precision of a: said twice, once rightly. Recall of a: true once, found.
    completions, references = ["a", "a", "b"], ["a", "b", "b"]
    value, rows = score("precision", completions, references, label="a")
    assert (value, rows[:2], np.isnan(rows[2])) == (0.5, [1.0, 0.0], True)
    value, rows = score("recall", completions, references, label="a")
    assert (value, rows[0], np.isnan(rows[1:]).all()) == (1.0, 1.0, True)


def test_a_class_of_a_json_field(score):
    references = ['{"queue": "tech"}', '{"queue": "billing"}']
    assert score("recall", ['{"queue": "tech"}', "{"], references, field="queue", label="billing")[0] == 0


def test_a_label_that_no_reference_has_is_an_error_that_lists_them(make, samples_of):
    with pytest.raises(HarnessError, match=r"no reference is 'biling'") as caught:
        make("recall", samples_of(["billing", "tech"]), label="biling")
    assert "'billing', 'tech'" in caught.value.fix


def test_labels_from_hostile_data_are_escaped_and_told_apart(make, samples_of):
    long = "x" * 100
    metric = make("macro_recall", samples_of([f"{long}1", f"{long}2", "red\x1b[31m"]))
    names = [part.metric.name for part in metric.parts()]
    assert len(set(names)) == 3
    assert "\x1b" not in "".join(names)


def test_of_many_classes_the_fifty_largest_have_parts(make, samples_of):
    metric = make("macro_recall", samples_of([str(i) for i in range(80)] + ["79"] * 3))
    assert len(metric.parts()) == 50
    assert metric.parts()[0].metric.name == "recall of '79'"
