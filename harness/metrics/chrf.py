"""chrF as sacrebleu has it (Popović 2015): the same statistics of a segment, its formula on their sum.

Statistics (3 an order): n-grams of the completion, of the reference, matched; with several references, of the one
with the best segment score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from harness.core.protocols import Metric
from harness.core.specs import Spec
from harness.core.types import FloatArray, Sample
from harness.metrics.context import VERSION, MetricContext, parse_options, reference_counts
from harness.metrics.mean import ratio
from harness.metrics.segments import segment_statistics
from harness.metrics.tokens import scripts_of

if TYPE_CHECKING:
    from sacrebleu.metrics import CHRF

BETA = 2
# Samples counted together: enough that numpy has something to do, few enough to stay in the cache.
_AT_ONCE = 64


class Options(Spec):
    """word_order: 2 for chrF++, which counts words and pairs of words too."""

    word_order: Literal[0, 1, 2] = 0
    lowercase: bool = False


@dataclass(frozen=True, slots=True)
class Chrf:
    """Corpus chrF, 0 to 100, equal to sacrebleu's corpus_chrf.

    Empty completion: 0. No reference has any character but white space, or no samples: undefined, where sacrebleu
    says 0.
    """

    name: str
    signature: str
    scorer: CHRF
    n_orders: int
    higher_is_better: bool = True
    best: float = 100.0
    worst: float = 0.0
    caveats: tuple[str, ...] = ()
    portable: bool = True

    def measure(self, samples: Sequence[Sample], completions: Sequence[str]) -> FloatArray:
        """(N, 3 x orders), see above."""
        if len(samples) != len(completions):
            raise ValueError(f"{len(completions)} completions for {len(samples)} samples")
        if self.scorer.word_order:
            return segment_statistics(self.scorer, samples, completions, n_statistics=3 * self.n_orders)
        rows = [
            _best_rows(self.scorer, samples[start : start + _AT_ONCE], completions[start : start + _AT_ONCE])
            for start in range(0, len(samples), _AT_ONCE)
        ]
        return np.concatenate([np.zeros((0, 3 * self.n_orders)), *rows])

    def value(self, totals: FloatArray) -> FloatArray:
        """F of precision and recall, each averaged over the orders that both sides have."""
        out, ref, right = np.moveaxis(totals.reshape(*totals.shape[:-1], self.n_orders, 3), -1, 0)
        both = (out > 0) & (ref > 0)
        n_orders = np.maximum(both.sum(axis=-1), 1)
        precision = np.where(both, np.nan_to_num(ratio(right, out)), 0.0).sum(axis=-1) / n_orders
        recall = np.where(both, np.nan_to_num(ratio(right, ref)), 0.0).sum(axis=-1) / n_orders
        score = ratio(100 * (1 + BETA**2) * precision * recall, BETA**2 * precision + recall)
        return np.where(ref.sum(axis=-1) > 0, np.nan_to_num(score), np.nan)

    def per_sample(self, statistics: FloatArray) -> FloatArray:
        """The segment's chrF."""
        return self.value(statistics)


def _best_rows(scorer: CHRF, samples: Sequence[Sample], completions: Sequence[str]) -> FloatArray:
    """Statistics by characters, equal to sacrebleu's: of the reference with the best score, the first of equals."""
    places = [i for i, sample in enumerate(samples) for _ in sample.references]
    answers = [_characters(scorer, completion) for completion in completions]
    wanted = [_characters(scorer, reference) for sample in samples for reference in sample.references]
    pairs = [(answers[i], text) for i, text in zip(places, wanted, strict=True)]
    rows = _rows(pairs, scorer.char_order).reshape(len(pairs), -1)
    best: dict[int, int] = {}
    scores = (
        [scorer._compute_f_score(row) for row in rows.tolist()] if len(pairs) > len(samples) else [0.0] * len(pairs)
    )
    for place, (i, score) in enumerate(zip(places, scores, strict=True)):
        if i not in best or score > scores[best[i]]:
            best[i] = place
    return rows[[best[i] for i in range(len(samples))]]


def _characters(scorer: CHRF, text: str) -> str:
    return "".join(scorer._preprocess_segment(text).split())


def _rows(pairs: Sequence[tuple[str, str]], n_orders: int) -> FloatArray:
    """(P, orders, 3): n-grams of each completion, of its reference, matched. All pairs are counted together.

    An n-gram is a number: that of the (n - 1)-gram it begins with, and its last character. Where that beginning has no
    match, neither has the n-gram, and it is not looked at.
    """
    texts = [text for pair in pairs for text in pair]
    n_T = np.array([len(text) for text in texts], dtype=np.int64)
    points_C = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype="<u4")
    alphabet, letters_C = np.unique(points_C, return_inverse=True)
    text_C = np.repeat(np.arange(len(texts)), n_T)
    left_C = np.repeat(np.cumsum(n_T), n_T) - np.arange(len(points_C))
    begins_C = np.zeros(len(points_C), dtype=np.int64)
    at = np.arange(len(points_C))
    rows = np.zeros((len(pairs), n_orders, 3))
    for n in range(n_orders):
        rows[:, n, :2] = np.maximum(n_T.reshape(-1, 2) - n, 0)
        at = at[left_C[at] > n]
        grams = begins_C[at] * len(alphabet) + letters_C[at + n]
        distinct, which = np.unique(grams * len(pairs) + text_C[at] // 2, return_inverse=True)
        own, other = (np.bincount(which[text_C[at] % 2 == side], minlength=len(distinct)) for side in (0, 1))
        matched = np.minimum(own, other)
        rows[:, n, 2] = np.bincount(distinct % len(pairs), weights=matched, minlength=len(pairs))
        begins_C[at] = which
        at = at[matched[which] > 0]
    # An n-gram of the completion counts only where the reference has any of that length.
    rows[..., 0] = np.where(rows[..., 1] > 0, rows[..., 0], 0)
    return rows


def create(context: MetricContext) -> Metric:
    """chrF2 (chrF2++ with word_order = 2) with sacrebleu's signature."""
    import sacrebleu
    from sacrebleu.metrics import CHRF

    options = parse_options(context, Options)
    scorer = CHRF(word_order=options.word_order, lowercase=options.lowercase, beta=BETA)
    signature = (
        f"chrF{BETA}{'+' * options.word_order}|nrefs:{reference_counts(context.samples)}"
        f"|case:{'lc' if options.lowercase else 'mixed'}|eff:yes|nc:{scorer.char_order}|nw:{scorer.word_order}"
        f"|space:no|version:{sacrebleu.__version__}|{VERSION}"
    )
    return Chrf(context.name, signature, scorer, scorer.order, caveats=_caveats(context, options))


def _caveats(context: MetricContext, options: Options) -> tuple[str, ...]:
    if not options.word_order or not {"chinese", "unspaced"} & scripts_of(context.samples):
        return ()
    return ("counts words between spaces, and some references have none: leave word_order at 0",)
