"""Which checkpoints a judge that may not choose alone leaves to choose from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from harness.core.licences import Grade
from harness.core.records import Selection
from harness.core.specs import SelectSpec
from harness.core.types import Arm, Candidate, Completion, FloatArray, Outcome, Sample
from harness.metrics.context import MetricContext
from harness.metrics.exact_match import create
from harness.pipeline.arms import tuned_arm
from harness.pipeline.estimates import Estimating
from harness.pipeline.evaluate import Evaluator
from harness.pipeline.select import JudgeRole, select
from harness.store.run import RunFolder
from tests.pipeline.test_silent_choice import RIGHT, SAMPLES, Scripted, checkpoint


def nobody(samples: Sequence[Sample], outcomes: Sequence[Outcome]) -> FloatArray:
    return np.full(len(samples), np.nan)


def people(first_judged: int) -> Callable[[Sequence[Sample], Sequence[Outcome]], FloatArray]:
    """They find all answers of step 4 good and others bad, and judged step 2 from this sample on, the rest all over."""

    def scores(samples: Sequence[Sample], outcomes: Sequence[Outcome]) -> FloatArray:
        right = {i for i, each in enumerate(outcomes) if isinstance(each, Completion) and each.text == "right"}
        step = next(name for name, places in RIGHT.items() if set(places) == right)
        found = np.full(len(samples), 1.0 if step == "step-000004" else 0.0)
        found[: first_judged if step == "step-000002" else 0] = np.nan
        return found

    return scores


def selected(
    home: Path, grade: Grade, by_people: Callable[[Sequence[Sample], Sequence[Outcome]], FloatArray] = nobody
) -> Selection:
    """By a judge that sees what is right; steps 1 to 4 have 10, 30, 31 and 29 right answers of 40."""
    metric = create(MetricContext("exact_match", SAMPLES, {}))
    with RunFolder(home / "run") as folder:
        evaluator = Evaluator(folder, Scripted(folder, RIGHT), Estimating((metric,), (), 0, 200))
        untuned = evaluator.on_validation([Arm("base-0shot", (Candidate("base-0shot"),))], SAMPLES)
        tuned = evaluator.on_validation([tuned_arm(checkpoint(step)) for step in (1, 2, 3, 4)], SAMPLES)
    role = JudgeRole(metric, grade, by_people)
    spec = SelectSpec.model_validate({"rule": "best"})
    return select(tuned, untuned, metric=metric, spec=spec, seed=0, n_resamples=500, judge=role)


def test_a_shortlist_is_of_the_three_that_the_judge_likes_best(tmp_path: Path) -> None:
    selection = selected(tmp_path, "shortlist")
    assert selection.shortlist == (2, 3, 4)
    assert selection.chosen_step == 3
    assert list(selection.excluded) == ["step-000001"]


@pytest.mark.parametrize("grade", ["advisory", "uncalibrated"])
def test_a_judge_without_a_say_leaves_all_of_them(tmp_path: Path, grade: Grade) -> None:
    selection = selected(tmp_path, grade)
    assert (selection.shortlist, selection.excluded) == ((), {})


def test_people_choose_by_thirty_prompts_or_more_of_which_they_judged_every_answer(tmp_path: Path) -> None:
    by_thirty = selected(tmp_path / "thirty", "shortlist", people(10))
    assert (by_thirty.by_people, by_thirty.chosen_step) == (30, 4)
    one_less = selected(tmp_path / "less", "shortlist", people(11))
    assert (one_less.by_people, one_less.chosen_step) == (0, 3)
