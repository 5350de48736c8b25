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
    or the default humanoid. Joint rotations come from ``body_rotations``, because the
    ``dof_positions`` of the clips that ship with Isaac Lab are not hinge angles: for joints with three
    hinges they are the components of the rotation vector (read as hinge angles they are wrong by 19
    degrees in the walk and 51 in the dance). Where a body's rotation is missing, they are all there is.
    Velocities are not taken (in those clips every second one is zero, see
    :mod:`isaacmm.motion.repair`).
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
            raise MotionError(
                f"{path}: {key} has the shape {data[key].shape}, expected {shape} by its name lists."
            )
    dofs = files.match_names(dof_names, skeleton.dof_names, "hinges", path)
    root = skeleton.names[0]
    if root not in body_names:
        raise MotionError(
            f"{path}: has no body {root!r}, the character's root; its bodies: {', '.join(body_names)}."
        )
    at = body_names.index(root)
    world = rotation.normalize(rotation.from_wxyz(torch.as_tensor(data["body_rotations"].astype(np.float64))))
    if all(name in body_names for name in skeleton.names):
        bodies = world[:, [body_names.index(name) for name in skeleton.names]]
        above = bodies[:, list(skeleton.parents[1:])]
        local = torch.cat((bodies[:, :1], rotation.multiply(rotation.inverse(above), bodies[:, 1:])), dim=1)
        joint_rot = files.local_to_joint(local, skeleton).float()
    else:
        joint_rot = skeleton.dofs_to_joint_rot(files.as_tensor(data["dof_positions"][:, dofs]))
    motion = Motion(
        skeleton=skeleton,
        root_pos=files.as_tensor(data["body_positions"][:, at]),
        root_rot=world[:, at].float(),
        joint_rot=joint_rot,
        fps=float(np.asarray(data["fps"]).reshape(())),
        name=path.stem,
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
            "%s: stored body positions differ from the character's by up to %.1f cm (at %r): the clip was "
            "made for a character of other proportions; joint angles and root path are kept",
            path,
            100 * float(error[worst]),
            shared[worst],
        )


def write(motion: Motion, path: Path) -> None:
    """Write what Isaac Lab's AMP loader reads; the skeleton needs hinges.

    ``dof_positions`` are hinge angles (see :func:`read` for what its own clips hold there).
    """
    skeleton = motion.skeleton
    if not skeleton.num_dofs:
        raise MotionError(
            f"{path}: Isaac Lab's clips hold hinge angles, and this motion's skeleton has none; retarget it to a "
            "character first."
        )
    pos, rot = (part.cpu() for part in motion.fk())
    dofs, step = motion.dof_pos().cpu(), 1.0 / motion.fps

    def speed(values: torch.Tensor) -> np.ndarray:
        rates = (
            torch.gradient(values, spacing=step, dim=0)[0] if len(values) > 1 else torch.zeros_like(values)
        )
        return rates.numpy().astype(np.float32)

    with files.atomic(path) as file:
        np.savez(
            file,
            fps=np.array(float(motion.fps)),
            dof_names=np.array(skeleton.dof_names),
            body_names=np.array(skeleton.names),
            dof_positions=dofs.numpy().astype(np.float32),
            dof_velocities=speed(dofs),
            body_positions=pos.numpy().astype(np.float32),
            body_rotations=rotation.to_wxyz(rot).numpy().astype(np.float32),
            body_linear_velocities=speed(pos),
            body_angular_velocities=rotation.angular_velocity(rot, step).numpy().astype(np.float32),
        )
