"""A judge as a task's metric: it decides under the gate's rules, and people may decide in its place."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.core.judging import Label
from harness.core.licences import Corrected, JudgeCard
from harness.core.records import RunResult, SampleRow
from harness.pipeline.answers import for_calibration
from harness.store.encoding import canonical, parse
from harness.store.run import RunFolder
from tests.conftest import FAKE, Ran, make_echo_task, write_rows

Harness = Callable[..., Ran]
JUDGE = """
kind = "loud.py:kind"
criterion = "loudness"
"""
# Asks no model, so that what becomes of its verdicts is all that is tested here: the share of the question that the
# answer repeats in capitals.
KIND = """
from harness.core.judging import Verdict

class Loud:
    name, kind, takes, identity = "loud", "loud", "single", {"version": 1}
    def rate(self, items, generator):
        for item in items:
            words, answer = item.question.upper().split(), item.answer.replace("*", " ").replace("#", " ").split()
            score = sum(word in answer for word in words) / len(words)
            yield item.id, Verdict(score, (score,))

class Kind:
    def create(self, context):
        return Loud()

kind = Kind()
"""


def result(folder: Path) -> RunResult:
    return parse(RunResult, (folder / "result.json").read_bytes(), name="result.json")


def card(folder: Path) -> JudgeCard:
    return parse(JudgeCard, (folder / "judges" / "loud" / "card.json").read_bytes(), name="card.json")


def runs(task: str = "echo") -> list[Path]:
    return sorted(file.parent for file in Path("runs", task).glob("*/result.json"))


def only_run() -> Path:
    [folder] = runs()
    return folder


def noise(*texts: str) -> float:
    digest = hashlib.sha256("|".join(texts).encode()).digest()
    return int.from_bytes(digest[:4], "big") / 2**32


def labels_of(folder: Path, task: Path, *, fair: bool = True) -> list[Label]:
    """Two people who like capitals, as the fake model does; unfair: they dislike how the checkpoints shout."""
    from harness.config import resolve
    from harness.data import read

    spec = resolve([f"task={task}"]).spec.task
    answered = for_calibration(folder, read(spec, task, drop_bad=False).split("validation"), pairs=False)
    found = []
    for system, items in answered.items.items():
        if system == "base-2shot":
            continue  # it says nearly the same as without shots, and tells nothing about the judge
        for item in items:
            for annotator in ("ann", "bob"):
                shouted = not fair and system.startswith("step")
                loud = item.answer.isupper() and not shouted
                value = (4 if loud else 1) + round(noise(item.id, annotator))
                found.append(
                    Label(
                        id=f"{system}-{item.id}-{annotator}",
                        kind="likert",
                        criterion="loudness",
                        value=value,
                        annotator=annotator,
                        question=item.question,
                        answers=(item.answer + " !" * shouted,),
                        systems=(system,),
                        sample=answered.samples[item.id],
                        split="validation",
                        references=item.references,
                    )
                )
    return found


def write_labels(task: Path, labels: list[Label]) -> None:
    (task / "labels.jsonl").write_bytes(b"".join(canonical(label, indent=None) for label in labels))


@pytest.fixture
def judged_task(harness: Harness, tmp_path: Path) -> Path:
    """A task with a judge and people's labels of its own run's answers; the run is removed again.

    In 140 samples the first and the last of its systems differ often enough to be told apart.
    """
    task = make_echo_task(tmp_path / "echo")
    write_rows(task / "validation.jsonl", range(300, 440))
    judge = task / "judges" / "loud"
    judge.mkdir(parents=True)
    (judge / "judge.toml").write_text(JUDGE)
    (judge / "loud.py").write_text(KIND)
    (judge / "rubric.md").write_text("How loud is the answer? 5: all in capitals. 1: not at all.\n")
    assert harness("run", f"task={task}", *FAKE).code == 0
    write_labels(task, labels_of(only_run(), task))
    Path("runs").rename("runs-before")
    return task


def run_with_judge(harness: Harness, task: Path, *words: str, fallback: str = "json_valid") -> Ran:
    """The fallback gives every answer 0: a judge has to beat it, and an exact match would be as good as this one."""
    metrics = ("metrics.primary=judge:loud", f"metrics.fallback={fallback}", "metrics.report=[]")
    return harness("run", f"task={task}", *metrics, *FAKE, *words)


def test_judge_that_agrees_with_people_decides(harness: Harness, judged_task: Path) -> None:
    ran = run_with_judge(harness, judged_task)
    assert ran.code == 0, ran.err
    found, known = result(only_run()), card(only_run())
    assert known.licence.grade == "drive"
    assert found.primary == found.selection.metric == "judge:loud"
    assert (found.selection.judge, found.selection.grade, found.selection.shortlist) == ("judge:loud", "drive", ())
    assert "not validated by people" in ran.out
    signature = found.evaluations[0].estimate("judge:loud").signature
    assert signature.endswith("|drive")
    assert f"labels:{known.n_labels}" in signature


def test_scores_are_on_the_human_scale(harness: Harness, judged_task: Path) -> None:
    """People gave .125 (1 or 2 of 5) to quiet answers and .875 to loud ones, on average."""
    assert run_with_judge(harness, judged_task).code == 0
    rows = [json.loads(line) for line in (only_run() / "samples.jsonl").read_text().splitlines()]
    scores = {row["outputs"]["base-0shot"].isupper(): row["scores"]["base-0shot"]["judge:loud"] for row in rows}
    # Some fifty loud answers with labels 4 or 5 know their mean within .02, and a fold's map a little less well.
    assert scores[False] == pytest.approx(0.125, abs=0.05)
    assert scores[True] == pytest.approx(0.875, abs=0.05)


def test_without_labels_the_fallback_decides_and_the_judge_is_called_uncalibrated(
    harness: Harness, judged_task: Path
) -> None:
    (judged_task / "labels.jsonl").unlink()
    ran = run_with_judge(harness, judged_task, fallback="exact_match")
    assert ran.code == 0, ran.err
    found = result(only_run())
    assert card(only_run()).licence.grade == "uncalibrated"
    assert found.primary == found.comparisons[0].metric == "exact_match"
    assert found.selection.grade == "uncalibrated"
    assert "judge:loud is graded uncalibrated, so it had no say, and exact_match is what is compared" in ran.out
    assert "compared: there are no human labels for it.\n" in ran.out
    assert "uncalibrated" in (only_run() / "summary.md").read_text()


def test_judge_that_errs_otherwise_on_checkpoints_has_no_say_and_is_told_why(
    harness: Harness, judged_task: Path
) -> None:
    [before] = Path("runs-before", "echo").glob("fake-*")
    write_labels(judged_task, labels_of(before, judged_task, fair=False))
    assert run_with_judge(harness, judged_task).code == 0
    licence = card(only_run()).licence
    assert licence.grade == "advisory"
    assert any(line.code == "G3" and line.passed == "fail" for line in licence.lines)
    assert result(only_run()).primary == "json_valid"


def test_few_labels_give_a_shortlist_and_say_how_many_more_it_takes(harness: Harness, judged_task: Path) -> None:
    labels = labels_of(next(Path("runs-before", "echo").glob("fake-*")), judged_task)
    chosen = sorted({label.cluster for label in labels})[:22]
    write_labels(judged_task, [label for label in labels if label.cluster in chosen])
    assert run_with_judge(harness, judged_task).code == 0
    licence = card(only_run()).licence
    assert licence.grade == "shortlist"
    assert any((line.more_labels or 0) > 0 for line in licence.lines)


def test_other_labels_rubric_or_settings_are_another_run_and_another_licence(
    harness: Harness, judged_task: Path
) -> None:
    assert run_with_judge(harness, judged_task).code == 0
    first = card(only_run()).licence.fingerprint
    (judged_task / "judges" / "loud" / "rubric.md").write_text("How loud is it, really?\n")
    assert run_with_judge(harness, judged_task).code == 0
    [second] = [card(run).licence.fingerprint for run in runs() if card(run).licence.fingerprint != first]
    assert {part for part in first if first[part] != second[part]} == {"rubric"}


def test_the_same_command_again_does_nothing_and_a_resumed_run_is_the_same_run(
    harness: Harness, judged_task: Path
) -> None:
    assert run_with_judge(harness, judged_task).code == 0
    before = {path: path.read_bytes() for path in only_run().rglob("*.json*")}
    again = run_with_judge(harness, judged_task)
    assert "nothing was done" in again.err
    for name in ("judges/loud/card.json", "judges/loud/label-scores.jsonl", "result.json"):
        (only_run() / name).unlink(missing_ok=True)
    assert run_with_judge(harness, judged_task).code == 0
    kept = ("result.json", "card.json", "selection.json", "comparisons.json")
    assert {path: path.read_bytes() for path in before if path.name in kept} == {
        path: content for path, content in before.items() if path.name in kept
    }


def test_select_chooses_again_when_labels_have_arrived(harness: Harness, judged_task: Path) -> None:
    labels = (judged_task / "labels.jsonl").read_bytes()
    (judged_task / "labels.jsonl").unlink()
    assert run_with_judge(harness, judged_task).code == 0
    first = only_run()
    (judged_task / "labels.jsonl").write_bytes(labels)
    ran = harness("select", str(first))
    assert ran.code == 0, ran.err
    [second] = [run for run in runs() if run != first]
    assert second.name.startswith(f"{first.name}-selected-")
    assert result(first).selection.grade == "uncalibrated"
    assert result(second).selection.grade == "drive"
    assert result(second).primary == "judge:loud"
    assert harness("resume", str(second)).code == 2
    again = harness("select", str(second))
    assert again.code == 0, again.err
    assert "whose checkpoints these are" in again.err
    assert runs() == sorted([first, second])


def test_code_of_a_judge_is_part_of_the_run_and_of_the_licence(harness: Harness, judged_task: Path) -> None:
    assert run_with_judge(harness, judged_task).code == 0
    first = card(only_run()).licence.fingerprint
    code = judged_task / "judges" / "loud" / "loud.py"
    code.write_text(code.read_text().replace("score = sum", "score = 1 - sum"))
    assert run_with_judge(harness, judged_task).code == 0
    [second] = [card(run).licence for run in runs() if card(run).licence.fingerprint != first]
    assert {part for part in first if first[part] != second.fingerprint[part]} == {"prompt"}
    assert second.grade == "advisory"


def test_labels_with_other_values_are_another_licence(harness: Harness, judged_task: Path) -> None:
    assert run_with_judge(harness, judged_task).code == 0
    first = card(only_run()).licence.fingerprint
    file = judged_task / "labels.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[0]["value"] = 6 - rows[0]["value"]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run_with_judge(harness, judged_task).code == 0
    [second] = [card(run).licence.fingerprint for run in runs() if card(run).licence.fingerprint != first]
    assert {part for part in first if first[part] != second[part]} == {"labels"}


def test_judge_may_call_itself_otherwise_than_its_folder(harness: Harness, judged_task: Path) -> None:
    (judged_task / "judges" / "loud").rename(judged_task / "judges" / "shout")
    metrics = ("metrics.primary=judge:shout", "metrics.fallback=json_valid", "metrics.report=[]")
    ran = harness("run", f"task={judged_task}", *metrics, *FAKE)
    assert ran.code == 0, ran.err
    assert result(only_run()).primary == "judge:shout"
    [known] = only_run().glob("judges/*/card.json")
    assert json.loads(known.read_text())["judge"] == "shout"


def test_select_refuses_another_base_model(harness: Harness, judged_task: Path) -> None:
    assert run_with_judge(harness, judged_task).code == 0
    [recorded] = only_run().glob("result.json")
    content = json.loads(recorded.read_text())
    content["identity"]["model"] = {"name": "another"}
    folder = RunFolder(only_run())
    with folder:
        folder.finish("conclude", {}, {"result.json": canonical(content)})
    ran = harness("select", str(only_run()), "select.rule=best")
    assert ran.code == 2
    assert "E-DRIFT" in ran.err


def test_judge_without_a_verdict_is_counted_and_never_scored(harness: Harness, judged_task: Path) -> None:
    code = judged_task / "judges" / "loud" / "loud.py"
    silent = 'yield item.id, Failure("judge", "no idea") if "2" in item.question else Verdict(score, (score,))'
    code.write_text(
        code.read_text()
        .replace("yield item.id, Verdict(score, (score,))", silent)
        .replace("import Verdict", "import Verdict\nfrom harness.core.types import Failure")
    )
    ran = run_with_judge(harness, judged_task, fallback="exact_match")
    assert ran.code in (0, 3), ran.err
    row = result(only_run()).evaluation("base-0shot", "test").estimate("judge:loud")
    silent_rows = [row for row in samples(only_run()) if "2" in row.prompt]
    assert row.failures == len(silent_rows) > 0
    assert row.n == 40 - len(silent_rows)
    assert all(row.scores["base-0shot"]["judge:loud"] is None for row in silent_rows)


def test_labels_and_verdicts_give_a_corrected_figure_of_each_candidate(harness: Harness, judged_task: Path) -> None:
    """All answers of these candidates are labelled, so the figure is the people's own mean."""
    assert run_with_judge(harness, judged_task).code == 0
    found = parse(list[Corrected], (only_run() / "corrected.json").read_bytes(), name="corrected.json")
    assert len(found) >= 3
    rows = [json.loads(line) for line in (judged_task / "labels.jsonl").read_text().splitlines()]
    mean = [(row["value"] - 1) / 4 for row in rows if row["systems"] == ["base-0shot"]]
    plain = next(each for each in found if each.name == "judge:loud of base-0shot")
    assert plain.value == pytest.approx(sum(mean) / len(mean), abs=1e-9)
    assert plain.label_systems == ("base-0shot",)
    assert plain.warning == ""


