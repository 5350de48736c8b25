"""What the decompressor gives back of a moment: everything that a controller plays, as one vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from isaacmm import rotation

#: Size of a logit of a foot that is known to stand, or not to: sure enough (98 %).
SURE = 4.0


@dataclass
class Pose:
    """Poses ``[N]``; hips are seen from the ground track under them (its place and heading).

    Attributes:
        hip_pos, hip_vel: ``[N, 3]`` m, m/s.
        hip_rot, hip_turn: ``[N, 4]`` xyzw and its rate ``[N, 3]`` rad/s.
        dof_pos, dof_vel: ``[N, D]`` rad, rad/s.
        velocity, turn_rate: ``[N, 2]`` m/s (forward, left) and ``[N]`` rad/s of the track.
        sole_height: ``[N, F]`` m, of each foot's lowest point.
        contact: ``[N, F]`` bool: feet that stand.
    """

    hip_pos: Tensor
    hip_rot: Tensor
    dof_pos: Tensor
    hip_vel: Tensor
    hip_turn: Tensor
    dof_vel: Tensor
    velocity: Tensor
    turn_rate: Tensor
    sole_height: Tensor
    contact: Tensor

    def where(self, mask: Tensor, other: Pose) -> Pose:
        """``other`` in worlds ``mask [N]`` bool, this one elsewhere."""
        pairs = ((getattr(self, f.name), getattr(other, f.name)) for f in fields(self))
        return Pose(*(torch.where(mask.reshape(-1, *[1] * (a.dim() - 1)), b, a) for a, b in pairs))


@dataclass(frozen=True)
class Part:
    """Columns ``start:stop`` of the vector."""

    name: str
    start: int
    stop: int
    unit: str
    meaning: str

    @property
    def slice(self) -> slice:
        """Of the columns."""
        return slice(self.start, self.stop)


class PoseLayout:
    """Names the columns of a pose vector ``[W]``.

    Args:
        dof_names: hinges, in order.
        feet: names of the feet.
    """

    def __init__(self, dof_names: Sequence[str], feet: Sequence[str]) -> None:
        self.dof_names, self.feet = tuple(dof_names), tuple(feet)
        dofs, count = len(self.dof_names), len(self.feet)
        table = (
            ("hip_position", 3, "m", "from the point on the ground under the character, in its heading frame"),
            ("hip_rotation", 6, "", "in the heading frame, first two columns of the matrix: m00 m10 m20 m01 m11 m21"),
            ("dof_position", dofs, "rad", "hinge angles"),
            ("hip_velocity", 3, "m/s", "rate of hip_position"),
            ("hip_turn", 3, "rad/s", "rate of hip_rotation, as a rotation vector in the heading frame"),
            ("dof_velocity", dofs, "rad/s", "rates of dof_position"),
            ("velocity", 2, "m/s", "of the ground point: forward, left of the heading"),
            ("turn_rate", 1, "rad/s", "of the heading"),
            ("sole_height", count, "m", "of each foot's lowest point over the floor"),
            ("contact", count, "", "above 0: the foot stands (a logit)"),
        )
        parts, start = [], 0
        for name, width, unit, meaning in table:
            parts.append(Part(name, start, start + width, unit, meaning))
            start += width
        self.parts = tuple(parts)
        self.size = start

    def __getitem__(self, name: str) -> slice:
        return next(part.slice for part in self.parts if part.name == name)

    def encode(self, pose: Pose) -> Tensor:
        """Vectors ``[N, W]``; contacts as logits."""
        return torch.cat(
            (
                pose.hip_pos, rotation.two_columns(pose.hip_rot), pose.dof_pos, pose.hip_vel, pose.hip_turn,
                pose.dof_vel, pose.velocity, pose.turn_rate[:, None], pose.sole_height,
                SURE * (2.0 * pose.contact.to(pose.hip_pos) - 1.0),
            ),
            dim=1,
        )  # fmt: skip

    def decode(self, vector: Tensor) -> Pose:
        """Inverse of :meth:`encode`; the rotation is made orthonormal."""
        v = {part.name: vector[..., part.slice] for part in self.parts}
        return Pose(
            v["hip_position"], rotation.from_two_columns(v["hip_rotation"]), v["dof_position"], v["hip_velocity"],
            v["hip_turn"], v["dof_velocity"], v["velocity"], v["turn_rate"][..., 0], v["sole_height"],
            v["contact"] > 0,
        )  # fmt: skip
