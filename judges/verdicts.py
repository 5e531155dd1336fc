"""Distributions over labels as verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from harness.core.judging import Verdict
from judges.asking import Expected


def single_verdict(found: Expected) -> Verdict:
    """Of one question about one answer."""
    return Verdict(found.mean, (found.mean,), found.variance, found.mass)


def pair_verdict(forth: Expected, back: Expected) -> Verdict:
    """Of both orders, each seen from the first answer: their mean, which is free of a constant liking for a place."""
    score = (forth.mean + back.mean) / 2
    spread = (forth.variance + back.variance) / 2
    return Verdict(score, (score,), spread, (forth.mass + back.mass) / 2, orders=(forth.mean, back.mean))


def combined_verdict(found: Sequence[Expected]) -> Verdict:
    """Of several questions about one answer: every answer is a feature, their mean the score.

    The spread is that of a mean of independent answers.
    """
    means = tuple(each.mean for each in found)
    spread = sum(each.variance for each in found) / len(found) ** 2
    return Verdict(fmean(means), means, spread, fmean(each.mass for each in found))
