"""An arm of several draws scores the mean of its draws, also where pooling them would not."""

from __future__ import annotations

import numpy as np
import pytest

from harness.core.types import Message, Sample
from harness.metrics.bleu import create as bleu
from harness.metrics.context import MetricContext
from harness.metrics.exact_match import create as exact_match
from harness.pipeline.draws import beside, over_draws

SAMPLES = [Sample(f"s{i}", "test", (Message("user", "q"),), ("the cat sat on the mat today",)) for i in range(4)]
DRAWS = (
    ["the cat sat on the mat today"] * 2 + ["the"] * 2,
    ["a dog ran over the mat today and then some more words follow"] * 4,
    ["the cat sat on the mat"] * 4,
)


@pytest.mark.parametrize("create", [bleu, exact_match])
def test_the_value_is_the_mean_of_the_draws_values(create) -> None:  # type: ignore[no-untyped-def]
    metric = create(MetricContext("m", SAMPLES, {}))
    stacked = np.stack([metric.measure(SAMPLES, draw) for draw in DRAWS])
    arm = over_draws(metric, 3)
    by_hand = np.mean([metric.value(layer.sum(axis=0)) for layer in stacked])
    assert arm.value(beside(stacked, 3).sum(axis=0)) == pytest.approx(by_hand)
    scores = np.mean([metric.per_sample(layer) for layer in stacked], axis=0)
    assert arm.per_sample(beside(stacked, 3)) == pytest.approx(scores)


def test_pooling_would_give_another_bleu() -> None:
    metric = bleu(MetricContext("bleu", SAMPLES, {}))
    stacked = np.stack([metric.measure(SAMPLES, draw) for draw in DRAWS])
    pooled = float(metric.value(stacked.sum(axis=(0, 1))))
    assert pooled != pytest.approx(float(over_draws(metric, 3).value(beside(stacked, 3).sum(axis=0))), abs=0.1)


def test_one_draw_beside_an_arm_of_three_keeps_its_value() -> None:
    metric = bleu(MetricContext("bleu", SAMPLES, {}))
    single = metric.measure(SAMPLES, DRAWS[0])[None]
    assert over_draws(metric, 3).value(beside(single, 3).sum(axis=0)) == pytest.approx(
        metric.value(single[0].sum(axis=0))
    )
    assert over_draws(metric, 1) is metric
