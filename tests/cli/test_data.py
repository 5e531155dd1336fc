from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Ran

Harness = Callable[..., Ran]

TALK = {
    "contents": [
        {"role": "user", "parts": [{"text": "Say \x1b[31mred"}]},
        {"role": "model", "parts": [{"text": "red"}]},
    ],
    "language": "en",
}
OTHER = {"contents": [*TALK["contents"], *TALK["contents"]], "language": ""}


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(TALK) + "\n" + json.dumps(OTHER) + "\n")
    return path


def test_show_tells_format_rows_fields_and_a_conversation(harness: Harness, rows: Path) -> None:
    ran = harness("data", "show", "rows.jsonl")
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert "2 rows in the format gemini; 2 can be used" in lines
    assert [line.split()[:2] for line in lines if line.startswith(("contents", "language"))] == [
        ["contents", "100%"],
        ["language", "50%"],
    ]
    assert "first row (rows.jsonl:1), id row-1:" in lines
    assert '  user: "Say \\u001b[31mred"' in lines
    assert '  answer: "red"' in lines
    assert "\x1b" not in ran.out


def test_show_for_programs(harness: Harness, rows: Path) -> None:
    seen = json.loads(harness("data", "show", "rows.jsonl", "--json").out)
    assert (seen["format"], seen["n_rows"], seen["n_samples"]) == ("gemini", 2, 2)
    assert [(field["name"], field["filled"]) for field in seen["fields"]] == [("contents", 1.0), ("language", 0.5)]
    assert seen["first"]["references"] == ["red"]


def test_show_of_columns_asks_for_templates_and_takes_them(harness: Harness, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("q,a,z\nwhy?,because,7\n")
    ran = harness("data", "show", "t.csv")
    assert ran.code == 2
    assert "1 rows in the format unknown; 0 can be used; 1 left out for E-FIELD" in ran.out
    assert 'prompt = "{question}"' in ran.err
    ran = harness("data", "show", "t.csv", "data.prompt={q}", "data.reference={a}", "data.where.q=why?")
    assert ran.code == 0, ran.err
    assert '  user: "why?"' in ran.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["data.promt={q}"], "unknown setting 'data.promt'. Did you mean data.prompt"),
        (["metrics.primary=bleu"], "unknown setting 'metrics.primary'"),
        (["data.prompt={q}"], "prompt and reference templates go together"),
        (["data.format=xml"], "data.format"),
        (["data.source=b.jsonl"], "unknown setting 'data.source'"),
        (["word"], "'word' is not a setting"),
    ],
)
def test_wrong_settings_are_one_error(harness: Harness, rows: Path, words: list[str], says: str) -> None:
    ran = harness("data", "show", "rows.jsonl", *words)
    assert ran.code == 2
    assert ran.err.startswith("error[E-OPTION]")
    assert says in ran.err


def test_convert_writes_rows_that_are_the_same_samples(harness: Harness, rows: Path, tmp_path: Path) -> None:
    ran = harness("data", "convert", "rows.jsonl", "out.parquet", "--to", "alpaca")
    assert ran.code == 0, ran.err
    assert "2 rows read as gemini" in ran.out
    assert "2 rows written to out.parquet as alpaca; read back, they are the same samples" in ran.out
    assert 'first row: {"id": "row-1", "instruction": "Say \\u001b[31mred"' in ran.out
    assert 'in [data] of task.toml: format = "alpaca"' in ran.out
    harness("data", "convert", "out.parquet", "back.jsonl", "--to", "gemini")
    back = [json.loads(line) for line in (tmp_path / "back.jsonl").read_text().splitlines()]
    assert back == [{"id": "row-1", **TALK}, {"id": "row-2", **OTHER}]


def test_convert_for_programs(harness: Harness, rows: Path) -> None:
    facts = json.loads(harness("data", "convert", "rows.jsonl", "out.json", "--to", "messages", "--json").out)
    assert (facts["from"], facts["to"], facts["n_written"]) == ("gemini", "messages", 2)
    assert facts["first"]["messages"][1] == {"role": "assistant", "content": "red"}


def test_convert_overwrites_only_when_forced(harness: Harness, rows: Path, tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("precious")
    ran = harness("data", "convert", "rows.jsonl", "out.jsonl", "--to", "messages")
    assert (ran.code, "error[E-EXISTS]" in ran.err) == (2, True)
    assert (tmp_path / "out.jsonl").read_text() == "precious"
    assert harness("data", "convert", "rows.jsonl", "out.jsonl", "--to", "messages", "--force").code == 0
    assert (tmp_path / "out.jsonl").read_text() != "precious"


def test_convert_that_is_refused_writes_nothing(harness: Harness, rows: Path, tmp_path: Path) -> None:
    ran = harness("data", "convert", "rows.jsonl", "out.csv", "--to", "columns")
    assert ran.code == 2
    assert "rows.jsonl:2 (row-2): it has 2 earlier turns" in ran.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.jsonl"]


def test_convert_leaves_bad_rows_out_only_when_asked(harness: Harness, rows: Path) -> None:
    with rows.open("a") as file:
        file.write('{"contents": []}\n')
    ran = harness("data", "convert", "rows.jsonl", "out.jsonl", "--to", "messages")
    assert (ran.code, "--drop-bad" in ran.err) == (2, True)
    ran = harness("data", "convert", "rows.jsonl", "out.jsonl", "--to", "messages", "--drop-bad")
    assert ran.code == 0, ran.err
    assert "3 rows read as gemini; 1 left out for E-ROLE" in ran.out
    assert "2 rows written" in ran.out


PROBE = """
import sys
sys.argv = ["harness", "data", "convert", "rows.jsonl", "out.json", "--to", "messages"]
from harness.cli.app import run_command_line
code = run_command_line()
print(code, sorted({"torch", "datasets", "pyarrow", "pandas", "huggingface_hub"} & set(sys.modules)))
"""


def test_converting_text_files_imports_no_library_of_tables_or_the_hub(rows: Path, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PROBE], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr


def test_plain_columns_are_shown_and_converted_by_the_templates_that_a_run_would_propose(
    harness: Harness, tmp_path: Path
) -> None:
    rows = "".join(json.dumps({"question": f"what is {i}?", "answer": f"it is {i}"}) + "\n" for i in range(30))
    (tmp_path / "qa.jsonl").write_text(rows)
    shown = harness("data", "show", "qa.jsonl")
    assert shown.code == 0, shown.err
    assert "30 rows in the format columns; 30 can be used" in shown.out
    assert 'note: data.prompt="{question}"' in shown.err
    assert harness("data", "convert", "qa.jsonl", "gemini.jsonl", "--to", "gemini").code == 0
    first = json.loads((tmp_path / "gemini.jsonl").read_text().splitlines()[0])
    assert [turn["parts"][0]["text"] for turn in first["contents"]] == ["what is 0?", "it is 0"]
    assert (
        harness("data", "show", "qa.jsonl", "data.prompt={answer}", "data.reference={question}").err.count("note:") == 0
    )
