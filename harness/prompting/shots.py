"""Few-shot examples: drawn from train only, never the sample itself or its duplicate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.core.errors import HarnessError
from harness.core.types import Sample
from harness.data.fold import fold


class ShotPool:
    """Sets and orders of shots. Draw d is one fixed order of the train split.

    A sample gets the first k of that order that do not ask its own question, so that nearly all prompts of a draw
    share one prefix, and a sample that also stands in train never sees its own answer.
    """

    def __init__(self, train: Sequence[Sample], *, seed: int) -> None:
        self._train = tuple(train)
        self._questions = [fold(sample.question) for sample in self._train]
        self._seed = seed
        self._orders: dict[int, list[int]] = {}

    def shots(self, sample: Sample, *, k: int, draw: int) -> tuple[Sample, ...]:
        """The k shots of this sample in draw `draw`; HarnessError where train holds fewer."""
        if k == 0:
            return ()
        question = fold(sample.question)
        chosen: list[Sample] = []
        for index in self._order(draw):
            if self._questions[index] != question:
                chosen.append(self._train[index])
            if len(chosen) == k:
                return tuple(chosen)
        raise HarnessError(
            f"{k} shots were asked for, but train holds only {len(chosen)} rows other than sample {sample.id!r}",
            fix=f"set prompting.shots to at most {len(chosen)}, or add training rows",
            code="E-FEWSHOT",
        )

    def _order(self, draw: int) -> list[int]:
        if draw not in self._orders:
            rng = np.random.default_rng([self._seed, draw])
            self._orders[draw] = rng.permutation(len(self._train)).tolist()
        return self._orders[draw]
