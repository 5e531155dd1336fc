"""JSON answers: validity and fields."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core.errors import HarnessError
from harness.metrics.extraction import is_container
from harness.metrics.strict_json import canonical, parse


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ('{"a": 1}', 1),
        (" [1, 2]\n", 1),
        ("{}", 1),
        ("", 0),
        ("{", 0),
        ('"text"', 0),
        ("3", 0),
        ("null", 0),
        ('{"a": NaN}', 0),
        ('{"a": -Infinity}', 0),
        ('{"a": 1e999}', 0),
        ('{"a": 1, "a": 1}', 0),
        ('[{"a": 1, "a": 2}]', 0),
        ('{"a": 1} and so on', 0),
        ('{"a": 1}{"a": 1}', 0),
        ('```json\n{"a": 1}\n```', 0),
        ("{'a': 1}", 0),
        ('{"a": 1,}', 0),
        ("[" * 100_000, 0),
        ("[" + "9" * 5000 + "]", 0),
    ],
)
def test_json_valid_table(score, text, valid):
    assert score("json_valid", [text], ["{}"])[0] == valid


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(json_values)
def test_what_json_writes_is_valid_and_means_the_same(value):
    text = json.dumps(value)
    assert is_container(text) == isinstance(value, dict | list)
    assert parse(text) == value


@given(st.dictionaries(st.text(), st.integers(), min_size=2))
def test_order_of_keys_does_not_change_the_canonical_text(value):
    assert canonical(value) == canonical(dict(reversed(value.items())))


REFERENCE = '{"food": "thai", "people": 2, "slots": {"day": "mon", "hours": [1, 2]}}'


@pytest.mark.parametrize(
    ("completion", "right", "predicted"),
    [
        (REFERENCE, 3, 3),
        ('{"slots": {"hours": [1, 2], "day": "mon"}, "people": 2.0, "food": "thai"}', 3, 3),
        ('{"food": "thai"}', 1, 1),
        ('{"food": "thai", "people": "2", "extra": null}', 1, 3),
        ('{"food": "Thai", "slots": {"day": "mon", "hours": [2, 1]}}', 0, 2),
        ("{}", 0, 0),
        ("no JSON", 0, 0),
        ('["food"]', 0, 0),
        ('{"food": "thai", "food": "thai"}', 0, 0),
    ],
)
def test_fields_are_counted_by_hand(make, samples_of, completion, right, predicted):
    samples = samples_of([REFERENCE])
    row = make("field_f1", samples).measure(samples, [completion])
    assert row[:, :3].tolist() == [[right, predicted, 3]]


def test_micro_f1_is_not_the_mean_of_f1s(score):
    # Sample 1: 2 of 2 right; sample 2: 0 right, 1 predicted, 4 wanted: 2 x 2 / (3 + 6), not (1 + 0) / 2.
    value, rows = score(
        "field_f1", ['{"a": 1, "b": 2}', '{"x": 9}'], ['{"a": 1, "b": 2}', '{"a": 1, "b": 2, "c": 3, "d": 4}']
    )
    assert value == pytest.approx(4 / 9)
    assert rows == [1.0, 0.0]


def test_empty_and_empty_is_right_for_the_sample_and_counts_nothing(score):
    value, rows = score("field_f1", ["{}"], ["{}"])
    assert np.isnan(value)
    assert rows == [1.0]
    assert score("field_f1", ["{}", '{"a": 1}'], ["{}", '{"a": 1}']) == (1.0, [1.0, 1.0])
    assert score("field_f1", ['{"a": 1}'], ["{}"]) == (0.0, [0.0])


def test_an_answer_that_is_no_object_is_wrong_even_where_nothing_was_wanted(score):
    value, rows = score("field_f1", ['{"a": 1', '{"a": 1}'], ["{}", '{"a": 1}'])
    assert rows == [0.0, 1.0]
    assert value == 1.0  # micro F1 counts pairs, and there was none: json_valid beside it tells


def test_the_best_reference_counts(score, make, samples_of):
    samples = samples_of([('{"a": 1, "b": 2}', '{"a": 1}')])
    assert make("field_f1", samples).measure(samples, ['{"a": 1}']).tolist() == [[1, 1, 1, 0]]


def test_a_reference_that_is_no_object_is_an_error_with_its_place(make, samples_of):
    with pytest.raises(HarnessError, match=r"data\.jsonl:2"):
        make("field_f1", samples_of(["{}", "thai"]))
