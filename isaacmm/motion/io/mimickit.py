"""MimicKit ``.pkl``: ``{loop_mode, fps, frames}``, frames as lists ``root position | root | joints``.

z up, metres. The root's turn and that of joints with three hinges are rotation vectors (exponential
maps, rad), joints with one hinge an angle; joints in the depth-first order of the character's MJCF. The
character is not in the file; the columns tell MimicKit's humanoid (34), the Unitree G1 (35) and SMPL
(75).

MimicKit's humanoid is ours in names, lengths and order, but its arms stand out sideways at zero. Given
or writing the character with hanging arms, the arms' frames are converted.
"""

from __future__ import annotations

import math
import pickle
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.errors import MotionError, nearest
from isaacmm.motion.io import arrays, files, g1_robot, safe_pickle, smpl_body
from isaacmm.motion.io.fields import Fields

if TYPE_CHECKING:
    from isaacmm.motion.clip import Motion
    from isaacmm.skeleton import Skeleton

_LOOP = 1  # MimicKit's LoopMode.WRAP
_ARM = ("upper_arm", "lower_arm", "hand")


def sniff(path: Path) -> bool:
    """True for a pickle in whose first bytes the key is found."""
    head = arrays.unpacked_head(path)
    return head[:1] in (b"\x80", b"(", b"}", b"c") and b"loop_mode" in head


def read(path: Path, skeleton: Skeleton | None = None, *, arms: str = "t") -> Motion:
    """Read a MimicKit clip; one that is to be looped gets the tag ``loop``.

    Args:
        path: the file.
        skeleton: the character of the clip; None: told from the number of columns.
        arms: ``"t"``: made for MimicKit's humanoid, arms out sideways at zero; ``"own"``: for ``skeleton``'s own
            zero pose.
    """
    from isaacmm.motion.clip import Motion

    if arms not in ("t", "own"):
        raise MotionError(f"{path}: arms={arms!r} is not possible; {nearest(arms, ('t', 'own'))}")
    content = safe_pickle.load(path)
    if not isinstance(content, dict):
        raise MotionError(f"{path}: holds a {type(content).__name__}, expected MimicKit's dictionary.")
    data = Fields(content, path, "a MimicKit clip")
    frames = data.array("frames", None, None)
    own = _character(frames.shape[1], skeleton, arms, path)
    slots = _slots(own)
    wanted = 6 + sum(width for width, _ in slots)
    if frames.shape[1] != wanted:
        raise MotionError(
            f"{path}: has {frames.shape[1]} columns, the character given needs {wanted} (6 for the root, 3 for each "
            "joint with three hinges, 1 for each with one); load the character of the clip."
        )
    values = torch.as_tensor(frames)
    joint_rot = rotation.identity(len(frames), own.num_joints, dtype=torch.float64)
    column = 6
    for joint, (width, axis) in enumerate(slots):
        part = values[:, column : column + width]
        if width == 3:
            joint_rot[:, joint] = rotation.from_rotvec(part)
        elif width == 1:
            assert axis is not None
            joint_rot[:, joint] = rotation.from_axis_angle(axis, part[:, 0])
        column += width
    if skeleton is not None and own is not skeleton:
        joint_rot, own = _arms(joint_rot, own, hang=True), skeleton
    loop = data.number("loop_mode", default=0.0)
    return Motion(
        skeleton=own,
        root_pos=values[:, :3].float(),
        root_rot=rotation.from_rotvec(values[:, 3:6]).float(),
        joint_rot=joint_rot.float(),
        fps=data.rate("fps"),
        name=path.stem,
        tags=("loop",) if loop == _LOOP else (),
    )


def write(motion: Motion, path: Path, *, loop: bool | None = None, arms: str = "t") -> None:
    """Write a clip for MimicKit.

    Args:
        motion: of a character with hinges (three or one per joint).
        path: the file.
        loop: whether MimicKit repeats the clip; None: if it has the tag ``loop``.
        arms: ``"t"``: for MimicKit's own humanoid, where the motion's character is its twin with hanging arms;
            ``"own"``: for the motion's own character.
    """
    if arms not in ("t", "own"):
        raise MotionError(f"{path}: arms={arms!r} is not possible; {nearest(arms, ('t', 'own'))}")
    own, joint_rot = motion.skeleton, motion.joint_rot.double().cpu()
    if arms == "t" and _hangs(own):
        joint_rot, own = _arms(joint_rot, own, hang=False), _with_arms_out(own)
    own = _with_free_joints(own)
    columns = [motion.root_pos.double().cpu(), rotation.to_rotvec(motion.root_rot.double().cpu())]
    for joint, (width, axis) in enumerate(_slots(own)):
        if width == 3:
            columns.append(rotation.to_rotvec(joint_rot[:, joint]))
        elif width == 1:
            assert axis is not None
            half = torch.atan2((joint_rot[:, joint, :3] * axis).sum(-1), joint_rot[:, joint, 3])
            columns.append(rotation.wrap_angle(2.0 * half)[:, None])
    content = {
        "loop_mode": int(_LOOP if (("loop" in motion.tags) if loop is None else loop) else 0),
        "fps": float(motion.fps),
        "frames": torch.cat(columns, dim=1).tolist(),
    }
    with files.atomic(path) as file:
        pickle.dump(content, file, protocol=4)


