"""Questions that stand in more than one split, or more than once in one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from harness.audit.facts import Facts, finding, share
from harness.audit.near import near_pairs
from harness.core.records import Finding
from harness.core.types import Sample, Split
from harness.data.display import quote

# Each split is compared with what was known before it is used.
_BEFORE: Mapping[Split, tuple[Split, ...]] = {"test": ("train", "validation"), "validation": ("train",)}


def leaked(facts: Facts, split: Split) -> list[Sample]:
    """Rows of a split whose folded question stands in an earlier split."""
    known = {facts.folded[sample.id] for sample in _pool(facts, split)}
    return [sample for sample in facts.splits[split] if facts.folded[sample.id] in known]


def leaks(facts: Facts) -> Iterator[Finding]:
    """E-LEAK: the same question after folding, with the counts under looser and stricter readings."""
    for split in _BEFORE:
        rows = leaked(facts, split)
        if rows:
            yield _leak(facts, split, rows)


def near_duplicates(facts: Facts) -> Iterator[Finding]:
    """E-NEAR: questions that share a long run of words, or all their words in another order. Not counted as leaked."""
    for split in _BEFORE:
        known = {sample.id for sample in leaked(facts, split)}
        rows = [sample for sample in facts.splits[split] if sample.id not in known]
        pool = _pool(facts, split)
        pairs = near_pairs([facts.folded[row.id] for row in rows], [facts.folded[row.id] for row in pool])
        if pairs:
            others = {rows[row].id: pool[other] for row, other in pairs.items()}
            yield finding(
                "E-NEAR",
                "warning",
                f"{share(len(pairs), len(facts.splits[split]))} {split} rows are nearly the same as one of "
                f"{' or '.join(_BEFORE[split])}: 13 words in a row, or the same words in another order",
                fix="look at the examples; give related rows a common data.group so that they stay in one split",
                samples=[rows[row] for row in pairs],
                say=_alike(others),
            )


def repeats(facts: Facts) -> Iterator[Finding]:
    """E-DUP: a question that was already asked in the same split; in test it makes intervals too narrow."""
    for split, samples in facts.splits.items():
        first: dict[str, Sample] = {}
        again = [row for row in samples if first.setdefault(facts.folded[row.id], row) is not row]
        if again:
            firsts = {row.id: first[facts.folded[row.id]] for row in again}
            yield finding(
                "E-DUP",
                "warning" if split == "test" else "note",
                f"{share(len(again), len(samples))} {split} rows repeat the question of an earlier row",
                fix="remove the repeats, or give them a common data.group: intervals then count them as one cluster",
                samples=again,
                say=_alike(firsts),
            )


def _leak(facts: Facts, split: Split, rows: Sequence[Sample]) -> Finding:
    pool = _pool(facts, split)
    others: dict[str, Sample] = {}
    answers: dict[str, set[str]] = defaultdict(set)
    for sample in pool:
        others.setdefault(facts.folded[sample.id], sample)
        answers[facts.folded[sample.id]].update(sample.references)
    n_raw = _n_shared(rows, pool, lambda text: text)
    n_stripped = _n_shared(rows, pool, str.strip)
    n_other = sum(answers[facts.folded[row.id]].isdisjoint(row.references) for row in rows)
    places = ", ".join(f"{_n_folded(facts, rows, earlier):,} in {earlier}" for earlier in _BEFORE[split])
    return finding(
        "E-LEAK",
        "warning",
        f"{share(len(rows), len(facts.splits[split]))} {split} rows ask a question that was there before ({places}): "
        f"{n_raw:,} letter for letter, {n_stripped:,} but for outer blanks, "
        f"{len(rows):,} but for case, blanks and punctuation; {n_other:,} of them with another answer",
        fix="remove these rows from train, or cut the file anew with data.source; "
        "the metric is also given without the leaked test rows",
        samples=rows,
        say=_alike({row.id: others[facts.folded[row.id]] for row in rows}),
    )


def _pool(facts: Facts, split: Split) -> list[Sample]:
    return [sample for earlier in _BEFORE[split] for sample in facts.splits[earlier]]


def _n_folded(facts: Facts, rows: Iterable[Sample], earlier: Split) -> int:
    known = {facts.folded[sample.id] for sample in facts.splits[earlier]}
    return sum(facts.folded[row.id] in known for row in rows)


def _n_shared(rows: Iterable[Sample], pool: Iterable[Sample], plain: Callable[[str], str]) -> int:
    known = {plain(sample.question) for sample in pool}
    return sum(plain(row.question) in known for row in rows)


def _alike(others: Mapping[str, Sample]) -> Callable[[Sample], str]:
    def say(sample: Sample) -> str:
        other = others[sample.id]
        return f"{quote(sample.question)} as {other.origin} ({other.id})"

    return say
