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
    151 to 171 per minute over 2-4 m/s (81 strides/min at 3 m/s; chosen by runners 84.8 +- 3.6: J Exp Biol 218:3406),
    stance 36 to 35 % (39 % at 3.2 m/s: Novacheck 1998; 30 % in a recorded run at 3.45 m/s). What decides is the flight:
    the body rises and falls by 6 to 8 cm and presses down with 2.2 times its weight.
    """
    size = leg / REFERENCE_LEG
    v = speed / np.sqrt(size)
    if running:
        cadence = (151 + 10 * (v - 2.0)) / np.sqrt(size)
        stride, stance, width = 120 * speed / cadence, 0.362 - 0.006 * (v - 2.2), 0.12
    else:
        stride, stance, width = size * 2 * np.sqrt(60 * WALK_RATIO * v), 0.645 - 0.033 * v, 0.125
    return Plan(speed, float(stride), float(stance), width * size, np.deg2rad(5.0), running)
