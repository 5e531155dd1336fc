"""What ROUGE and BLEU count, on tokens: shared n-grams and longest common subsequences.

The numbers are rouge-score's and sacrebleu's to the last bit, in a fraction of the time: subsequences are counted with
one bit a token instead of a table cell (Hyyrö 2004). Where it matters which of several longest subsequences is meant
(ROUGE-Lsum), it is the one that rouge-score finds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain, pairwise

Tokens = Sequence[str]


def unigram_f(reference: Tokens, completion: Tokens) -> float:
    """ROUGE-1.

    >>> unigram_f("a b c".split(), "a a b".split())
    0.6666666666666666
    """
    return _f(_n_shared(reference, completion), len(reference), len(completion))


def bigram_f(reference: Tokens, completion: Tokens) -> float:
    """ROUGE-2; 0 where a side has no pair."""
    return _f(_n_shared(pairwise(reference), pairwise(completion)), len(reference) - 1, len(completion) - 1)


def subsequence_f(reference: Tokens, completion: Tokens) -> float:
    """ROUGE-L."""
    from rapidfuzz.distance import LCSseq

    # Numbers, not words: rapidfuzz compares words by their hashes.
    number = {token: place for place, token in enumerate(reference)}
    wanted, found = [number[token] for token in reference], [number.get(token, -1) for token in completion]
    return _f(LCSseq.similarity(wanted, found), len(reference), len(completion))


def union_subsequence_f(reference: Sequence[Tokens], completion: Sequence[Tokens]) -> float:
    """ROUGE-Lsum of lines: tokens of each line of the reference that are in a subsequence shared with any line.

    No token is counted more often than either side has it.
    """
    left_out = Counter(chain.from_iterable(completion))
    left_in = Counter(chain.from_iterable(reference))
    n_completion, n_reference = left_out.total(), left_in.total()
    lines = [(line, _places(line)) for line in completion]
    n_hits = 0
    for line in reference:
        shared = sorted(set().union(*(_shared_places(line, other, places) for other, places in lines)))
        for token in (line[place] for place in shared):
            if left_out[token] > 0 and left_in[token] > 0:
                n_hits += 1
                left_out[token] -= 1
                left_in[token] -= 1
    return _f(n_hits, n_reference, n_completion)


def _f(n_shared: int, n_reference: int, n_completion: int) -> float:
    """The harmonic mean of precision and recall, in rouge-score's order of operations; 0 where nothing is shared."""
    if n_shared == 0:
        return 0.0
    precision, recall = n_shared / n_completion, n_shared / n_reference
    return 2 * precision * recall / (precision + recall)


def _n_shared(reference: Iterable[object], completion: Iterable[object]) -> int:
    """Size of the intersection of two multisets."""
    return _take(Counter(reference), completion)


def _take(left: Counter[object], tokens: Iterable[object]) -> int:
    """How many of the tokens could be taken out of what is left."""
    n_taken = 0
    for token in tokens:
        if left.get(token, 0) > 0:
            left[token] -= 1
            n_taken += 1
    return n_taken


def _places(line: Tokens) -> Mapping[str, int]:
    """Token -> bits of where it stands in the line."""
    places: dict[str, int] = {}
    for place, token in enumerate(line):
        places[token] = places.get(token, 0) | 1 << place
    return places


def _shared_places(line: Tokens, other: Tokens, places: Mapping[str, int]) -> set[int]:
    """Places in `line` of one longest common subsequence with `other`, the one that rouge-score reads out.

    Row i of the usual table is kept as bits, a 0 for each column at which it rises; places: `_places(other)`.
    """
    full = (1 << len(other)) - 1
    rows = [full]
    for token in line:
        row, matches = rows[-1], rows[-1] & places.get(token, 0)
        rows.append((row + matches | row - matches) & full)
    found: set[int] = set()
    i, j = len(line), len(other)
    while i and j:
        if line[i - 1] == other[j - 1]:
            i, j = i - 1, j - 1
            found.add(i)
        elif _value(rows[i], j - 1) > _value(rows[i - 1], j):
            j -= 1
        else:
            i -= 1
    return found


def _value(row: int, column: int) -> int:
    """A cell of the table: columns up to it at which the row rises."""
    return column - (row & (1 << column) - 1).bit_count()


def matched_ngrams(references: Sequence[Tokens], completion: Tokens, order: int) -> list[int]:
    """n-grams of the completion that a reference has, as often as the reference with most of them; n = 1 to `order`.

    >>> matched_ngrams(["a b c".split(), "b b".split()], "b b c a".split(), 3)
    [4, 2, 0]
    """
    found: list[int] = []
    for n in range(1, order + 1):
        # An n-gram can only be there if its beginning is.
        if found and not found[-1]:
            return found + [0] * (order - len(found))
        left = _ngrams(references[0], n)
        for reference in references[1:]:
            left |= _ngrams(reference, n)
        found.append(_take(left, zip(*(completion[i:] for i in range(n)), strict=False)))
    return found


def _ngrams(tokens: Tokens, n: int) -> Counter[object]:
    return Counter(zip(*(tokens[i:] for i in range(n)), strict=False))
