"""The form of answers: regular expressions and JSON Schema."""

from __future__ import annotations

import json

import pytest
from jsonschema.validators import validator_for

from harness.core.errors import HarnessError
from harness.metrics.context import MetricContext
from harness.metrics.schema import create as json_schema

SLOW = r"(a|aa)+$"  # every split of a run of a's is tried


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("yes|no", "yes", 1),
        ("yes|no", " no\n", 1),
        ("yes|no", "yes, sir", 0),
        ("yes|no", "", 0),
        ("", "x", None),
        (r"[A-Z]{2}-\d{4}", "AB-1234", 1),
        (r"[A-Z]{2}-\d{4}", "AB-12345", 0),
        (r"\p{Han}+", "狗在垫子上", 1),
        (r"(?s)Dear .*\nYours", "Dear Ann,\nthanks.\nYours", 1),
    ],
)
def test_the_whole_answer_must_match(score, make, samples_of, pattern, text, expected):
    if expected is None:
        with pytest.raises(HarnessError, match="pattern"):
            make("regex_match", samples_of(["x"]), pattern=pattern)
    else:
        assert score("regex_match", [text], ["x"], pattern=pattern)[0] == expected


@pytest.mark.parametrize("pattern", ["(", "[", "(?P<a", "*"])
def test_what_is_no_pattern_is_refused_at_the_start(make, samples_of, pattern):
    with pytest.raises(HarnessError, match="no regular expression") as caught:
        make("regex_match", samples_of(["x"]), pattern=pattern)
    assert caught.value.code == "E-OPTION"


def test_a_pattern_that_takes_too_long_is_an_error_that_names_the_sample(make, samples_of, monkeypatch):
    monkeypatch.setattr("harness.metrics.pattern.TIMEOUT_S", 0.05)
    samples = samples_of(["x", "x"])
    metric = make("regex_match", samples, pattern=SLOW)
    with pytest.raises(HarnessError, match=r"data\.jsonl:2"):
        metric.measure(samples, ["aaa", "a" * 80 + "!"])


TICKET = {
    "type": "object",
    "properties": {"queue": {"enum": ["billing", "tech"]}, "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}}},
    "required": ["queue"],
    "additionalProperties": False,
    "$defs": {"tag": {"type": "string", "pattern": "^[a-z]+$"}},
}


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ('{"queue": "tech"}', 1),
        ('{"queue": "tech", "tags": ["new", "urgent"]}', 1),
        ('{"queue": "tech", "tags": ["New"]}', 0),
        ('{"queue": "sales"}', 0),
        ("{}", 0),
        ('{"queue": "tech", "more": 1}', 0),
        ('["tech"]', 0),
        ('{"queue": "tech", "queue": "tech"}', 0),
        ('```json\n{"queue": "tech"}\n```', 0),
        ("", 0),
        ("[" * 100_000, 0),
    ],
)
def test_json_schema_table(score, text, valid):
    assert score("json_schema", [text], ["{}"], schema=TICKET)[0] == valid


def test_a_schema_may_stand_in_a_file(tmp_path, make, samples_of):
    (tmp_path / "ticket.json").write_text(json.dumps(TICKET))
    samples = samples_of(["{}"])
    from_file = json_schema(MetricContext("json_schema", samples, {"schema": "ticket.json"}, tmp_path))
    inline = make("json_schema", samples, schema=dict(reversed(TICKET.items())))
    assert from_file.signature == inline.signature
    assert from_file.measure(samples, ['{"queue": "tech"}']).tolist() == [[1, 1]]


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "objekt"}, "wrong at type"),
        ({"properties": {"a": {"minimum": "3"}}}, "wrong at properties/a/minimum"),
        ({"pattern": "("}, "pattern"),
        ({"patternProperties": {"(": True}}, "pattern"),
        ({"unevaluatedProperties": False, "allOf": [{"patternProperties": {"a": True}}]}, "held to a time"),
        ({"$ref": "https://example.org/other.json"}, "nothing is fetched"),
        ({"properties": {"a": {"$ref": "#/$defs/none"}}}, "not in it"),
        ({"$schema": "https://example.org/draft"}, "does not know the draft"),
        ("missing.json", "cannot be read"),
    ],
)
def test_what_is_no_schema_is_refused_at_the_start(make, samples_of, schema, said):
    with pytest.raises(HarnessError, match=said) as caught:
        make("json_schema", samples_of(["{}"]), schema=schema)
    assert caught.value.code == "E-OPTION"


