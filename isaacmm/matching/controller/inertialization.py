"""Inertialization: after a jump the old motion is not blended in; its difference from the new one dies away.

Bollo 2018 ("Inertialization", GDC); with critically damped springs instead of quintics (Holden 2020, accompanying
code of "Learned Motion Matching", halflife 0.1 s). Position and velocity are continuous through any number of jumps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.matching import springs


class Inertialization:
    """Offsets ``[N, W]`` of a vector of positions and their velocities, on their way to zero."""

    def __init__(self, num_envs: int, width: int, halflife: float, device: torch.device | str = "cpu") -> None:
        self.halflife = halflife
        self.offset = torch.zeros(num_envs, width, device=device)
        self.velocity = torch.zeros(num_envs, width, device=device)

    def decay(self, dt: float) -> None:
        """``dt`` s pass."""
        self.offset, self.velocity = springs.decay(self.offset, self.velocity, self.halflife, dt)

    def jump(self, where: Tensor, offset: Tensor, velocity: Tensor) -> None:
        """Worlds ``where [N]`` bool jump: old minus new position and velocity ``[N, W]`` are added."""
        self.offset = torch.where(where[:, None], self.offset + offset, self.offset)
        self.velocity = torch.where(where[:, None], self.velocity + velocity, self.velocity)

    def reset(self, ids: Tensor) -> None:
        """Worlds ``ids [n]`` have no offset."""
        self.offset[ids] = 0.0
        self.velocity[ids] = 0.0


def turn_between(old: Tensor, new: Tensor) -> Tensor:
    """Rotation vectors ``[N, 3]`` that turn ``new [N, 4]`` into ``old``, the short way."""
    turn = rotation.multiply(old, rotation.inverse(new))
    return rotation.to_rotvec(torch.where(turn[..., 3:] < 0, -turn, turn))
