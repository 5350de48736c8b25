"""isaacmm's own clips: one ``.npz`` of plain arrays, self-contained (skeleton included).

Keys: ``format`` = "isaacmm-motion", ``version`` = 1, ``name``, ``fps``, ``root_pos`` [T,3] m,
``root_rot`` [T,4] xyzw, ``dof_pos`` [T,D] rad or ``joint_rot`` [T,J,4], the skeleton
(``body_names``, ``parents``, ``offsets``, ``rest_rotations``, ``end_site_names``,
``end_site_offsets``, ``dof_names``, ``dof_bodies``, ``dof_axes``, ``dof_limits``), ``tags`` and,
if known, ``contacts`` [T,F]. World z up. ``docs/motion_formats.md`` describes it for other programs.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.errors import MotionError
from isaacmm.motion.io import files

if TYPE_CHECKING:
    from isaacmm.motion.clip import Motion
    from isaacmm.skeleton import Skeleton

MAGIC = "isaacmm-motion"
VERSION = 1
_REQUIRED = (
    "format",
    "version",
    "fps",
    "root_pos",
    "root_rot",
    "body_names",
    "parents",
    "offsets",
    "rest_rotations",
)

#: Hinge angles are stored instead of joint rotations when they say the same within this angle (rad).
_DOF_TOLERANCE = 1e-5


def sniff(path: Path) -> bool:
    """True for an archive with our key."""
    keys = files.npz_keys(path)
    return "format" in keys and "root_pos" in keys


def explain_unknown_npz(path: Path) -> None:
    """Raise a :class:`MotionError` that says what this ``.npz`` holds and what would have been read."""
    keys = sorted(files.npz_keys(path))
    if not keys:
        raise MotionError(
            f"{path}: not a readable .npz archive (damaged or cut short); copy or download it again."
        )
    shown = ", ".join(keys[:12]) + (", ..." if len(keys) > 12 else "")
    raise MotionError(
        f"{path}: an .npz with the arrays {shown}, which is no layout that isaacmm knows. It reads its own "
        "(format, fps, root_pos, root_rot, ...) and Isaac Lab's (fps, dof_names, body_names, dof_positions, "
        "body_positions, body_rotations)."
    )


def write(motion: Motion, path: Path) -> None:
    """Write ``motion``; losslessly, except that float64 becomes float32 and a redundant form is dropped."""
    skeleton = motion.skeleton
    sites = sorted(skeleton.end_sites.items())
    arrays: dict[str, Any] = {
        "format": MAGIC,
        "version": VERSION,
        "name": motion.name,
        "fps": float(motion.fps),
        "root_pos": _array(motion.root_pos),
        "root_rot": _array(motion.root_rot),
        "body_names": np.array(skeleton.names),
        "parents": np.array(skeleton.parents, dtype=np.int64),
        "offsets": _array(skeleton.offsets),
        "rest_rotations": _array(skeleton.rest_rotations),
        "end_site_names": np.array([name for name, _ in sites], dtype=str),
        "end_site_offsets": np.array([offset for _, offset in sites], dtype=np.float32).reshape(-1, 3),
        "dof_names": np.array(skeleton.dof_names, dtype=str),
        "dof_bodies": np.array(skeleton.dof_bodies, dtype=np.int64),
        "dof_axes": _array(skeleton.dof_axes),
        "dof_limits": _array(skeleton.dof_limits),
        "tags": np.array(motion.tags, dtype=str),
    }
    dof_pos = _exact_dofs(motion)
    if dof_pos is not None:
        arrays["dof_pos"] = _array(dof_pos)
    else:
        arrays["joint_rot"] = _array(motion.joint_rot)
    if motion.contacts is not None:
        arrays["contacts"] = motion.contacts.cpu().numpy().astype(bool)
    with files.atomic(path) as file:
        np.savez_compressed(file, **arrays)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().astype(np.float32)


def _exact_dofs(motion: Motion) -> Tensor | None:
    """Hinge angles that reproduce every joint rotation, or None if the hinges cannot express them."""
    if not motion.skeleton.num_dofs:
        return None
    dof_pos = motion.dof_pos()
    error = rotation.angle_between(motion.skeleton.dofs_to_joint_rot(dof_pos), motion.joint_rot)
    return dof_pos if not error.numel() or float(error.max()) < _DOF_TOLERANCE else None


def read(path: Path, skeleton: Skeleton | None = None) -> Motion:
    """Read a clip of ours; see :func:`isaacmm.motion.io.registry.read`."""
    from isaacmm.motion.clip import Motion

    data = files.open_npz(path)
    missing = [key for key in _REQUIRED if key not in data]
    if missing or not ("dof_pos" in data or "joint_rot" in data):
        raise MotionError(
            f"{path}: lacks {', '.join(missing) or 'dof_pos or joint_rot'}; save the clip again."
        )
    if str(data["format"]) != MAGIC:
        raise MotionError(f"{path}: format {str(data['format'])!r} is not {MAGIC!r}.")
    if int(data["version"]) > VERSION:
        raise MotionError(
            f"{path}: version {int(data['version'])} is newer than this isaacmm reads ({VERSION}); update."
        )
    own = _skeleton(data)
    frames = len(data["root_pos"])
    wanted: tuple[int, ...]
    root_pos, root_rot = files.as_tensor(data["root_pos"]), files.as_tensor(data["root_rot"])
    if "dof_pos" in data:
        joints, wanted = data["dof_pos"], (frames, own.num_dofs)
    else:
        joints, wanted = data["joint_rot"], (frames, own.num_joints, 4)
    if joints.shape != wanted:
        raise MotionError(
            f"{path}: joint data has the shape {joints.shape}, expected {wanted}; save the clip again."
        )
    joint_rot = files.as_tensor(joints)
    joint_rot = own.dofs_to_joint_rot(joint_rot) if "dof_pos" in data else joint_rot
    if skeleton is not None:
        order = files.map_bodies(own.names, own.parents, own.offsets, skeleton, path)
        local = torch.cat((root_rot[:, None], rotation.multiply(own.rest_rotations[1:], joint_rot)), dim=1)
        joint_rot = files.local_to_joint(local[:, order], skeleton)
    return Motion(
        skeleton=skeleton or own,
        root_pos=root_pos,
        root_rot=root_rot,
        joint_rot=joint_rot,
        fps=float(data["fps"]),
        name=str(data.get("name", "")) or path.stem,
        contacts=torch.as_tensor(data["contacts"].astype(bool)) if "contacts" in data else None,
        tags=tuple(str(tag) for tag in np.atleast_1d(data.get("tags", []))),
    )


def _skeleton(data: dict[str, np.ndarray]) -> Skeleton:
    from isaacmm.skeleton import Skeleton

    sites = zip(data.get("end_site_names", ()), data.get("end_site_offsets", ()), strict=True)
    return Skeleton(
        names=tuple(str(name) for name in data["body_names"]),
        parents=tuple(int(parent) for parent in data["parents"]),
        offsets=files.as_tensor(data["offsets"]),
        rest_rotations=files.as_tensor(data["rest_rotations"]),
        end_sites={str(name): (float(o[0]), float(o[1]), float(o[2])) for name, o in sites},
        dof_names=tuple(str(name) for name in data.get("dof_names", ())),
        dof_bodies=tuple(int(body) for body in data.get("dof_bodies", ())),
        dof_axes=files.as_tensor(data.get("dof_axes", np.zeros((0, 3)))),
        dof_limits=files.as_tensor(data.get("dof_limits", np.zeros((0, 2)))),
    )
