"""Numbers as people read them: a true minus sign, the same places within one metric, a dash for none."""

from __future__ import annotations

import math
from collections.abc import Iterable

NONE = "–"


def finite(value: float | None) -> float | None:
    """The value, or None for nan and infinities, which JSON cannot carry."""
    return value if value is not None and math.isfinite(value) else None


def places(values: Iterable[float | None]) -> int:
    """Decimals that suit a metric: three for fractions, two for percentages and the like, one beyond."""
    largest = max((abs(value) for value in values if finite(value) is not None and value is not None), default=0.0)
    return 3 if largest <= 2 else 2 if largest <= 200 else 1


def number(value: float | None, decimals: int = 3, *, signed: bool = False) -> str:
    """One number; `signed` puts a plus before gains.

    >>> number(-0.12345), number(0.5, 2, signed=True), number(None)
    ('−0.123', '+0.50', '–')
    """
    if value is None or not math.isfinite(value):
        return NONE
    text = f"{value:+,.{decimals}f}" if signed else f"{value:,.{decimals}f}"
    if not any(digit in text for digit in "123456789"):
        text = text.lstrip("+-")
    return text.replace("-", "−")


def interval(low: float | None, high: float | None, decimals: int = 3, *, signed: bool = False) -> str:
    """Both ends in brackets, or nothing where there is no interval."""
    if low is None or high is None:
        return ""
    return f"[{number(low, decimals, signed=signed)}, {number(high, decimals, signed=signed)}]"


def p_value(value: float | None) -> str:
    """A p value with its sign of relation.

    >>> p_value(0.00001), p_value(0.0312), p_value(None)
    ('p < 0.0001', 'p = 0.031', 'p –')
    """
    if value is None or not math.isfinite(value):
        return f"p {NONE}"
    if value < 0.0001:
        return "p < 0.0001"
    return f"p = {value:.4f}" if value < 0.001 else f"p = {value:.3f}"


def percent(value: float | None) -> str:
    """A fraction as a percentage that never rounds up to a whole.

    >>> percent(0.9996), percent(1.0)
    ('99.9 %', '100 %')
    """
    if value is None or not math.isfinite(value):
        return NONE
    return "100 %" if value == 1 else f"{math.floor(value * 1000) / 10:.1f} %"


def seconds(value: float) -> str:
    """A duration in the unit it is felt in.

    >>> seconds(0.25), seconds(75), seconds(7384)
    ('0.2 s', '1 min 15 s', '2 h 03 min')
    """
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
