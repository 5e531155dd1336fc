"""Figures as people read them."""

from __future__ import annotations


def number(value: float | int | None) -> str:
    """A score for people: two decimals from ten up, three below."""
    if value is None:
        return "undefined"
    return f"{value:.2f}" if abs(value) >= 10 else f"{value:.3f}"


def signed(value: float | int | None) -> str:
    """A difference for people, with its sign."""
    return "undefined" if value is None else f"{value:+.2f}" if abs(value) >= 10 else f"{value:+.3f}"


def probability(p: float) -> str:
    """A p value for people."""
    return "< 0.001" if p < 0.001 else f"= {p:.3f}"
