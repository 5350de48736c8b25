"""Isaac Lab AMP clips: ``.npz`` with named hinges and bodies, quaternions wxyz, z up, metres."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from isaacmm import rotation
from isaacmm.errors import MotionError
from isaacmm.motion.io import files

if TYPE_CHECKING:
    from isaacmm.motion.clip import Motion
    from isaacmm.skeleton import Skeleton

log = logging.getLogger(__name__)

_KEYS = ("fps", "dof_names", "body_names", "dof_positions", "body_positions", "body_rotations")

#: Stored body positions farther than this from the character's own kinematics are worth a warning (m).
_POSITION_TOLERANCE = 0.02


def sniff(path: Path) -> bool:
    """True for an archive with Isaac Lab's keys."""
    return {"dof_positions", "dof_names", "body_names"} <= files.npz_keys(path)


def read(path: Path, skeleton: Skeleton | None = None) -> Motion:
    """Read an Isaac Lab AMP clip.

    The file has no tree and no bone lengths, so it is always read onto a character: ``skeleton``,
    or the default humanoid. Hinge angles and the root's pose are taken; velocities are not (in the
    clips that come with Isaac Lab every second one is zero, see :mod:`isaacmm.motion.repair`).
    """
    from isaacmm.motion.clip import Motion

    data = files.open_npz(path)
    missing = [key for key in _KEYS if key not in data]
    if missing:
        raise MotionError(f"{path}: lacks the array(s) {', '.join(missing)} of an Isaac Lab clip.")
    if skeleton is None:
        from isaacmm.character import CharacterModel

        skeleton = CharacterModel.load("humanoid").skeleton
    dof_names = [str(name) for name in data["dof_names"]]
    body_names = [str(name) for name in data["body_names"]]
    frames = len(data["dof_positions"])
    shapes = {
        "dof_positions": (frames, len(dof_names)),
        "body_positions": (frames, len(body_names), 3),
        "body_rotations": (frames, len(body_names), 4),
    }
    for key, shape in shapes.items():
        if data[key].shape != shape:
            raise MotionError(f"{path}: {key} has the shape {data[key].shape}, expected {shape} by its name lists.")
    dofs = files.match_names(dof_names, skeleton.dof_names, "hinges", path)
    root = skeleton.names[0]
    if root not in body_names:
        raise MotionError(f"{path}: has no body {root!r}, the character's root; its bodies: {', '.join(body_names)}.")
    at = body_names.index(root)
    wxyz = torch.as_tensor(data["body_rotations"][:, at].astype(np.float64))
    motion = Motion.from_dofs(
        skeleton,
        files.as_tensor(data["body_positions"][:, at]),
        rotation.normalize(rotation.from_wxyz(wxyz)).float(),
        files.as_tensor(data["dof_positions"][:, dofs]),
        float(np.asarray(data["fps"]).reshape(())),
        path.stem,
    )
    _compare_bodies(motion, data["body_positions"], body_names, path)
    return motion


def _compare_bodies(motion: Motion, stored: np.ndarray, names: list[str], path: Path) -> None:
    """Warn where the stored body positions disagree with the character's kinematics."""
    shared = [name for name in motion.skeleton.names if name in names]
    ours = motion.fk()[0][:, [motion.skeleton.names.index(name) for name in shared]]
    theirs = files.as_tensor(stored[:, [names.index(name) for name in shared]])
    error = (ours - theirs).norm(dim=-1).amax(dim=0)
    if bool(torch.isfinite(error).all()) and float(error.max()) > _POSITION_TOLERANCE:
        worst = int(error.argmax())
        log.warning(
            "%s: stored body positions differ from the character's by up to %.1f cm (at %r): the clip was made "
            "for a character of other proportions; joint angles and root path are kept",
            path, 100 * float(error[worst]), shared[worst],
        )
