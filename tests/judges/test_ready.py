"""The rubrics that come with the harness can be used as they are."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import cast

import pytest

from harness import registry
from harness.core.protocols import JudgeContext, JudgeKind
from harness.core.specs import JudgeSpec
from harness.testing import check_judge
from judges.rubric import questions_in

READY = Path(__file__).parents[2] / "judges" / "ready"
NAMES = sorted(folder.name for folder in READY.iterdir() if folder.is_dir())


def test_there_are_three() -> None:
    assert NAMES == ["faithfulness", "helpfulness", "tone"]


@pytest.mark.parametrize("name", NAMES)
def test_a_ready_judge_can_be_made_and_keeps_every_promise(name: str) -> None:
    folder = READY / name
    spec = JudgeSpec.model_validate(tomllib.loads((folder / "judge.toml").read_text(encoding="utf-8")))
    rubric = (folder / spec.rubric).read_text(encoding="utf-8")
    assert spec.criterion == name
    context = JudgeContext(name, spec.criterion, rubric, spec.label, spec.scale, spec.options, folder)
    check_judge(cast(JudgeKind, registry.load("judges", spec.kind)), context=context)


def test_the_questions_of_tone_are_its_list() -> None:
    questions = questions_in((READY / "tone" / "rubric.md").read_text(encoding="utf-8"))
    assert len(questions) == 5
    assert questions[-1].endswith("(1-4)")
