"""Exact match and token F1 as SQuAD v1.1 has them (Rajpurkar et al. 2016, evaluate-v1.1.py)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache

from harness.core.protocols import Metric
from harness.metrics.context import VERSION, MetricContext, NoOptions, parse_options
from harness.metrics.mean import MeanMetric
from harness.metrics.normalise import articles, ascii_punctuation, case, whitespace


@lru_cache(maxsize=65_536)
def squad_normalise(text: str) -> str:
    """Lower case, no ASCII punctuation, no English articles, single spaces; in the script's order.

    >>> squad_normalise("The  Eiffel-Tower!")
    'eiffeltower'
    """
    return whitespace(articles(ascii_punctuation(case(text))))


def token_f1(prediction: str, reference: str) -> float:
    """Harmonic mean of token precision and recall, tokens counted with multiplicity.

    Where a side normalises to nothing ("A", "..."), 1 if both do, else 0: the v1.1 script says 0 even then, and
    counts the one right answer as wrong.
    """
    predicted, wanted = squad_normalise(prediction).split(), squad_normalise(reference).split()
    if not predicted or not wanted:
        return float(predicted == wanted)
    n_same = sum((Counter(predicted) & Counter(wanted)).values())
    if n_same == 0:
        return 0.0
    precision, recall = n_same / len(predicted), n_same / len(wanted)
    return 2 * precision * recall / (precision + recall)


def exact(prediction: str, reference: str) -> float:
    """Whether both normalise to the same text."""
    return float(squad_normalise(prediction) == squad_normalise(reference))


def create_em(context: MetricContext) -> Metric:
    """Share of completions that equal a reference after SQuAD's normalisation, 0 to 1 (the script says 0 to 100)."""
    return _create(context, "squad_em", exact)


def create_f1(context: MetricContext) -> Metric:
    """Mean token F1 with the best reference, 0 to 1."""
    return _create(context, "squad_f1", token_f1)


def _create(context: MetricContext, kind: str, score: Callable[[str, str], float]) -> Metric:
    parse_options(context, NoOptions)

    def best(completion: str, references: Sequence[str]) -> float:
        return max(score(completion, reference) for reference in references)

    return MeanMetric(context.name, f"{kind}|v1.1|english|max-refs|{VERSION}", best)
