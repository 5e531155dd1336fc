"""Exact match and token F1 as SQuAD v1.1 has them (Rajpurkar et al. 2016, evaluate-v1.1.py).

The script splits at white space. Where the references are not in Latin script the tokens are Unicode's words, and
single characters in scripts without spaces: a Chinese sentence would be one token, right as a whole or not at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

from harness.core.protocols import Metric
from harness.metrics.context import VERSION, MetricContext, NoOptions, parse_options
from harness.metrics.mean import MeanMetric
from harness.metrics.normalise import articles, ascii_punctuation, case, whitespace
from harness.metrics.tokens import Script, is_english, script_of, scripts_of, spelled, words

_TOKENS = {"latin": "white-space", "chinese": "words+characters", "unspaced": "words+characters", "other": "words"}


@lru_cache(maxsize=65_536)
def squad_normalise(text: str) -> str:
    """Lower case, no ASCII punctuation, no English articles, single spaces; in the script's order.

    >>> squad_normalise("The  Eiffel-Tower!")
    'eiffeltower'
    """
    return whitespace(articles(ascii_punctuation(case(text))))


def squad_tokens(text: str, script: Script) -> list[str]:
    """What is compared: the script's tokens, or Unicode's words and characters outside Latin script."""
    normalised = squad_normalise(text)
    return normalised.split() if script == "latin" else words(normalised)


def token_f1(prediction: str, reference: str, script: Script = "latin") -> float:
    """Harmonic mean of token precision and recall, tokens counted with multiplicity.

    Where a side normalises to nothing ("A", "..."), 1 if both do, else 0: the v1.1 script says 0 even then, and
    counts the one right answer as wrong.
    """
    predicted, wanted = squad_tokens(prediction, script), squad_tokens(reference, script)
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
    parse_options(context, NoOptions)

    def score(completion: str, references: Sequence[str]) -> float:
        return max(exact(completion, reference) for reference in references)

    signature = f"squad_em|v1.1|english|max-refs|{VERSION}"
    return MeanMetric(context.name, signature, score, caveats=_caveats(context))


def create_f1(context: MetricContext) -> Metric:
    """Mean token F1 with the best reference, 0 to 1; of characters where words are not spaced."""
    parse_options(context, NoOptions)
    tokens = spelled({_TOKENS[script] for script in scripts_of(context.samples)})

    def score(completion: str, references: Sequence[str]) -> float:
        script = script_of(tuple(references))
        return max(token_f1(completion, reference, script) for reference in references)

    # The plain form is the published metric: its signature stays what it always was.
    note = "" if tokens == "white-space" else f"tokens:{tokens}|"
    signature = f"squad_f1|v1.1|english|{note}max-refs|{VERSION}"
    return MeanMetric(context.name, signature, score, caveats=_caveats(context))


def _caveats(context: MetricContext) -> tuple[str, ...]:
    if is_english(context.samples):
        return ()
    return (
        "drops the English words a, an and the and ASCII punctuation only; these references do not look English, so"
        " compare it with chrf or with exact_match and its normalisers",
    )
