"""AMASS ``.npz``: SMPL, SMPL+H and SMPL-X poses, axis-angle, z up, metres.

Read without a body model: joint rotations and the pelvis' path do not need one, bones are roughly those
of the mean body (:mod:`.smpl_body`). Older files hold ``poses [T, 52 x 3]``, newer ones (stageii)
``root_orient``, ``pose_body``, ...; the 22 joints of the body are the same in all, fingers and face are
left out. ``trans`` moves the model, not the pelvis, which lies ``J0`` off the model's origin whichever
way the body is turned.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from isaacmm import rotation
from isaacmm.errors import MotionError, nearest
from isaacmm.motion.io import files, smpl_body
from isaacmm.motion.io.axes import Y_UP_Z_FORWARD
from isaacmm.motion.io.fields import Fields

if TYPE_CHECKING:
    from isaacmm.motion.clip import Motion
    from isaacmm.skeleton import Skeleton


def sniff(path: Path) -> bool:
    """True for an archive with poses and a trajectory."""
    keys = files.npz_keys(path)
    return "trans" in keys and ("poses" in keys or {"root_orient", "pose_body"} <= keys)


def read(
    path: Path,
    skeleton: Skeleton | None = None,
    *,
    body_model: str | Path | None = None,
    up: str = "z",
    fps: float | None = None,
) -> Motion:
    """Read an AMASS clip.

    Args:
        path: the file.
        skeleton: map the joints by name onto this one (``Pelvis``, ``L_Hip``, ...). None: 22 or 24 joints.
        body_model: ``.npz`` of an SMPL model of the user's, for the true bones of the file's ``betas``.
        up: the world's up axis, ``"z"`` (AMASS) or ``"y"`` (SMPL fits from video).
        fps: frame rate where the file names none.
    """

    if up not in ("z", "y"):
        raise MotionError(f"{path}: up={up!r} is not possible; {nearest(up, ('z', 'y'))}")
    data = Fields(files.open_npz(path), path, "an AMASS clip")
    trans = data.array("trans", None, 3)
    poses = _poses(data, len(trans))
    rate = data.rate("mocap_framerate", "mocap_frame_rate", "fps", "frame_rate", default=fps)
    offsets, pelvis = None, np.array(smpl_body.PELVIS)
    if body_model is not None:
        offsets, pelvis = smpl_body.model_offsets(
            body_model, data.array("betas").ravel() if "betas" in data else None
        )
    own = smpl_body.skeleton(poses.shape[1], offsets)
    turned = rotation.from_rotvec(torch.as_tensor(poses))
    root_pos = torch.as_tensor(trans + pelvis)
    root_rot = smpl_body.world_frames(turned[:, 0])
    if up == "y":
        root_pos = Y_UP_Z_FORWARD.vectors(root_pos)
        root_rot = rotation.multiply(Y_UP_Z_FORWARD.turn(), root_rot)
    joint_rot = smpl_body.local_frames(turned[:, 1:])
    return files.placed(skeleton, own, root_pos, root_rot, joint_rot, rate, path)


def _poses(data: Fields, frames: int) -> np.ndarray:
    """Axis-angle ``[T, 22 or 24, 3]`` of the body."""
    if "poses" in data:
        poses = data.array("poses", frames, None)
        count, rest = divmod(poses.shape[1], 3)
        if rest or count not in (22, 24, 52, 55):
            raise MotionError(
                f"{data.path}: poses have {poses.shape[1]} columns; expected 66 or 72 (SMPL), 156 (SMPL+H) or "
                "165 (SMPL-X)."
            )
        joints = count if count == 24 else smpl_body.BODY_JOINTS
        return poses.reshape(frames, count, 3)[:, :joints]
    root = data.array("root_orient", frames, 3)
    body = data.array("pose_body", frames, None)
    if body.shape[1] not in (63, 69):
        raise MotionError(
            f"{data.path}: pose_body has {body.shape[1]} columns, expected 63 (SMPL+H, SMPL-X) or 69."
        )
    return np.concatenate((root, body), axis=1).reshape(frames, -1, 3)


def write(motion: Motion, path: Path) -> None:
    """Write SMPL+H poses (hands still); the motion's joints must be SMPL's.

    Bones are not part of the format: whoever reads it puts the poses on a body of their own.
    """
    ours = smpl_body.motion_of(motion, path, "AMASS", smpl_body.BODY_JOINTS)
    poses = np.zeros((motion.num_frames, 156))
    body = smpl_body.body_model_rotations(ours.root_rot, ours.joint_rot)
    poses[:, : 3 * smpl_body.BODY_JOINTS] = body.numpy().reshape(motion.num_frames, -1)
    with files.atomic(path) as file:
        np.savez_compressed(
            file,
            poses=poses,
            trans=motion.root_pos.double().numpy() - np.array(smpl_body.PELVIS),
            betas=np.zeros(16),
            dmpls=np.zeros((motion.num_frames, 8)),
            gender=np.array("neutral"),
            mocap_framerate=np.array(float(motion.fps)),
        )
