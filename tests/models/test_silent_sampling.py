"""Settings that are accepted and then not followed: every one must show in what is drawn."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest
import torch
from transformers import LogitsProcessorList, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from harness.core.types import Sampling
from harness.models.sampling import choose

LOGITS = torch.tensor([1.5, -0.3, 2.2, 0.4, -1.0, 0.9])
N = 4000


class _Grid:
    """Draws evenly spread over [0, 1), so that the shares of tokens are their probabilities to 1 / N."""

    def __init__(self) -> None:
        self._next = iter((np.arange(N) + 0.5) / N)

    def random(self) -> float:
        return float(next(self._next))


@pytest.mark.parametrize(
    ("sampling", "warpers"),
    [
        (Sampling(1, temperature=1.0), []),
        (Sampling(1, temperature=0.5), [TemperatureLogitsWarper(0.5)]),
        (Sampling(1, temperature=2.0), [TemperatureLogitsWarper(2.0)]),
        (Sampling(1, temperature=1.0, top_k=3), [TopKLogitsWarper(3)]),
        (Sampling(1, temperature=1.0, top_p=0.7), [TopPLogitsWarper(0.7)]),
        (
            Sampling(1, temperature=1.7, top_k=4, top_p=0.8),
            [TemperatureLogitsWarper(1.7), TopKLogitsWarper(4), TopPLogitsWarper(0.8)],
        ),
    ],
    ids=["plain", "cold", "hot", "top_k", "top_p", "all"],
)
def test_tokens_are_drawn_as_often_as_transformers_would(sampling: Sampling, warpers: list[object]) -> None:
    grid = cast(np.random.Generator, _Grid())
    drawn = np.bincount([choose(LOGITS, [], sampling, grid) for _ in range(N)], minlength=len(LOGITS)) / N
    theirs = LogitsProcessorList(warpers)(torch.zeros(1, 1, dtype=torch.long), LOGITS[None]).softmax(-1)[0]
    assert drawn == pytest.approx(theirs.numpy(), abs=2 / N)
