"""`harness label`: what it asks, says, keeps and refuses, on a finished run of the fake backend."""

from __future__ import annotations

import csv
import itertools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.core.judging import Label
from harness.core.records import RunResult, SampleRow
from harness.store.encoding import canonical, parse
from tests.conftest import FAKE, Ran, make_echo_task, write_rows
from tests.pipeline.test_judging import JUDGE, KIND

Harness = Callable[..., Ran]


def add_judge(task: Path, name: str, criterion: str = "loudness") -> None:
    folder = task / "judges" / name
    folder.mkdir(parents=True)
    (folder / "judge.toml").write_text(JUDGE.replace("loudness", criterion))
    (folder / "loud.py").write_text(KIND)
    (folder / "rubric.md").write_text("How loud is the answer? 5: all in capitals. 1: not at all.\n")


@pytest.fixture
def task(harness: Harness, tmp_path: Path) -> Path:
    """A task with one judge, which decides nothing yet, and a finished run."""
    folder = make_echo_task(tmp_path / "echo")
    add_judge(folder, "loud")
    ran = harness("run", f"task={folder}", "metrics.primary=judge:loud", "metrics.fallback=exact_match", *FAKE)
    assert ran.code == 0, ran.err
    return folder


def runs() -> list[Path]:
    return sorted(file.parent for file in Path("runs", "echo").glob("*/result.json"))


def run_of() -> Path:
    [folder] = runs()
    return folder


