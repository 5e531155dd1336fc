"""How large a paired difference a test set can show, and how many samples a difference needs.

The t test's power, two-sided: n = ((t_{1-alpha/2} + t_{power}) sd / effect)^2 with n - 1 degrees of freedom
(Chow, Shao, Wang and Lokhnygina 2017, section 3.1; normal quantiles in the limit). `sd` is the standard deviation
of one sample's difference; with groups, of one group's, and n counts groups (`Paired.sd_difference`).
"""

from __future__ import annotations

import math

from scipy import special


def minimum_detectable_effect(n: int, *, sd: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest true difference that a two-sided test on n pairs finds with the given power.

    Infinite for n < 2. Unit and sign are those of `sd`; alpha and power in (0, 1).

    >>> round(minimum_detectable_effect(100, sd=0.5), 3)
    0.141
    """
    if n < 2:
        return math.inf
    return float(_quantiles(n, alpha, power) * sd / math.sqrt(n))


def samples_needed(effect: float, *, sd: float, alpha: float = 0.05, power: float = 0.8) -> int:
    """The smallest n whose minimum detectable effect is at most `effect` (positive).

    >>> samples_needed(0.1, sd=0.5)
    199
    """
    if effect <= 0:
        raise ValueError("no number of samples shows a difference of zero or less")
    z = float(special.ndtri(1 - alpha / 2) + special.ndtri(power))
    # The normal formula is a lower bound, a few samples short: t quantiles are larger.
    n = max(2, math.ceil((z * sd / effect) ** 2))
    while minimum_detectable_effect(n, sd=sd, alpha=alpha, power=power) > effect:
        n += 1
    return n


def _quantiles(n: int, alpha: float, power: float) -> float:
    return float(special.stdtrit(n - 1, 1 - alpha / 2) + special.stdtrit(n - 1, power))
