"""What a character feels of itself: one function for the agent and for the demonstrations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.errors import ConfigError, nearest
from isaacmm.state import MotionState

DofObservation = Literal["angles", "tan_norm"]


@dataclass(frozen=True)
class Slice:
    """A named part of an observation vector, for sidecars and for people."""

    name: str
    start: int
    stop: int
    unit: str
    frame: str
    items: tuple[str, ...] = ()


class Proprioception:
    """Heading-invariant self-observation ``[N, F]`` of a :class:`MotionState`.

    In order: root height (m); root rotation without heading, as two matrix columns (6); root linear
    (m/s) and angular velocity (rad/s) in the heading frame (3 + 3); joint positions; joint velocities
    (rad/s, D); key body positions relative to the root in the heading frame (m, 3 each). Joint
    positions are hinge angles (``angles``: D) or, as in the classic recipe, two matrix columns per
    three-hinge joint and the angle of single hinges (``tan_norm``). The layout follows AMP (Peng et
    al. 2021, sec. 6, and its public implementation, which leaves the root rotation's heading in).

    Turning or shifting the character on the ground changes nothing in it.
    """

    def __init__(self, character: CharacterModel, dofs: DofObservation = "angles") -> None:
        if dofs not in ("angles", "tan_norm"):
            raise ConfigError(f"dof_observation '{dofs}' is not known; {nearest(str(dofs), ('angles', 'tan_norm'))}")
        self.skeleton = character.skeleton
        self.dofs = dofs
        self._key_ids = torch.tensor(character.key_ids, device=self.skeleton.device)
        self._key_names = character.key_bodies
        chains: dict[int, list[int]] = {}
        for d, body in enumerate(self.skeleton.dof_bodies):
            chains.setdefault(body, []).append(d)
        ball_joints = [body - 1 for body, chain in chains.items() if len(chain) > 1]
        hinges = [chain[0] for chain in chains.values() if len(chain) == 1]
        self._ball_joints, self._hinges = (
            torch.tensor(ids, dtype=torch.int64, device=self.skeleton.device) for ids in (ball_joints, hinges)
        )
        joints = 6 * len(self._ball_joints) + len(self._hinges) if dofs == "tan_norm" else self.skeleton.num_dofs
        self._sizes = (1, 6, 3, 3, joints, self.skeleton.num_dofs, 3 * len(self._key_names))
        self.size = sum(self._sizes)

    def __call__(self, state: MotionState) -> Tensor:
        """``[N, F]``."""
        turn = rotation.inverse(rotation.heading(state.root_rot))
        root_rot = rotation.multiply(turn, state.root_rot)
        keys = state.body_pos[:, self._key_ids] - state.root_pos[:, None]
        # one rotation for all vectors: fewer, larger kernels
        vectors = torch.cat((state.root_vel[:, None], state.root_ang_vel[:, None], keys), dim=1)
        vectors = rotation.rotate(turn[:, None], vectors).flatten(1)
        return torch.cat(
            (
                state.root_pos[:, 2:3],
                rotation.two_columns(root_rot),
                vectors[:, :6],
                self._joints(state.dof_pos),
                state.dof_vel,
                vectors[:, 6:],
            ),
            dim=1,
        )

    def _joints(self, dof_pos: Tensor) -> Tensor:
        if self.dofs == "angles":
            return dof_pos
        joint_rot = self.skeleton.dofs_to_joint_rot(dof_pos)[:, self._ball_joints]
        return torch.cat((rotation.two_columns(joint_rot).flatten(1), dof_pos[:, self._hinges]), dim=1)

    def slices(self) -> list[Slice]:
        """Names, units and frames of the parts, in order."""
        dof = self.skeleton.dof_names
        joint_items = dof if self.dofs == "angles" else ()
        names = (
            ("root_height", "m", "world", ()),
            ("root_rotation", "two matrix columns", "heading", ()),
            ("root_velocity", "m/s", "heading", ("x", "y", "z")),
            ("root_angular_velocity", "rad/s", "heading", ("x", "y", "z")),
            ("joint_positions", "rad" if self.dofs == "angles" else "two matrix columns, or rad", "joint", joint_items),
            ("joint_velocities", "rad/s", "joint", dof),
            ("key_body_positions", "m", "heading, from the root", self._key_names),
        )
        out, start = [], 0
        for (name, unit, frame, items), size in zip(names, self._sizes, strict=True):
            out.append(Slice(name, start, start + size, unit, frame, items))
            start += size
        return out
