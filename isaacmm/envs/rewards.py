"""Task rewards: how well a character does what it is told, each in [0, 1]."""

from __future__ import annotations

import torch
from torch import Tensor

from isaacmm import rotation

KINDS = ("steering", "local", "classic")


def local_velocity(root_rot: Tensor, root_vel: Tensor) -> Tensor:
    """Root velocity in the heading frame ``[N, 3]`` m/s."""
    return rotation.rotate_inverse(rotation.heading(root_rot), root_vel)


def classic(velocity: Tensor, speed: Tensor) -> Tensor:
    """``exp(-(v_x - v*)^2)`` of the forward speed in the heading frame alone (the HumanoidAMP speed task)."""
    return torch.exp(-((velocity[:, 0] - speed) ** 2))


def local(velocity: Tensor, speed: Tensor, sharpness: float = 2.0) -> Tensor:
    """``exp(-k ((v_x - v*)^2 + v_y^2))`` in the heading frame: forwards at speed, not sideways."""
    return torch.exp(-sharpness * ((velocity[:, 0] - speed) ** 2 + velocity[:, 1] ** 2))


def steering(
    root_vel: Tensor, root_yaw: Tensor, command_yaw: Tensor, speed: Tensor, sharpness: float = 2.0, facing: float = 0.5
) -> Tensor:
    """Velocity along the commanded direction, times facing that way.

    ``exp(-k |v_xy - v* d|^2) * exp(-f (1 - cos(error of heading)))`` with the world velocity and the
    commanded unit direction ``d``.
    """
    wanted = speed[:, None] * torch.stack((torch.cos(command_yaw), torch.sin(command_yaw)), dim=-1)
    miss = ((root_vel[:, :2] - wanted) ** 2).sum(-1)
    return torch.exp(-sharpness * miss - facing * (1.0 - torch.cos(command_yaw - root_yaw)))


def locomotion(
    velocity: Tensor,
    wanted: Tensor,
    heading_error: Tensor,
    sharpness: float = 2.0,
    facing: float = 4.0,
    slowest: float = 1.0,
) -> Tensor:
    """Velocity and facing as commanded: ``exp(-k |v - v*|^2 / u^2 - f (1 - cos e))``, ``u`` being ``|v*|`` cut to
    ``[slowest, 1]`` m/s.

    Without ``u`` somebody who stands still where a sidestep of 0.4 m/s is asked for earns 0.73, and no more is to be
    gained by learning it than is lost by a stumble.

    Args:
        velocity: ``[N, 3]`` m/s in the heading frame (:func:`local_velocity`).
        wanted: ``[N, 2]`` m/s, forward and left.
        heading_error: ``[N]`` rad.
        sharpness: ``k``.
        facing: ``f``.
        slowest: m/s, over 0; slower commands are judged no more strictly than this one. 1: all alike.
    """
    unit = wanted.norm(dim=-1).clamp(min(slowest, 1.0), 1.0)
    miss = ((velocity[:, :2] - wanted) ** 2).sum(-1) / unit**2
    return torch.exp(-sharpness * miss - facing * (1.0 - torch.cos(heading_error)))


def pose_tracking(dof_pos: Tensor, reference: Tensor, sharpness: float = 2.0) -> Tensor:
    """``exp(-k mean((q - q_ref)^2) * 10)``: how closely hinge angles follow a reference pose."""
    return torch.exp(-sharpness * 10.0 * ((dof_pos - reference) ** 2).mean(-1))