def _slots(skeleton: Skeleton) -> list[tuple[int, Tensor | None]]:
    """Columns of each joint (3, 1 or 0) and the axis of those with one.

    Raises:
        MotionError: a joint with two hinges, which MimicKit does not have.
    """
    slots: list[tuple[int, Tensor | None]] = []
    for body in range(1, skeleton.num_bodies):
        chain = [d for d, b in enumerate(skeleton.dof_bodies) if b == body]
        if len(chain) not in (0, 1, 3):
            raise MotionError(
                f"{skeleton.names[body]!r} has {len(chain)} hinges: MimicKit knows joints with three, one and none."
            )
        slots.append((len(chain), skeleton.dof_axes[chain[0]].double() if len(chain) == 1 else None))
    return slots


def _with_free_joints(skeleton: Skeleton) -> Skeleton:
    """A skeleton without hinges (SMPL) with three in every joint."""
    if skeleton.num_dofs:
        return skeleton
    bodies = [b for b in range(1, skeleton.num_bodies) for _ in range(3)]
    return replace(
        skeleton,
        dof_names=tuple(f"{skeleton.names[b]}_{'xyz'[i % 3]}" for i, b in enumerate(bodies)),
        dof_bodies=tuple(bodies),
        dof_axes=torch.eye(3).repeat(skeleton.num_joints, 1),
        dof_limits=torch.tensor([[-math.pi, math.pi]]).repeat(len(bodies), 1),
    )


def _character(columns: int, given: Skeleton | None, arms: str, path: Path) -> Skeleton:
    """The character whose joints the columns are."""
    if given is not None:
        return _with_arms_out(given) if arms == "t" and _hangs(given) else given
    if columns == 34:
        from isaacmm.character import CharacterModel

        ours = CharacterModel.load("humanoid").skeleton
        return _with_arms_out(ours) if arms == "t" else ours
    if columns == 35:
        return g1_robot.skeleton()
    if columns == 75:
        return _with_free_joints(_depth_first(smpl_body.skeleton()))
    raise MotionError(
        f"{path}: has {columns} columns. isaacmm knows MimicKit's humanoid (34), the Unitree G1 (35) and SMPL (75); "
        "for another character pass skeleton=Skeleton.from_mjcf('character.xml')."
    )


def _depth_first(skeleton: Skeleton) -> Skeleton:
    """SMPL's bodies in the order of MuJoCo humanoids."""
    order = [skeleton.names.index(name) for name in smpl_body.MUJOCO_ORDER]
    return replace(
        skeleton,
        names=smpl_body.MUJOCO_ORDER,
        parents=tuple(-1 if i == 0 else order.index(skeleton.parents[b]) for i, b in enumerate(order)),
        offsets=skeleton.offsets[order],
        rest_rotations=skeleton.rest_rotations[order],
    )


# ---------------------------------------------------------------------------- arms
def _hangs(skeleton: Skeleton) -> bool:
    """Whether this is the AMP humanoid with arms that hang at zero."""
    names = skeleton.names
    needed = [f"{side}_{part}" for side in ("left", "right") for part in _ARM]
    if not all(name in names for name in needed):
        return False
    bones = skeleton.offsets[[names.index(f"{side}_lower_arm") for side in ("left", "right")]]
    return bool((bones[:, 2] < -0.9 * bones.norm(dim=-1)).all())


def _quarter(side: str) -> Tensor:
    """The turn ``[4]`` from the frame of a hanging arm to that of one held out sideways."""
    angle = -0.25 * math.pi if side == "left" else 0.25 * math.pi
    return torch.tensor([math.sin(angle), 0.0, 0.0, math.cos(angle)], dtype=torch.float64)


def _with_arms_out(skeleton: Skeleton) -> Skeleton:
    """The character with bones and axes of the arms in frames that are turned by a quarter.

    Both elbows then bend about +z, as MimicKit has it; the right one in the other sense than ours.
    """
    offsets, axes = skeleton.offsets.double().clone(), skeleton.dof_axes.double().clone()
    limits = skeleton.dof_limits.clone()
    for side in ("left", "right"):
        turn = _quarter(side)
        for part in _ARM[1:]:
            body = skeleton.names.index(f"{side}_{part}")
            offsets[body] = rotation.rotate_inverse(turn, offsets[body])
        elbow = skeleton.names.index(f"{side}_lower_arm")
        for dof in (d for d, b in enumerate(skeleton.dof_bodies) if b == elbow):
            axes[dof] = rotation.rotate_inverse(turn, axes[dof])
            if float(axes[dof].sum()) < 0.0:
                axes[dof], limits[dof] = -axes[dof], -limits[dof].flip(0)
    return replace(
        skeleton, offsets=offsets.float(), dof_axes=axes.round(decimals=6).float(), dof_limits=limits
    )


def _arms(joint_rot: Tensor, skeleton: Skeleton, hang: bool) -> Tensor:
    """Joint rotations ``[T, J, 4]`` with the arms' frames turned: to hanging arms or to arms held out."""
    out = joint_rot.clone()
    for side in ("left", "right"):
        turn = rotation.inverse(_quarter(side)) if hang else _quarter(side)
        upper, lower, hand = (skeleton.names.index(f"{side}_{part}") - 1 for part in _ARM)
        out[:, upper] = rotation.multiply(joint_rot[:, upper], turn)
        for joint in (lower, hand):
            out[:, joint] = rotation.multiply(
                rotation.multiply(rotation.inverse(turn), joint_rot[:, joint]), turn
            )
    return out
