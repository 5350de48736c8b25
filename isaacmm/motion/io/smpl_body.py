"""The body of SMPL: names, tree and, roughly, its bones.

SMPL's joints sit where its model puts them, and the model is not ours to ship. Approximate rest
offsets (the mean body, made symmetric, rounded to half centimetres) are enough for joint rotations and
the path of the pelvis, which is what AMASS holds; whoever has a body model passes it and gets the
bones of its subject.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.errors import MotionError
from isaacmm.motion.io import files
from isaacmm.motion.io.axes import Y_UP_Z_FORWARD

if TYPE_CHECKING:
    from isaacmm.motion.clip import Motion
    from isaacmm.skeleton import Skeleton

# name, parent, offset (m; x left, y up, z forward) of the left side or the middle
_HALF = (
    ("Pelvis", None, (0.0, 0.0, 0.0)),
    ("L_Hip", "Pelvis", (0.06, -0.085, -0.015)),
    ("R_Hip", "Pelvis", None),
    ("Spine1", "Pelvis", (0.0, 0.125, -0.04)),
    ("L_Knee", "L_Hip", (0.045, -0.385, 0.0)),
    ("R_Knee", "R_Hip", None),
    ("Spine2", "Spine1", (0.0, 0.14, 0.025)),
    ("L_Ankle", "L_Knee", (-0.015, -0.425, -0.035)),
    ("R_Ankle", "R_Knee", None),
    ("Spine3", "Spine2", (0.0, 0.055, 0.005)),
    ("L_Foot", "L_Ankle", (0.04, -0.06, 0.125)),
    ("R_Foot", "R_Ankle", None),
    ("Neck", "Spine3", (0.0, 0.21, -0.035)),
    ("L_Collar", "Spine3", (0.08, 0.115, -0.02)),
    ("R_Collar", "Spine3", None),
    ("Head", "Neck", (0.0, 0.09, 0.05)),
    ("L_Shoulder", "L_Collar", (0.12, 0.045, -0.015)),
    ("R_Shoulder", "R_Collar", None),
    ("L_Elbow", "L_Shoulder", (0.255, -0.015, -0.025)),
    ("R_Elbow", "R_Shoulder", None),
    ("L_Wrist", "L_Elbow", (0.265, 0.01, -0.005)),
    ("R_Wrist", "R_Elbow", None),
    ("L_Hand", "L_Wrist", (0.085, -0.01, -0.015)),
    ("R_Hand", "R_Wrist", None),
)
NAMES: tuple[str, ...] = tuple(name for name, _, _ in _HALF)
PARENTS: tuple[int, ...] = tuple(-1 if parent is None else NAMES.index(parent) for _, parent, _ in _HALF)
#: The pelvis in the model's frame with zero translation, in SMPL's axes (m, rounded as above).
PELVIS = (0.0, -0.24, 0.03)
#: The 22 joints that SMPL, SMPL+H and SMPL-X share; hands come after them, differently in each.
BODY_JOINTS = 22
#: SMPL's joints in depth-first order, as the MuJoCo humanoids of PHC, ProtoMotions and MimicKit have them.
MUJOCO_ORDER: tuple[str, ...] = (
    *("Pelvis", "L_Hip", "L_Knee", "L_Ankle", "L_Foot", "R_Hip", "R_Knee", "R_Ankle", "R_Foot"),
    *("Spine1", "Spine2", "Spine3", "Neck", "Head"),
    *("L_Collar", "L_Shoulder", "L_Elbow", "L_Wrist", "L_Hand"),
    *("R_Collar", "R_Shoulder", "R_Elbow", "R_Wrist", "R_Hand"),
)


def mean_offsets() -> np.ndarray:
    """``[24, 3]`` m in SMPL's axes (x left, y up, z forward)."""
    left = {name: offset for name, _, offset in _HALF}
    rows = []
    for name, _, offset in _HALF:
        if offset is None:
            x, y, z = left["L" + name[1:]] or (0.0, 0.0, 0.0)
            offset = (-x, y, z)
        rows.append(offset)
    return np.array(rows)


def skeleton(joints: int = len(NAMES), offsets: np.ndarray | None = None) -> Skeleton:
    """The first ``joints`` bodies, in our axes; ``offsets [>= joints, 3]`` in SMPL's, default the mean body."""
    from isaacmm.skeleton import Skeleton

    offsets = mean_offsets() if offsets is None else offsets
    ours = Y_UP_Z_FORWARD.vectors(offsets[:joints]).float()
    ours[0] = 0.0
    return Skeleton(NAMES[:joints], PARENTS[:joints], ours, rotation.identity(joints))


