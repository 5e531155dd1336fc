"""sacrebleu's statistics per segment, for any number of references per sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from harness.core.types import FloatArray, Sample
from harness.data.scripts import spaced


class SegmentScorer(Protocol):
    """What BLEU and CHRF of sacrebleu have in common: the counts that their bootstrap resamples too."""

    def _extract_corpus_statistics(
        self, hypotheses: Sequence[str], references: Sequence[Sequence[str | None]]
    ) -> list[list[float]]: ...


def segment_statistics(
    scorer: SegmentScorer, samples: Sequence[Sample], completions: Sequence[str], *, n_statistics: int
) -> FloatArray:
    """(N, n_statistics) counts, row i of sample i.

    sacrebleu wants the i-th reference of all samples together; None fills up where a sample has fewer.
    """
    if len(samples) != len(completions):
        raise ValueError(f"{len(completions)} completions for {len(samples)} samples")
    if not samples:
        return np.zeros((0, n_statistics))
    most = max(len(sample.references) for sample in samples)
    streams = [[_nth(sample.references, i) for sample in samples] for i in range(most)]
    rows = scorer._extract_corpus_statistics(completions, streams)
    return np.array(rows, dtype=np.float64)


def with_spaces(samples: Sequence[Sample], completions: Sequence[str]) -> tuple[list[Sample], list[str]]:
    """The same texts with a space on both sides of every character of scripts without spaces between words."""
    parted = [replace(s, references=tuple(spaced(reference) for reference in s.references)) for s in samples]
    return parted, [spaced(completion) for completion in completions]


def _nth(references: Sequence[str], i: int) -> str | None:
    return references[i] if i < len(references) else None
