"""chrF by sacrebleu (Popović 2015): its segment statistics, its formula on their sum.

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

    def measure(self, samples: Sequence[Sample], completions: Sequence[str]) -> FloatArray:
        """(N, 3 x orders), see above."""
        return segment_statistics(self.scorer, samples, completions, n_statistics=3 * self.n_orders)

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
