"""PHC and ASAP ``.pkl``: joblib files of many clips, SMPL bodies or robots, z up, metres.

``{name: {...}}``. SMPL clips hold ``pose_quat_global [T, 24, 4]`` (xyzw, world, bodies in depth-first
order, their frames upright: x forward, z up) or ``pose_aa [T, 72]`` (axis-angle in SMPL's order and
axes); robots hold ``dof`` and ``root_rot`` (xyzw). ``root_trans_offset`` is the root itself (SMPL: the
pelvis); ``trans`` and ``trans_orig`` move SMPL's model.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from isaacmm import rotation
from isaacmm.errors import MotionError
from isaacmm.motion.io import arrays, files, g1_robot, safe_pickle, smpl_body
from isaacmm.motion.io.fields import Fields, pick_clip

if TYPE_CHECKING:
    from isaacmm.motion.clip import Motion
    from isaacmm.skeleton import Skeleton

_MARKS = (b"root_trans_offset", b"pose_quat_global", b"pose_aa", b"trans_orig")


def sniff(path: Path) -> bool:
    """True for a pickle (packed or not) in whose first bytes one of the keys is found."""
    head = arrays.unpacked_head(path)
    return head[:1] in (b"\x80", b"(", b"}", b"c") and any(mark in head for mark in _MARKS)


def _clips(path: Path) -> dict[str, Any]:
    """Name to dictionary; a file of a single, nameless clip is one too."""
    content = safe_pickle.load(path)
    if not isinstance(content, dict):
        raise MotionError(f"{path}: holds a {type(content).__name__}, expected a dictionary of clips.")
    if any(key in content for key in ("pose_aa", "dof", "pose_quat_global", "root_trans_offset")):
        return {path.stem: content}
    clips = {str(name): clip for name, clip in content.items() if isinstance(clip, dict)}
    if not clips:
        raise MotionError(f"{path}: holds no clips (a dictionary name -> dictionary).")
    return clips


def read(
    path: Path, skeleton: Skeleton | None = None, *, clip: str | None = None, fps: float = 30.0
) -> Motion:
    """Read one clip.

    Args:
        path: the file.
        skeleton: the robot, or a body with SMPL's joint names; None: the Unitree G1 (clips with ``dof``) or SMPL.
        clip: its name; None: the first.
        fps: frame rate where the clip names none.
    """
    name, content = pick_clip(_clips(path), clip, path)
    return _motion(Fields(content, path, f"the clip {name!r}"), name, skeleton, fps)


def read_all(path: Path, skeleton: Skeleton | None = None, *, fps: float = 30.0) -> list[Motion]:
    """Read every clip."""
    return [
        _motion(Fields(content, path, f"the clip {name!r}"), name, skeleton, fps)
        for name, content in _clips(path).items()
    ]


def _motion(data: Fields, name: str, skeleton: Skeleton | None, fps: float) -> Motion:
    rate = data.rate("fps", "mocap_framerate", "mocap_frame_rate", default=fps)
    if "dof" in data and "root_rot" in data:
        root_pos = data.array("root_trans_offset", None, 3)
        dofs = data.array("dof")
        dofs = dofs[..., 0] if dofs.ndim == 3 and dofs.shape[-1] == 1 else dofs
        if dofs.ndim != 2 or len(dofs) != len(root_pos):
            raise MotionError(
                f"{data.path}: dof of {data.what} has the shape {list(dofs.shape)}, expected [T, hinges]."
            )
        root_rot = data.array("root_rot", len(root_pos), 4)
        return g1_robot.motion(data.path, root_pos, root_rot, dofs, rate, given=skeleton, name=name)
    return _smpl(data, name, skeleton, rate)


def _smpl(data: Fields, name: str, skeleton: Skeleton | None, fps: float) -> Motion:

    if "root_trans_offset" in data:
        root_pos = data.array("root_trans_offset", None, 3)
    else:
        key = next((key for key in ("trans_orig", "trans") if key in data), "root_trans_offset")
        root_pos = data.array(key, None, 3) + np.array(smpl_body.PELVIS)
    frames = len(root_pos)
    own = smpl_body.skeleton()
    if "pose_quat_global" in data:
        order = [smpl_body.MUJOCO_ORDER.index(joint) for joint in smpl_body.NAMES]
        world = torch.as_tensor(data.array("pose_quat_global", frames, 24, 4))[:, order]
        norms = world.norm(dim=-1, keepdim=True)
        if bool((norms - 1.0).abs().gt(0.1).any()):
            raise MotionError(
                f"{data.path}: pose_quat_global of {data.what} holds quaternions not of unit length."
            )
        world = world / norms
        above = world[:, list(own.parents[1:])]
        root_rot, joint_rot = world[:, 0], rotation.multiply(rotation.inverse(above), world[:, 1:])
    else:
        poses = data.array("pose_aa")
        if poses.size == frames * 66 and frames:
            poses = np.concatenate((poses.reshape(frames, 66), np.zeros((frames, 6))), axis=1)
        if poses.size != frames * 72:
            raise MotionError(
                f"{data.path}: pose_aa of {data.what} has the shape {list(poses.shape)}, expected [{frames}, 24, 3]; "
                "clips of robots need dof and root_rot."
            )
        turned = rotation.from_rotvec(torch.as_tensor(poses.reshape(frames, 24, 3)))
        root_rot = smpl_body.world_frames(turned[:, 0])
        joint_rot = smpl_body.local_frames(turned[:, 1:])
    return files.placed(skeleton, own, torch.as_tensor(root_pos), root_rot, joint_rot, fps, data.path, name)


def write(motion: Motion, path: Path) -> None:
    """Write a file of one clip, under the motion's name: SMPL's body as PHC has it, or a robot as ASAP has it.

    ``joblib.load`` reads it. A robot's ``pose_aa`` has the root and one rotation per body; bodies that some
    projects add (head, hands) are theirs to append. Bones are not part of the format.

    Raises:
        MotionError: neither SMPL's joints nor hinges.
    """
    if smpl_body.is_smpl(motion.skeleton):
        clip = _smpl_clip(smpl_body.motion_of(motion, path, "PHC"))
    elif motion.skeleton.num_dofs:
        turned = torch.cat((motion.root_rot[:, None], motion.joint_rot), dim=1).double()
        clip = {
            "root_trans_offset": _numbers(motion.root_pos),
            "pose_aa": _numbers(rotation.to_rotvec(turned)),
            "dof": _numbers(motion.dof_pos()),
            "root_rot": _numbers(motion.root_rot),
        }
    else:
        raise MotionError(
            f"{path}: PHC's files hold SMPL's joints and ASAP's hinge angles; this motion's skeleton has neither. "
            "Retarget it to a robot, or to SMPL."
        )
    with files.atomic(path) as file:
        pickle.dump({motion.name or path.stem: clip | {"fps": float(motion.fps)}}, file, protocol=4)


def _smpl_clip(motion: Motion) -> dict[str, Any]:
    """What PHC holds of a motion on SMPL's 24 bodies."""
    order = [smpl_body.NAMES.index(name) for name in smpl_body.MUJOCO_ORDER]
    local = torch.cat((motion.root_rot.double()[:, None], motion.joint_rot.double()), dim=1)
    world = motion.skeleton.fk(motion.root_pos.double(), motion.root_rot.double(), motion.joint_rot.double())[1]
    root_pos = _numbers(motion.root_pos)
    return {
        "pose_quat_global": _numbers(world[:, order]),
        "pose_quat": _numbers(local[:, order]),
        "pose_aa": _numbers(smpl_body.body_model_rotations(motion.root_rot, motion.joint_rot).flatten(1)),
        "root_trans_offset": root_pos,
        "trans_orig": root_pos - np.array(smpl_body.PELVIS),
        "beta": np.zeros(16),
        "gender": "neutral",
    }


def _numbers(values: torch.Tensor) -> np.ndarray:
    return values.detach().double().cpu().numpy()
