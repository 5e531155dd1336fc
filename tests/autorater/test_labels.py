"""Files of labels: nothing is lost, nothing is believed, every mistake is named with its line."""

import csv
import errno
import json
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.autorater.label_rows import line_of
from harness.autorater.label_tables import guard, unguard
from harness.autorater.labels import LabelFile, LabelJournal, export_labels, import_labels, read_labels
from harness.core.errors import EnvironmentFault, HarnessError
from harness.core.judging import Label, latest
from tests.reports.hostile import CORPUS

LIKERT = Label(
    id="l1",
    kind="likert",
    criterion="helpfulness",
    value=4,
    annotator="Ada",
    question="Where is my parcel?",
    answers=("On its way,\nas we said.",),
    systems=("base",),
    round="gate",
    scale=7,
    sample="row-1",
    split="validation",
    references=("It is on its way.", "Soon there."),
    probability=0.1,
    stratum="base, fifth 2",
    guideline="abc",
    time="2026-01-02T03:04:05Z",
)
PAIR = replace(
    LIKERT, id="p1", kind="pair", value="tie", answers=("one", ""), systems=("base", "tuned"), shown="swapped"
)
PASS = replace(LIKERT, id="b1", kind="pass_fail", value=0, scale=5, references=(), time="")
# What a table cannot hold.
LOST = {"\0", "\r"}


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row(**changes: object) -> dict[str, object]:
    fields = {"kind": "likert", "criterion": "tone", "value": 3, "annotator": "A", "question": "q", "answers": ["x"]}
    return {**fields, **changes}


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".json"])
@pytest.mark.parametrize("label", [LIKERT, PAIR, PASS], ids=lambda label: label.kind)
def test_what_is_written_is_read_back(label: Label, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"labels{suffix}"
    export_labels([label], path)
    assert read_labels(path).labels == (label,)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".json"])
def test_hostile_texts_come_back_as_they_were(suffix: str, tmp_path: Path) -> None:
    no = {"\ud800"} | (LOST if suffix == ".csv" else set())
    texts = [text for text in CORPUS if not no & set(text)]
    labels = [
        replace(LIKERT, id=f"l{number}", question=text, answers=(text,), annotator=text, systems=(text,))
        for number, text in enumerate(texts)
    ]
    assert len(labels) >= 190
    path = tmp_path / f"labels{suffix}"
    export_labels(labels, path)
    assert read_labels(path).labels == tuple(labels)


