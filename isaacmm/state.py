"""MotionState: the one thing that crosses between simulators, the motion library and observations.

Demonstrations and the agent are observed through the same functions of this class, so that the
discriminator can never tell them apart by an accident of bookkeeping.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


@dataclass
class ResetState:
    """What fixes a character's state; simulators compute the rest. World frame, SI, rad.

    Shapes: ``root_pos [n,3]``, ``root_rot [n,4]`` xyzw, ``root_vel [n,3]`` and ``root_ang_vel [n,3]``
    of the root body's frame in world axes, ``dof_pos [n,D]``, ``dof_vel [n,D]``.
    """

    root_pos: Tensor
    root_rot: Tensor
    root_vel: Tensor
    root_ang_vel: Tensor
    dof_pos: Tensor
    dof_vel: Tensor

    def __len__(self) -> int:
        return self.root_pos.shape[0]

    def index(self, ids: Tensor) -> ResetState:
        """Rows ``ids``."""
        return ResetState(**{f.name: getattr(self, f.name)[ids] for f in fields(self)})

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> ResetState:
        """Without gradients on ``device``, as ``dtype`` where one is given."""
        return ResetState(**{f.name: getattr(self, f.name).detach().to(device, dtype) for f in fields(self)})


@dataclass
class MotionState:
    """State of ``N`` characters. World frame, SI, rad; quaternions xyzw; env-local positions.

    Shapes: ``root_* [N,3|4]``, ``dof_* [N,D]``, ``body_pos [N,B,3]``, ``body_rot [N,B,4]``,
    ``body_vel``/``body_ang_vel [N,B,3]`` of the body (link) frame origin in world axes, never of the
    centre of mass; ``contact_force [N,B,3]`` N or ``None`` where the source has none (clips).
    """

    root_pos: Tensor
    root_rot: Tensor
    root_vel: Tensor
    root_ang_vel: Tensor
    dof_pos: Tensor
    dof_vel: Tensor
    body_pos: Tensor
    body_rot: Tensor
    body_vel: Tensor
    body_ang_vel: Tensor
    contact_force: Tensor | None = None

    @property
    def num_envs(self) -> int:
        """Number of characters ``N``."""
        return self.root_pos.shape[0]

    @property
    def device(self) -> torch.device:
        """Where the tensors live."""
        return self.root_pos.device

    def items(self) -> Iterator[tuple[str, Tensor]]:
        """Name and tensor of every field that is present."""
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None:
                yield field.name, value

    def clone(self) -> MotionState:
        """A copy that later simulation steps do not change."""
        return replace(self, **{name: value.clone() for name, value in self.items()})

    def index(self, ids: Tensor) -> MotionState:
        """Rows ``ids`` (int64 or bool)."""
        return replace(self, **{name: value[ids] for name, value in self.items()})

    def to(self, device: torch.device | str) -> MotionState:
        """The same state on another device."""
        return replace(self, **{name: value.to(device) for name, value in self.items()})

    def reset_state(self) -> ResetState:
        """The part that a simulator needs to be put into this state."""
        return ResetState(
            self.root_pos, self.root_rot, self.root_vel, self.root_ang_vel, self.dof_pos, self.dof_vel
        )

    def is_finite(self) -> Tensor:
        """``[N]`` bool: no NaN or infinity in root and dof state."""
        parts = (self.root_pos, self.root_rot, self.root_vel, self.root_ang_vel, self.dof_pos, self.dof_vel)
        return torch.isfinite(torch.cat(parts, dim=-1)).all(dim=-1)
