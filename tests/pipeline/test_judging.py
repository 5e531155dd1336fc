"""A judge as a task's metric: it decides under the gate's rules, and people may decide in its place."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.core.judging import Label
from harness.core.licences import JudgeCard
from harness.core.records import RunResult
from harness.pipeline.answers import for_calibration
from harness.store.encoding import canonical, parse
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
    """Two people who like capitals, as the fake model does; unfair: they like the checkpoints' less than the rest."""
    from harness.config import resolve
    from harness.data import read

    spec = resolve([f"task={task}"]).spec.task
    answered = for_calibration(folder, read(spec, task, drop_bad=False).split("validation"), pairs=False)
    found = []
    for system, items in answered.items.items():
        for item in items:
            for annotator in ("ann", "bob"):
                loud = item.answer.isupper()
                if not fair and system.startswith("step"):
                    loud = False
                value = (4 if loud else 1) + round(noise(item.id, annotator))
                found.append(
                    Label(
                        id=f"{system}-{item.id}-{annotator}",
                        kind="likert",
                        criterion="loudness",
                        value=value,
                        annotator=annotator,
                        question=item.question,
                        answers=(item.answer,),
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
    """A task with a judge and two hundred labels of its own run's answers; the run is removed again."""
    task = make_echo_task(tmp_path / "echo")
    write_rows(task / "validation.jsonl", range(100, 160))
    judge = task / "judges" / "loud"
    judge.mkdir(parents=True)
    (judge / "judge.toml").write_text(JUDGE)
    (judge / "loud.py").write_text(KIND)
    (judge / "rubric.md").write_text("How loud is the answer? 5: all in capitals. 1: not at all.\n")
    assert harness("run", f"task={task}", *FAKE).code == 0
    write_labels(task, labels_of(only_run(), task))
    Path("runs").rename("runs-before")
    return task


def run_with_judge(harness: Harness, task: Path, *words: str) -> Ran:
    return harness("run", f"task={task}", "metrics.primary=judge:loud", "metrics.fallback=json_valid", "metrics.report=[]", *FAKE, *words)


def test_judge_that_agrees_with_people_decides(harness: Harness, judged_task: Path) -> None:
    ran = run_with_judge(harness, judged_task)
    assert ran.code == 0, ran.err
    found, known = result(only_run()), card(only_run())
    print(ran.out)
    print(json.dumps([[l.code, l.name, l.passed, l.what] for l in known.licence.lines], indent=1))
    assert known.licence.grade == "drive"
    assert found.primary == "judge:loud"