def sheet_file() -> Path:
    [file] = Path().glob("labels-echo-*.csv")
    return file


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def fill_in(file: Path, value: str = "4", n: int | None = None) -> None:
    """The first n rows get the value; all without n."""
    rows = rows_of(file)
    for row in rows[:n]:
        row["value"] = value
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def labels_in(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def refused(ran: Ran, code: str, *said: str) -> None:
    assert ran.code == 2, ran.out + ran.err
    assert f"error[{code}]" in ran.err
    assert "Traceback" not in ran.err
    for words in said:
        assert words in ran.err


def final_label(run: Path, at: int = 0, **changes: object) -> Label:
    """One label of a test answer of the run's candidate, right in all that is not changed."""
    result = parse(RunResult, (run / "result.json").read_bytes(), name="result.json")
    row = parse(SampleRow, (run / "samples.jsonl").read_bytes().splitlines()[at], name="samples.jsonl")
    candidate = result.comparisons[-1].candidate
    fields: dict[str, object] = {
        "id": f"final-{at}",
        "kind": "likert",
        "criterion": "loudness",
        "value": 4,
        "annotator": "ann",
        "question": row.prompt,
        "answers": (str(row.outputs[candidate]),),
        "systems": (candidate,),
        "round": "final",
        "sample": row.id,
        "split": "test",
    }
    return Label(**{**fields, **changes})  # type: ignore[arg-type]


def told_apart(run: Path) -> int:
    """A test sample that candidate and baseline answered differently: one label is not of both."""
    compared = parse(RunResult, (run / "result.json").read_bytes(), name="result.json").comparisons[-1]
    rows = [json.loads(line)["outputs"] for line in (run / "samples.jsonl").read_text().splitlines()]
    return next(at for at, row in enumerate(rows) if row[compared.candidate] != row[compared.baseline])


def write_labels(file: Path, *labels: Label) -> None:
    file.write_bytes(b"".join(canonical(label, indent=None) for label in labels))


def test_each_question_has_a_sheet_of_its_own_and_the_same_words_the_same_one(harness: Harness, task: Path) -> None:
    asked: list[tuple[str, ...]] = [
        ("judge=loud",),
        ("criterion=tone",),
        ("criterion=tone", "scale=3"),
        ("criterion=tone", "label=pass_fail"),
        ("criterion=length",),
        ("criterion=tone", "seed=1"),
    ]
    sheets = []
    for words in (*asked, *asked):
        ran = harness("label", f"task={task}", "n=8", "as=csv", *words)
        assert ran.code == 0, ran.err
        sheets.append(ran.out.partition("written: ")[2].split()[0])
    assert len(set(sheets[:6])) == 6
    assert sheets[:6] == sheets[6:]


def test_answers_of_another_run_are_another_sheet(harness: Harness, task: Path) -> None:
    first = run_of()
    assert harness("run", f"task={task}", *FAKE, "seed=5").code == 0
    [second] = [run for run in runs() if run != first]
    for run in (first, second):
        assert harness("label", str(run), "judge=loud", "n=8", "as=csv").code == 0
    assert len(list(Path("runs/echo/sheets").glob("*.json"))) == 2


def test_it_says_what_is_asked_about_whose_answers_and_why_so_many(harness: Harness, task: Path) -> None:
    ran = harness("label", f"task={task}", "n=100000", "as=csv")
    assert ran.code == 0, ran.err
    assert "asked: loudness (1 to 5), by the rubric of judge loud\n" in ran.out
    assert f"answers: validation of {run_of().name}, whose is hidden\n" in ran.out
    systems = {name for label in Path("runs/echo/sheets").glob("*.json") for name in systems_of(label)}
    # 16 validation prompts, and an answer of each system to each.
    assert f"(all there are: 16 prompts x {len(systems)}; 100000 were asked for)" in ran.out
    assert "all answers to a prompt or none; 7 were asked for" in harness("label", f"task={task}", "n=7", "as=csv").out


def systems_of(sheet: Path) -> set[str]:
    items = json.loads(sheet.read_text())["items"]
    return {item["item"]["system"] for item in items} | {name for item in items for [name] in item["also"]}


def test_a_text_that_several_systems_gave_is_asked_once_and_labelled_for_each(harness: Harness, task: Path) -> None:
    ran = harness("label", f"task={task}", "n=100000", "as=csv")
    file = sheet_file()
    rows = rows_of(file)
    assert len({(row["question"], row["answer"]) for row in rows}) == len(rows)
    fill_in(file)
    done = harness("label", f"task={task}", f"import={file}", "annotator=eve")
    assert done.code == 0, done.err
    labels = labels_in(task / "labels.jsonl")
    n_systems = len({str(label["systems"]) for label in labels})
    assert len(labels) == 16 * n_systems > len(rows)
    assert f"{len(rows)} to label, for {len(labels)} answers" in ran.out
    assert f"{len(labels)} labels added" in done.out
    assert len({label["id"] for label in labels}) == len(labels)
    again = harness("label", f"task={task}", f"import={file}", "annotator=eve")
    assert f"0 labels added to echo/labels.jsonl, {len(labels)} were there already" in again.out


def test_the_command_that_takes_a_sheet_back_is_said_whole(harness: Harness, task: Path) -> None:
    ran = harness("label", f"task={task}", "n=8", "as=csv")
    fill_in(sheet_file())
    [said] = [line.partition("when done: ")[2] for line in ran.out.splitlines() if line.startswith("when done: ")]
    done = harness(*said.replace("annotator=NAME", "annotator=eve").split()[1:])
    assert done.code == 0, done.err
    offline = harness("label", f"task={task}", "n=8", "as=html")
    [page] = Path().glob("labels-echo-*.html")
    name = f"labels-{page.stem.rpartition('-')[2]}.jsonl"
    assert f"import={name} (the file that its button downloads)" in offline.out
    assert "link.download = `labels-${this.#sheet.id}.jsonl`" in page.read_text()


def test_what_comes_next_is_a_choice_where_the_judge_decides_and_else_its_calibration(
    harness: Harness, task: Path
) -> None:
    first = run_of()
    harness("label", f"task={task}", "n=8", "as=csv")
    fill_in(sheet_file())
    again = ("label", f"task={task}", f"import={sheet_file()}", "annotator=eve")
    assert f"Next command: harness select {first}\n" in harness(*again).out
    assert harness("select", str(first)).code == 0
    [second] = [run for run in runs() if run != first]
    assert "-selected-" in second.name
    named = harness("label", str(second), f"import={sheet_file()}", "annotator=eve")
    assert f"Next command: harness select {first}\n" in named.out
    assert harness("run", f"task={task}", *FAKE, "seed=5").code == 0
    [third] = [run for run in runs() if run not in (first, second)]
    plain = harness("label", str(third), "judge=loud", f"import={sheet_file()}", "annotator=eve")
    assert "Next command: harness judge calibrate task=echo judge=loud\n" in plain.out


def test_one_final_label_takes_nothing_from_the_report(harness: Harness, task: Path) -> None:
    run = run_of()
    before = harness("report", str(run))
    write_labels(run / "labels.jsonl", final_label(run, told_apart(run)))
    after = harness("report", str(run))
    assert after.code == 0, after.err
    assert after.out == before.out + (
        "Note: nothing is validated yet: people's labels so far cover 0 prompts with both systems; 2 are needed.\n"
    )
    assert not (run / "validation.json").exists()


def test_a_claim_goes_when_its_labels_go(harness: Harness, task: Path) -> None:
    run = run_of()
    assert harness("label", str(run), "round=final", "n=20", "as=csv").code == 0
    fill_in(sheet_file())
    assert harness("label", str(run), "round=final", f"import={sheet_file()}", "annotator=eve").code == 0
    assert harness("report", str(run)).out.startswith("People, blind")
    write_labels(run / "labels.jsonl", final_label(run))
    assert not harness("report", str(run)).out.startswith("People, blind")
    assert not (run / "validation.json").exists()


def test_final_labels_of_another_criterion_are_not_believed(harness: Harness, task: Path) -> None:
    run = run_of()
    write_labels(run / "labels.jsonl", *(final_label(run, at, criterion="tone") for at in range(3)))
    ran = harness("report", str(run))
    assert ran.code == 0
    assert "Note: 3 final labels are for 'tone' and were left out: the claim is about 'loudness'." in ran.out


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"criterion": "tone"}, "they are for 'tone', not for 'loudness'"),
        ({"kind": "pass_fail", "value": 1}, "they are of kind pass_fail, not likert"),
        ({"scale": 7}, "their scale ends at 7, not at 5"),
        ({"round": "calibration"}, "their round is calibration"),
        ({"split": "validation"}, "they are of 'validation' answers"),
        ({"systems": ("somebody",)}, "they judge answers of 'somebody'"),
        ({"answers": ("nobody said this",)}, "they judge answers that the run did not give on test"),
    ],
)
def test_labels_that_are_not_of_a_runs_final_round_are_refused_before_anything_is_written(
    harness: Harness, task: Path, changes: dict[str, object], said: str
) -> None:
    run = run_of()
    write_labels(Path("foreign.jsonl"), final_label(run, 0), final_label(run, 1, **changes))
    ran = harness("label", str(run), "round=final", "import=foreign.jsonl")
    refused(ran, "E-LABELS", "1 of 2 labels are not of the final round", said)
    assert not (run / "labels.jsonl").exists()
    write_labels(Path("own.jsonl"), final_label(run, 0), final_label(run, 1))
    assert harness("label", str(run), "round=final", "import=own.jsonl").code == 0


