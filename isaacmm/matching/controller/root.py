"""Root motion: the clips' ground track, led gently to where the command wants the character."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from isaacmm import rotation


@dataclass(frozen=True)
class Leading:
    """How the root follows the point that the command spring moves.

    Attributes:
        position_halflife, facing_halflife: s.
        share: of the character's own speed and turn rate that a correction may have; 0 leaves the clips' motion alone.
        turning: rad/s of turning that walking at 1 m/s allows besides (a straight walk has no turn rate of its own).
        clamp_distance, clamp_angle: m, rad; how far the commanded point may get away. It is the point that is held
            back, not the character that is dragged: dragging would slide its feet.
    """

    position_halflife: float = 0.1
    facing_halflife: float = 0.2
    share: float = 0.5
    turning: float = 0.25
    clamp_distance: float | None = 0.15
    clamp_angle: float | None = 1.5708


class Root:
    """Track of ``N`` characters and the commanded points beside them.

    Attributes:
        pos, yaw: ``[N, 2]`` m, ``[N]`` rad: the character's track, world.
        point: ``[N, 2]`` m: where the command spring is.
    """

    def __init__(self, num_envs: int, leading: Leading, device: torch.device | str = "cpu") -> None:
        self.leading = leading
        self.pos = torch.zeros(num_envs, 2, device=device)
        self.yaw = torch.zeros(num_envs, device=device)
        self.point = torch.zeros(num_envs, 2, device=device)

    def reset(self, ids: Tensor, pos: Tensor, yaw: Tensor) -> None:
        """Worlds ``ids [n]`` stand at ``pos [n, 2]``, facing ``yaw [n]``."""
        self.pos[ids], self.yaw[ids], self.point[ids] = pos, yaw, pos

    def advance(self, way: Tensor, turn: Tensor) -> None:
        """Go ``way [N, 2]`` m in the own heading frame and turn by ``turn [N]`` rad."""
        self.pos = self.pos + turned(way, self.yaw)
        self.yaw = rotation.wrap_angle(self.yaw + turn)

    def lead(self, velocity: Tensor, facing: Tensor, way: Tensor, turn: Tensor, dt: float) -> Tensor:
        """Move the commanded point, then the character towards it and towards its facing.

        Args:
            velocity: ``[N, 2]`` m/s of the command spring in the frame of its ``facing [N]`` rad.
            facing: of the command spring, world; returned held within the clamp.
            way, turn: what the clips made the character do in this step.
            dt: s.

        Returns:
            ``facing`` within ``clamp_angle`` of the character's own.
        """
        lead = self.leading
        self.point = self.point + turned(velocity, facing) * dt
        gap = self.point - self.pos
        aside = rotation.wrap_angle(facing - self.yaw)
        if lead.share > 0:
            step = gap * (1.0 - 2.0 ** (-dt / lead.position_halflife))
            step = shorten(step, lead.share * way.norm(dim=-1))
            most = lead.share * turn.abs() + lead.turning * way.norm(dim=-1)
            twist = aside * (1.0 - 2.0 ** (-dt / lead.facing_halflife))
            twist = torch.maximum(torch.minimum(twist, most), -most)
            self.pos, self.yaw = self.pos + step, rotation.wrap_angle(self.yaw + twist)
            gap, aside = gap - step, aside - twist
        if lead.clamp_distance is not None:
            far = torch.full_like(aside, lead.clamp_distance)
            self.point = self.pos + shorten(gap, far)
        if lead.clamp_angle is not None:
            facing = rotation.wrap_angle(self.yaw + aside.clamp(-lead.clamp_angle, lead.clamp_angle))
        return facing


def turned(vector: Tensor, yaw: Tensor) -> Tensor:
    """Ground vectors ``[..., 2]`` turned by ``yaw [...]`` rad."""
    cos, sin = torch.cos(yaw), torch.sin(yaw)
    x, y = vector.unbind(-1)
    return torch.stack((cos * x - sin * y, sin * x + cos * y), dim=-1)


def shorten(vector: Tensor, most: Tensor) -> Tensor:
    """Vectors ``[N, 2]`` no longer than ``most [N]``."""
    length = vector.norm(dim=-1)
    return vector * torch.minimum(most / length.clamp(min=1e-9), torch.ones_like(length))[:, None]
