from __future__ import annotations

import json
import tempfile
import tomllib
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from harness.core.errors import HarnessError
from harness.core.specs import TaskSpec
from harness.data import read
from harness.scaffold import propose
from harness.scaffold.folder import NewTask, task_text

NAMES = st.sampled_from(
    ["id", "input", "output", "text", "label", "question", "answers", "messages", "contents", "prompt", "completion",
     "user", "language", "a b", "x.y", "{", "", "\u202e", "instruction", "en", "de"]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["text", "role"]), inner, max_size=2),
    max_leaves=4,
)


TEXT = st.text(min_size=1, max_size=20)
COLUMNS = st.sampled_from(
    [TEXT, TEXT, st.sampled_from(["yes", "no", "a\x1b"]), st.integers(), st.lists(TEXT, min_size=1, max_size=3), VALUES]
)


@st.composite
def tables(draw: st.DrawFn) -> list[dict[str, object]]:
    """Rows that all have the same fields, each with values of one sort."""
    fields = {name: draw(COLUMNS) for name in draw(st.lists(NAMES, min_size=2, max_size=4, unique=True))}
    return [{name: draw(values) for name, values in fields.items()} for _ in range(draw(st.integers(1, 8)))]


@settings(max_examples=150, deadline=None)
@given(rows=tables() | st.lists(st.dictionaries(NAMES, VALUES, max_size=5), max_size=8), copies=st.integers(1, 30))
def test_any_rows_give_a_task_that_reads_or_one_error(rows: list[dict[str, object]], copies: int) -> None:
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "rows.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows * copies))
        try:
            proposal = propose({"source": "rows.jsonl"}, Path(place))
        except HarnessError:
            return
        text = task_text(NewTask("any", Path(place), proposal))
        assert all(line.isprintable() for line in text.split("\n"))
        document = tomllib.loads(text)
        assert document["data"]["source"] == "rows.jsonl"
        dataset = read(TaskSpec.model_validate(document), Path(place), drop_bad=True)
        assert dataset.samples
