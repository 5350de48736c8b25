"""The twin's pose, without jumps: for policies that are shown it or add to it."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from isaacmm.envs.reference import ReferenceTable
from isaacmm.matching.controller.inertialization import Inertialization

#: Seconds in which half of a jump has faded.
HALFLIFE = 0.1


class TwinPose:
    """Hinge angles of the twins' rows plus an offset that fades (inertialization: Bollo 2018; Holden et al. 2020).

    Where a twin jumps to another moment, the offset takes up the difference of pose and velocity between where it
    would have gone on and where it went.
    """

    def __init__(self, table: ReferenceTable, num_envs: int) -> None:
        self.table = table
        dofs = table.dofs(torch.zeros(num_envs, dtype=torch.int64, device=table.yaw.device))[0]
        self.fading = Inertialization(num_envs, dofs.shape[1], HALFLIFE, dofs.device)

    def reset(self, ids: Tensor) -> None:
        """Worlds ``ids`` start without an offset."""
        self.fading.reset(ids)

    def reset_where(self, done: Tensor) -> None:
        """Worlds ``done [N]`` start without an offset."""
        self.fading.offset = torch.where(done[:, None], 0.0, self.fading.offset)
        self.fading.velocity = torch.where(done[:, None], 0.0, self.fading.velocity)

    def step(self, before: Tensor, row: Tensor, jumped: Tensor, dt: float) -> None:
        """Twins went from rows ``before [N]`` to ``row [N]`` within ``dt`` s; ``jumped [N]``: not within a clip."""
        if jumped.device.type != "cpu" or bool(jumped.any()):  # asking a GPU would take longer than doing it
            clip = self.table.clip[before]
            last = self.table.first[clip] + self.table.count[clip] - 1
            old, old_velocity = self.table.dofs(torch.minimum(before + self.table.stride, last))
            new, new_velocity = self.table.dofs(row)
            self.fading.jump(jumped, old - new, old_velocity - new_velocity)
        self.fading.decay(dt)

    def dofs(self, row: Tensor) -> Tensor:
        """Hinge angles ``[N, D]`` rad."""
        return self.table.dofs(row)[0] + self.fading.offset

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that a resumed run needs."""
        return {"offset": self.fading.offset.clone(), "velocity": self.fading.velocity.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Inverse of :meth:`state_dict`."""
        self.fading.offset, self.fading.velocity = state["offset"].clone(), state["velocity"].clone()
