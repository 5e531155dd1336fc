"""ROUGE by rouge-score, the f-measure; several references: the best one.

rouge-score's tokenizer keeps a-z and 0-9 only: in other scripts nothing is left to compare, and even the reference
itself scores 0. So a sample whose reference is not in Latin script is compared by Unicode's words, and by single
characters in scripts without spaces between words; the signature says which ("tokens:...").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from typing import Literal

from pydantic import Field

from harness.core.protocols import Metric
from harness.core.specs import Spec
from harness.metrics.context import VERSION, MetricContext, parse_options, toml_key, yes_no
from harness.metrics.mean import MeanMetric
from harness.metrics.tokens import Script, is_english, script_of, scripts_of, spelled, words

_ASCII, _UNICODE = "a-z0-9", "unicode-words+characters"


class Options(Spec):
    """use_stemmer: compare Porter stems of English words, as many papers do."""

    use_stemmer: bool = False
    tokenize: Literal["auto", "ascii", "unicode"] = Field(
        "auto", description="auto: rouge-score's own where the reference is in Latin script, unicode elsewhere"
    )


class UnicodeWords:
    """A tokenizer for rouge-score: lower-case words of any script, characters where words are not spaced."""

    def __init__(self, stem: Callable[[str], str] | None) -> None:
        self._stem = stem

    def tokenize(self, text: str) -> list[str]:
        """Tokens; ASCII words of more than three letters stemmed, as rouge-score does it."""
        found = words(text.lower())
        stem = self._stem
        return found if stem is None else [stem(word) if word.isascii() and len(word) > 3 else word for word in found]


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
    from nltk.stem.porter import PorterStemmer
    from rouge_score.rouge_scorer import RougeScorer

    options = parse_options(context, Options)
    stem = options.use_stemmer
    scorers = {
        _ASCII: RougeScorer([kind], use_stemmer=stem),
        _UNICODE: RougeScorer([kind], tokenizer=UnicodeWords(PorterStemmer().stem if stem else None)),
    }

    def score(completion: str, references: Sequence[str]) -> float:
        scorer = scorers[_choice(options, script_of(tuple(references)))]
        return max(float(scorer.score(reference, completion)[kind].fmeasure) for reference in references)

    choices = {_choice(options, script) for script in scripts_of(context.samples)}
    signature = (
        f"{spelling}|f|max-refs|stem:{yes_no(stem)}|tokens:{spelled(choices)}|rouge-score:{version('rouge-score')}"
        f"|{VERSION}"
    )
    return MeanMetric(context.name, signature, score, caveats=tuple(_caveats(context, options)))


def _choice(options: Options, script: Script) -> str:
    if options.tokenize != "auto":
        return _ASCII if options.tokenize == "ascii" else _UNICODE
    return _ASCII if script == "latin" else _UNICODE


def _caveats(context: MetricContext, options: Options) -> Iterator[str]:
    ascii_only = [s for s in context.samples if _choice(options, script_of(s.references)) == _ASCII]
    if not is_english(ascii_only):
        yield (
            "drops, as published, every letter but a to z, and these references have others; set"
            f' tokenize = "unicode" in [metrics.options.{toml_key(context.name)}] to count whole words'
        )
    if options.use_stemmer and not is_english(context.samples):
        yield "use_stemmer is on: its stems are English, and these references do not look English"
