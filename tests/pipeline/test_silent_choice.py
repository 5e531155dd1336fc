"""The rule that chooses is the rule that was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from harness.core.records import Selection
from harness.core.specs import SelectSpec
from harness.core.types import Arm, Candidate, Checkpoint, Completion, Message, Sample
from harness.metrics.context import MetricContext
from harness.metrics.exact_match import create
from harness.pipeline.arms import tuned_arm
from harness.pipeline.estimates import Estimating
from harness.pipeline.evaluate import Evaluator
from harness.pipeline.generate import Generated
from harness.pipeline.select import select
from harness.store.run import RunFolder

SAMPLES = [Sample(f"s{i}", "validation", (Message("user", f"q{i}"),), ("right",)) for i in range(40)]
# Which of the 40 are answered rightly. Steps 2 and 3 differ on 11 samples, five one way and six the other, so step 2 is
# 1/40 = 0.025 behind, with a standard error of sqrt((11/40 - (1/40)^2) / 40) = 0.083; step 1 is half of all behind.
RIGHT = {
    "base-0shot": range(4),
    "step-000001": range(10),
    "step-000002": range(30),
    "step-000003": range(5, 36),
    "step-000004": range(2, 31),
}


class Scripted:
    """Candidates that answer these samples rightly."""

    def __init__(self, folder: RunFolder, right: Mapping[str, range]) -> None:
        self._right = right
        folder.finish("scripted", {}, {name: name.encode() for name in right})

    def generate(self, candidates: Sequence[Candidate], split: str, samples: Sequence[Sample]) -> tuple[Generated, ...]:
        return tuple(self._answers(candidate, samples) for candidate in candidates)

    def _answers(self, candidate: Candidate, samples: Sequence[Sample]) -> Generated:
        right = self._right[candidate.name]
        texts = ["right" if i in right else "wrong" for i in range(len(samples))]
        return Generated(candidate.name, tuple(Completion(text, "stop", 1) for text in texts), None, 1.0)


def selected(home: Path, rule: str) -> Selection:
    metric = create(MetricContext("exact_match", SAMPLES, {}))
    with RunFolder(home / "run") as folder:
        evaluator = Evaluator(folder, Scripted(folder, RIGHT), Estimating((metric,), (), 0, 200))
        untuned = evaluator.on_validation([Arm("base-0shot", (Candidate("base-0shot"),))], SAMPLES)
        tuned = evaluator.on_validation([tuned_arm(checkpoint(step)) for step in (1, 2, 3, 4)], SAMPLES)
    spec = SelectSpec.model_validate({"rule": rule})
    return select(tuned, untuned, metric=metric, spec=spec, seed=0, n_resamples=2000)


def checkpoint(step: int) -> Checkpoint:
    return Checkpoint(step, float(step), Path(), "adapter", f"{step}" * 64, None, None, None, None)


@pytest.mark.parametrize(("rule", "step"), [("one_standard_error", 2), ("best", 3), ("last", 4)])
def test_each_rule_chooses_its_own_checkpoint(tmp_path: Path, rule: str, step: int) -> None:
    selection = selected(tmp_path, rule)
    assert (selection.best_step, selection.chosen_step) == (3, step)
