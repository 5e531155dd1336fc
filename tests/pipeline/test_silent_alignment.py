"""Answers belong to the samples they were given to, whatever comes back in what order and whatever fails between."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from harness.core.types import Arm, Candidate, Completion, Failure, Message, Outcome, Request, Sample, Sampling
from harness.metrics.context import MetricContext
from harness.metrics.exact_match import create
from harness.pipeline.draws import measured
from harness.pipeline.estimates import Estimating
from harness.pipeline.evaluate import Evaluator
from harness.pipeline.generate import Generated
from harness.pipeline.outcomes import encode
from harness.store.run import RunFolder
from tests.pipeline.test_generate import Counting, generation

SAMPLES = [Sample(name, "test", (Message("user", name * 3),), (name.upper(),)) for name in "qzabm"]
ARM = Arm("base-0shot", (Candidate("base-0shot"),))


class Backwards(Counting):
    """Answers the last request first."""

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[str, Outcome]]:
        return iter(reversed(list(super().generate(requests))))


def test_answers_that_come_in_another_order_stay_with_their_samples(tmp_path: Path) -> None:
    found = []
    for backend in (Counting(), Backwards()):
        with RunFolder(tmp_path / type(backend).__name__ / "run") as folder:
            found.append(generation(folder, backend).generate([Candidate("base-0shot")], "test", SAMPLES)[0].outcomes)
    assert found[0] == found[1]
    assert [sorted(set(outcome.text.lower())) for outcome in found[0]] == [[sample.id] for sample in SAMPLES]  # type: ignore[union-attr]


def test_scores_behind_a_failure_do_not_move_up() -> None:
    metric = create(MetricContext("exact_match", SAMPLES, {}))
    outcomes = [Completion("Q", "stop", 1), Failure("generate", "timeout"), *(Completion("M", "stop", 1),) * 3]
    assert measured(metric, SAMPLES, outcomes).tolist() == [[1, 1], [0, 0], [0, 1], [0, 1], [1, 1]]


class Given:
    """The same stored outcomes for everything."""

    def __init__(self, folder: RunFolder, outcomes: Sequence[Outcome]) -> None:
        self._outcomes = tuple(outcomes)
        folder.finish("given", {}, {"outcomes": repr(outcomes).encode()})

    def generate(self, candidates: Sequence[Candidate], split: str, samples: Sequence[Sample]) -> tuple[Generated, ...]:
        return (Generated("outcomes", self._outcomes, None, 1.0),) * len(candidates)


def test_a_metric_of_another_signature_is_measured_anew_although_the_answers_are_the_same(tmp_path: Path) -> None:
    outcomes = [Completion(sample.id, "stop", 1) for sample in SAMPLES]
    values = []
    with RunFolder(tmp_path / "run") as folder:
        answering = Given(folder, outcomes)
        for options in ({}, {"normalise": ["case"]}):
            metric = create(MetricContext("exact_match", SAMPLES, options))
            evaluator = Evaluator(folder, answering, Estimating((metric,), (), 0, 100))
            (evaluation,) = evaluator.on_test([ARM], SAMPLES)
            values.append((evaluation.record.estimates[0].value, float(evaluation.scores(metric).sum())))
    assert values == [(0.0, 0.0), (1.0, 5.0)]


def test_an_unanswered_sample_is_in_no_score(tmp_path: Path) -> None:
    outcomes: list[Outcome] = [Completion("Q", "stop", 1), Failure("generate", "timeout")]
    outcomes += [Completion("A", "stop", 1)] * 3
    metric = create(MetricContext("exact_match", SAMPLES, {}))
    with RunFolder(tmp_path / "run") as folder:
        evaluator = Evaluator(folder, Given(folder, outcomes), Estimating((metric,), (), 0, 100))
        (evaluation,) = evaluator.on_test([ARM], SAMPLES)
    estimate = evaluation.record.estimates[0]
    assert (estimate.value, estimate.n, estimate.failures) == (pytest.approx(2 / 4), 4, 1)
    assert np.isnan(evaluation.scores(metric)).tolist() == [False, True, False, False, False]


def test_the_stored_answers_stand_in_the_samples_order() -> None:
    requests = [Request(sample.id, (1,), Sampling(max_tokens=4), ()) for sample in SAMPLES]
    answers = {sample.id: Completion(sample.id, "stop", 1) for sample in sorted(SAMPLES, key=lambda s: s.id)}
    lines = encode(requests, answers).decode().splitlines()
    assert [json.loads(line)["completion"]["text"] for line in lines] == list("qzabm")
