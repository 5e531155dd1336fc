"""BLEU as sacrebleu has it: its tokenizers, the same statistics of a segment, its formula on their sum.

With tokenize = "auto" each sample's reference decides: 13a for Latin script, sacrebleu's zh for Chinese, intl for other
scripts with spaces, and 13a around single characters where words are not spaced (Japanese, Thai, Lao, Khmer, Burmese).

Statistics (10): tokens of the completion, of the closest reference; matched 1- to 4-grams; 1- to 4-grams.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from harness.core.protocols import Metric
from harness.core.specs import Spec
from harness.core.types import FloatArray, Sample
from harness.metrics.context import VERSION, MetricContext, parse_options, reference_counts
from harness.metrics.overlap import matched_ngrams
from harness.metrics.segments import with_spaces
from harness.metrics.tokens import Script, script_of, spelled

if TYPE_CHECKING:
    from sacrebleu.metrics import BLEU

ORDER = 4
N_STATISTICS = 2 + 2 * ORDER
_CHARACTERS = "13a+characters"
_BY_SCRIPT: dict[Script, str] = {"latin": "13a", "chinese": "zh", "other": "intl", "unspaced": _CHARACTERS}
_FLOOR = 0.1  # sacrebleu's default of smooth_method="floor"


class Options(Spec):
    """sacrebleu's settings. Tokenizers that must download or need further packages are not offered."""

    tokenize: Literal["auto", "13a", "intl", "char", "zh", "none"] = Field(
        "auto", description="auto: by the script of each sample's reference"
    )
    lowercase: bool = False
    smooth: Literal["exp", "floor", "add-k", "none"] = "exp"


@dataclass(frozen=True, slots=True)
class Bleu:
    """Corpus BLEU, 0 to 100, equal to sacrebleu's corpus_bleu.

    Empty completion: 0. Nothing on either side, or no samples: undefined, where sacrebleu says 0.
    """

    name: str
    signature: str
    scorers: Mapping[str, BLEU]
    tokenize: str
    smooth: str
    higher_is_better: bool = True
    best: float = 100.0
    worst: float = 0.0
    portable: bool = True

    def measure(self, samples: Sequence[Sample], completions: Sequence[str]) -> FloatArray:
        """(N, 10), see above."""
        if len(samples) != len(completions):
            raise ValueError(f"{len(completions)} completions for {len(samples)} samples")
        choices = [_choice(self.tokenize, sample) for sample in samples]
        statistics = np.zeros((len(samples), N_STATISTICS))
        for choice in set(choices):
            rows = [i for i, other in enumerate(choices) if other == choice]
            group = [samples[i] for i in rows], [completions[i] for i in rows]
            statistics[rows] = self._measure_group(choice, *group)
        return statistics

    def _measure_group(self, choice: str, samples: Sequence[Sample], completions: Sequence[str]) -> FloatArray:
        if choice == _CHARACTERS:
            samples, completions = with_spaces(samples, completions)
        scorer = self.scorers[choice]
        rows = [_row(scorer, s.references, text) for s, text in zip(samples, completions, strict=True)]
        return np.array(rows, dtype=np.float64)

    def value(self, totals: FloatArray) -> FloatArray:
        """Brevity penalty times the geometric mean of the smoothed n-gram precisions."""
        return corpus_bleu(totals, smooth=self.smooth, effective_order=False)

    def per_sample(self, statistics: FloatArray) -> FloatArray:
        """sacrebleu's sentence BLEU: orders that a short completion does not have are left out."""
        return corpus_bleu(statistics, smooth=self.smooth, effective_order=True)


def _row(scorer: BLEU, references: Sequence[str], completion: str) -> list[int]:
    """Statistics of one sample, equal to sacrebleu's and of its tokens; of equally close references the shorter.

    scorer: it remembers the tokens of the last 65,536 texts, so those of references are made once for all arms.
    """
    tokens = scorer._preprocess_segment(completion).split()
    wanted = [scorer._preprocess_segment(reference).split() for reference in references]
    n_out = len(tokens)
    closest = min((abs(n_out - len(each)), len(each)) for each in wanted)[1]
    totals = [max(0, n_out - n) for n in range(ORDER)]
    return [n_out, closest, *matched_ngrams(wanted, tokens, ORDER), *totals]


