"""A clip reflected left to right, on its own skeleton.

A reflection y -> -y takes positions ``p`` of one side to ``S p`` of the other. Frames follow where the
skeleton's own frames are each other's mirror images at rest: then a rotation with the axis (x, y, z) becomes
one with (-x, y, -z), and that is all. Many libraries' frames are not (all bones along one axis, say): each body
``j`` then needs a turn ``M_j`` with ``M_j o_c = S o_c'`` for the offsets ``o_c`` of its children ``c`` and those of
their counterparts ``c'``; its mirrored frame is ``S W_j' S M_j``. Where one child leaves the twist open, the
parent's turn is carried on by the shortest way.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.errors import MotionError

if TYPE_CHECKING:
    from isaacmm.motion.clip import Motion
    from isaacmm.skeleton import Skeleton

_FLIP_POS = (1.0, -1.0, 1.0)
_FLIP_ROT = (-1.0, 1.0, -1.0, 1.0)
#: Bones shorter than this have no direction worth fitting (m); bones that differ by less than this share are mirrored.
_SHORT, _ALIKE = 0.01, 0.25
#: Joints this far (m, beyond what differing bones explain) from where they should be: left and right are not known.
_LOST = 0.10


def mirrored(motion: Motion) -> Motion:
    """The clip reflected at the x-z plane: left and right limbs swap, contacts and tags too.

    Raises:
        MotionError: the skeleton's names do not say what is left and what is right.
    """
    skeleton = motion.skeleton
    order = list(skeleton.mirror_bodies)
    flip = motion.root_rot.new_tensor(_FLIP_ROT)
    root_rot = motion.root_rot * flip
    joint_rot = motion.joint_rot[:, [b - 1 for b in order[1:]]] * flip
    turns = frame_turns(skeleton)
    if turns is not None:
        root_rot, joint_rot = _turned(skeleton, root_rot, joint_rot, turns.to(joint_rot))
    tags = tuple(
        tag.replace("left", "\0").replace("right", "left").replace("\0", "right") for tag in motion.tags
    )
    made = replace(
        motion,
        root_pos=motion.root_pos * motion.root_pos.new_tensor(_FLIP_POS),
        root_rot=root_rot,
        joint_rot=joint_rot,
        contacts=None if motion.contacts is None else motion.contacts.flip(-1),
        name=f"{motion.name}_mirrored" if motion.name else "",
        tags=tags,
    )
    if turns is not None:
        _check(motion, made, order)
    return made


def frame_turns(skeleton: Skeleton) -> Tensor | None:
    """Turn ``[B, 4]`` of every body's mirrored frame; None where the frames are mirror images as they are.

    Raises:
        MotionError: a body's counterpart hangs elsewhere.
    """
    order, parents = skeleton.mirror_bodies, skeleton.parents
    ours = skeleton.offsets.double().cpu()
    theirs = ours[list(order)] * ours.new_tensor(_FLIP_POS)
    lengths = torch.maximum(ours.norm(dim=-1), theirs.norm(dim=-1))
    bones = torch.tensor([parent >= 0 for parent in parents]) & (lengths > _SHORT)
    rest = skeleton.rest_rotations.double().cpu()[1:]
    askew = rotation.angle_between(
        rest, skeleton.rest_rotations.double().cpu()[list(order[1:])] * rest.new_tensor(_FLIP_ROT)
    )
    if not bool(((ours - theirs).norm(dim=-1) > _ALIKE * lengths)[bones].any() or (askew > 0.02).any()):
        return None
    if all(other == body for body, other in enumerate(order)):
        raise MotionError(
            "cannot be mirrored: no two joints are called left and right. Name both sides alike (LeftArm, RightArm; "
            "arm_l, arm_r), or retarget the clip, then mirror it."
        )
    turns = rotation.identity(skeleton.num_bodies, dtype=torch.float64)
    for body in range(skeleton.num_bodies):
        parent = parents[body]
        if parent >= 0:
            if parents[order[body]] != order[parent]:
                raise MotionError(
                    f"cannot be mirrored: {skeleton.names[body]!r} hangs on {skeleton.names[parent]!r}, but not "
                    f"{skeleton.names[order[body]]!r} on that one's counterpart. Retarget the clip, then mirror it."
                )
            turns[body] = turns[parent]
        children = [c for c, above in enumerate(parents) if above == body and bool(bones[c])]
        if children:
            turns[body] = rotation.multiply(
                _fit(rotation.rotate(turns[body], ours[children]), theirs[children]), turns[body]
            )
    return turns


def _fit(have: Tensor, want: Tensor) -> Tensor:
    """The smallest rotation ``[4]`` that takes vectors ``have [n, 3]`` to ``want``, as nearly as one can (Kabsch)."""
    have, want = (v / v.norm(dim=-1, keepdim=True).clamp(min=1e-9) for v in (have, want))
    u, size, vt = torch.linalg.svd(want.T @ have)
    if len(have) > 1 and float(size[1]) > 1e-2:  # directions that span a plane: one rotation is best
        u = u.clone()
        u[:, 2] *= torch.linalg.det(u @ vt)
        return rotation.from_matrix(u @ vt)
    a, b = have[0], want[0]
    axis, cos = torch.linalg.cross(a, b), float(a @ b)
    if cos < -1.0 + 1e-6:  # opposite: about any axis across
        axis, cos = torch.linalg.cross(a, torch.eye(3, dtype=a.dtype)[int(a.abs().argmin())]), -1.0
    return rotation.normalize(torch.cat((axis, axis.new_tensor([1.0 + cos]))))


def _turned(skeleton: Skeleton, root_rot: Tensor, joint_rot: Tensor, turns: Tensor) -> tuple[Tensor, Tensor]:
    """Mirrored rotations with every body's frame turned by ``turns [B, 4]`` about itself."""
    above = turns[list(skeleton.parents[1:])]
    order = list(skeleton.mirror_bodies)
    flip = root_rot.new_tensor(_FLIP_ROT)
    rest = skeleton.rest_rotations[1:].to(joint_rot)
    theirs = skeleton.rest_rotations[order[1:]].to(joint_rot) * flip  # of the counterparts, mirrored
    local = rotation.multiply(
        rotation.multiply(rotation.inverse(above), rotation.multiply(theirs, joint_rot)), turns[1:]
    )
    return rotation.multiply(root_rot, turns[0].expand_as(root_rot)), rotation.multiply(
        rotation.inverse(rest), local
    )


