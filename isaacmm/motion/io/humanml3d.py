"""HumanML3D ``.npy``: ``[T, 263]`` features at 20 fps, y up, metres, 22 joints of SMPL.

Columns: turn of the heading per frame (half the angle, rad), root velocity on the ground (m/frame, in
the heading's frame), root height, 21 joint positions (relative to the root on the ground, in the
heading's frame), 21 rotations of six numbers, 22 velocities, 4 foot contacts (Guo et al. 2022). The
heading and the path are sums of their steps.

The rotations of the file are derived from its positions by shortest turns, with the arms attached to
the root; they know no more than the positions, so these are read (:mod:`.points`). How forearms or
thighs twist is not in the format.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.errors import MotionError
from isaacmm.motion.io import arrays, files, points, smpl_body
from isaacmm.motion.io.axes import Y_UP_Z_FORWARD
from isaacmm.motion.io.fields import rate

if TYPE_CHECKING:
    from isaacmm.motion.clip import Motion
    from isaacmm.skeleton import Skeleton

_COLUMNS = 263
_JOINTS = smpl_body.BODY_JOINTS
#: Bones may vary by so much (m) before a warning, and before the file is no pose at all.
_SOFT, _BROKEN = 0.03, 0.5


def sniff(path: Path) -> bool:
    """True for a plain array of 263 columns."""
    shape = arrays.npy_shape(path)
    return shape is not None and len(shape) == 2 and shape[1] == _COLUMNS


def read(path: Path, skeleton: Skeleton | None = None, *, fps: float = 20.0) -> Motion:
    """Read a HumanML3D clip.

    Args:
        path: the file; features as in ``new_joint_vecs``, not normalised.
        skeleton: map the joints by name onto this one (``Pelvis``, ``L_Hip``, ...). None: the clip's bones.
        fps: frames per second.
    """
    from isaacmm.skeleton import Skeleton as SkeletonType

    values = arrays.read_npy(path)
    if values.ndim != 2 or values.shape[1] != _COLUMNS or values.dtype.kind != "f":
        raise MotionError(f"{path}: an array of shape {list(values.shape)}, expected [T, 263] of HumanML3D.")
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        frames = np.flatnonzero(~finite).tolist()
        raise MotionError(
            f"{path}: {len(frames)} of {len(values)} frames hold NaN or infinity: {files.frame_list(frames)}. The path "
            "is a sum over frames, so none can be left out; make the clip again."
        )
    where = joints(values)
    parents = smpl_body.PARENTS[:_JOINTS]
    lengths, spread = points.bone_lengths(where, parents)
    worst = int(spread.argmax())
    if not bool(torch.isfinite(where).all()) or float(spread.max()) > _BROKEN or float(lengths.max()) > 2.0:
        raise MotionError(
            f"{path}: bones change their length by up to {100 * float(spread[worst]):.0f} cm "
            f"({smpl_body.NAMES[worst]}). Features that are normalised must be multiplied by Std and shifted by Mean "
            "first."
        )
    if float(spread.max()) > _SOFT:
        files.log.warning(
            "%s: bones change their length by up to %.1f cm (at %r); their median is kept",
            path, 100 * float(spread[worst]), smpl_body.NAMES[worst],
        )  # fmt: skip
    rest = Y_UP_Z_FORWARD.vectors(smpl_body.mean_offsets()[:_JOINTS])
    offsets, world = points.rotations(where, parents, rest)
    above = list(parents[1:])
    joint_rot = rotation.multiply(rotation.inverse(world[:, above]), world[:, 1:])
    own = SkeletonType(smpl_body.NAMES[:_JOINTS], parents, offsets.float(), rotation.identity(_JOINTS))
    return files.placed(skeleton, own, where[:, 0], world[:, 0], joint_rot, rate(fps, path), path)


def joints(values: np.ndarray) -> Tensor:
    """World positions ``[T, 22, 3]`` m in our axes from features ``[T, 263]``."""
    table = torch.as_tensor(values.astype(np.float64))
    frames = len(table)
    before = torch.zeros_like(table[:, :3])
    before[1:] = table[:-1, :3]  # a step leads to the next frame
    heading = rotation.from_yaw(-2.0 * torch.cumsum(before[:, 0], dim=0))
    ground = torch.stack((before[:, 1], torch.zeros_like(before[:, 1]), before[:, 2]), dim=-1)
    path = torch.cumsum(rotation.rotate(heading, Y_UP_Z_FORWARD.vectors(ground)), dim=0)
    local = torch.zeros(frames, _JOINTS, 3, dtype=torch.float64)
    local[:, 0, 1] = table[:, 3]
    local[:, 1:] = table[:, 4 : 4 + 3 * (_JOINTS - 1)].reshape(frames, -1, 3)
    turned = rotation.rotate(heading[:, None].expand(-1, _JOINTS, -1), Y_UP_Z_FORWARD.vectors(local))
    return turned + path[:, None]
