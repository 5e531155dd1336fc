"""No adapter of a tuned judge is trained, or chosen, on a prompt that it will rate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from pydantic import BaseModel

from harness import registry
from harness.backends.fake import FakeKind, FakeTokenizer
from harness.core.judging import Label
from harness.core.protocols import CheckpointSink, JudgeContext, Progress, TrainPlan
from harness.core.specs import BackendSpec, ModelSpec
from harness.core.types import Checkpoint, TokenRow
from judges import tuned
from judges.tuned import TunedJudge
from tests.judges.doubles import context

QUESTIONS = [f"Question number {number} of all?" for number in range(30)]


class Nothing(BaseModel):
    """No settings."""


class Watching:
    """A trainer that learns nothing and remembers what it was shown, one entry an adapter."""

    spec_type, backends = Nothing, ()

    def __init__(self) -> None:
        self.seen: list[set[str]] = []

    def settle(self, rows: Sequence[TokenRow], spec: BaseModel, model: object) -> tuple[BaseModel, tuple[str, ...]]:
        return spec, ()

    def plan(self, rows: Sequence[TokenRow], spec: BaseModel) -> TrainPlan:
        return TrainPlan(len(rows), 1, 1, 1, (1,))

    def train(
        self,
        model: object,
        train_rows: Sequence[TokenRow],
        validation_rows: Sequence[TokenRow],
        spec: BaseModel,
        sink: CheckpointSink,
        progress: Progress,
    ) -> Iterator[Checkpoint]:
        told = [FakeTokenizer().decode(row.ids, skip_special=False) for row in (*train_rows, *validation_rows)]
        self.seen.append({question for question in QUESTIONS if any(question in text for text in told)})
        yield Checkpoint(1, 1.0, Path(), "adapter", str(len(self.seen)), None, None, 0.5, None)


def labels() -> list[Label]:
    """Two answers to each question."""
    return [
        Label(f"{number}-{value}", "likert", "helpfulness", value, "ann", question, (f"Answer {value}.",), ("base",))
        for number, question in enumerate(QUESTIONS)
        for value in (1, 5)
    ]


def made(settings: JudgeContext) -> TunedJudge:
    judge = tuned.kind.create(settings)
    assert isinstance(judge, TunedJudge)
    return judge


def test_an_adapter_sees_all_prompts_but_those_of_its_own_fold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Watching()
    monkeypatch.setattr(registry, "load", lambda *names, **more: trainer)
    backend = FakeKind().create(ModelSpec(name="fake"), BackendSpec(name="fake"), thinking=False)
    learnt = made(context(folds=5, trainer={})).fit(labels(), backend, tmp_path, lambda *_: None)
    assert learnt.fold_of is not None
    cluster_of = {label.question: label.cluster for label in labels()}
    for fold, seen in enumerate(trainer.seen):
        own = {question for question in QUESTIONS if learnt.fold_of[cluster_of[question]] == fold}
        assert len(own) == 6
        assert seen == set(QUESTIONS) - own
    assert [adapter.sha256 for adapter in learnt.adapters] == ["1", "2", "3", "4", "5"]