def test_a_table_that_would_lose_a_character_is_not_written(tmp_path: Path) -> None:
    for text in ("a\0b", "a\rb", "\ud800"):
        with pytest.raises(HarnessError) as caught:
            export_labels([replace(LIKERT, question=text)], tmp_path / "labels.csv")
        assert caught.value.code == "E-CONVERT"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text", ["=1+1", "+1+1", "-cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "'=1", '"=1', "\ufeff=1", "＝1", " =1"]
)
def test_no_cell_begins_a_formula(text: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    export_labels([replace(LIKERT, question=text, answers=(text,), systems=(text,))], path)
    cells = [cell for line in csv.reader(path.open(encoding="utf-8", newline="")) for cell in line]
    assert cells.count("'" + text) == 3
    assert text not in cells


@pytest.mark.parametrize("suffix", [".jsonl", ".json"])
def test_half_a_character_is_refused_before_anything_is_written(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(HarnessError) as caught:
        export_labels([replace(LIKERT, question="half \ud800")], tmp_path / f"labels{suffix}")
    assert caught.value.code == "E-SURROGATE"
    assert not list(tmp_path.iterdir())


def test_numbers_stay_numbers_in_a_table() -> None:
    assert [guard(text) for text in ("-3", "+0.5", "4", "-1e-3")] == ["-3", "+0.5", "4", "-1e-3"]


@given(st.text(alphabet="'\"=+-@\t\r a1.", max_size=6))
def test_what_is_guarded_is_unguarded_to_the_same(text: str) -> None:
    assert unguard(guard(text)) == text


def test_every_mistake_is_named_at_once_with_its_line(tmp_path: Path) -> None:
    path = write(
        tmp_path / "labels.jsonl",
        row(),
        row(kind="stars"),
        row(value=6),
        row(value=True),
        row(kind="pair", value="first"),
        row(kind="pair", answers=["x", "y"], value="left"),
        row(mood="good", annotator=""),
        row(probability=0),
        row(time="yesterday"),
        row(kind="pass_fail", value=2),
    )
    with path.open("a") as file:
        file.write('{"kind": "likert", "kind": "pair"}\n[1]\n{"value": NaN}\n')
    with pytest.raises(HarnessError) as caught:
        read_labels(path)
    assert caught.value.code == "E-LABELS"
    details = caught.value.details
    assert [detail.split(":")[1] for detail in details] == [str(number) for number in range(2, 14)]
    assert "12 rows" in caught.value.what
    for number, said in ((2, "kind"), (3, "1 to 5"), (4, "value"), (5, "answers"), (6, "value"), (8, "probability")):
        assert said in details[number - 2]
    assert "mood" in details[5]
    assert "annotator" in details[5]


def test_an_error_shows_no_control_character(tmp_path: Path) -> None:
    path = write(tmp_path / "labels.jsonl", row(kind="\x1b[31m", **{"\x1b]0;x\x07": 1}))
    with pytest.raises(HarnessError) as caught:
        read_labels(path)
    assert str(caught.value).replace("\n", "").isprintable()


def test_labels_without_id_and_system_are_external_and_told_apart(tmp_path: Path) -> None:
    labels = read_labels(write(tmp_path / "labels.jsonl", row(), row(question="other"))).labels
    assert labels[0].systems == ("external",)
    assert labels[0].id != labels[1].id


def test_a_table_of_the_needed_columns_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("kind,criterion,value,annotator,question,answer\nlikert,tone,4,Ada,Why?,Because\n")
    label = read_labels(path).labels[0]
    assert (label.value, label.answers, label.score) == (4, ("Because",), 0.75)


def test_duplicates_and_second_thoughts_are_counted_and_kept(tmp_path: Path) -> None:
    again = [row(id="a"), row(id="a"), row(id="b", value=5), row(id="c", value=5), row(id="d", annotator="B")]
    file = read_labels(write(tmp_path / "labels.jsonl", *again))
    assert len(file.labels) == 5
    assert file.notes == (
        "1 labels stand in the file more than once",
        "2 labels judge again what their annotator had judged (1 alike); the last counts",
    )
    assert [(label.annotator, label.value) for label in latest(file.labels)] == [("A", 5), ("B", 3)]


def test_two_labels_of_one_id_are_refused(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="two different labels with the id 'a'"):
        read_labels(write(tmp_path / "labels.jsonl", row(id="a"), row(id="a", value=5)))


def test_labels_given_under_another_rubric_are_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "labels.jsonl", row(guideline="old"), row(guideline="new", value=2), row(value=1))
    notes = read_labels(path, guideline="new").notes
    assert "1 of 3 labels were given under another rubric than the present one" in notes
    assert not any("rubric" in note for note in read_labels(path).notes)


def test_a_line_cut_off_by_a_kill_is_told_and_left_out(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_bytes(line_of(LIKERT) + line_of(PASS)[:-20])
    file = read_labels(path)
    assert file.labels == (LIKERT,)
    assert "labels.jsonl:2 stops inside a label" in file.notes[0]


@pytest.mark.parametrize("name", ["labels.txt", "labels"])
def test_a_file_of_another_kind_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("x")
    with pytest.raises(HarnessError) as caught:
        read_labels(tmp_path / name)
    assert caught.value.code == "E-FORMAT"


def test_a_missing_file_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(HarnessError) as caught:
        read_labels(tmp_path / "none.jsonl")
    assert caught.value.code == "E-FILE"


def test_the_export_for_label_studio_names_its_own_controls(tmp_path: Path) -> None:
    files = export_labels([PAIR, replace(PAIR, id="p2", annotator="Bob", value="first")], tmp_path / "labels.json")
    tasks = json.loads(files[0].read_text())
    view = ET.fromstring(files[1].read_text())
    controls = {each.get("name"): each for each in view if each.get("toName")}
    texts = {each.get("name"): each.get("value", "").removeprefix("$") for each in view if each.tag == "Text"}
    assert len(tasks) == 1, "two people judged one thing"
    assert len(tasks[0]["annotations"]) == 2
    assert set(texts.values()) <= set(tasks[0]["data"])
    choices = {each.get("value") for each in controls["verdict"]}
    for annotation in tasks[0]["annotations"]:
        for result in annotation["result"]:
            assert result["from_name"] in controls
            assert result["to_name"] in texts
            assert set(result["value"].get("choices", [])) <= choices


def test_an_export_of_label_studio_is_read(tmp_path: Path) -> None:
    """The shape of its documentation's example (guide/task_format), with ratings, choices and a pairwise selection."""
    rating = {"from_name": "stars", "to_name": "answer", "type": "rating", "value": {"rating": 4}}
    choice = {"from_name": "ok", "to_name": "answer", "type": "choices", "value": {"choices": ["Pass"]}}
    better = {"from_name": "better", "to_name": "a,b", "type": "pairwise", "value": {"selected": "right"}}
    one, two = {"question": "q", "answer": "x"}, {"question": "q", "answer": "x", "answer_2": "y"}
    made = {"was_cancelled": False, "created_at": "2021-03-09T22:16:08.728353Z", "lead_time": 4.288, "task": 1}
    tasks = [
        {"id": 1, "data": one, "annotations": [{"id": 7, "completed_by": 10, "result": [rating], **made}]},
        {
            "id": 2,
            "data": one,
            "annotations": [
                {"id": 8, "completed_by": {"id": 1, "email": "ada@example.org"}, "result": [choice], **made},
                {"id": 9, "completed_by": 3, "result": [], **made, "was_cancelled": True},
            ],
        },
        {"id": 3, "data": two, "annotations": [{"id": 10, "completed_by": 3, "result": [better], **made}]},
    ]
    path = tmp_path / "export.json"
    path.write_text(json.dumps(tasks))
    found = [(label.kind, label.criterion, label.value, label.annotator) for label in read_labels(path).labels]
    assert found == [
        ("likert", "stars", 4, "10"),
        ("pass_fail", "ok", 1, "ada@example.org"),
        ("pair", "better", "second", "3"),
    ]


def test_label_studio_tasks_without_an_answer_are_named(tmp_path: Path) -> None:
    path = tmp_path / "export.json"
    path.write_text(json.dumps([{"data": {"text": "x"}, "annotations": [{"id": 1, "result": []}]}, {"x": 1}]))
    with pytest.raises(HarnessError) as caught:
        read_labels(path)
    assert [detail.split(":")[0] for detail in caught.value.details] == ["export.json, task 1", "export.json, task 2"]


def test_the_journal_keeps_what_it_acknowledged_and_takes_a_repeat_for_the_same(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    with LabelJournal(path) as journal:
        assert journal.append(LIKERT)
        assert not journal.append(replace(LIKERT, time="2027-01-01T00:00:00Z"))
        with pytest.raises(HarnessError, match="another label has the id 'l1'"):
            journal.append(replace(LIKERT, value=1))
    assert read_labels(path).labels == (LIKERT,)
    with LabelJournal(path) as journal:
        assert journal.labels == (LIKERT,)
        assert not journal.append(LIKERT)


def test_the_journal_sets_a_torn_line_aside_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    torn = line_of(PASS)[:-15]
    path.write_bytes(line_of(LIKERT) + torn)
    with LabelJournal(path) as journal:
        assert journal.labels == (LIKERT,)
        journal.append(PASS)
    assert read_labels(path).labels == (LIKERT, PASS)
    assert (tmp_path / "labels.jsonl.0.bad").read_bytes() == torn


def test_the_journal_keeps_a_last_label_without_its_line_end(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    path.write_bytes(line_of(LIKERT).rstrip(b"\n"))
    with LabelJournal(path) as journal:
        journal.append(PASS)
    assert read_labels(path).labels == (LIKERT, PASS)


def test_the_journal_refuses_a_file_of_something_else(tmp_path: Path) -> None:
    path = write(tmp_path / "labels.jsonl", row(), {"text": "x"}, row())
    before = path.read_bytes()
    with pytest.raises(HarnessError, match=r"labels.jsonl:2 is not a label"):
        LabelJournal(path)
    assert path.read_bytes() == before


def test_the_journal_refuses_two_labels_of_one_id(tmp_path: Path) -> None:
    path = write(tmp_path / "labels.jsonl", row(id="a"), row(id="b"), row(id="a", value=5))
    with pytest.raises(HarnessError, match=r"labels.jsonl:3 is another label with the id 'a'"):
        LabelJournal(path)


def test_one_process_at_a_time_adds_to_a_journal(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    with LabelJournal(path), pytest.raises(EnvironmentFault) as caught:
        LabelJournal(path)
    assert caught.value.code == "E-LOCKED"
    LabelJournal(path).close()


def test_a_killed_writer_blocks_nobody_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "labels.jsonl"
    program = f"""
import sys, dataclasses
from pathlib import Path
from harness.autorater.labels import LabelJournal, read_labels
journal = LabelJournal(Path({str(path)!r}))
label = journal.labels[0]
for number in range(10_000):
    journal.append(dataclasses.replace(label, id=str(number)))
    print(number, flush=True)
"""
    path.write_bytes(line_of(LIKERT))
    writer = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=os.getcwd())
    assert writer.stdout is not None
    acknowledged = [int(writer.stdout.readline()) for _ in range(50)]
    writer.send_signal(signal.SIGKILL)
    acknowledged += [int(line) for line in writer.stdout.read().splitlines()]
    writer.wait()
    with LabelJournal(path) as journal:
        assert {str(number) for number in acknowledged} <= {label.id for label in journal.labels}


def test_a_full_disk_leaves_no_half_of_a_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "labels.jsonl"
    whole = os.write

    def full(descriptor: int, content: bytes) -> int:
        if len(content) < 100:
            raise OSError(errno.ENOSPC, "no space left on device")
        return whole(descriptor, content[: len(content) - 99])

    with LabelJournal(path) as journal:
        journal.append(LIKERT)
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", full)
            with pytest.raises(EnvironmentFault) as caught:
                journal.append(PASS)
        assert caught.value.code == "E-DISK-ENOSPC"
        assert journal.labels == (LIKERT,)
    assert read_labels(path) == LabelFile((LIKERT,), ())


def test_an_import_adds_what_is_new(tmp_path: Path) -> None:
    export_labels([LIKERT, PASS], tmp_path / "more.csv")
    with LabelJournal(tmp_path / "labels.jsonl") as journal:
        journal.append(LIKERT)
        done = import_labels(tmp_path / "more.csv", journal)
        assert (done.n_new, done.n_known) == (1, 1)
        assert journal.labels == (LIKERT, PASS)