def test_references_in_data_and_recursive_schemas_are_fine(score):
    tree = {"type": "object", "properties": {"next": {"$ref": "#"}}, "examples": [{"$ref": "nowhere"}]}
    assert score("json_schema", ['{"next": {"next": {}}}', '{"next": {"next": 3}}'], ["{}"] * 2, schema=tree)[1] == [
        1,
        0,
    ]


def test_the_draft_that_a_schema_names_is_used(score):
    """Arrays of schemas under items were dropped in 2020-12."""
    old = {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "integer"}]}
    assert score("json_schema", ["[1]", '["a"]'], ["{}"] * 2, schema=old)[1] == [1, 0]


def test_deep_answers_are_wrong_not_errors(score):
    tree = {"type": "object", "properties": {"a": {"$ref": "#"}}}
    deep, deeper = ('{"a":' * n + "{}" + "}" * n for n in (20, 100_000))
    assert score("json_schema", [deep, deeper], ["{}", "{}"], schema=tree)[1] == [1, 0]


def test_a_number_too_large_to_divide_is_a_wrong_answer(score):
    schema = {"multipleOf": 0.1}
    assert score("json_schema", ["0.5", "0.55", "1" + "0" * 400], ["1"] * 3, schema=schema)[1] == [1, 0, 0]


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        ({"pattern": SLOW}, "a" * 80 + "!"),
        ({"patternProperties": {SLOW: {"type": "string"}}}, {"a" * 80 + "!": 1}),
        ({"patternProperties": {SLOW: True}, "additionalProperties": False}, {"a" * 80 + "!": 1}),
        ({"propertyNames": {"pattern": SLOW}}, {"a" * 80 + "!": 1}),
    ],
)
def test_a_slow_pattern_in_a_schema_is_an_error(make, samples_of, monkeypatch, schema, answer):
    monkeypatch.setattr("harness.metrics.schema.TIMEOUT_S", 0.05)
    samples = samples_of(["x"])
    metric = make("json_schema", samples, schema=schema)
    with pytest.raises(HarnessError, match="takes longer"):
        metric.measure(samples, [json.dumps(answer)])


@pytest.mark.parametrize(
    "draft", ["https://json-schema.org/draft/2020-12/schema", "http://json-schema.org/draft-07/schema#"]
)
def test_properties_by_pattern_are_valid_where_jsonschema_says_so(score, draft):
    schema = {
        "$schema": draft,
        "properties": {"id": {"type": "integer"}},
        "patternProperties": {"^x-": {"type": "string"}, "n$": {"maxLength": 2}},
        "additionalProperties": {"type": "boolean"},
    }
    answers = [
        {}, [], {"id": 1}, {"id": "1"}, {"x-a": "b"}, {"x-a": 1}, {"x-n": "abc"}, {"x-n": "ab"}, {"more": True},
        {"more": 1}, {"id": 1, "x-a": "b", "more": False}, "x-", 3,
    ]  # fmt: skip
    for form in (schema, {**schema, "additionalProperties": False}):
        theirs = [float(validator_for(form)(form).is_valid(answer)) for answer in answers]
        assert 0 < sum(theirs) < len(answers)
        assert score("json_schema", [json.dumps(a) for a in answers], ["{}"] * len(answers), schema=form)[1] == theirs


def test_the_option_is_spelled_as_users_spell_it(make, samples_of):
    with pytest.raises(HarnessError, match="colour") as caught:
        make("json_schema", samples_of(["x"]), colour="red")
    assert caught.value.fix.endswith("it knows: schema")