def test_select_asks_a_newly_chosen_checkpoint_the_test_samples(harness: Harness, judged_task: Path) -> None:
    assert run_with_judge(harness, judged_task, "select.rule=last", "trainer.lr=4").code == 0
    first = only_run()
    ran = harness("select", str(first), "select.rule=one_standard_error")
    assert ran.code == 0, ran.err
    [second] = [run for run in runs() if run != first]
    one, other = result(first), result(second)
    assert one.selection.chosen_step != other.selection.chosen_step
    tested = {record.arm for record in other.evaluations if record.split == "test"}
    assert f"step-{other.selection.chosen_step:06d}" in tested


def test_people_choose_from_the_shortlist_where_they_judged_enough(harness: Harness, judged_task: Path) -> None:
    labels = labels_of(next(Path("runs-before", "echo").glob("fake-*")), judged_task)
    chosen = sorted({label.cluster for label in labels})[:22]
    write_labels(judged_task, [label for label in labels if label.cluster in chosen])
    assert run_with_judge(harness, judged_task, "trainer.epochs=6").code == 0
    first = only_run()
    assert len(result(first).selection.shortlist) == 3
    assert result(first).selection.by_people == 0
    sheet = harness("label", str(first), "round=gate", "n=300", "as=csv", "judge=loud")
    assert sheet.code == 0, sheet.err
    [file] = Path().glob("labels-echo-*.csv")
    filled_in(file)
    assert (
        harness("label", str(first), "round=gate", "n=300", "judge=loud", f"import={file}", "annotator=eve").code == 0
    )
    ran = harness("select", str(first))
    assert ran.code == 0, ran.err
    [second] = [run for run in runs() if run != first]
    chosen_by_people = result(second).selection
    assert chosen_by_people.by_people >= 30 or chosen_by_people.grade == "drive"


