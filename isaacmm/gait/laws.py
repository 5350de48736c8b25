"""How timing and distances of a gait follow from its speed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Step length over cadence, m / (steps/min), of comfortable adult walking (Sekiya & Nagasaki; PMC5430280).
WALK_RATIO = 0.00605
#: Hip-to-floor length (m) of the people the laws were measured on.
REFERENCE_LEG = 0.9


@dataclass(frozen=True)
class Plan:
    """One steady gait, all figures for the character's own size.

    `speed` m/s; `stride` m per cycle (two steps); `duration` s per cycle; `stance` share of the cycle a foot is on
    the floor; `width` m between the feet; `toe_out` rad; `running`.
    """

    speed: float
    stride: float
    stance: float
    width: float
    toe_out: float
    running: bool

    @property
    def duration(self) -> float:
        """Seconds per cycle."""
        return self.stride / self.speed

    @property
    def cadence(self) -> float:
        """Steps per minute."""
        return 120 / self.duration

    @property
    def walk_ratio(self) -> float:
        """Step length over cadence, m / (steps/min)."""
        return self.stride / 2 / self.cadence


def plan(speed: float, leg: float, running: bool = False) -> Plan:
    """Timing and distances at a speed (m/s) for a leg length (m).

    Walking: the walk ratio w is constant, so the stride is 2 sqrt(60 w v); lengths scale with the leg, speeds with
    its root (equal Froude numbers).  Stance shortens from 64 % (slow) to 60 % (fast).  Running: step rate from
    158 to 174 per minute over 2-3.5 m/s (85 strides/min at 3 m/s: J Exp Biol 218:3406), stance 42 to 36 %
    (Novacheck 1998: 39 % at 3.2 m/s).
    """
    size = leg / REFERENCE_LEG
    v = speed / np.sqrt(size)
    if running:
        cadence = (158 + 12 * (v - 2.0)) / np.sqrt(size)
        stride, stance, width = 120 * speed / cadence, 0.42 - 0.04 * (v - 2.2), 0.12
    else:
        stride, stance, width = size * 2 * np.sqrt(60 * WALK_RATIO * v), 0.645 - 0.033 * v, 0.125
    return Plan(speed, float(stride), float(stance), width * size, np.deg2rad(5.0), running)
