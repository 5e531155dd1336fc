"""How many labels a question needs."""

from __future__ import annotations

import math

from scipy import special


def labels_needed(
    effect: float, *, sd: float, rho: float, n_judged: int, power: float = 0.8, alpha: float = 0.05
) -> int:
    """Labels with which PPI++ finds a mean (difference) of `effect` with the given power, two-sided.

    The least n with n >= (z_{1 - alpha/2} + z_power)^2 sd^2 (1 - rho^2 N / (n + N)) / effect^2, whose right side is
    the variance of PPI++ (Angelopoulos, Duchi and Zrnic 2023) in labels. sd: of one label (difference of labels);
    rho: its correlation with the verdict; n_judged: N, items with a verdict only.

    >>> labels_needed(0.10, sd=0.85, rho=0.6, n_judged=2000)
    397
    """
    if not effect > 0:
        raise ValueError("no number of labels shows a difference of zero or less")
    if not (sd > 0 and -1 <= rho <= 1 and n_judged >= 0):
        raise ValueError("the spread must be positive, the correlation in [-1, 1], the judged items zero or more")
    alone = float(special.ndtri(1 - alpha / 2) + special.ndtri(power)) ** 2 * sd**2 / effect**2
    # n = alone (1 - rho^2 N / (n + N)) is quadratic in n, with one positive root.
    middle = n_judged - alone
    root = (-middle + math.sqrt(middle**2 + 4 * alone * n_judged * (1 - rho**2))) / 2
    return max(2, math.ceil(root - 1e-9))
