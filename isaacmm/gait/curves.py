"""Published joint curves and speed laws of human walking and running.

The knots are (percent of the gait cycle, degrees) pairs of an adult, 0 % being the heel strike of the same
side.  Walking follows the normal curves of Perry & Burnfield, *Gait Analysis* (figs. 4.1-4.15), Winter and
Kadaba et al.; running those of Novacheck (1998) at about 3 m/s.  They are facts about people, not a recording.
Angles are clinical: hip and knee flexion and ankle dorsiflexion are positive.
"""

from __future__ import annotations

import numpy as np
from scipy.interpolate import PchipInterpolator

#: Anatomical pelvic tilt (deg) contained in the clinical hip angle; the humanoid's level pelvis is tilt zero.
PELVIC_TILT = 10.0

WALK_KNOTS: dict[str, dict[float, float]] = {
    "hip": {0: 30, 10: 25, 30: 10, 50: -10, 62: -5, 75: 25, 85: 32},
    "knee": {0: 5, 12: 18, 25: 5, 40: 3, 55: 35, 70: 62, 85: 25, 95: 8},
    "ankle": {0: 0, 8: -5, 25: 5, 40: 10, 55: 5, 62: -15, 70: -5, 85: 0},
}
RUN_KNOTS: dict[str, dict[float, float]] = {
    "hip": {0: 38, 10: 36, 20: 24, 35: 2, 40: -3, 50: 6, 65: 42, 75: 55, 85: 52},
    "knee": {0: 17, 8: 32, 15: 42, 25: 36, 38: 18, 50: 48, 62: 92, 68: 100, 75: 92, 85: 58, 95: 22},
    "ankle": {0: 5, 6: 6, 18: 24, 28: 12, 38: -18, 44: -22, 55: -8, 70: 2, 85: 4},
}
#: One standard deviation between adults (deg), upper end of what the same sources give.
CURVE_SD: dict[str, float] = {"hip": 6.0, "knee": 7.0, "ankle": 5.0}


def fourier(knots: dict[float, float], harmonics: int = 10, samples: int = 512) -> np.ndarray:
    """Complex Fourier coefficients `[harmonics + 1]` (radians) of a periodic PCHIP through the knots.

    PCHIP does not overshoot between knots, so the truncated series stays within a degree of them.
    """
    percent = np.array(sorted(knots), dtype=float)
    value = np.array([knots[p] for p in sorted(knots)], dtype=float)
    wrapped_x = np.concatenate([percent - 100, percent, percent + 100]) / 100
    curve = PchipInterpolator(wrapped_x, np.tile(value, 3))(np.arange(samples) / samples)
    spectrum = np.fft.rfft(np.deg2rad(curve)) / samples
    spectrum[1:] *= 2
    return spectrum[: harmonics + 1]


def evaluate(spectrum: np.ndarray, phase: np.ndarray, gain: float = 1.0) -> np.ndarray:
    """Value at `phase` (cycles, any shape) of a series from `fourier`, oscillating part times `gain`."""
    k = np.arange(len(spectrum))
    wave = np.exp(2j * np.pi * np.asarray(phase)[..., None] * k)
    weights = spectrum * np.where(k == 0, 1.0, gain)
    return (wave * weights).real.sum(-1)


def leg_curves(running: bool) -> dict[str, np.ndarray]:
    """Fourier series (rad, clinical signs) of hip, knee and ankle."""
    return {name: fourier(knots) for name, knots in (RUN_KNOTS if running else WALK_KNOTS).items()}