def create(context: MetricContext) -> Metric:
    """BLEU with sacrebleu's signature; several references as sacrebleu takes them, any number per sample."""
    import sacrebleu
    from sacrebleu.metrics import BLEU

    options = parse_options(context, Options)
    choices = {_choice(options.tokenize, sample) for sample in context.samples} or {_BY_SCRIPT["latin"]}
    # force: sacrebleu warns of text that looks tokenized; data that is so by design would drown the log.
    settings = {"lowercase": options.lowercase, "smooth_method": options.smooth, "force": True}
    ways = _BY_SCRIPT.values() if options.tokenize == "auto" else [options.tokenize]
    scorers = {way: BLEU(tokenize=way.partition("+")[0], **settings) for way in ways}
    signature = (
        f"bleu|nrefs:{reference_counts(context.samples)}|case:{'lc' if options.lowercase else 'mixed'}|eff:no"
        f"|tok:{spelled(choices)}|smooth:{_smooth_signature(options.smooth)}"
        f"|version:{sacrebleu.__version__}|{VERSION}"
    )
    return Bleu(context.name, signature, scorers, options.tokenize, options.smooth)


def _choice(tokenize: str, sample: Sample) -> str:
    return _BY_SCRIPT[script_of(sample.references)] if tokenize == "auto" else tokenize


def corpus_bleu(totals: FloatArray, *, smooth: str, effective_order: bool) -> FloatArray:
    """sacrebleu's BLEU.compute_bleu on arrays (..., 10) -> (...).

    effective_order: average over the orders that the completions have, not over four.
    """
    n_out, n_ref = totals[..., 0], totals[..., 1]
    right, out = totals[..., 2 : 2 + ORDER], totals[..., 2 + ORDER :]
    if smooth == "add-k":
        extra = np.array([0.0, 1.0, 1.0, 1.0])
        right, out = right + extra, out + extra
    seen = np.logical_and.accumulate(out > 0, axis=-1)
    logs = np.log(np.where(seen, _precisions(right, out, smooth), 1.0))
    order = np.maximum(seen.sum(axis=-1), 1) if effective_order else ORDER
    score = _brevity(n_out, n_ref) * np.exp(np.where(seen, logs, 0.0).sum(axis=-1) / order)
    complete = np.ones_like(score, dtype=bool) if effective_order else seen.all(axis=-1)
    none_right = ~(totals[..., 2 : 2 + ORDER] > 0).any(axis=-1)
    score = np.where(complete & ~none_right, score, 0.0)
    return np.where(n_out + n_ref > 0, score, np.nan)


def _precisions(right: FloatArray, out: FloatArray, smooth: str) -> FloatArray:
    """n-gram precisions in percent, smoothed where none is right; orders without n-grams are for the caller."""
    safe = np.maximum(out, 1e-300)
    zero = right == 0
    # The smallest positive number stands for log(0): its score is 0 to the last digit, without a warning.
    smoothed = np.full_like(safe, 1e-300)
    if smooth == "exp":
        smoothed = 100.0 / (2.0 ** np.cumsum(zero, axis=-1) * safe)
    elif smooth == "floor":
        smoothed = 100.0 * _FLOOR / safe
    return np.where(zero, smoothed, 100.0 * right / safe)


def _brevity(n_out: FloatArray, n_ref: FloatArray) -> FloatArray:
    """1 for completions at least as long as the references, exp(1 - r / c) for shorter ones."""
    short = np.exp(1 - np.maximum(n_ref, n_out) / np.maximum(n_out, 1e-300))
    return np.where(n_out > 0, short, 0.0)


def _smooth_signature(smooth: str) -> str:
    return {"floor": f"floor[{_FLOOR:.2f}]", "add-k": "add-k[1.00]"}.get(smooth, smooth)
