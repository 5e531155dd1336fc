"""How many labels: the design's own table, the textbook's number, and power by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from harness.stats.planning import labels_needed
from harness.stats.ppi import mean

# Difference, standard deviation; labels needed at correlation 0, .3, .6, .8, .9 with 2,000 judged items.
TABLE = [
    (0.10, 0.85, (568, 527, 397, 244, 138)),
    (0.20, 0.85, (142, 130, 94, 54, 29)),
    (0.20, 1.00, (197, 181, 130, 76, 41)),
    (0.10, 0.45, (159, 146, 105, 61, 33)),
    (0.05, 0.45, (636, 592, 449, 279, 159)),
]


@pytest.mark.parametrize(("effect", "sd", "expected"), TABLE)
def test_labels_needed_are_those_of_the_published_table(effect, sd, expected):
    assert tuple(labels_needed(effect, sd=sd, rho=rho, n_judged=2000) for rho in (0, 0.3, 0.6, 0.8, 0.9)) == expected


def test_without_judged_items_or_correlation_the_labels_needed_are_the_textbooks():
    """(1.96 + 0.8416)^2 (.5 / .1)^2 = 196.2."""
    assert labels_needed(0.1, sd=0.5, rho=0.9, n_judged=0) == 197
    assert labels_needed(0.1, sd=0.5, rho=0.0, n_judged=10_000) == 197


def test_as_many_labels_as_are_needed_find_the_effect_as_often_as_promised():
    rng = np.random.default_rng(3)
    n, found = labels_needed(0.1, sd=0.45, rho=0.6, n_judged=1000), 0
    for _ in range(500):
        human = rng.normal(size=n + 1000)
        judged = 0.6 * human + 0.8 * rng.normal(size=n + 1000)
        human = 0.1 + 0.45 * human
        found += mean(human[:n], judged[:n], judged[n:]).p < 0.05
    assert found / 500 == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize("change", [{"effect": 0.0}, {"sd": 0.0}, {"rho": 1.1}, {"n_judged": -1}])
def test_what_has_no_answer_is_refused(change):
    with pytest.raises(ValueError):
        labels_needed(**{"effect": 0.1, "sd": 1.0, "rho": 0.5, "n_judged": 10, **change})