def filled_in(file: Path) -> None:
    """Somebody likes capitals."""
    with file.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        row["value"] = "5" if row["answer"].isupper() else "1"
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_final_round_puts_what_people_said_first(harness: Harness, judged_task: Path) -> None:
    assert run_with_judge(harness, judged_task).code == 0
    run = only_run()
    sheet = harness("label", str(run), "round=final", "n=60", "as=csv")
    assert sheet.code == 0, sheet.err
    [file] = Path().glob("labels-echo-*.csv")
    assert "step" not in file.read_text()
    filled_in(file)
    done = harness("label", str(run), "round=final", "n=60", f"import={file}", "annotator=eve")
    assert done.code == 0, done.err
    ran = harness("report", str(run))
    assert ran.code == 0, ran.err
    assert ran.out.startswith("People, blind, on 30 of 40 test prompts: loudness")
    claim = json.loads((run / "validation.json").read_text())["validation"]
    compared = result(run).comparisons[-1]
    assert (claim["candidate"], claim["baseline"]) == (compared.candidate, compared.baseline)
    truth = {row.id: row for row in samples(run)}
    difference = [loud(row, compared.candidate) - loud(row, compared.baseline) for row in truth.values()]
    low, high = claim["difference"]["low"], claim["difference"]["high"]
    assert low <= sum(difference) / len(difference) <= high
    assert "validated by people" in (run / "report.html").read_text()
    assert all(label["round"] == "final" for label in map(json.loads, (run / "labels.jsonl").read_text().splitlines()))


