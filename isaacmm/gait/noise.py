"""Smooth periodic randomness: what makes no two steps alike."""

from __future__ import annotations

import numpy as np


class Wander:
    """A seeded smooth function of x with period `period`, mean 0, standard deviation 1.

    Args:
        rng: source of randomness. period: length after which it repeats. shortest: the shortest wave in it.
    """

    def __init__(self, rng: np.random.Generator, period: float, shortest: float) -> None:
        self.period = period
        count = max(1, int(period / shortest))
        self.k = np.arange(1, count + 1)
        amplitude = rng.normal(size=(2, count)) / np.sqrt(self.k)[None]
        self.amplitude = amplitude / np.sqrt((amplitude**2).sum() / 2)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Value at x (any shape)."""
        a = 2 * np.pi * np.asarray(x)[..., None] * self.k / self.period
        return (self.amplitude[0] * np.cos(a) + self.amplitude[1] * np.sin(a)).sum(-1)
