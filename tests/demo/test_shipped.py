"""The shipped tasks are what their generators and cards say."""

import json
import tomllib
from pathlib import Path

import pytest

from harness.autorater.labels import read_labels
from harness.core.judging import text_hash
from harness.core.specs import TaskSpec
from harness.data.dataset import read
from harness.demo import tasks as generator
from harness.demo.shipped import annotators, notices_zh
from harness.demo.tasks import TASKS, folded, rows, word_runs

SHIPPED = Path(__file__).parents[2] / "tasks"
ANSWERS = {
    "headlines": "headline",
    "tickets": "triage",
    "orders": "answer",
    "general": "answer",
    "delays": "delay",
    "notices-zh": "notice",
    "replies": "reply",
}


def drawn(task: str, split: str) -> list[dict[str, str]]:
    return [row for name, row in rows(task) if name == split]


def test_the_data_files_are_what_the_generator_writes(tmp_path: Path) -> None:
    generator.write(tmp_path)
    written = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.*"))
    assert len(written) == 3 * len(TASKS)
    for path in written:
        assert (tmp_path / path).read_bytes() == (SHIPPED / path).read_bytes(), path


@pytest.mark.parametrize("task", list(TASKS))
def test_no_two_rows_of_a_task_share_an_input_or_a_long_run_of_words(task: str) -> None:
    seen: dict[str, str] = {}
    for _, row in rows(task):
        text = TASKS[task].prompt.format(**row)
        for trace in {folded(text)} | word_runs(text):
            assert seen.setdefault(trace, row["id"]) == row["id"]


@pytest.mark.parametrize("task", list(TASKS))
def test_the_data_card_counts_the_rows_and_names_the_licence(task: str) -> None:
    card = (SHIPPED / task / "README.md").read_text(encoding="utf-8")
    for split in ("train", "validation", "test"):
        assert f"| {split} | {len(drawn(task, split))} |" in card
    assert "CC0-1.0" in card
    assert "python -m harness.demo.tasks" in card


@pytest.mark.parametrize("task", list(TASKS))
def test_the_harness_reads_each_row_as_it_was_drawn(task: str) -> None:
    spec = TaskSpec.model_validate(tomllib.loads((SHIPPED / task / "task.toml").read_text(encoding="utf-8")))
    dataset = read(spec, SHIPPED / task, drop_bad=False)
    assert {finding.severity for finding in dataset.findings} <= {"note"}
    asked = [(s.id, s.split, s.question, s.references) for s in dataset.samples]
    shipped = TASKS[task]
    assert asked == [
        (row["id"], split, shipped.prompt.format(**row), (row[ANSWERS[task]],)) for split, row in rows(task)
    ]


def test_ticket_answers_are_the_json_of_their_columns() -> None:
    for row in drawn("tickets", "test"):
        assert json.loads(row["triage"]) == {"category": row["category"], "priority": row["priority"]}


def test_delays_are_the_sum_that_the_card_tells_within_two_minutes_of_chance() -> None:
    # Written out again from tasks/delays/README.md.
    weather = {"clear": 0, "rain": 10, "fog": 20, "snow": 40}
    traffic = {"light": 0, "normal": 10, "heavy": 30}
    chances = [
        int(row["delay"]) - weather[row["weather"]] - traffic[row["traffic"]] - 2 * int(row["stops"])
        for _, row in rows("delays")
    ]
    assert set(chances) == {-2, -1, 0, 1, 2}
    # Five equally likely values: the mean distance is 6/5, with a standard error of 0.024 over 1,000 rows.
    assert sum(map(abs, chances)) / len(chances) == pytest.approx(1.2, abs=0.1)


def test_always_answering_the_median_delay_is_as_far_off_as_the_card_says() -> None:
    known = sorted(int(row["delay"]) for row in drawn("delays", "train"))
    median = known[len(known) // 2]
    off = [abs(int(row["delay"]) - median) for row in drawn("delays", "test")]
    card = (SHIPPED / "delays" / "README.md").read_text(encoding="utf-8")
    assert f"median, {median}, is {sum(off) / len(off):.1f} minutes off" in card


def test_a_notice_says_its_notes_cause_day_and_outcome_in_at_most_ten_characters() -> None:
    for _, row in rows("notices-zh"):
        [cause] = [c for c, ways in notices_zh.CAUSES.items() if any(way in row["note"] for way in ways)]
        [day] = [day for day in notices_zh.DAYS if day in row["note"]]
        [then] = [t for t, ways in notices_zh.NEXT.items() if any(w.format(day=day) in row["note"] for w in ways)]
        assert row["notice"] == f"因{cause}，{day}{then}"
        assert len(row["notice"]) <= 10


def test_every_cause_and_outcome_is_learnt_and_tested() -> None:
    for split in ("train", "test"):
        notices = {row["notice"][1:].replace(row["notice"][-4:-2], "") for row in drawn("notices-zh", split)}
        assert notices == {f"{cause}，{then}" for cause in notices_zh.CAUSES for then in notices_zh.NEXT}


REPLIES = SHIPPED / "replies"


def test_replies_are_labelled_by_annotators_that_call_themselves_simulated() -> None:
    found = read_labels(REPLIES / "labels.jsonl")
    assert {label.annotator for label in found.labels} == {"simulated-1", "simulated-2", "simulated-3"}
    per_system = dict.fromkeys(annotators.SYSTEMS, 0)
    for label in found.labels:
        per_system[label.systems[0]] += 1
    assert min(per_system.values()) >= 3 * 60
    assert len({label.cluster for label in found.labels}) >= 100


def test_each_label_is_what_the_stated_procedure_gives_for_its_text() -> None:
    rubric = (REPLIES / "judges" / "quality" / "rubric.md").read_text(encoding="utf-8")
    by_id = {row["id"]: row for _, row in rows("replies")}
    for label in read_labels(REPLIES / "labels.jsonl").labels:
        row, question = by_id[label.sample], TASKS["replies"].prompt.format(**by_id[label.sample])
        again = annotators.labels_of(row, question, label.systems[0], label.answers[0], text_hash(rubric))
        assert label in again


def test_no_test_prompt_has_a_label() -> None:
    asked = {row["id"] for row in drawn("replies", "validation")}
    assert {label.sample for label in read_labels(REPLIES / "labels.jsonl").labels} <= asked
    assert {label.split for label in read_labels(REPLIES / "labels.jsonl").labels} == {"validation"}


def test_simulated_annotators_differ_as_much_as_their_noise_says() -> None:
    row = {"name": "Ada Berg", "message": "Is the price of the mug known? Ada Berg", "notes": "price: 9 euros"}
    fair = "Dear Ada Berg, for the mug the price is 9 euros. You will see. Kind regards"
    # By hand: no thanks (2/3 of 0.5), the answer (0.25), "will" and "see" invented (half of 0.15), brief (0.1).
    assert annotators.quality(row, fair) == pytest.approx(0.5 * 2 / 3 + 0.25 + 0.15 * 0.5 + 0.1)
    values: dict[str, list[int]] = {}
    for number in range(400):
        for label in annotators.labels_of({**row, "id": "r", "reply": ""}, f"{number}", "s", fair, ""):
            values.setdefault(label.annotator, []).append(int(label.value))
    means = {name: sum(found) / len(found) for name, found in values.items()}
    expected = 1 + 4 * annotators.quality(row, fair)
    for annotator in annotators.ANNOTATORS:
        # Noise of 0.7 and rounding of 0.3 points at most: 0.04 for the mean of 400. Points end at 5.
        assert means[annotator.name] == pytest.approx(expected - annotator.severity, abs=0.15)
