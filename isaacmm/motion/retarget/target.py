"""A character prepared to be posed: which body plays which role, and the hinges that turn it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.errors import MotionError
from isaacmm.motion.angles import dof_curves
from isaacmm.motion.retarget import anatomy
from isaacmm.motion.retarget.anatomy import LIMBS
from isaacmm.motion.retarget.geometry import limb_frame, shortest
from isaacmm.motion.retarget.roles import SIDES, STARTS
from isaacmm.skeleton import Skeleton

_LEFT = (0.0, 1.0, 0.0)


@dataclass(eq=False)
class Target:
    """Roles, hinges by limb, and the anatomical frames of the bodies that play the roles.

    Between two such bodies there may be others (robots have one body per hinge): their hinges belong to the outer one.
    """

    character: CharacterModel
    roles: dict[str, int]

    def __post_init__(self) -> None:
        skeleton = self.character.skeleton
        self.folded = Folded(skeleton, [body for role, body in self.roles.items() if role not in STARTS.values()])
        pos, zero = anatomy.rest(skeleton)
        stand = anatomy.upright(skeleton, self.roles)
        self.fixed: dict[str, Tensor] = {}
        for role in ("pelvis", "chest", "head", *(f"{s}_foot" for s in SIDES)):
            if role in self.roles:
                self.fixed[role] = rotation.multiply(rotation.inverse(zero[self.roles[role]]), stand)
        for limb, (upper, lower, end, sign) in LIMBS.items():
            first = anatomy.bone(skeleton, self.roles, upper, lower)
            second = anatomy.bone(skeleton, self.roles, lower, end)
            if first is None or second is None:
                continue
            left = self._hinge(upper, lower, first, sign, stand)
            if left is None:
                own = anatomy.zero_pose_axis(skeleton, self.roles, limb)
                if own is None:
                    raise MotionError(f"'{self.character.name}': nothing tells which way its {limb} bends")
                left = rotation.rotate(zero[self.roles[upper]], own)
            for role, along in ((upper, first), (lower, second)):
                self.fixed[role] = limb_frame(along, rotation.rotate_inverse(zero[self.roles[role]], left))
        self.leg = anatomy.leg_length(skeleton, self.roles)
        flat = rotation.inverse(torch.stack([self.fixed[f"{s}_foot"] for s in SIDES]))
        self.soles = torch.stack([self._sole(s) for s in SIDES])
        standing = rotation.rotate(flat[:, None], self.soles)
        self.ankle_height = -float(standing[..., 2].amin(dim=-1).mean())
        #: hip joints in the root's frame ``[2, 3]`` m
        self.sockets = pos[[anatomy.start(self.roles, f"{s}_thigh") for s in SIDES]]
        #: for each of the character's feet, in its own order: 0 for the left one, 1 for the right one
        self.feet_order = [
            [self.roles[f"{s}_foot"] for s in SIDES].index(skeleton.body(foot)) for foot in self.character.feet
        ]

    def _sole(self, side: str) -> Tensor:
        """Sole points ``[C, 3]`` m of one foot, in the foot's frame."""
        name = self.character.skeleton.names[self.roles[f"{side}_foot"]]
        if name not in self.character.feet:
            raise MotionError(f"'{self.character.name}': its {side} foot '{name}' is not one of its feet")
        return self.character.sole[self.character.feet.index(name)].double()

    def _hinge(self, upper: str, lower: str, bone: Tensor, sign: float, stand: Tensor) -> Tensor | None:
        """Axis ``[3]`` of a one-hinge elbow or knee in the zero pose, pointing to the left of a limb that hangs.

        Where that cannot be told (a hinge across), bending about it goes the way of ``sign`` in its range.
        """
        skeleton = self.character.skeleton
        chain = self.chain(lower)
        if len(chain) != 1:
            return None
        _, zero = anatomy.rest(skeleton)
        axis = rotation.rotate(zero[skeleton.dof_bodies[chain[0]]], skeleton.dof_axes[chain[0]].double())
        along = rotation.rotate_inverse(stand, rotation.rotate(zero[self.roles[upper]], bone))
        swung = rotation.rotate(shortest(along.new_tensor([0.0, 0.0, -1.0]), along), along.new_tensor(_LEFT))
        alike = float(axis @ rotation.rotate(stand, swung))
        if abs(alike) < 0.5:
            alike = float(skeleton.dof_limits[chain[0]].mean()) * sign
        return axis * (1.0 if alike >= 0 else -1.0)

    def chain(self, *roles: str) -> list[int]:
        """Hinges that turn the bodies which play ``roles``, in order."""
        bodies = [self.roles[r] for r in roles if r in self.roles]
        return [d for d, body in enumerate(self.folded.skeleton.dof_bodies) if body in bodies]

    def body_rot(self, role: str, frame: Tensor) -> Tensor:
        """World rotation of the role's body when its anatomical frame is ``frame [T, 4]``."""
        return rotation.multiply(frame, rotation.inverse(self.fixed[role]))

    def tip(self, part: str, child: str) -> Tensor:
        """Where the bone that follows begins ``[3]`` m, in the frame of the body that plays ``part``, in the zero
        pose."""
        pos, rot = anatomy.rest(self.character.skeleton)
        body = self.roles[part]
        return rotation.rotate_inverse(rot[body], pos[anatomy.start(self.roles, child)] - pos[body])