def samples(run: Path) -> list[SampleRow]:
    lines = (run / "samples.jsonl").read_bytes().splitlines()
    return [parse(SampleRow, line, name="samples.jsonl") for line in lines]


def loud(row: SampleRow, arm: str) -> float:
    return float(str(row.outputs[arm]).isupper())


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("metrics.primary=judge:loud",), "E-OPTION", "fallback"),
        (("metrics.primary=judge:quiet", "metrics.fallback=exact_match"), "E-UNKNOWN", "known here: loud"),
        (("metrics.primary=judge:loud", "metrics.fallback=judge:loud"), "E-OPTION", "fallback"),
    ],
)
def test_mistakes_about_judges_cost_one_sentence_and_write_nothing(
    harness: Harness, judged_task: Path, words: tuple[str, ...], code: str, said: str
) -> None:
    ran = harness("run", f"task={judged_task}", *FAKE, *words)
    assert ran.code == 2
    assert code in ran.err
    assert said in ran.err
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("judge.toml", 'kind = "loud.py:kind"\n', "criterion"),
        ("judge.toml", 'kind = "loud.py:kind"\ncriterion = "x"\nscales = 3\n', "scales"),
        ("judge.toml", "kind = ", "not TOML"),
        ("judge.toml", 'kind = "likeret"\ncriterion = "x"\n', "likert"),
        ("judge.toml", 'kind = "loud.py:kind"\ncriterion = "x"\nlabels = "nowhere.jsonl"\n', "nowhere.jsonl"),
        ("rubric.md", None, "rubric.md"),
    ],
)
def test_mistakes_in_a_judges_folder_are_named_with_its_file(
    harness: Harness, judged_task: Path, name: str, content: str | None, said: str
) -> None:
    file = judged_task / "judges" / "loud" / name
    file.unlink()
    if content is not None:
        file.write_text(content)
    ran = run_with_judge(harness, judged_task)
    assert ran.code == 2, ran.err
    assert said in ran.err
    assert not Path("runs").exists()
