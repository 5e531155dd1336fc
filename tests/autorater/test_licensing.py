"""From a judge's folder to its card: what it is held against, and what answers that are known to be bad undo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydantic import JsonValue

from harness.autorater.configuration import ConfiguredJudge, configured_judge
from harness.autorater.labels import export_labels
from harness.autorater.licensing import Licensing, license_judge
from harness.core.judging import Label, Verdict
from harness.core.licences import JudgeCard
from tests.autorater.synthetic_labels import labels

JUDGE = """
kind = "synthetic"
criterion = "help"

[options]
labels = "people.jsonl"
rho = 0.9
"""
OWN_METRIC = """
def score(prediction: str, reference: str) -> float:
    return float(len(prediction) > 60)
"""


@dataclass
class Nobody:
    """No model: these judges ask none."""

    identity: Mapping[str, JsonValue] = field(default_factory=lambda: {"model": "none"})


def configured(task: Path, found: list[Label]) -> ConfiguredJudge:
    folder = task / "judges" / "judge"
    folder.mkdir(parents=True)
    (folder / "judge.toml").write_text(JUDGE)
    (folder / "rubric.md").write_text("Does it help?\n")
    (task / "my.py").write_text(OWN_METRIC)
    export_labels(found, folder / "people.jsonl")
    export_labels(found, task / "labels.jsonl")
    return configured_judge("judge", task)


def examined(task: Path, found: list[Label], *, metrics=(), judge=None) -> JudgeCard:
    how = Licensing(task / "runs", task, dict(metrics), 0, 200, "none", probing=False)
    asked = configured(task, found)
    return license_judge(asked, judge or asked.make(0), Nobody(), how, lambda done, total, live: None).card


@pytest.mark.parametrize(
    ("metric", "options"), [("regex_match", {"pattern": "(river|stone|amber|birch).*"}), ("my.py:score", {})]
)
def test_metric_is_a_control_with_the_options_that_the_task_sets_and_from_the_tasks_folder(
    metric: str, options: dict[str, JsonValue], tmp_path: Path
):
    made = examined(tmp_path, labels(60), metrics={metric: options})
    assert set(made.controls) == {"constant", "length", metric}
    assert {line.name for line in made.licence.lines if line.code == "G2"} == {"constant", "length", metric}
    assert not [note for note in made.notes if "not compared" in note]


@pytest.mark.parametrize(
    ("metric", "why"),
    [
        # Made only when there is something to score, so this is found out then.
        ("regex_match", "the options of metric 'regex_match' are wrong; pattern: Field required"),
        # Found out when the control is made.
        ("nowhere.py:score", "nowhere.py"),
        # Not for answers such as these.
        ("pearson", "needs every reference to be a plain number"),
    ],
)
def test_control_that_cannot_be_made_or_asked_is_a_note_and_no_error(metric: str, why: str, tmp_path: Path):
    made = examined(tmp_path, labels(60), metrics={metric: {}})
    assert set(made.controls) == {"constant", "length"}
    [note] = [note for note in made.notes if note.startswith(f"not compared with {metric}: ")]
    assert why in note


@dataclass(frozen=True)
class Parrot:
    """Agrees with people on everything they judged, and knows one score for everything else."""

    scores: Mapping[str, float]
    otherwise: float

    name, kind, takes = "judge", "parrot", "single"
    identity: Mapping[str, JsonValue] = field(default_factory=dict)

    def rate(self, items, generator):
        for item in items:
            score = self.scores.get(item.id, self.otherwise)
            yield item.id, Verdict(score, (score,))


def parrot(found: list[Label], otherwise: float) -> Parrot:
    return Parrot({label.item: label.score for label in found}, otherwise)


def test_judge_that_likes_known_bad_answers_is_told_so_and_not_that_it_may_do_anything(tmp_path: Path):
    found = labels(120)
    made = examined(tmp_path, found, judge=parrot(found, 1.0))
    assert made.licence.grade == "advisory"
    assert made.licence.lines[-1].name == "canaries"
    why, may, *rest = made.licence.reasons
    assert why.startswith("12 known bad answers")
    assert may == "It is shown and decides nothing; a metric or people choose."
    # Without its canaries it would have had a shortlist, for want of probes.
    assert rest == ["G4: no probe was run; `harness judge probe` runs them."]


def test_judge_that_rates_bad_answers_low_keeps_its_grade(tmp_path: Path):
    found = labels(120)
    made = examined(tmp_path, found, judge=parrot(found, 0.0))
    assert made.licence.grade == "shortlist"
    assert "canaries" not in {line.name for line in made.licence.lines}
