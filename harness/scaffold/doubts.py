"""What a person should look at before anything is spent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from harness.core.types import Sample
from harness.data.display import escape, quote
from harness.scaffold.proposal import Kind
from harness.scaffold.texts import Texts, n_repeated

_FEW_ROWS = 100
_FEW_OF_A_CLASS = 5
_SKEWED = 10


def doubts(kind: Kind, texts: Texts, samples: Sequence[Sample], n_dropped: int, first_problem: str) -> Iterator[str]:
    """One sentence each, worst first."""
    if n_dropped:
        yield f"{n_dropped:,} rows cannot be read and are not looked at here; the first: {first_problem}"
    if len(samples) < _FEW_ROWS:
        yield (
            f"only {len(samples)} rows: about 100 are needed to see whether an approach works, "
            "and more to measure a small difference"
        )
    repeated = n_repeated(samples)
    if repeated:
        yield (
            f"{repeated:,} rows ask what another row asks (case, punctuation and blanks aside); "
            "harness check tells which of them stand in two splits"
        )
    if kind == "classification":
        yield from _of_classes(texts)
    if kind == "extraction" and texts.is_json < 1:
        yield f"{100 * (1 - texts.is_json):.1f} % of the references are not JSON objects"
    if kind in ("chat", "generation"):
        yield "free text is measured poorly by shared words: look at the answers, or have people judge some of them"


def _of_classes(texts: Texts) -> Iterator[str]:
    counts = texts.labels.most_common()
    rare = [label for label, count in counts if count < _FEW_OF_A_CLASS]
    if rare:
        shown = escape(", ".join(rare), 200)
        yield f"{len(rare)} of {len(counts)} labels occur less than {_FEW_OF_A_CLASS} times (misspelt?): {shown}"
    (most, n_most), (least, n_least) = counts[0], counts[-1]
    if n_most > _SKEWED * n_least:
        yield f"labels are unbalanced: {quote(most)} occurs {n_most:,} times, {quote(least)} {n_least:,}"
