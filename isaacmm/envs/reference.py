"""ReferenceTable: a motion library sampled once, on a fine grid of times, for gathering.

Resets, demonstrations and playheads all ask the library for states at times; asking it afresh costs
kinematics each time. The table asks once, at a multiple of the control rate (so that a history of
control steps falls on grid points), and afterwards everything is one gather.
"""

from __future__ import annotations

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.envs.observations import Proprioception
from isaacmm.errors import MotionError
from isaacmm.motion.grid import TimeGrid
from isaacmm.motion.library import MotionLibrary
from isaacmm.state import ResetState


class ReferenceTable:
    """States and self-observations of all clips on a time grid.

    Args:
        library: the clips.
        observe: the observation function shared with the agent.
        control_hz: control rate; neighbours in a history are one control step apart.
        phases: grid points per control step.
        history: frames of a discriminator observation; no row is drawn that has no full history.
    """

    def __init__(
        self, library: MotionLibrary, observe: Proprioception, control_hz: float, phases: int = 4, history: int = 2
    ) -> None:
        self.library = library
        self.stride = phases
        self.history = history
        device = library.device
        self.grid = grid = TimeGrid(library, control_hz * phases)
        self.first, self.count, self.clip, self.time = grid.first, grid.count, grid.clip, grid.time
        need = (history - 1) * phases + 1
        if int(self.count.min()) <= need:
            short = int(self.count.argmin())
            raise MotionError(
                f"{library.names[short]}: {float(library.lengths[short]):.2f} s is too short for a history of "
                f"{history} control steps"
            )
        parts: dict[str, list[Tensor]] = {}
        for state in grid.states():
            rows = {
                "observation": observe(state),
                "root_pos": state.root_pos,
                "root_rot": state.root_rot,
                "root_vel": state.root_vel,
                "root_ang_vel": state.root_ang_vel,
                "dof_pos": state.dof_pos,
                "dof_vel": state.dof_vel,
            }
            for name, value in rows.items():
                parts.setdefault(name, []).append(value)
        flat = {name: torch.cat(values) for name, values in parts.items()}
        self.observation = flat["observation"]
        self._state = ResetState(*(flat[n] for n in ResetState.__dataclass_fields__))
        #: heading of the root per row, rad
        self.yaw = rotation.yaw(self._state.root_rot)
        self._back = torch.arange(history, device=device) * phases

    def __len__(self) -> int:
        return len(self.clip)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Rows ``[n]``: clips by weight, times evenly, always with a full history behind them."""
        device = self.library.device
        clip = torch.multinomial(self.library.weights, n, replacement=True, generator=generator)
        low = (self.history - 1) * self.stride
        span = (self.count[clip] - low).float()
        step = (torch.rand(n, generator=generator, device=device) * span).long()
        return self.first[clip] + low + torch.minimum(step, self.count[clip] - low - 1)

    def histories(self, rows: Tensor) -> Tensor:
        """Self-observations ``[n, H, F]`` of the rows and the control steps before them, newest first."""
        return self.observation[rows[:, None] - self._back]

    def reset_state(self, rows: Tensor) -> ResetState:
        """States to put a simulator into, moved to the origin of the ground."""
        state = self._state.index(rows)
        state.root_pos = state.root_pos.clone()
        state.root_pos[:, :2] = 0.0
        return state

    def dofs(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Hinge angles and velocities ``[n, D]``."""
        return self._state.dof_pos[rows], self._state.dof_vel[rows]

    def advance(self, rows: Tensor, steps: int = 1) -> Tensor:
        """The rows ``steps`` control steps later; past a clip's end the playhead goes on from its start."""
        clip = self.clip[rows]
        offset = rows - self.first[clip] + steps * self.stride
        return self.first[clip] + torch.remainder(offset, self.count[clip])
