"""Whole episodes packed into training rows of one length."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from harness.demo.tokenizer import Encoded

ROW = 512
OPEN_ROWS = 16


@dataclass(slots=True)
class Row:
    """A training row being filled: ids, weights, and which episode each token belongs to (-1 is padding)."""

    ids: list[int] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)

    def add(self, episode: Encoded) -> None:
        """Append an episode; nothing is predicted across the seam."""
        owner = self.owners[-1] + 1 if self.owners else 0
        self.ids += episode.ids
        self.weights += [0.0, *episode.weights[1:]]
        self.owners += [owner] * len(episode.ids)


@dataclass(frozen=True, slots=True)
class Packed:
    """All training rows: token ids, loss weights and owners, each (rows, ROW)."""

    ids: NDArray[np.int32]
    weights: NDArray[np.float32]
    owners: NDArray[np.int32]


def pack(episodes: Iterable[Encoded], pad: int) -> Packed:
    """Rows of whole episodes, nearly in the order they come, each in the fullest of some open rows that has room."""
    rows = list(_rows(episodes))
    return Packed(
        np.array([row.ids + [pad] * (ROW - len(row.ids)) for row in rows], np.int32),
        np.array([row.weights + [0.0] * (ROW - len(row.ids)) for row in rows], np.float32),
        np.array([row.owners + [-1] * (ROW - len(row.ids)) for row in rows], np.int32),
    )


def _rows(episodes: Iterable[Encoded]) -> Iterator[Row]:
    """Closed rows in the order they fill up; episodes longer than a row are left out."""
    open_rows: list[Row] = []
    for episode in episodes:
        if len(episode.ids) > ROW:
            continue
        fitting = [row for row in open_rows if len(row.ids) + len(episode.ids) <= ROW]
        if not fitting:
            if len(open_rows) == OPEN_ROWS:
                fullest = max(open_rows, key=lambda row: len(row.ids))
                open_rows.remove(fullest)
                yield fullest
            fitting = [Row()]
            open_rows += fitting
        max(fitting, key=lambda row: len(row.ids)).add(episode)
    yield from open_rows