def test_people_are_not_asked_about_what_the_runs_claim_is_not_about(harness: Harness, task: Path) -> None:
    run = run_of()
    ran = harness("label", str(run), "round=final", "as=csv", "criterion=tone")
    refused(ran, "E-CONFLICT", "about 'loudness'", "about 'tone'")
    assert not (run / "sheets").exists()


def test_no_file_is_written_over(harness: Harness, task: Path) -> None:
    assert harness("label", f"task={task}", "n=8", "as=csv").code == 0
    assert harness("label", f"task={task}", "n=8", "as=csv").code == 0, "an empty sheet is the same sheet"
    fill_in(sheet_file())
    filled = sheet_file().read_bytes()
    refused(harness("label", f"task={task}", "n=8", "as=csv"), "E-EXISTS", "filled it in", f"import={sheet_file()}")
    assert sheet_file().read_bytes() == filled
    assert harness("label", f"task={task}", f"import={sheet_file()}", "annotator=eve").code == 0
    Path("mine.csv").write_text("precious")
    Path("tasks.xml").write_text("precious")
    refused(harness("label", f"task={task}", "export=mine.csv"), "E-EXISTS", "'mine.csv' is already there")
    refused(harness("label", f"task={task}", "export=tasks.json"), "E-EXISTS", "'tasks.xml' is already there")
    assert Path("mine.csv").read_text() == Path("tasks.xml").read_text() == "precious"
    assert not Path("tasks.json").exists()
    assert harness("label", f"task={task}", "export=new.csv").out == "wrote new.csv\n"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("n",), "E-OPTION", "'n' has no value"),
        (("n=12", "n=13"), "E-CONFLICT", "n is given twice: '12' and '13'"),
        (("n=0",), "E-OPTION", "n: "),
        (("as=pdf",), "E-OPTION", "as: "),
        (("import=a.csv", "export=b.csv"), "E-CONFLICT", "two commands"),
        (("judge=loud", "criterion=tone"), "E-CONFLICT", "judge= and criterion="),
        (("judge=loud", "scale=3"), "E-CONFLICT", "judge= and scale="),
        (("label=pair",), "E-CONFLICT", "there is no criterion="),
        (("round=final",), "E-USAGE", "harness label RUN round=final"),
        (("nn=3",), "E-OPTION", "nn"),
    ],
)
def test_wrong_words_cost_one_sentence_and_write_nothing(
    harness: Harness, task: Path, words: tuple[str, ...], code: str, said: str
) -> None:
    before = sorted(Path().rglob("*"))
    refused(harness("label", f"task={task}", *words), code, said)
    assert sorted(Path().rglob("*")) == before


