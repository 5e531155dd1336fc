"""TER by sacrebleu (Snover et al. 2006): its segment statistics, edits by length of the references.

Statistics (2): fewest edits to a reference, shifts of words counting one; mean length of the references, in words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from harness.core.protocols import Metric
from harness.core.specs import Spec
from harness.core.types import FloatArray, Sample
from harness.metrics.context import VERSION, MetricContext, parse_options, reference_counts, yes_no
from harness.metrics.edits import edit_rate
from harness.metrics.segments import segment_statistics, with_spaces
from harness.metrics.tokens import scripts_of

if TYPE_CHECKING:
    from sacrebleu.metrics import TER


class Options(Spec):
    """sacrebleu's settings."""

    normalized: bool = False
    no_punct: bool = False
    asian_support: bool = False
    case_sensitive: bool = False


@dataclass(frozen=True, slots=True)
class Ter:
    """Corpus TER, 0 for perfect answers, equal to sacrebleu's corpus_ter where words are spaced.

    An answer may need more edits than its reference has words: `worst` is what saying nothing scores. Nothing on
    either side, or no samples: undefined, where sacrebleu says 0.
    """

    name: str
    signature: str
    scorer: TER
    part_characters: bool
    higher_is_better: bool = False
    best: float = 0.0
    worst: float = 100.0
    portable: bool = True

    def measure(self, samples: Sequence[Sample], completions: Sequence[str]) -> FloatArray:
        """(N, 2), see above."""
        group = with_spaces(samples, completions) if self.part_characters else (samples, completions)
        return segment_statistics(self.scorer, *group, n_statistics=2)

    def value(self, totals: FloatArray) -> FloatArray:
        """Edits per 100 words of the references; 100 where these have none and an answer was given."""
        return 100 * edit_rate(totals[..., 0], totals[..., 1])

    def per_sample(self, statistics: FloatArray) -> FloatArray:
        """The segment's TER; 0 where nothing was wanted and nothing came."""
        return np.asarray(np.nan_to_num(self.value(statistics)))


def create(context: MetricContext) -> Metric:
    """TER with sacrebleu's signature. Characters of unspaced scripts count as words, unless asian_support is on."""
    import sacrebleu
    from sacrebleu.metrics import TER

    options = parse_options(context, Options)
    scorer = TER(**options.model_dump())
    part = not options.asian_support and bool({"chinese", "unspaced"} & scripts_of(context.samples))
    signature = (
        f"TER|nrefs:{reference_counts(context.samples)}|case:{'mixed' if options.case_sensitive else 'lc'}|tok:tercom"
        f"|norm:{yes_no(options.normalized)}|punct:{yes_no(not options.no_punct)}"
        f"|asian:{yes_no(options.asian_support)}|version:{sacrebleu.__version__}"
        f"{'|unspaced:characters' if part else ''}|{VERSION}"
    )
    return Ter(context.name, signature, scorer, part)
