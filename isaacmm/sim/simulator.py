"""What every simulator offers, and the settings they share.

One small interface, so that environments never know which engine runs underneath. No viewer and
no camera in it: pictures are made by playing recorded root and dof states back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from isaacmm.character import CharacterModel
from isaacmm.errors import ConfigError, nearest
from isaacmm.state import MotionState, ResetState


@dataclass(frozen=True)
class SimConfig:
    """Settings common to all simulators.

    Attributes:
        num_envs: number of worlds ``N``.
        control_hz: PD targets per second.
        physics_hz: physics steps per second, a whole multiple of ``control_hz``.
        threads: CPU threads, 0 = all cores this process may use. Ignored on a GPU.
        device: where the tensors of :meth:`Simulator.state` live.
        self_collision: let a character's bodies touch each other. Off by default: policies learn to
            walk with floor contacts only, faster. Parent and child never touch either way.
        contact_force: measure the contact force on every body (about 2 % of the time of a step).
        nconmax, njmax: contacts and constraint rows per world that ``warp`` makes room for; 0 = enough for the
            model. ``mujoco`` needs no such limits.
        physics: which engine ``isaaclab`` runs: ``newton`` (also where it is empty), ``ovphysx`` or ``physx``.
    """

    num_envs: int = 64
    control_hz: int = 30
    physics_hz: int = 120
    threads: int = 0
    device: str = "cpu"
    self_collision: bool = False
    contact_force: bool = True
    nconmax: int = 0
    njmax: int = 0
    physics: str = ""

    def __post_init__(self) -> None:
        if self.num_envs < 1:
            raise ConfigError(f"num_envs is {self.num_envs}; give at least one world")
        if self.control_hz < 1 or self.physics_hz < self.control_hz or self.physics_hz % self.control_hz:
            raise ConfigError(
                f"physics_hz {self.physics_hz} must be a whole multiple of control_hz {self.control_hz}, "
                "for example 120 and 30"
            )
        if self.threads < 0:
            raise ConfigError(f"threads is {self.threads}; give a number of threads, or 0 for all cores")
        for name in ("nconmax", "njmax"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; give a number per world, or 0 for the model's own")

    @property
    def substeps(self) -> int:
        """Physics steps per control step."""
        return self.physics_hz // self.control_hz

    @property
    def control_dt(self) -> float:
        """Seconds per control step."""
        return 1.0 / self.control_hz

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any] | SimConfig | None) -> SimConfig:
        """From a config section; an unknown key is refused with the nearest valid ones."""
        if values is None:
            return cls()
        if isinstance(values, SimConfig):
            return values
        names = [f.name for f in fields(cls)]
        for key in values:
            if key not in names:
                raise ConfigError(f"no simulator setting '{key}'; {nearest(str(key), names)}")
        return cls(**{str(k): v for k, v in values.items()})


@runtime_checkable
class Simulator(Protocol):
    """``N`` worlds with one character each.

    Conventions: SI, rad, z up; quaternions xyzw; positions relative to each world's own origin;
    poses and velocities of body (link) frames in world axes, never of centres of mass; dofs are
    hinge angles in the order of ``model.skeleton.dof_names``.

    ``capabilities`` names what a simulator can do beyond reset, step and state:
    ``"push"``, ``"gains"``, ``"snapshot"``, ``"contact_force"``; ``"reset_rows"`` (resets that do not wait for a GPU);
    ``"several"`` (more than one of its kind may live in a process).
    """

    model: CharacterModel
    num_envs: int
    device: torch.device
    control_dt: float
    capabilities: frozenset[str]

    def reset(self, env_ids: Tensor, state: ResetState) -> None:
        """Put worlds ``env_ids [n]`` (int64, any order, no repeats) into ``state``.

        Returns with kinematics done: :meth:`state` is exact for these worlds before any step, all
        other worlds are bit-identical, and an empty ``env_ids`` does nothing. Contact forces of the
        worlds are zero until their next step.
        """
        ...

    def step(self, dof_targets: Tensor) -> None:
        """One control step with PD targets ``[N, D]`` rad, held throughout and clipped by nothing."""
        ...

    def state(self) -> MotionState:
        """State now. Read-only, and valid until the next :meth:`step` or :meth:`reset`."""
        ...

    def diverged(self) -> Tensor:
        """``[N]`` bool: worlds whose physics broke down since their last reset; reset them."""
        ...

    def push(self, env_ids: Tensor, body: str, force: Tensor) -> None:
        """Force ``[n, 3]`` N, world axes, on the centre of mass of ``body`` during the next step only."""
        ...

    def set_gains(self, kp: Tensor | None, kd: Tensor | None) -> None:
        """Stiffness and damping, ``[D]`` for all worlds or ``[N, D]``; ``None`` leaves them as they are."""
        ...

    def snapshot(self) -> dict[str, Tensor]:
        """Everything that a bit-exact continuation needs, as CPU tensors that can be saved."""
        ...

    def restore(self, snapshot: Mapping[str, Tensor]) -> None:
        """Continue from :meth:`snapshot`, bit-exactly, in this or another simulator of the same set-up."""
        ...

    def close(self) -> None:
        """Free threads and memory. Closing twice is fine."""
        ...
