"""Regression with clusters, held against statsmodels; the area under the curve against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from sklearn.metrics import roc_auc_score

from harness.stats.slopes import coefficient, superiority


def test_slope_and_error_are_those_of_statsmodels() -> None:
    """Its factor is G/(G-1) * (N-1)/(N-K); ours is G/(G-1)."""
    rng = np.random.default_rng(3)
    clusters = np.repeat(np.arange(30), 4)
    x, z = rng.normal(size=120), rng.normal(size=120)
    y = 0.3 * x - 0.2 * z + rng.normal(size=30)[clusters] + rng.normal(size=120)
    design = np.column_stack([np.ones(120), x, z])
    theirs = sm.OLS(y, design).fit(cov_type="cluster", cov_kwds={"groups": clusters})
    for column in range(3):
        ours = coefficient(y, design, column, [f"c{number}" for number in clusters])
        assert ours.value == pytest.approx(theirs.params[column], abs=1e-12)
        assert ours.se * np.sqrt(119 / 117) == pytest.approx(theirs.bse[column], rel=1e-9)
        assert ours.df == 29


def test_columns_that_follow_from_each_other_are_refused() -> None:
    x = np.arange(10.0)
    with pytest.raises(ValueError, match="depend on each other"):
        coefficient(x, np.column_stack([np.ones(10), x, 2 * x + 1]), 1, [str(i) for i in range(10)])


def test_the_area_is_that_of_scikit_learn_ties_half() -> None:
    rng = np.random.default_rng(0)
    high, low = np.round(rng.normal(1, 1, 60), 1), np.round(rng.normal(0, 1, 45), 1)
    names = [str(i) for i in range(105)]
    found = superiority(high, low, names[:60], names[60:])
    expected = roc_auc_score([1] * 60 + [0] * 45, np.concatenate([high, low]))
    assert found.value == pytest.approx(expected, abs=1e-12)


def test_the_areas_interval_covers_it_in_nineteen_of_twenty() -> None:
    """Normal values one apart: the area is Phi(1 / sqrt(2)) = .7602; both kinds share their cluster's part."""
    rng, covered = np.random.default_rng(1), 0
    names = [str(i) for i in range(50)]
    for _ in range(400):
        common = rng.normal(0, 0.7, 50)
        own = rng.normal(0, np.sqrt(0.51), (2, 50))
        low, high = superiority(common + own[0] + 1, common + own[1], names, names).interval(0.95)
        covered += bool(low <= 0.7602 <= high)
    assert 0.92 <= covered / 400 <= 0.98
