"""Interquartile means with bootstrap intervals.

Agarwal et al. 2021, "Deep RL at the edge of the statistical precipice", sec. 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


def interquartile_mean(values: np.ndarray, axis: int = -1) -> np.ndarray:
    """Mean of the middle half: of ``n`` sorted values those between ``n/4`` and ``3n/4``, fractions weighted.

    With the fractional weights every number of runs has a middle half; for three runs the middle one counts fully and
    its neighbours a quarter each.
    """
    ordered = np.sort(np.asarray(values, dtype=float), axis=axis)
    n = ordered.shape[axis]
    edge = np.arange(n + 1)
    inside = np.clip(np.minimum(edge[1:], 0.75 * n) - np.maximum(edge[:-1], 0.25 * n), 0.0, None)
    shape = [1] * ordered.ndim
    shape[axis] = n
    return (ordered * inside.reshape(shape)).sum(axis=axis) / inside.sum()


@dataclass(frozen=True)
class Interval:
    """A point estimate and the ends of its interval."""

    value: float
    low: float
    high: float
    runs: int


def bootstrap(values: Sequence[float], level: float = 0.95, draws: int = 10_000, seed: int = 0) -> Interval:
    """Interquartile mean of runs, with the percentile bootstrap's interval over runs.

    NaN runs are left out. With a single run the interval is the point. Intervals of few runs are too narrow (three
    runs have only ten different resamples): read them as the spread that was seen.
    """
    kept = np.asarray([v for v in values if np.isfinite(v)], dtype=float)
    if len(kept) == 0:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    rng = np.random.default_rng(seed)
    resamples = kept[rng.integers(len(kept), size=(draws, len(kept)))]
    means = interquartile_mean(resamples, axis=1)
    low, high = np.quantile(means, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return Interval(float(interquartile_mean(kept)), float(low), float(high), len(kept))
