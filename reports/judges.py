"""What every report says of judges and of people, before it is HTML or Markdown: who may be believed, and who spoke."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from harness.core.licences import Corrected, Grade, Validation
from harness.core.protocols import RunView
from harness.core.records import RunResult, Selection
from reports.text import one_line

Tone = Literal["good", "even", "unsure", "bad", "quiet"]
UNPROVEN: Grade = "uncalibrated"
_PREFIX = "judge:"

GRADE_TONES: Mapping[Grade, Tone] = {
    "drive": "good",
    "shortlist": "even",
    "advisory": "unsure",
    "uncalibrated": "quiet",
}
PASSED_TONES: Mapping[str, Tone] = {"pass": "good", "fail": "bad", "inconclusive": "unsure", "not run": "quiet"}
TARGETS: Mapping[str, str] = {"population": "all prompts of this kind", "test set": "this test set"}


@dataclass(frozen=True, slots=True)
class Standing:
    """What the numbers of a judge's metric may claim. proven: whether they are calibrated and passed the gate."""

    grade: Grade
    words: str
    proven: bool


@dataclass(frozen=True, slots=True)
class Badge:
    """Beside the headline: whether people stand behind it."""

    words: str
    tone: Tone


def judge_of(metric: str) -> str | None:
    """The judge behind a metric, or None where it is no judge's.

    >>> judge_of("judge:helpfulness"), judge_of("rouge_l")
    ('helpfulness', None)
    """
    return metric.removeprefix(_PREFIX) if metric.startswith(_PREFIX) else None


def standings(view: RunView) -> dict[str, Standing]:
    """Metric -> what it may claim, for every metric that is a judge's; one without a card is uncalibrated."""
    grades = {card.judge: card.licence.grade for card in view.judges}
    metrics = dict.fromkeys((*view.result.metrics, view.result.primary, view.result.selection.metric))
    judges = {metric: judge_of(metric) for metric in metrics}
    return {metric: standing(grades.get(judge, UNPROVEN)) for metric, judge in judges.items() if judge is not None}


def standing(grade: Grade) -> Standing:
    """What numbers of a judge of this grade may claim."""
    proven = grade in ("drive", "shortlist")
    words = grade if proven or grade == UNPROVEN else f"{grade}, read as {UNPROVEN}"
    return Standing(grade, words, proven)


def unproven(view: RunView) -> frozenset[str]:
    """Metrics whose numbers are shown in grey."""
    return frozenset(metric for metric, each in standings(view).items() if not each.proven)


def badge(view: RunView) -> Badge | None:
    """Who stands behind the headline; None for a run that asked neither a judge nor people."""
    if view.validation is not None:
        return Badge(*validated(view.validation))
    asked = view.result.selection.judge or judge_of(view.result.primary) is not None
    return Badge("not validated by people", "unsure") if asked else None


def validated(validation: Validation) -> tuple[str, Tone]:
    """By whom, and how that looks."""
    return ("validated by simulated annotators", "unsure") if validation.simulated else ("validated by people", "good")


def estimates(validation: Validation) -> tuple[tuple[str, Corrected, bool], ...]:
    """(what, the estimate, whether it is a difference) of the two candidates and of one minus the other."""
    return (
        (validation.candidate, validation.candidate_score, False),
        (validation.baseline, validation.baseline_score, False),
        ("difference", validation.difference, True),
    )


def warnings(validation: Validation) -> tuple[str, ...]:
    """What must be said beside the estimates, each sentence once."""
    return tuple(dict.fromkeys(each.warning for _, each, _ in estimates(validation) if each.warning))


def on_validation(view: RunView) -> str:
    """Whose scores the corrected figures on validation are: simulated annotators', where any of the judges' are."""
    return "simulated annotators" if any(card.simulated for card in view.judges) else "people"


def choice(selection: Selection) -> str:
    """What the judge had to do with the choice of a checkpoint; empty where none was asked."""
    if not selection.judge:
        return ""
    judge = selection.judge.removeprefix(_PREFIX)
    other = one_line(selection.metric, 80)
    name = one_line(judge, 80)
    if selection.shortlist:
        steps = ", ".join(str(step) for step in selection.shortlist)
        by_people = f"labels chose among them, on {selection.by_people} validation samples"
        return f"{name} left steps {steps}; " + (by_people if selection.by_people else f"{other} chose among them")
    if selection.grade == "shortlist":
        return f"{name} left every checkpoint; {other} chose"
    if selection.grade == "drive":
        return f"{name} chose alone, which its grade permits"
    return f"{name} is shown and chose nothing; {other} chose"


def headline(result: RunResult, validation: Validation | None) -> str:
    """The word of the headline: of the claim that people stand behind, else of the run's own comparison."""
    if validation is not None:
        return validation.answer
    return result.conclusion.answer or "untuned"
