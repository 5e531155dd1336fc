"""ROUGE, the f-measure: rouge-score's tokens and numbers, counted by `overlap.py`; several references: the best one.

rouge-score's tokenizer keeps a-z and 0-9 only: in other scripts nothing is left to compare, and even the reference
itself scores 0. So a sample whose reference is not in Latin script is compared by Unicode's words, and by single
characters in scripts without spaces between words; the signature says which ("tokens:...").
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.metadata import version
from typing import Literal

from pydantic import Field

from harness.core.protocols import Metric
from harness.core.specs import Spec
from harness.metrics.context import VERSION, MetricContext, parse_options, toml_key, yes_no
from harness.metrics.mean import MeanMetric
from harness.metrics.overlap import Tokens, bigram_f, subsequence_f, unigram_f, union_subsequence_f
from harness.metrics.tokens import Script, is_english, script_of, scripts_of, spelled, words

Kind = Literal["rouge1", "rouge2", "rougeL", "rougeLsum"]
_ASCII, _UNICODE = "a-z0-9", "unicode-words+characters"
_F = {"rouge1": unigram_f, "rouge2": bigram_f, "rougeL": subsequence_f}


class Options(Spec):
    """use_stemmer: compare Porter stems of English words, as many papers do."""

    use_stemmer: bool = False
    tokenize: Literal["auto", "ascii", "unicode"] = Field(
        "auto", description="auto: rouge-score's own where the reference is in Latin script, unicode elsewhere"
    )


@dataclass(frozen=True, slots=True)
class RougeScore:
    """The f-measure of one completion: tokens as options and script say, counted in one of ROUGE's ways."""

    kind: Kind
    options: Options

    def __call__(self, completion: str, references: Sequence[str]) -> float:
        """The best over the references."""
        way, stem = _choice(self.options, script_of(tuple(references))), self.options.use_stemmer
        if self.kind == "rougeLsum":
            lines = _lines(completion, way, stem)
            return max(union_subsequence_f(_lines(reference, way, stem), lines) for reference in references)
        f, tokens = _F[self.kind], _tokens(completion, way, stem)
        return max(f(_tokens(reference, way, stem), tokens) for reference in references)


def _tokens(text: str, way: str, stem: bool) -> Tokens:
    """rouge-score's own tokens, or lower-case words of any script.

    Of the latter, ASCII words of more than three letters are stemmed, as rouge-score does it.
    """
    if way == _ASCII:
        from rouge_score.tokenize import tokenize

        return list(tokenize(text, _stemmer() if stem else None))
    found = words(text.lower())
    if not stem:
        return found
    return [_stemmer().stem(word) if word.isascii() and len(word) > 3 else word for word in found]


def _lines(text: str, way: str, stem: bool) -> Sequence[Tokens]:
    return [_tokens(line, way, stem) for line in text.split("\n") if line]


class _CachedStemmer:
    """NLTK's Porter stemmer, which rouge-score uses; few words are new."""

    def __init__(self) -> None:
        from nltk.stem.porter import PorterStemmer

        self.stem: Callable[[str], str] = lru_cache(maxsize=65_536)(PorterStemmer().stem)


_stemmer = cache(_CachedStemmer)


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


def _create(context: MetricContext, kind: Kind, spelling: str) -> Metric:
    """Mean f-measure, 0 to 1. An empty completion or reference scores 0, also against each other (as rouge-score)."""
    options = parse_options(context, Options)
    choices = {_choice(options, script) for script in scripts_of(context.samples)}
    signature = (
        f"{spelling}|f|max-refs|stem:{yes_no(options.use_stemmer)}|tokens:{spelled(choices)}|rouge-score:{version('rouge-score')}"
        f"|{VERSION}"
    )
    score = RougeScore(kind, options)
    return MeanMetric(context.name, signature, score, caveats=tuple(_caveats(context, options)), portable=True)


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
