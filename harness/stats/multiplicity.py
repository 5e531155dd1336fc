"""Several tests, one conclusion: p values adjusted so that any false "better" stays rare."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float | None]) -> tuple[float | None, ...]:
    """P values adjusted by Holm's step-down procedure (Holm 1979), in the given order.

    None (a test that could not be made) stays None and does not count among the tests.

    >>> holm([0.01, None, 0.04])
    (0.02, None, 0.04)
    """
    tested = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    so_far = 0.0
    for rank, (p, i) in enumerate(tested):
        so_far = max(so_far, min(1.0, (len(tested) - rank) * p))
        adjusted[i] = so_far
    return tuple(adjusted)
