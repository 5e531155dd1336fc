"""Folds for cross-fitting: whole prompts, so that no answer to a prompt is judged by a map that saw another.

Axes: N items.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

from harness.core.types import IntArray


def folds_of(clusters: Sequence[str], *, n_folds: int = 5, seed: int = 0) -> IntArray:
    """Fold (N,) of each item: whole clusters in one fold, folds of about equal size, no more than there are clusters.

    Clusters are dealt largest first, each to the smallest fold so far; between equals a hash of seed and name decides.
    So the order of the items does not matter.
    """
    sizes = Counter(clusters)
    filled = [0] * max(1, min(n_folds, len(sizes)))
    fold_of = dict[str, int]()
    for cluster in sorted(sizes, key=lambda name: (-sizes[name], _lot(name, seed))):
        fold_of[cluster] = filled.index(min(filled))
        filled[fold_of[cluster]] += sizes[cluster]
    return np.array([fold_of[cluster] for cluster in clusters], dtype=np.int64)


def _lot(name: str, seed: int) -> str:
    return hashlib.sha256(f"{seed} {name}".encode("utf-8", "backslashreplace")).hexdigest()
