"""Critically damped springs, in closed form: exact for any time step.

With ``y = 2 ln 2 / halflife`` (half of the spring's damping) a critically damped spring from ``x`` with velocity
``v`` towards rest at 0 is ``x(t) = e^{-yt} (x + (v + x y) t)`` (Holden 2020, "Spring-It-On", game developer's notes).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def rate(halflife: float) -> float:
    """``y`` in 1/s of a halflife in s."""
    return 2.0 * math.log(2.0) / max(halflife, 1e-5)


def decay(x: Tensor, v: Tensor, halflife: float, t: Tensor | float) -> tuple[Tensor, Tensor]:
    """Offset ``x`` and its velocity ``v`` after ``t`` s on their way to zero.

    ``t`` broadcasts against ``x``. Returns the new pair.
    """
    y = rate(halflife)
    j = v + x * y
    # made on the device: a number brought there from the host would be waited for
    time = t.to(x) if isinstance(t, Tensor) else torch.full((), t, dtype=x.dtype, device=x.device)
    fade = torch.exp(-y * time)
    return fade * (x + j * t), fade * (v - j * y * t)


def follow(
    x: Tensor, v: Tensor, goal: Tensor, goal_velocity: Tensor | float, halflife: float, t: Tensor | float
) -> tuple[Tensor, Tensor]:
    """``x`` and its velocity after ``t`` s of following a goal that moves evenly.

    ``goal`` is where the goal is now, ``goal_velocity`` how fast it moves. The spring acts on the difference, so a
    goal that moves evenly is caught up with, not trailed.
    """
    offset, velocity = decay(x - goal, v - goal_velocity, halflife, t)
    return goal + goal_velocity * t + offset, goal_velocity + velocity
