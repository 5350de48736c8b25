"""Source: where commands come from: a script, a path on the ground, the keyboard, chance."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

#: Nobody is asked to be faster (m/s): sprinters reach 12.
FASTEST = 20.0


class Command(NamedTuple):
    """What ``N`` characters are asked to do now.

    Attributes:
        velocity: ``[N, 2]`` m/s, (forward, left) of the commanded facing.
        facing: ``[N]`` rad, where to face, world.
        turn_rate: ``[N]`` rad/s at which that facing goes on turning.
    """

    velocity: Tensor
    facing: Tensor
    turn_rate: Tensor


class Source(Protocol):
    """Gives commands."""

    def command(self, time: Tensor | float, root_pos: Tensor, root_yaw: Tensor) -> Command:
        """The command at ``time`` (s; one number, or ``[N]``) for characters at ``root_pos [N, 2]`` m that face
        ``root_yaw [N]`` rad, world."""
        ...

    def reset(self, ids: Tensor, root_pos: Tensor, root_yaw: Tensor) -> None:
        """Characters ``ids [n]`` begin anew at ``root_pos [n, 2]``, facing ``root_yaw [n]``."""
        ...


def times(time: Tensor | float, like: Tensor) -> Tensor:
    """``time`` as one number per character of ``like [N]``."""
    return torch.as_tensor(time, dtype=like.dtype, device=like.device).expand(like.shape)


class Starts:
    """Where characters began: scripts and paths are laid there.

    A character begins when it is reset, when it is first seen, and when its time runs backwards (a new episode).
    """

    def __init__(self) -> None:
        self.pos = torch.zeros(0, 2)
        self.yaw = torch.zeros(0)
        self.time = torch.zeros(0)

    def of(self, time: Tensor, root_pos: Tensor, root_yaw: Tensor) -> Tensor:
        """Take note of ``time [N]`` and return ``[N]`` bool: who begins now."""
        if len(self.yaw) != len(root_yaw):
            begins = torch.ones_like(root_yaw, dtype=torch.bool)
            self.pos, self.yaw, self.time = root_pos.detach().clone(), root_yaw.detach().clone(), time.clone()
            return begins
        begins = time < self.time
        self.pos = torch.where(begins[:, None], root_pos, self.pos)
        self.yaw = torch.where(begins, root_yaw, self.yaw)
        self.time = time.clone()
        return begins

    def reset(self, ids: Tensor, root_pos: Tensor, root_yaw: Tensor) -> None:
        """Characters ``ids`` begin at the given places."""
        more = (int(ids.max()) + 1 if len(ids) else 0) - len(self.yaw)
        if more > 0:
            self.pos = torch.cat((self.pos.to(root_pos), root_pos.new_zeros(more, 2)))
            self.yaw = torch.cat((self.yaw.to(root_yaw), root_yaw.new_zeros(more)))
            self.time = torch.cat((self.time.to(root_yaw), root_yaw.new_zeros(more)))
        self.pos[ids], self.yaw[ids], self.time[ids] = root_pos, root_yaw, 0.0
