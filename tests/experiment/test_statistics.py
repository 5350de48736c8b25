"""Interquartile mean and bootstrap intervals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from isaacmm.experiment.statistics import bootstrap, interquartile_mean


@pytest.mark.parametrize("n", [4, 8, 40, 400])
def test_the_middle_half_is_averaged(n: int) -> None:
    """With n a multiple of four it is the 25 % trimmed mean."""
    values = np.random.default_rng(n).normal(size=n)
    assert interquartile_mean(values) == pytest.approx(stats.trim_mean(values, 0.25))


def test_few_runs_and_outliers() -> None:
    assert interquartile_mean(np.array([2.0])) == 2.0
    assert interquartile_mean(np.array([1.0, 2.0])) == 1.5
    # three runs: the middle one fully, its neighbours a quarter each
    assert interquartile_mean(np.array([0.0, 3.0, 9.0])) == pytest.approx((0.25 * 0 + 3 + 0.25 * 9) / 1.5)
    assert interquartile_mean(np.array([1.0, 1.0, 1.0, 1e9])) == 1.0


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for i in range(200):
        got = bootstrap(rng.normal(5.0, 1.0, size=20).tolist(), draws=500, seed=i)
        assert got.low <= got.value <= got.high
        hits += got.low <= 5.0 <= got.high
    assert 0.85 <= hits / 200 <= 0.99


def test_nan_runs_are_left_out() -> None:
    got = bootstrap([1.0, float("nan"), 1.0])
    assert (got.value, got.low, got.high, got.runs) == (1.0, 1.0, 1.0, 2)
    assert bootstrap([]).runs == 0