def model_offsets(path: str | Path, betas: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Offsets ``[24, 3]`` and the pelvis ``[3]`` (m, SMPL's axes) of a body of the user's model.

    Args:
        path: the model's ``.npz`` (``J_regressor``, ``v_template``, ``shapedirs``).
        betas: shape of the subject, None: the mean.

    Raises:
        MotionError: not such a file.
    """
    path = Path(path)
    if not path.exists():
        raise MotionError(f"{path}: there is no such body model.")
    data = files.open_npz(path)
    try:
        vertices = data["v_template"].astype(np.float64)
        if betas is not None:
            shapes = data["shapedirs"].astype(np.float64)
            count = min(shapes.shape[-1], len(betas))
            vertices = vertices + shapes[..., :count] @ np.asarray(betas[:count], dtype=np.float64)
        joints = data["J_regressor"].astype(np.float64) @ vertices
        if joints.ndim != 2 or joints.shape[0] < BODY_JOINTS or joints.shape[1] != 3:
            raise ValueError(f"joints of shape {joints.shape}")
    except (KeyError, ValueError, TypeError, IndexError) as error:
        raise MotionError(
            f"{path}: not an SMPL body model as .npz with v_template, shapedirs and J_regressor "
            f"({type(error).__name__}: {error})."
        ) from error
    body = joints[: len(NAMES)] if len(joints) == len(NAMES) else joints[:BODY_JOINTS]
    offsets = mean_offsets()
    parents = list(PARENTS[1 : len(body)])
    offsets[1 : len(body)] = body[1:] - body[parents]
    offsets[0] = 0.0
    return offsets, joints[0]


def world_frames(rotations: Tensor) -> Tensor:
    """World rotations ``[..., 4]`` of SMPL's body frames to those of ours (the turn of axes taken off the right)."""
    return rotation.multiply(rotations.double(), rotation.inverse(Y_UP_Z_FORWARD.turn()))


def local_frames(rotations: Tensor) -> Tensor:
    """Joint rotations ``[..., 4]`` in SMPL's axes to ours."""
    return Y_UP_Z_FORWARD.quaternions(rotations)


def body_model_rotations(motion_root: Tensor, joints: Tensor) -> Tensor:
    """Inverse of the two above: root ``[T, 4]`` and joints ``[T, J, 4]`` of ours to axis-angle ``[T, J + 1, 3]``."""
    root = rotation.multiply(motion_root.double(), Y_UP_Z_FORWARD.turn())
    local = Y_UP_Z_FORWARD.quaternions_back(joints)
    return rotation.to_rotvec(torch.cat((root[:, None], local), dim=1))


def is_smpl(skeleton: Skeleton) -> bool:
    """Whether its joints are called as SMPL's and the body's 22 are all there."""
    return set(NAMES[:BODY_JOINTS]) <= set(skeleton.names)


def motion_of(motion: Motion, path: Path, holder: str, joints: int = len(NAMES)) -> Motion:
    """The motion on the first ``joints`` bodies of SMPL, in its order, with the motion's own bones.

    Hands that the motion lacks (AMASS has 22 joints) are still, at the mean body's place.

    Raises:
        MotionError: another tree, or other names; the message says that ``holder`` holds SMPL's joints.
    """
    from dataclasses import replace

    names, parents = motion.skeleton.names, motion.skeleton.parents
    for name, parent in zip(NAMES[:joints], PARENTS, strict=False):
        if name not in names and name.endswith("_Hand"):
            continue
        above = names[parents[names.index(name)]] if name in names and name != "Pelvis" else None
        if name not in names or (name != "Pelvis" and above != NAMES[parent]):
            raise MotionError(
                f"{path}: {holder} holds SMPL's joints, and this motion has no {name!r} where SMPL has it; retarget it "
                "to SMPL first."
            )
    there = [body for body in range(1, joints) if NAMES[body] in names]
    at = [names.index(NAMES[body]) for body in there]
    own = skeleton(joints)
    offsets = own.offsets.clone()
    offsets[there] = motion.skeleton.offsets[at].to(offsets)
    turned = rotation.identity(motion.num_frames, joints - 1, dtype=torch.float64)
    rest = motion.skeleton.rest_rotations.double()[at]
    turned[:, [body - 1 for body in there]] = rotation.multiply(rest, motion.joint_rot.double()[:, [i - 1 for i in at]])
    return replace(motion, skeleton=replace(own, offsets=offsets), joint_rot=turned.to(motion.joint_rot))
