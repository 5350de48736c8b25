"""ProtoMotions ``.motion``: what ``torch.save`` makes of a clip's body states; z up, metres, xyzw.

Read by :mod:`.torch_file`, which is stricter than ``torch.load(weights_only=True)`` and needs no torch.
The file has no tree and no names. Positions and rotations of 33 bodies are the Unitree G1's (with head
and hands), 24 are SMPL's; bone lengths are measured from the stored positions, so kinematics gives
these back. Other robots need ``skeleton=``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.errors import MotionError
from isaacmm.motion.contacts import contacts, feet_of
from isaacmm.motion.io import files, g1_robot, smpl_body, torch_file
from isaacmm.motion.io.fields import Fields

if TYPE_CHECKING:
    from isaacmm.motion.clip import Motion
    from isaacmm.skeleton import Skeleton

#: Bones whose measured offset varies by more than this are no bones: the tree is another one (m).
_RIGID = 0.01


def sniff(path: Path) -> bool:
    """True for an archive as ``torch.save`` makes it."""
    return torch_file.is_torch_zip(path)


def read(path: Path, skeleton: Skeleton | None = None) -> Motion:
    """Read a ProtoMotions clip.

    Args:
        path: the file.
        skeleton: the robot whose bodies are in the file, in its order, or (24 and 33 bodies) one with
            SMPL's or the G1's names. None: SMPL or the G1, with the bones of the file.
    """

    content = torch_file.load(path)
    if not isinstance(content, dict):
        raise MotionError(f"{path}: holds a {type(content).__name__}, expected ProtoMotions' dictionary.")
    data = Fields(content, path, "a ProtoMotions clip")
    body_pos = torch.as_tensor(data.array("rigid_body_pos", None, None, 3))
    frames, bodies = body_pos.shape[:2]
    body_rot = torch.as_tensor(data.array("rigid_body_rot", frames, bodies, 4))
    if frames and float((body_rot.norm(dim=-1) - 1.0).abs().max()) > 0.1:
        raise MotionError(f"{path}: rigid_body_rot holds quaternions that are not of unit length.")
    body_rot = rotation.normalize(body_rot)
    if bodies == 33:
        at, own = list(g1_robot.PROTOMOTIONS_BODIES), g1_robot.skeleton()
    elif bodies == 24:
        at = [smpl_body.MUJOCO_ORDER.index(name) for name in smpl_body.NAMES]
        own = smpl_body.skeleton()
    elif skeleton is not None and skeleton.num_bodies == bodies:
        at, own = list(range(bodies)), skeleton
    else:
        raise MotionError(
            f"{path}: has {bodies} bodies, without names. isaacmm knows those of the Unitree G1 (33) and SMPL (24); "
            f"for another robot pass skeleton=Skeleton.from_mjcf('robot.xml') with {bodies} bodies in the same order."
        )
    body_pos, body_rot = body_pos[:, at], body_rot[:, at]
    above = list(own.parents[1:])
    local = rotation.multiply(rotation.inverse(body_rot[:, above]), body_rot[:, 1:])
    joint_rot = files.local_to_joint(torch.cat((body_rot[:, :1], local), dim=1), own)
    if own is not skeleton:
        own = replace(own, offsets=_measured(body_pos, body_rot, own, path))
    return files.placed(skeleton, own, body_pos[:, 0], body_rot[:, 0], joint_rot, data.rate("fps", default=30.0), path)


def _measured(body_pos: Tensor, body_rot: Tensor, tree: Skeleton, path: Path) -> Tensor:
    """Offsets ``[B, 3]`` of the bones that the positions show."""
    above = list(tree.parents[1:])
    bones = rotation.rotate_inverse(body_rot[:, above], body_pos[:, 1:] - body_pos[:, above])
    good = torch.isfinite(bones).all(dim=-1).all(dim=-1)
    if not bool(good.any()):
        return tree.offsets
    offsets = bones[good].median(dim=0).values
    off = (bones[good] - offsets).norm(dim=-1).amax(dim=0)
    if float(off.max()) > _RIGID:
        worst = int(off.argmax())
        raise MotionError(
            f"{path}: {tree.names[worst + 1]!r} moves by {100 * float(off[worst]):.1f} cm on its parent: the bodies "
            "are not in the order expected. Pass skeleton= with the robot of the clip."
        )
    return torch.cat((torch.zeros(1, 3, dtype=torch.float64), offsets)).float()


def write(motion: Motion, path: Path) -> None:
    """Write positions, rotations, velocities and contacts of all bodies, hinge angles and their velocities.

    The G1 gets ProtoMotions' 33 bodies (head and hands ride on theirs), SMPL its 24 in MuJoCo's order with
    the rotation vectors of its joints as angles; any other robot's bodies are in its own order. Bones are the
    motion's. Feet touch where :mod:`isaacmm.motion.contacts` finds them to.

    Raises:
        MotionError: neither SMPL's joints nor hinges.
    """
    step = 1.0 / motion.fps
    if smpl_body.is_smpl(motion.skeleton):
        motion = smpl_body.motion_of(motion, path, "ProtoMotions")
        order = [smpl_body.NAMES.index(name) for name in smpl_body.MUJOCO_ORDER]
        joints = motion.joint_rot[:, [body - 1 for body in order[1:]]]
        dof_pos = rotation.to_rotvec(joints).flatten(1)
        dof_vel = rotation.angular_velocity(joints, step).flatten(1)
    elif motion.skeleton.num_dofs:
        order = list(range(motion.skeleton.num_bodies))
        dof_pos = motion.dof_pos().double()
        dof_vel = _speed(dof_pos, step)
    else:
        raise MotionError(
            f"{path}: ProtoMotions' clips hold SMPL's joints or hinge angles; this motion's skeleton has neither. "
            "Retarget it to a robot, or to SMPL."
        )
    root_pos, root_rot, joint_rot = (x.double() for x in (motion.root_pos, motion.root_rot, motion.joint_rot))
    pos, rot = (part[:, order] for part in motion.skeleton.fk(root_pos, root_rot, joint_rot))
    touching = _touching(motion)[:, order]
    if motion.skeleton.names == g1_robot.skeleton().names:
        pos, rot, touching = _with_head_and_hands(pos, rot, touching)
    content = {
        "dof_pos": dof_pos, "dof_vel": dof_vel, "rigid_body_pos": pos, "rigid_body_rot": rot,
        "rigid_body_vel": _speed(pos, step), "rigid_body_ang_vel": rotation.angular_velocity(rot, step),
    }  # fmt: skip
    with files.atomic(path) as file:
        torch.save(
            {
                "fps": float(motion.fps),
                **{key: value.float().cpu().contiguous() for key, value in content.items()},
                "rigid_body_contacts": touching.cpu().contiguous(),
            },
            file,
        )


def _speed(values: Tensor, step: float) -> Tensor:
    return torch.gradient(values, spacing=step, dim=0)[0] if len(values) > 1 else torch.zeros_like(values)


def _touching(motion: Motion) -> Tensor:
    """``[T, B]`` bool: feet, with what is below them, on the ground; none where no joint is called a foot."""
    flags = torch.zeros(motion.num_frames, motion.skeleton.num_bodies, dtype=torch.bool)
    try:
        feet = feet_of(motion.skeleton)
        found = contacts(motion, feet)
    except MotionError:
        return flags
    for foot, bodies in enumerate(feet.bodies):
        for body in set(bodies):
            flags[:, body] |= found[:, foot]
    return flags


def _with_head_and_hands(pos: Tensor, rot: Tensor, touching: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The G1's 30 bodies as ProtoMotions' 33."""
    names, places = g1_robot.skeleton().names, list(g1_robot.PROTOMOTIONS_BODIES)
    frames = len(pos)
    all_pos, all_rot = pos.new_zeros(frames, 33, 3), rot.new_zeros(frames, 33, 4)
    all_touching = torch.zeros(frames, 33, dtype=torch.bool)
    all_pos[:, places], all_rot[:, places], all_touching[:, places] = pos, rot, touching
    for place, (link, offset) in g1_robot.PROTOMOTIONS_EXTRA.items():
        body = names.index(link)
        all_rot[:, place] = rot[:, body]
        all_pos[:, place] = pos[:, body] + rotation.rotate(rot[:, body], rot.new_tensor(offset).expand(frames, 3))
    return all_pos, all_rot, all_touching
