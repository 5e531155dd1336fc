"""Near-duplicates at the scale of a training set: runs of 13 words, hashed with numpy.

In scripts without spaces, a character stands for a word.

Axes: W words of many texts one after another, G runs of words.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import count

import numpy as np
from numpy.typing import NDArray

from harness.core.types import IntArray
from harness.data.scripts import spaced

# The run length of GPT-3's contamination study (Brown et al. 2020, appendix C), which also ignores runs that
# stand in more than ten documents: they are instructions and formulas, not content.
N_WORDS = 13
_COMMON = 10
# Shorter texts share their words by chance too easily.
_MIN_SORTED = 8
_CHUNK = 20_000

Hashes = NDArray[np.uint64]


def near_pairs(texts: Sequence[str], pool: Sequence[str]) -> dict[int, int]:
    """Number of a text -> number of the first pool text that is nearly the same. All texts folded.

    Nearly the same: a common run of 13 words that is not common to many, or the same eight or more words in any order.
    """
    texts, pool = [spaced(text) for text in texts], [spaced(text) for text in pool]
    pairs = {**_shared_runs(texts, pool), **_same_words(texts, pool)}
    return dict(sorted(pairs.items()))


def _same_words(texts: Sequence[str], pool: Sequence[str]) -> dict[int, int]:
    first: dict[str, int] = {}
    for number, text in enumerate(pool):
        if text.count(" ") >= _MIN_SORTED - 1 and len(text.split()) >= _MIN_SORTED:
            first.setdefault(_sorted(text), number)
    return {number: first[key] for number, text in enumerate(texts) if (key := _sorted(text)) in first}


def _sorted(text: str) -> str:
    return " ".join(sorted(text.split()))


def _shared_runs(texts: Sequence[str], pool: Sequence[str]) -> dict[int, int]:
    vocabulary: defaultdict[str, int] = defaultdict(count().__next__)
    own_G, owner_G = _all_runs(texts, vocabulary)
    if not len(own_G):
        return {}
    wanted = np.unique(own_G)
    hits, holders = _hits(pool, vocabulary, wanted)
    first = _uncommon(hits, holders, n_texts=len(pool))
    found: dict[int, int] = {}
    for run, owner in zip(own_G.tolist(), owner_G.tolist(), strict=True):
        if run in first:
            found[owner] = min(found.get(owner, first[run]), first[run])
    return found


def _hits(pool: Sequence[str], vocabulary: defaultdict[str, int], wanted: Hashes) -> tuple[Hashes, IntArray]:
    """Runs of the pool that are wanted, and the text each stands in."""
    runs, holders = [], []
    for run_G, holder_G in _runs(pool, vocabulary):
        position = np.minimum(np.searchsorted(wanted, run_G), len(wanted) - 1)
        is_hit = wanted[position] == run_G
        runs.append(run_G[is_hit])
        holders.append(holder_G[is_hit])
    return _joined(runs, holders)


def _uncommon(run_G: Hashes, holder_G: IntArray, *, n_texts: int) -> dict[int, int]:
    """Run -> first text that holds it, for runs in at most ten texts and at most half of a small pool."""
    texts: dict[int, set[int]] = defaultdict(set)
    limit = min(_COMMON, max(1, n_texts // 2))
    for run, holder in zip(run_G.tolist(), holder_G.tolist(), strict=True):
        if len(texts[run]) <= limit:
            texts[run].add(holder)
    return {run: min(holders) for run, holders in texts.items() if len(holders) <= limit}


def _all_runs(texts: Sequence[str], vocabulary: defaultdict[str, int]) -> tuple[Hashes, IntArray]:
    parts = list(_runs(texts, vocabulary))
    return _joined([runs for runs, _ in parts], [owners for _, owners in parts])


def _joined(runs: list[Hashes], owners: list[IntArray]) -> tuple[Hashes, IntArray]:
    return (
        np.concatenate([np.zeros(0, np.uint64), *runs]),
        np.concatenate([np.zeros(0, np.int64), *owners]),
    )


def _runs(texts: Sequence[str], vocabulary: defaultdict[str, int]) -> Iterator[tuple[Hashes, IntArray]]:
    """(hashes of all runs of 13 words, number of the text each stands in), some thousand texts at a time."""
    for start in range(0, len(texts), _CHUNK):
        words, sizes = array("q"), []
        for text in texts[start : start + _CHUNK]:
            before = len(words)
            words.extend([vocabulary[word] for word in text.split()])
            sizes.append(len(words) - before)
        owner_W = np.repeat(np.arange(start, start + len(sizes), dtype=np.int64), sizes)
        if len(owner_W) >= N_WORDS:
            yield _hashed(np.frombuffer(words, dtype=np.int64).astype(np.uint64), owner_W)


def _hashed(word_W: Hashes, owner_W: IntArray) -> tuple[Hashes, IntArray]:
    """A polynomial of mixed word numbers modulo 2**64; a false match is a matter of one in a billion."""
    n = len(word_W) - N_WORDS + 1
    mixed = _mix(word_W)
    hash_G = np.zeros(n, np.uint64)
    for place in range(N_WORDS):
        hash_G = hash_G * np.uint64(0x9E3779B97F4A7C15) + mixed[place : place + n]
    is_whole = owner_W[:n] == owner_W[N_WORDS - 1 :]
    return hash_G[is_whole], owner_W[:n][is_whole]


def _mix(number: Hashes) -> Hashes:
    """splitmix64 (Steele et al. 2014): neighbouring numbers become unrelated ones."""
    mixed = (number + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
