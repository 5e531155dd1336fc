"""ROUGE by rouge-score, the f-measure; several references: the best one.

rouge-score's tokenizer keeps a-z and 0-9 only: in other scripts there is nothing to compare and even the reference
itself scores 0. The signature says so ("tokens:a-z0-9"); use chrF there.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

from harness.core.protocols import Metric
from harness.core.specs import Spec
from harness.metrics.context import VERSION, MetricContext, parse_options, yes_no
from harness.metrics.mean import MeanMetric


class Options(Spec):
    """use_stemmer: compare Porter stems, as many papers do."""

    use_stemmer: bool = False


def create_1(context: MetricContext) -> Metric:
    """ROUGE-1: single words."""
    return _create(context, "rouge1", "rouge_1")


def create_2(context: MetricContext) -> Metric:
    """ROUGE-2: pairs of words. A reference of one word has none and scores 0."""
    return _create(context, "rouge2", "rouge_2")


def create_l(context: MetricContext) -> Metric:
    """ROUGE-L: longest common subsequence of the whole text, line breaks being white space."""
    return _create(context, "rougeL", "rouge_l")


def create_lsum(context: MetricContext) -> Metric:
    """ROUGE-Lsum: union of longest common subsequences line by line; sentences must stand on lines of their own."""
    return _create(context, "rougeLsum", "rouge_lsum|sentences:lines")


def _create(context: MetricContext, kind: str, spelling: str) -> Metric:
    """Mean f-measure, 0 to 1. An empty completion or reference scores 0, also against each other (as rouge-score)."""
    from rouge_score.rouge_scorer import RougeScorer

    stem = parse_options(context, Options).use_stemmer
    scorer = RougeScorer([kind], use_stemmer=stem)

    def score(completion: str, references: Sequence[str]) -> float:
        return max(float(scorer.score(reference, completion)[kind].fmeasure) for reference in references)

    signature = (
        f"{spelling}|f|max-refs|stem:{yes_no(stem)}|tokens:a-z0-9|rouge-score:{version('rouge-score')}|{VERSION}"
    )
    return MeanMetric(context.name, signature, score)
