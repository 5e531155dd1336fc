from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import JsonValue

from harness.scaffold.derived import pattern_of, schema_of
from harness.scaffold.toml import spell, spell_key
from tests.conftest import FAKE, Ran
from tests.scaffold.conftest import Write, classes, codes, decisions, objects, replies

Harness = Callable[..., Ran]
JSON = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(value=JSON, key=st.text())
def test_values_are_read_back_from_toml_as_they_were(value: JsonValue, key: str) -> None:
    text = f"{spell_key(key)} = {spell(value)}"
    assert tomllib.loads(text) == {key: value}
    assert text.isprintable()


def test_a_new_task_passes_the_check_at_once(harness: Harness, write: Write) -> None:
    write("rows.jsonl", classes())
    made = harness("new", "task", "triage", "--data", "rows.jsonl")
    assert made.code == 0, made.err
    assert "Next command: harness check task=triage" in made.out
    document = tomllib.loads(Path("tasks/triage/task.toml").read_text())
    assert document["data"]["source"] == "../../rows.jsonl"
    assert document["data"]["group"] == "customer_id"
    checked = harness("check", "task=triage", *FAKE)
    assert checked.code == 0, checked.out + checked.err
    assert "macro_f1" in checked.out


def test_every_setting_stands_below_its_reason(harness: Harness, write: Write) -> None:
    write("rows.jsonl", classes())
    harness("new", "task", "triage", "--data", "rows.jsonl")
    lines = Path("tasks/triage/task.toml").read_text().split("\n")
    below = lines[lines.index("[data]") :]
    settings = [place for place, line in enumerate(below) if " = " in line and not line.startswith("#")]
    assert len(settings) > 8
    assert all(below[place - 1].startswith("# ") for place in settings)


def test_the_data_card_has_the_counts_and_asks_the_rest(harness: Harness, write: Write) -> None:
    write("set/train.jsonl", codes(400)[:300])
    write("set/test.jsonl", codes(400)[300:])
    harness("new", "task", "codes", "--data", "set")
    card = Path("tasks/codes/README.md").read_text()
    assert "| train | 300 |" in card
    assert "| test | 100 |" in card
    assert "Source and licence:" in card


def test_copied_data_travels_with_the_folder(harness: Harness, write: Write) -> None:
    write("set/train.csv", classes(150)[:100])
    write("set/test.csv", classes(150)[100:])
    assert harness("new", "task", "triage", "--data", "set/train.csv", "--copy", "--dir", "mine").code == 0
    Path("set/train.csv").unlink()
    Path("set/test.csv").unlink()
    Path("mine/triage").rename("elsewhere")
    checked = harness("check", "task=elsewhere", *FAKE)
    assert checked.code == 0, checked.out + checked.err


def test_nothing_is_overwritten(harness: Harness, write: Write) -> None:
    write("rows.jsonl", classes())
    Path("tasks/triage").mkdir(parents=True)
    again = harness("new", "task", "triage", "--data", "rows.jsonl")
    assert again.code == 2
    assert "E-EXISTS" in again.err
    assert list(Path("tasks/triage").iterdir()) == []


@pytest.mark.parametrize("name", ["../x", "a b", "", ".hidden"])
def test_names_that_are_no_folder_names_are_refused(harness: Harness, write: Write, name: str) -> None:
    write("rows.jsonl", classes())
    assert harness("new", "task", name, "--data", "rows.jsonl").code == 2
    assert not Path("tasks").exists()


def test_an_unknown_metric_is_refused_before_anything_is_written(harness: Harness, write: Write) -> None:
    write("rows.jsonl", classes())
    refused = harness("new", "task", "triage", "--data", "rows.jsonl", "--metric", "acuracy")
    assert refused.code == 2
    assert "accuracy" in refused.err
    assert not Path("tasks").exists()


def test_a_mistake_in_the_data_leaves_no_folder_behind(harness: Harness, write: Write) -> None:
    write("rows.jsonl", classes()).write_text('{"a": 1, "b": 2, "c": 3}\n')
    refused = harness("new", "task", "triage", "--data", "rows.jsonl")
    assert refused.code == 2
    assert "error[E-FIELD]" in refused.err
    assert not Path("tasks").exists()