def _check(motion: Motion, made: Motion, order: list[int]) -> None:
    """Refuse a result whose joints are not where the mirror has them (looked at in a few frames)."""
    skeleton = motion.skeleton
    which = slice(0, None, max(1, motion.num_frames // 8))
    flip = motion.root_pos.new_tensor(_FLIP_POS)
    pos, _ = skeleton.fk(motion.root_pos[which], motion.root_rot[which], motion.joint_rot[which])
    got, _ = skeleton.fk(made.root_pos[which], made.root_rot[which], made.joint_rot[which])
    lengths = skeleton.offsets.norm(dim=-1)
    allowed = _LOST + (lengths - lengths[order]).abs()[1:].sum()
    away = (got - (pos * flip)[:, order]).norm(dim=-1).amax(dim=0)
    worst = int(away.argmax())
    if float(away[worst]) > float(allowed):
        pairs = sum(other != body for body, other in enumerate(order)) // 2
        raise MotionError(
            f"{motion.name or 'clip'}: cannot be mirrored: {pairs} pairs of joints are called left and right, and "
            f"{skeleton.names[worst]!r} would be {100 * float(away[worst]):.0f} cm off. Name both sides alike "
            "(LeftArm, RightArm; arm_l, arm_r), or retarget the clip, then mirror it."
        )