class Folded:
    """A skeleton whose hinges are all at the bodies ``keep``: those of bodies in between are moved outwards.

    With rest rotations ``R`` and hinges ``a``, the outer body is turned against the inner one by
    ``R1 exp(a1 t1) R2 exp(a2 t2) ... = (R1 R2 ...) exp(c1 t1) exp(c2 t2) ...``. Three hinges of which the first and the
    last are not perpendicular (robots' shoulders are inclined) become three that are by Davenport's trick: the last
    one's axis is the perpendicular one turned about the second by some angle, which is taken out of the second hinge
    and behind the joint.

    Attributes:
        skeleton: with these hinges; angles differ from the character's by ``shift [D]`` rad.
        behind: ``[J, 4]`` rotation that a joint's own is to be followed by.
    """

    def __init__(self, skeleton: Skeleton, keep: list[int]) -> None:
        axes, bodies = skeleton.dof_axes.double().clone(), list(skeleton.dof_bodies)
        self.shift = torch.zeros(skeleton.num_dofs, dtype=torch.float64)
        self.behind = rotation.identity(skeleton.num_joints, dtype=torch.float64)
        for body in keep:
            inner, between = body, rotation.identity(dtype=torch.float64)
            while inner > 0 and (inner == body or inner not in keep):
                for d in [d for d, owner in enumerate(skeleton.dof_bodies) if owner == inner]:
                    axes[d] = rotation.rotate_inverse(between, skeleton.dof_axes[d].double())
                    bodies[d] = body
                between = rotation.multiply(skeleton.rest_rotations[inner].double(), between)
                inner = skeleton.parents[inner]
            chain = [d for d, owner in enumerate(bodies) if owner == body]
            if len(chain) == 3:
                first, second, last = axes[chain]
                upright = torch.linalg.cross(first, second)
                lean = torch.atan2(last @ torch.linalg.cross(second, upright), last @ upright)
                if float(lean.abs()) > 0.5 * torch.pi:  # a left-handed set of axes
                    upright, lean = -upright, lean - lean.sign() * torch.pi
                axes[chain[2]] = upright
                self.shift[chain[1]] = lean
                self.behind[body - 1] = rotation.from_axis_angle(second, lean)
        limits = skeleton.dof_limits + self.shift[:, None].to(skeleton.dof_limits)
        self.skeleton = replace(
            skeleton, dof_axes=axes.to(skeleton.dof_axes), dof_bodies=tuple(bodies), dof_limits=limits
        )

    def angles(self, joint_rot: Tensor, fps: float = 30.0) -> Tensor:
        """The character's hinge angles ``[T, D]`` rad of joint rotations ``[T, J, 4]``.

        Only rotations of bodies that play a role count, each against the rest of all that is between it and the next
        such body inwards.
        """
        joint_rot = rotation.multiply(joint_rot, self.behind.to(joint_rot).expand_as(joint_rot))
        return dof_curves(self.skeleton, joint_rot, fps) - self.shift.to(joint_rot)
