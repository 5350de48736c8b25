"""From the policy's numbers to PD targets."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from isaacmm.errors import ConfigError, nearest
from isaacmm.skeleton import Skeleton

KINDS = ("radians", "classic")


class ActionMap:
    """``target = offset + scale * action`` per hinge, rad.

    ``radians``: offset 0, scale 1, unbounded: actions are angles around the zero pose.
    ``classic``: IsaacGymEnvs' HumanoidAMP: actions are clipped to [-1, 1]; three-hinge joints reach
    +-pi, single hinges their middle +- 0.7 of their range.
    """

    def __init__(self, skeleton: Skeleton, kind: str = "radians") -> None:
        if kind not in KINDS:
            raise ConfigError(f"task.env.action '{kind}' is not known; {nearest(str(kind), KINDS)}")
        self.kind = kind
        count = {b: skeleton.dof_bodies.count(b) for b in skeleton.dof_bodies}
        low, high = skeleton.dof_limits[:, 0], skeleton.dof_limits[:, 1]
        self.offset = torch.zeros(skeleton.num_dofs, device=skeleton.device)
        self.scale = torch.ones(skeleton.num_dofs, device=skeleton.device)
        if kind == "classic":
            single = torch.tensor([count[b] == 1 for b in skeleton.dof_bodies], device=skeleton.device)
            self.offset = torch.where(single, 0.5 * (low + high), self.offset)
            self.scale = torch.where(single, 0.7 * (high - low), torch.full_like(low, math.pi))

    def __call__(self, actions: Tensor) -> Tensor:
        """PD targets ``[N, D]`` rad."""
        if self.kind == "classic":
            return self.offset + self.scale * actions.clamp(-1.0, 1.0)
        return actions
