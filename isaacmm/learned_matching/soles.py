"""Soles of played poses, and how fast they move over the floor: what is seen when feet slide."""

from __future__ import annotations

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.learned_matching.pose import PoseLayout
from isaacmm.matching.controller.leg import FootPose, Legs


class Soles:
    """Points of the soles of pose vectors, by the kinematics of the legs alone (a third of the whole body's cost).

    Args:
        character: gives legs and soles.
        layout: of the pose vectors.
        rate: rows per second.
    """

    def __init__(self, character: CharacterModel, layout: PoseLayout, rate: float) -> None:
        self.legs, self.sole, self.layout, self.rate = Legs(character), character.sole, layout, rate

    def points(self, poses: Tensor) -> Tensor:
        """``[..., F, C, 3]`` m in the heading frame of the ground track, of pose vectors ``[..., W]``."""
        take, flat = self.layout, poses.flatten(0, -2)
        turn = rotation.matrix_of_columns(flat[:, take["hip_rotation"]])
        q = flat[:, take["dof_position"]][:, self.legs.dofs]
        foot: FootPose = self.legs.forward(flat[:, take["hip_position"]], turn, q)[0]
        points = foot.pos[..., None, :] + torch.einsum("nfij,fcj->nfci", foot.turn, self.sole.to(poses))
        return points.unflatten(0, poses.shape[:-1])

    def speed(self, points: Tensor, poses: Tensor) -> Tensor:
        """Velocities over the floor ``[b, n - 1, F, C, 3]`` m/s of ``points [b, n, F, C, 3]`` of successive rows, seen
        from the heading frame, which itself moves and turns as ``poses [b, n, W]`` say: of a standing foot zero."""
        own = poses[..., self.layout["velocity"]]
        spin = poses[..., self.layout["turn_rate"]]
        return over_ground(points.flatten(2, 3), own, spin, self.rate).unflatten(2, points.shape[2:4])


def over_ground(points: Tensor, own: Tensor, spin: Tensor, rate: float) -> Tensor:
    """Velocities over the floor ``[b, n - 1, P, 3]`` m/s of ``points [b, n, P, 3]`` m in a frame that moves at ``own
    [b, n, 2]`` m/s (as it sees them) and turns at ``spin [b, n, 1]`` rad/s, ``rate`` rows per second."""
    middle = 0.5 * (points[:, 1:] + points[:, :-1])
    own, spin = (0.5 * (v[:, 1:] + v[:, :-1]) for v in (own, spin))
    moved = (points[:, 1:] - points[:, :-1]) * rate
    x = moved[..., 0] + own[..., None, 0] - spin * middle[..., 1]
    y = moved[..., 1] + own[..., None, 1] + spin * middle[..., 0]
    return torch.stack((x, y, moved[..., 2]), dim=-1)