def test_the_schema_is_named_only_where_it_is(harness: Harness, write: Write) -> None:
    write("rows.jsonl", classes())
    harness("new", "task", "one", "--data", "rows.jsonl")
    Path("tasks/task.schema.json").write_text("{}")
    harness("new", "task", "two", "--data", "rows.jsonl")
    assert not Path("tasks/one/task.toml").read_text().startswith("#:schema")
    assert Path("tasks/two/task.toml").read_text().startswith("#:schema ../task.schema.json\n")


def test_typed_templates_and_metric_come_before_the_proposal(harness: Harness, write: Write) -> None:
    write("rows.jsonl", codes())
    words = ["--prompt", "Code of {question}", "--reference", "{answer}", "--metric", "exact_match"]
    assert harness("new", "task", "codes", "--data", "rows.jsonl", *words).code == 0
    document = tomllib.loads(Path("tasks/codes/task.toml").read_text())
    assert document["data"]["prompt"] == "Code of {question}"
    assert document["metrics"] == {"primary": "exact_match"}
    assert harness("check", "task=codes", *FAKE).code == 0


def test_hostile_rows_make_a_file_that_shows_nothing_hidden(harness: Harness, write: Write) -> None:
    rows = [
        {"question": f"q\u202e {i}", "answer": ("a\u202eb", "c\x1b[31m d")[i % 2], "domain": "x"} for i in range(120)
    ]
    write("rows.jsonl", rows)
    made = harness("new", "task", "hostile", "--data", "rows.jsonl")
    assert made.code == 0, made.err
    text = Path("tasks/hostile/task.toml").read_text()
    assert all(line.isprintable() for line in text.split("\n"))
    assert tomllib.loads(text)["data"]["labels"] == ["a\u202eb", "c\x1b[31m d"]


PRESETS: list[tuple[str, Callable[[], list[dict[str, object]]], str]] = [
    ("domain", codes, "squad_f1"),
    ("style", replies, "chrf"),
    ("format", objects, "json_schema"),
    ("format", codes, "regex_match"),
    ("behaviour", replies, "chrf"),
    ("safety", decisions, "accuracy"),
    ("edge-cases", replies, "exact_match"),
]


@pytest.mark.parametrize(("preset", "make", "primary"), PRESETS, ids=[f"{p}-{m}" for p, _, m in PRESETS])
def test_every_preset_makes_a_task_that_passes_the_check(
    harness: Harness, write: Write, preset: str, make: Callable[[], Sequence[Mapping[str, object]]], primary: str
) -> None:
    if primary == "json_schema":
        pytest.importorskip("jsonschema")
    write("rows.jsonl", make())
    made = harness("new", "task", "toy", "--data", "rows.jsonl", "--preset", preset)
    assert made.code == 0, made.err
    checked = harness("check", "task=toy", "--json", *FAKE)
    assert checked.code == 0, checked.out + checked.err
    metrics = json.loads(checked.out)["metrics"]
    assert metrics[0]["metric"] == primary
    assert all(metric["ok"] for metric in metrics)


def test_edge_cases_are_reported_by_their_tag(harness: Harness, write: Write) -> None:
    write("rows.jsonl", replies())
    harness("new", "task", "toy", "--data", "rows.jsonl", "--preset", "edge-cases")
    assert tomllib.loads(Path("tasks/toy/task.toml").read_text())["metrics"]["slices"][0] == "tag"
    write("plain.jsonl", classes())
    missing = harness("new", "task", "plain", "--data", "plain.jsonl", "--preset", "edge-cases")
    assert "preset edge-cases asks for a field" in missing.out


def test_a_pattern_is_found_only_where_all_texts_share_it() -> None:
    assert pattern_of(["AX-100", "B-7"]) == r"[A-Z]{1,2}\-[0-9]{1,3}"
    assert pattern_of(["AX-100", "B_7"]) is None
    assert pattern_of(["red", "blue"]) is None


def test_a_schema_requires_what_every_object_has() -> None:
    assert schema_of([{"a": "x", "b": 1}, {"a": None}]) == {
        "type": "object",
        "properties": {"a": {"type": ["null", "string"]}, "b": {"type": "number"}},
        "required": ["a"],
        "additionalProperties": False,
    }