def test_a_run_is_named_once(harness: Harness, task: Path) -> None:
    name = str(run_of())
    ran = harness("label", name, f"run={name}", "as=csv")
    assert ran.code == 2
    assert "E-CONFLICT" in ran.err
    assert "two runs are named" in ran.err


def test_which_of_several_judges_asks_is_not_guessed(harness: Harness, task: Path) -> None:
    add_judge(task, "calm", "calmness")
    refused(harness("label", f"task={task}", "n=8", "as=csv"), "E-USAGE", "'calm', 'loud'", "judge=")
    assert "asked: calmness" in harness("label", f"task={task}", "n=8", "as=csv", "judge=calm").out
    named = harness("label", str(run_of()), "n=8", "as=csv")
    assert "asked: loudness" in named.out, "the run's judge is the one that was to decide"


def test_files_are_those_of_the_folder_in_which_the_command_was_typed(
    harness: Harness, task: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = run_of().resolve()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    ran = harness("label", str(run), "round=final", "n=8", "as=csv")
    assert ran.code == 0, ran.err
    assert Path.cwd() == elsewhere
    assert f"written: {sheet_file()}\n" in ran.out
    fill_in(sheet_file())
    done = harness("label", str(run), "round=final", f"import={sheet_file()}", "annotator=eve")
    assert done.code == 0, done.err
    assert (run / "labels.jsonl").is_file()
    assert f"labels added to {run}/labels.jsonl" in done.out
    assert harness("label", str(run), "round=final", "export=all.csv").out == "wrote all.csv\n"
    assert Path("all.csv").is_file()
    assert {file.name for file in elsewhere.iterdir()} == {
        "all.csv",
        sheet_file().name,
        f"{sheet_file().stem}.rubric.md",
    }


def test_an_import_of_nothing_is_refused_and_leaves_no_file(harness: Harness, task: Path) -> None:
    assert harness("label", f"task={task}", "n=8", "as=csv").code == 0
    ran = harness("label", f"task={task}", f"import={sheet_file()}", "annotator=eve")
    refused(ran, "E-LABELS", f"no row of '{sheet_file()}' has a value")
    Path("empty.jsonl").write_text("")
    refused(harness("label", f"task={task}", "import=empty.jsonl"), "E-LABELS", "no row of 'empty.jsonl' has a value")
    assert not (task / "labels.jsonl").exists()


def test_a_label_with_anothers_id_is_refused_before_any_other_is_added(harness: Harness, task: Path) -> None:
    own = final_label(run_of(), round="calibration", split="validation")
    write_labels(task / "labels.jsonl", own)
    before = (task / "labels.jsonl").read_bytes()
    more = final_label(run_of(), 1, round="calibration", split="validation")
    changed = final_label(run_of(), round="calibration", split="validation", value=2)
    write_labels(Path("more.jsonl"), more, changed)
    refused(harness("label", f"task={task}", "import=more.jsonl"), "E-LABELS", "'final-0' for one")
    assert (task / "labels.jsonl").read_bytes() == before


def test_a_sheet_is_known_by_its_items_whatever_its_file_is_called(harness: Harness, task: Path) -> None:
    assert harness("label", f"task={task}", "n=8", "as=csv").code == 0
    fill_in(sheet_file())
    renamed = sheet_file().rename("Eve's answers.csv")
    done = harness("label", f"task={task}", f"import={renamed}", "annotator=eve")
    assert done.code == 0, done.err
    assert {label["split"] for label in labels_in(task / "labels.jsonl")} == {"validation"}
    Path("strange.csv").write_text("item,value,question,answer\nabc,4,q,a\n")
    refused(harness("label", f"task={task}", "import=strange.csv", "annotator=eve"), "E-LABELS", "not known here")


def test_a_sheet_of_another_question_is_refused(harness: Harness, task: Path) -> None:
    add_judge(task, "calm", "calmness")
    assert harness("label", f"task={task}", "n=8", "as=csv", "judge=calm").code == 0
    fill_in(sheet_file())
    ran = harness("label", f"task={task}", "judge=loud", f"import={sheet_file()}", "annotator=eve")
    refused(ran, "E-LABELS", "'calmness (1 to 5)', not about 'loudness (1 to 5)'", "judge=NAME")
    assert not (task / "labels.jsonl").exists()
    assert harness("label", f"task={task}", "judge=calm", f"import={sheet_file()}", "annotator=eve").code == 0


def test_a_final_sheet_is_taken_by_its_run_alone_and_the_command_is_said(harness: Harness, task: Path) -> None:
    run = run_of()
    assert harness("label", str(run), "round=final", "n=8", "as=csv").code == 0
    fill_in(sheet_file())
    ran = harness("label", f"task={task}", f"import={sheet_file()}", "annotator=eve")
    refused(ran, "E-LABELS", f"is a sheet of the final round of {run.name}")
    assert f"fix: harness label {run} round=final import={sheet_file()}" in ran.err
    assert not (task / "labels.jsonl").exists()


def test_labels_from_elsewhere_are_for_the_judge_that_is_named_or_refused(harness: Harness, task: Path) -> None:
    run = run_of()
    plain: dict[str, object] = {"round": "calibration", "split": ""}
    write_labels(Path("tone.jsonl"), final_label(run, criterion="tone", **plain))
    refused(harness("label", f"task={task}", "import=tone.jsonl"), "E-LABELS", "'tone (1 to 5)'", "loudness (1 to 5)")
    write_labels(Path("scale.jsonl"), final_label(run, **plain), final_label(run, 1, scale=7, **plain))
    refused(harness("label", f"task={task}", "import=scale.jsonl"), "E-LABELS", "'loudness (1 to 7)'")
    write_labels(Path("final.jsonl"), final_label(run))
    refused(harness("label", f"task={task}", "import=final.jsonl"), "E-LABELS", "of a run's final round")
    assert not (task / "labels.jsonl").exists()
    write_labels(Path("both.jsonl"), final_label(run, **plain), final_label(run, 1, criterion="tone", **plain))
    done = harness("label", f"task={task}", "import=both.jsonl")
    assert done.code == 0, done.err
    assert "Note: 1 of 2 labels are for another criterion than 'loudness (1 to 5)'" in done.out


def test_a_damaged_sheet_hides_no_other_and_is_drawn_anew(harness: Harness, task: Path) -> None:
    assert harness("label", f"task={task}", "n=8", "as=csv").code == 0
    fill_in(sheet_file())
    [kept] = Path("runs/echo/sheets").glob("*.json")
    whole = kept.read_bytes()
    damaged = kept.with_name("a-damaged.json")
    damaged.write_bytes(whole[: len(whole) // 2])
    done = harness("label", f"task={task}", f"import={sheet_file()}", "annotator=eve")
    assert done.code == 0, done.err
    assert "a-damaged.json is damaged" in done.out
    kept.write_bytes(whole[: len(whole) // 2])
    sheet_file().unlink()
    assert harness("label", f"task={task}", "n=8", "as=csv").code == 0
    assert kept.read_bytes() == whole


def test_the_words_of_its_own_are_in_its_help(harness: Harness) -> None:
    ran = harness("label", "--help")
    for word in (
        "judge=",
        "criterion=",
        "label=",
        "scale=",
        "annotator=",
        "run=",
        "seed=",
        "port=",
        "round=",
        "import=",
    ):
        assert f"    {word}" in ran.out
    assert "gate: answers of the shortlist" in ran.out


def started(task: Path, *words: str) -> subprocess.Popen[str]:
    """The page in a process of its own, once it can be opened."""
    command = [sys.executable, "-c", "from harness.cli.app import main; main()", "label", f"task={task}", *words]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("open http://127.0.0.1:"):
            return process
    raise AssertionError(process.communicate()[1])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_ctrl_c_ends_the_page_in_peace_and_a_stop_says_how_to_go_on(
    task: Path, number: signal.Signals, code: int
) -> None:
    pytest.importorskip("uvicorn")
    process = started(task, "n=8")
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == code, out + err
    assert "Traceback" not in err
    if number == signal.SIGINT:
        assert out.splitlines() == ["0 new labels in echo/labels.jsonl", f"Next command: harness select {run_of()}"]
    else:
        assert err.splitlines()[-1].startswith("resume with: harness label task=")
    assert not (task / "labels.jsonl").exists(), "nobody gave a label"


def test_without_a_server_to_bind_nothing_is_left(harness: Harness, task: Path) -> None:
    import socket

    pytest.importorskip("uvicorn")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ran = harness("label", f"task={task}", "n=8", f"port={taken.getsockname()[1]}")
    refused(ran, "E-PORT", "is in use")
    assert not (task / "labels.jsonl").exists()
    assert not Path("runs/echo/sheets").exists()


# The number at the end of a question is the judge's score in thousandths: parts by it are parts by row.
BY_NUMBER = KIND.replace(
    "score = sum(word in answer for word in words) / len(words)", "score = int(item.question.split()[-1]) / 1000"
)


@pytest.fixture
def parted(harness: Harness, tmp_path: Path) -> Path:
    """A task whose judge tells rows apart: 120 test rows and 60 of validation, in fifths by their numbers."""
    folder = make_echo_task(tmp_path / "echo")
    write_rows(folder / "validation.jsonl", range(100, 160))
    write_rows(folder / "test.jsonl", range(200, 320))
    add_judge(folder, "loud")
    assert "/ 1000" in BY_NUMBER
    (folder / "judges" / "loud" / "loud.py").write_text(BY_NUMBER)
    ran = harness("run", f"task={folder}", "metrics.primary=judge:loud", "metrics.fallback=exact_match", *FAKE)
    assert ran.code == 0, ran.err
    return folder


def number_of(question: str) -> int:
    return int(question.split()[-1])


def drawn_numbers(ran: Ran) -> list[int]:
    """The row of each answer on the sheet that was written."""
    assert ran.code == 0, ran.err
    return [number_of(row["question"]) for row in rows_of(Path(ran.out.partition("written: ")[2].split()[0]))]


def in_fifths(numbers: set[int], first: int, size: int) -> list[int]:
    return [sum((number - first) // size == fifth for number in numbers) for fifth in range(5)]


def judged_by_hand(ran: Ran, harness: Harness, *words: str) -> None:
    """The sheet filled in and brought home: 3 everywhere but in the last fifth of test; there 5 for capitals."""
    file = Path(ran.out.partition("written: ")[2].split()[0])
    rows = rows_of(file)
    for row in rows:
        wild = number_of(row["question"]) >= 296
        quiet = "1" if number_of(row["question"]) % 2 else "4"
        row["value"] = "3" if not wild else "5" if row["answer"].isupper() else quiet
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    assert harness("label", *words, f"import={file}", "annotator=eve").code == 0


def test_the_next_final_labels_go_where_the_first_ones_varied_and_the_claim_allows_for_it(
    harness: Harness, parted: Path
) -> None:
    run = str(run_of())
    first = harness("label", run, "round=final", "n=80", "as=csv")
    assert "prompts by the judge's score, lowest first: 8, 8, 8, 8 and 8, allocated in proportion\n" in first.out
    asked = set(drawn_numbers(first))
    assert in_fifths(asked, 200, 24) == [8] * 5
    judged_by_hand(first, harness, run, "round=final")
    second = harness("label", run, "round=final", "n=50", "seed=1", "as=csv")
    more = set(drawn_numbers(second))
    counts = in_fifths(more, 200, 24)
    assert sum(counts) == 25
    assert not asked & more
    # The others' labels do not vary at all: the last fifth gets the most, all that it has left if need be.
    assert counts[4] > max(counts[:4])
    assert f"{', '.join(map(str, counts[:4]))} and {counts[4]}, allocated by the spread of 80 labels\n" in second.out
    judged_by_hand(second, harness, run, "round=final")
    assert harness("report", run).out.startswith("People, blind, on 65 of 120 test prompts")
    claim = json.loads((run_of() / "validation.json").read_text())["validation"]["difference"]
    assert claim["value"] == pytest.approx(mean_of_fifths(run_of()), abs=1e-9)
    assert claim["value"] != pytest.approx(plain_mean(run_of()), abs=1e-3)


def gaps(run: Path) -> dict[int, float]:
    """Row -> by people, the candidate's score minus the baseline's."""
    compared = parse(RunResult, (run / "result.json").read_bytes(), name="result.json").comparisons[-1]
    scores: dict[int, dict[str, float]] = {}
    for label in labels_in(run / "labels.jsonl"):
        [system] = label["systems"]  # type: ignore[misc, attr-defined]
        scores.setdefault(number_of(str(label["question"])), {})[system] = (int(str(label["value"])) - 1) / 4
    return {row: each[compared.candidate] - each[compared.baseline] for row, each in scores.items()}


def mean_of_fifths(run: Path) -> float:
    fifths: list[list[float]] = [[], [], [], [], []]
    for row, gap in gaps(run).items():
        fifths[(row - 200) // 24].append(gap)
    return sum(sum(each) / len(each) for each in fifths) / 5


def plain_mean(run: Path) -> float:
    found = gaps(run)
    return sum(found.values()) / len(found)


def test_labels_that_calibrate_a_judge_are_in_proportion_in_every_batch_and_of_new_answers(
    harness: Harness, parted: Path
) -> None:
    """Agreement and transport count all labels alike."""
    whole = harness("label", f"task={parted}", "n=100000", "as=csv")
    per_prompt = int(whole.out.partition("60 prompts x ")[2].split(";")[0])
    n = 20 * per_prompt
    first = harness("label", f"task={parted}", f"n={n}", "as=csv")
    asked = set(drawn_numbers(first))
    assert in_fifths(asked, 100, 12) == [4] * 5
    judged_by_hand(first, harness, f"task={parted}")
    again = harness("label", f"task={parted}", f"n={n}", "as=html")
    assert "all of these have labels: seed=1 asks about others\n" in again.out
    second = harness("label", f"task={parted}", f"n={n}", "seed=1", "as=csv")
    assert "all of these have labels" not in second.out
    assert "4, 4, 4, 4 and 4, allocated in proportion\n" in second.out
    more = set(drawn_numbers(second))
    assert in_fifths(more, 100, 12) == [4] * 5
    assert not asked & more
    judged_by_hand(second, harness, f"task={parted}")
    judged_by_hand(harness("label", f"task={parted}", f"n={n}", "seed=2", "as=csv"), harness, f"task={parted}")
    refused(harness("label", f"task={parted}", "seed=3", "as=csv"), "E-SHEET", f"all {60 * per_prompt} answers")


def test_without_a_judge_of_the_question_answers_are_drawn_as_they_come(harness: Harness, parted: Path) -> None:
    ran = harness("label", f"task={parted}", "n=80", "as=csv", "criterion=tone")
    assert ran.code == 0, ran.err
    assert "by the judge's score" not in ran.out


def test_pairs_are_drawn_by_how_far_the_judge_sets_them_apart(harness: Harness, parted: Path) -> None:
    kind = BY_NUMBER.replace("/ 1000", "/ 1000 if item.answer.isupper() else 0.5")
    (parted / "judges" / "loud" / "loud.py").write_text(kind)
    ran = harness(
        "run", f"task={parted}", "metrics.primary=judge:loud", "metrics.fallback=exact_match", *FAKE, "seed=3"
    )
    assert ran.code == 0, ran.err
    run = max(runs(), key=lambda folder: (folder / "result.json").stat().st_mtime)
    compared = parse(RunResult, (run / "result.json").read_bytes(), name="result.json").comparisons[-1]
    rows = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]
    sides = (compared.candidate, compared.baseline)
    lead = {row["id"]: np.subtract(*(row["scores"][side]["judge:loud"] for side in sides)) for row in rows}
    assert len(set(lead.values())) > 20
    ran = harness("label", str(run), "round=final", "n=60", "as=csv", "criterion=loudness", "label=pair")
    assert "prompts by the judge's score, lowest first: " in ran.out, ran.err
    [sheet] = (run / "sheets").glob("*.json")
    drawn = [
        (item["stratum"].partition(", ")[2], lead[item["sample"]]) for item in json.loads(sheet.read_text())["items"]
    ]
    parts = sorted({part for part, _ in drawn})
    assert len(parts) > 1
    for lower, upper in itertools.pairwise(parts):
        assert max(gap for part, gap in drawn if part == lower) < min(gap for part, gap in drawn if part == upper)
