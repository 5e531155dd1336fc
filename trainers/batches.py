"""Which rows make up an optimiser step, and how they are cut into what fits into memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.core.types import TokenRow


def rows_of_step(step: int, n_rows: int, batch_rows: int, seed: int) -> list[int]:
    """Indices of the rows of a step, counted from 1: each epoch is a shuffle of its own, cut into equal parts.

    Depends on nothing but its arguments, so a training that resumes needs no record of what came before.
    """
    per_epoch = -(-n_rows // batch_rows)
    epoch, part = divmod(step - 1, per_epoch)
    order = np.random.default_rng([seed, epoch]).permutation(n_rows)
    return [int(i) for i in order[part * batch_rows : (part + 1) * batch_rows]]


def micro_batches(rows: Sequence[TokenRow], tokens_per_batch: int, switch: int | None = None) -> list[list[TokenRow]]:
    """Rows of similar length together, each batch under the budget when padded to its longest row.

    A row longer than the budget makes a batch of its own: nothing is cut. Longest first, so that memory runs out in
    the first batch or not at all. switch: rows of more tokens are not with those of fewer, which some models would
    compute otherwise then.

    >>> rows = [TokenRow(str(n), (0,) * n, (False,) * n) for n in (2, 5, 3, 9)]
    >>> [[row.id for row in batch] for batch in micro_batches(rows, 8)]
    [['9'], ['5'], ['3', '2']]
    """
    batches: list[list[TokenRow]] = []
    for row in sorted(rows, key=lambda row: len(row.ids), reverse=True):
        fits = bool(batches) and len(batches[-1][0].ids) * (len(batches[-1]) + 1) <= tokens_per_batch
        if fits and (switch is None or (len(batches[-1][0].ids) > switch) == (len(row.ids) > switch)):
            batches[-1].append(row)
        else:
            batches.append([row])
    return batches
