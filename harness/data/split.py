"""Cutting rows into splits: deterministic, independent of the rows' order, and never through a group."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

from harness.core.types import Sample, Split
from harness.data.fold import fold


def assign(samples: Sequence[Sample], shares: Mapping[Split, float], *, seed: int) -> list[Split]:
    """The split of each sample. shares: of the smaller splits; what is left is train.

    Rows of one group, and rows that ask the same question after folding, form a block that stays whole, so that
    cutting creates no leak. Blocks are ranked by a hash of seed and content, and fill test, then validation: a block
    goes in while at least half of it still fits. Without groups and duplicates the sizes are exact; otherwise they are
    off by at most half a block. A split that was asked for and got nothing takes the smallest block from train.
    """
    blocks = sorted(_blocks(samples).values(), key=lambda block: _rank(samples, block, seed))
    room = {split: _wanted(share, len(samples)) for split, share in shares.items()}
    placed: dict[Split, list[list[int]]] = defaultdict(list)
    for block in blocks:
        split: Split = next((name for name, left in room.items() if left > 0 and len(block) <= 2 * left), "train")
        placed[split].append(block)
        if split in room:
            room[split] -= len(block)
    for name, left in room.items():
        if left > 0 and not placed[name] and len(placed["train"]) > 1:
            smallest = min(placed["train"], key=len)
            placed["train"].remove(smallest)
            placed[name].append(smallest)
    return _spread(placed, len(samples))


def _wanted(share: float, n: int) -> int:
    """Rows a split should get: rounded, at least one where it was asked for and there is enough for all."""
    return max(round(share * n), 1 if share > 0 and n >= 3 else 0)


def _blocks(samples: Sequence[Sample]) -> dict[int, list[int]]:
    """Rows joined by group or question: root -> row numbers (union-find with path halving)."""
    parents = list(range(len(samples)))

    def root(row: int) -> int:
        while parents[row] != row:
            parents[row] = parents[parents[row]]
            row = parents[row]
        return row

    first: dict[tuple[str, str], int] = {}
    for row, sample in enumerate(samples):
        for key in _keys(sample):
            parents[root(row)] = root(first.setdefault(key, row))
    blocks: dict[int, list[int]] = defaultdict(list)
    for row in range(len(samples)):
        blocks[root(row)].append(row)
    return blocks


def _keys(sample: Sample) -> list[tuple[str, str]]:
    keys = [("question", fold(sample.question))]
    return keys if sample.group is None else [*keys, ("group", sample.group)]


def _rank(samples: Sequence[Sample], block: Sequence[int], seed: int) -> bytes:
    key = min(key for row in block for key in _keys(samples[row]))
    return hashlib.sha256("\0".join((str(seed), *key)).encode()).digest()


def _spread(placed: Mapping[Split, list[list[int]]], n: int) -> list[Split]:
    splits: list[Split] = ["train"] * n
    for split, blocks in placed.items():
        for block in blocks:
            for row in block:
                splits[row] = split
    return splits
