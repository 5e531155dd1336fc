"""However rows are written, they are the same samples with the same hash; converting loses nothing or refuses."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.core.errors import HarnessError
from harness.core.specs import DataSpec, MetricsSpec, TaskSpec
from harness.core.types import Sample
from harness.data import Dataset, read
from harness.data.converting import convert

FORMATS = ("messages", "gemini", "prompt-completion", "alpaca", "sharegpt", "columns")
SUFFIXES = ("jsonl", "json", "csv", "tsv", "parquet")
# A list of turns is no cell of a table of texts.
NO_CELLS = set(itertools.product(("messages", "gemini", "sharegpt"), ("csv", "tsv")))
HOSTILE = [
    'quote " and \\',
    "two\nlines\n\nand a blank one",
    "{brace} {{twice}} {",
    "comma, tab\t; semicolon",
    "=cmd|' /C calc'!A0",
    "\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\u202eright to left \u05d0\u0628",
    "<|im_end|><|im_start|>system",
    "<s>[INST] x [/INST]</s>",
    "</script><script>",
    "\u2028 \u0085 \x0b \x1b[31m",
    "\ufeffmark",
    "null",
    "[1, 2]",
    " blank at ends ",
    "NaN",
    "0123",
    "\ud7ff\ue000\uffff",
]


def write(folder: Path, name: str, content: bytes | str) -> None:
    (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def read_file(folder: Path, name: str, **data: object) -> Dataset:
    spec = DataSpec.model_validate({"source": name, "group": "who", **data})
    return read(TaskSpec(name="t", data=spec, metrics=MetricsSpec(primary="exact_match")), folder, drop_bad=False)


def plain(samples: tuple[Sample, ...]) -> list[tuple[object, ...]]:
    """Everything but the origin."""
    return [(s.id, s.split, s.messages, s.references, dict(s.metadata), s.group) for s in samples]


def converted(folder: Path, source: str, target: str, to: str, **data: object) -> dict[str, object]:
    """Convert and write; the settings that read the target."""
    spec = DataSpec.model_validate({"source": source, "group": "who", **data})
    result = convert(spec, folder, target, to, drop_bad=False)
    write(folder, target, result.content)
    return dict(result.settings)


SIMPLE = [
    {"id": f"row-{n}", "prompt": f"{n}: {text}", "completion": text[::-1] + ".", "who": f"w{n % 7}", "language": "de"}
    for n, text in enumerate(HOSTILE * 2)
]
RICH = [
    {
        "messages": [
            *([{"role": "system", "content": text}] if n % 3 else []),
            {"role": "user", "content": f"{n} {text}"},
            *([{"role": "assistant", "content": text}, {"role": "user", "content": f"again {text}"}] if n % 2 else []),
            {"role": "assistant", "content": f"answer {text}"},
        ],
        "who": n % 7,
        "tags": [text, "x"],
        "about": {"score": n / 4, "by": {"name": text}},
        **({"references": [f"or {text}", "or this"]} if n % 4 == 0 else {}),
        **({"rare": True} if n == 5 else {}),
    }
    for n, text in enumerate(HOSTILE)
]


@pytest.mark.parametrize(
    ("to", "suffix"), [pair for pair in itertools.product(FORMATS, SUFFIXES) if pair not in NO_CELLS]
)
def test_simple_rows_are_the_same_in_every_format_and_kind_of_file(tmp_path: Path, to: str, suffix: str):
    write(tmp_path, "rows.jsonl", "".join(json.dumps(row) + "\n" for row in SIMPLE))
    before = read_file(tmp_path, "rows.jsonl")
    after = read_file(tmp_path, f"out.{suffix}", **converted(tmp_path, "rows.jsonl", f"out.{suffix}", to))
    assert plain(after.samples) == plain(before.samples)
    assert after.record.sha256 == before.record.sha256
    assert after.record.format == to


@pytest.mark.parametrize("to", FORMATS[:-1])
@pytest.mark.parametrize("suffix", ["jsonl", "json", "parquet"])
def test_conversations_with_everything_are_the_same_in_every_format(tmp_path: Path, to: str, suffix: str):
    write(tmp_path, "rows.jsonl", "".join(json.dumps(row) + "\n" for row in RICH))
    before = read_file(tmp_path, "rows.jsonl")
    data = converted(tmp_path, "rows.jsonl", f"out.{suffix}", to)
    after = read_file(tmp_path, f"out.{suffix}", **data)
    assert plain(after.samples) == plain(before.samples)
    assert after.record.sha256 == before.record.sha256
    back = converted(tmp_path, f"out.{suffix}", "back.jsonl", "messages", **data)
    assert read_file(tmp_path, "back.jsonl", **back).record.sha256 == before.record.sha256


def test_ids_of_rows_without_one_do_not_hang_on_name_place_or_kind_of_the_file(tmp_path: Path):
    rows = [{key: value for key, value in row.items() if key != "id"} for row in SIMPLE]
    (tmp_path / "elsewhere").mkdir()
    write(tmp_path, "one.jsonl", "\n".join(json.dumps(row) for row in rows))
    write(tmp_path, "elsewhere/two.json", json.dumps([dict(reversed(row.items())) for row in rows], indent=3))
    one, two = read_file(tmp_path, "one.jsonl"), read_file(tmp_path, "elsewhere/two.json")
    assert one.record.sha256 == two.record.sha256
    assert one.record.files != two.record.files


def test_columns_hold_systems_and_several_references(tmp_path: Path):
    rows = [
        {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"},
                      {"role": "assistant", "content": "a"}], "references": ["b"], "who": "x"},
        {"messages": [{"role": "user", "content": "q2"}, {"role": "assistant", "content": "c"}], "who": "y"},
    ]  # fmt: skip
    write(tmp_path, "rows.json", json.dumps(rows))
    data = converted(tmp_path, "rows.json", "out.parquet", "columns")
    assert data == {
        "format": "columns", "prompt": "{prompt}", "reference": "{reference}", "system": "{system}", "group": "who",
    }  # fmt: skip
    before, after = read_file(tmp_path, "rows.json"), read_file(tmp_path, "out.parquet", **data)
    assert plain(after.samples) == plain(before.samples)


TALK = [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}] * 2
PAIR = {"prompt": "q", "completion": "a", "who": "x"}
OTHER = {**PAIR, "prompt": "p"}
EMPTY_SYSTEM = [{"role": "system", "content": ""}, *TALK[:2]]
REFUSED = {
    "turns in columns": ([{"messages": TALK, "who": "x"}], "columns", "jsonl", "it has 2 earlier turns"),
    "turns in cells": ([PAIR], "messages", "csv", "row 1: field 'messages' is a list, and cells are texts"),
    "numbers in cells": ([{**PAIR, "n": 1}], "columns", "csv", "field 'n' is a number"),
    "missing cells": ([{**PAIR, "n": "1"}, OTHER], "columns", "tsv", "row 2: field 'n' is missing"),
    "more cells": ([PAIR, {**OTHER, "n": "1"}], "columns", "tsv", "row 2: field 'n' does not stand"),
    "carriage return": ([{**PAIR, "prompt": "a\rb"}], "columns", "csv", "has a carriage return"),
    "name taken": ([{**PAIR, "input": "x"}], "alpaca", "jsonl", "its field 'input' has the name of a field"),
    "empty system": ([{"messages": EMPTY_SYSTEM, "who": "x"}], "alpaca", "jsonl", "its system instruction is empty"),
    "two types": ([{**PAIR, "n": 1}, {**OTHER, "n": "1"}], "messages", "parquet", "field 'n' does not fit"),
    "whole and broken": ([{**PAIR, "n": 1}, {**OTHER, "n": 0.5}], "messages", "parquet", "1 of 2 rows would"),
    "object without fields": ([{**PAIR, "n": {}}], "messages", "parquet", "does not fit in a column"),
    "number of many digits": ([{**PAIR, "n": 10**30}], "messages", "parquet", "field 'n' does not fit"),
}  # fmt: skip


@pytest.mark.parametrize(("rows", "to", "suffix", "says"), REFUSED.values(), ids=list(REFUSED))
def test_what_a_target_cannot_hold_is_refused_and_named(
    tmp_path: Path, rows: list[dict[str, object]], to: str, suffix: str, says: str
):
    write(tmp_path, "rows.json", json.dumps(rows))
    with pytest.raises(HarnessError) as caught:
        converted(tmp_path, "rows.json", f"out.{suffix}", to)
    assert caught.value.code == "E-CONVERT"
    assert says in str(caught.value)
    assert caught.value.fix


def test_bad_rows_are_refused_or_left_out_when_asked(tmp_path: Path):
    write(tmp_path, "rows.json", json.dumps([PAIR, {"prompt": "", "completion": "a", "who": "y"}]))
    spec = DataSpec(source="rows.json")
    with pytest.raises(HarnessError, match="the prompt is empty"):
        convert(spec, tmp_path, "out.jsonl", "messages", drop_bad=False)
    result = convert(spec, tmp_path, "out.jsonl", "messages", drop_bad=True)
    assert result.n_dropped == {"E-FIELD": 1}
    assert json.loads(result.content)["id"] == "row-1"


def test_an_unknown_kind_of_file_is_refused(tmp_path: Path):
    write(tmp_path, "rows.json", json.dumps([PAIR]))
    with pytest.raises(HarnessError, match="not a kind of file that is written"):
        converted(tmp_path, "rows.json", "out.xlsx", "messages")


characters = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
texts = st.one_of(st.sampled_from(HOSTILE), st.text(characters, max_size=12))
said = texts.filter(lambda text: bool(text.strip()))
exchanges = st.lists(st.tuples(said, texts), max_size=3)


@st.composite
def rows_of_one_task(draw: st.DrawFn) -> list[dict[str, object]]:
    """Conversations of one data set: each further field has one type, as a table demands."""
    tag, n = draw(st.sampled_from([st.booleans(), st.integers(-(2**63), 2**63 - 1), texts])), draw(st.integers(1, 5))
    rows: list[dict[str, object]] = []
    for number in range(n):
        turns = [turn for asked, answered in draw(exchanges) for turn in (("user", asked), ("assistant", answered))]
        system = draw(st.one_of(st.none(), texts.filter(bool)))
        turns = ([("system", system)] if system is not None else []) + turns
        turns += [("user", f"{number} {draw(texts)}"), ("assistant", draw(said))]
        row: dict[str, object] = {"messages": [{"role": role, "content": text} for role, text in turns]}
        row |= {"who": draw(texts), "tag": draw(tag), "about": {"tags": draw(st.lists(texts, max_size=2))}}
        row |= {"references": draw(st.lists(said, max_size=2))} if draw(st.booleans()) else {}
        row |= {"maybe": draw(texts)} if draw(st.booleans()) else {}
        rows.append(row)
    return rows


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows=rows_of_one_task(), to=st.sampled_from(FORMATS[:-1]), suffix=st.sampled_from(["jsonl", "json", "parquet"]))
def test_any_conversation_survives_any_conversion(rows: list[dict[str, object]], to: str, suffix: str):
    with TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, "rows.jsonl", "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        before = read_file(folder, "rows.jsonl")
        data = converted(folder, "rows.jsonl", f"out.{suffix}", to)
        after = read_file(folder, f"out.{suffix}", **data)
        assert plain(after.samples) == plain(before.samples)
        assert after.record.sha256 == before.record.sha256


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    pairs=st.lists(st.tuples(said, said, texts), min_size=1, max_size=5),
    to=st.sampled_from(["prompt-completion", "alpaca", "columns"]),
    suffix=st.sampled_from(["csv", "tsv"]),
)
def test_any_plain_rows_survive_tables_of_texts(pairs: list[tuple[str, str, str]], to: str, suffix: str):
    rows = [
        dict(zip(("prompt", "completion", "who"), (t.replace("\r", "") for t in pair), strict=True)) for pair in pairs
    ]
    rows = [
        {**row, "prompt": f"{n} {row['prompt']}", "completion": f"{row['completion']}."} for n, row in enumerate(rows)
    ]
    with TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, "rows.json", json.dumps(rows))
        before = read_file(folder, "rows.json")
        after = read_file(folder, f"out.{suffix}", **converted(folder, "rows.json", f"out.{suffix}", to))
        assert plain(after.samples) == plain(before.samples)
        assert after.record.sha256 == before.record.sha256
