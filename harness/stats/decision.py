"""From numbers to one of four answers."""

from __future__ import annotations

from harness.core.records import Answer

ALPHA = 0.05


def decide(
    *,
    delta: float | None,
    low: float | None,
    high: float | None,
    p_adjusted: float | None,
    smallest_effect: float,
) -> Answer:
    """What a difference with its interval and adjusted p value lets us say; positive delta is better.

    An interval wholly inside (-smallest_effect, smallest_effect) is a finding of its own: whatever difference there
    is, is not worth having, however small its p. Anything missing leaves the question open.

    >>> decide(delta=0.06, low=0.01, high=0.11, p_adjusted=0.02, smallest_effect=0.02)
    'better'
    """
    if delta is None or low is None or high is None or p_adjusted is None:
        return "cannot tell"
    if -smallest_effect < low and high < smallest_effect:
        return "no difference worth having"
    if p_adjusted > ALPHA or delta == 0:
        return "cannot tell"
    return "better" if delta > 0 else "worse"
