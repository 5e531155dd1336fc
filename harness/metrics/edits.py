"""Edit distance by characters or words (Levenshtein 1966; rapidfuzz counts it exactly): CER, WER and a bounded form.

Statistics (3): fewest edits to a reference, that reference's length, the longer of the two lengths.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from harness.core.protocols import Metric
from harness.core.specs import Spec
from harness.core.types import FloatArray, Sample
from harness.data.scripts import spaced
from harness.metrics.context import VERSION, MetricContext, parse_options
from harness.metrics.mean import ratio
from harness.metrics.normalise import Normaliser, normalise, signature_of

Per = Literal["reference", "longer"]


class Options(Spec):
    """normalise: what does not matter; without any, only white space at the ends."""

    normalise: tuple[Normaliser, ...] = Field((), description="unicode, case, punctuation, articles, whitespace")


def edit_rate(edits: FloatArray, length: FloatArray) -> FloatArray:
    """Edits by length; 1 where there is no length but there are edits, nan where there is neither."""
    return np.where((length == 0) & (edits > 0), 1.0, ratio(edits, length))


@dataclass(frozen=True, slots=True)
class EditRate:
    """Insertions, deletions and substitutions of the corpus by its length; 0 is perfect.

    By the references' length (CER, WER) a rambling answer can cost more than 1; `worst` is what saying nothing scores.
    By the longer of answer and reference it cannot. Several references: the one with the lowest rate, the first of
    equals. Empty and empty count nothing in the corpus score (undefined if there is nothing else), 0 for the sample.
    """

    name: str
    signature: str
    per: Per
    distance: Callable[[str, str], tuple[int, int, int]]
    higher_is_better: bool = False
    best: float = 0.0
    worst: float = 1.0

    def measure(self, samples: Sequence[Sample], completions: Sequence[str]) -> FloatArray:
        """(N, 3), see above."""
        rows = [
            min((self.distance(completion, reference) for reference in sample.references), key=self._rate)
            for sample, completion in zip(samples, completions, strict=True)
        ]
        return np.array(rows, dtype=np.float64).reshape(-1, 3)

    def value(self, totals: FloatArray) -> FloatArray:
        """Edits by length."""
        return edit_rate(totals[..., 0], totals[..., 1 if self.per == "reference" else 2])

    def per_sample(self, statistics: FloatArray) -> FloatArray:
        """The sample's rate; 0 where nothing was wanted and nothing came."""
        return np.asarray(np.nan_to_num(self.value(statistics)))

    def _rate(self, counts: tuple[int, int, int]) -> float:
        return float(np.nan_to_num(self.value(np.array(counts, dtype=np.float64))))


def create_edit_distance(context: MetricContext) -> Metric:
    """Character edits by the longer of answer and reference: 0 equal, 1 nothing in common."""
    return _create(context, "edit_distance", "longer", _characters)


def create_cer(context: MetricContext) -> Metric:
    """Character error rate: edits per character of the references."""
    return _create(context, "cer", "reference", _characters)


def create_wer(context: MetricContext) -> Metric:
    """Word error rate: edits per word of the references; characters count as words where words are not spaced."""
    return _create(context, "wer", "reference", _words)


def _create(context: MetricContext, kind: str, per: Per, split: Callable[[str], Sequence[str]]) -> Metric:
    from rapidfuzz.distance import Levenshtein

    names = parse_options(context, Options).normalise

    def distance(completion: str, reference: str) -> tuple[int, int, int]:
        answer, wanted = split(normalise(completion, names)), split(normalise(reference, names))
        return Levenshtein.distance(answer, wanted), len(wanted), max(len(answer), len(wanted))

    tokens = "characters" if split is _characters else "white-space+unspaced-characters"
    signature = f"{kind}|tokens:{tokens}|per:{per}|{signature_of(names)}|best-ref|{VERSION}"
    return EditRate(context.name, signature, per, distance)


def _characters(text: str) -> str:
    return text


def _words(text: str) -> list[str]:
    return spaced(text).split()
