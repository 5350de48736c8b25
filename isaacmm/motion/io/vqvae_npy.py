"""MotionVQVAE ``.npy``: one long plain array, several clips.

Columns: time (s), root position (m), root quaternion (**wxyz**), hinge angles (rad), transition flag.
z up. A clip ends where the flag falls from 1 to 0: each is a stable part and the transition after it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from isaacmm import rotation
from isaacmm.errors import MotionError
from isaacmm.motion.io import arrays, files, g1_robot
from isaacmm.motion.io.fields import pick_clip, rate

if TYPE_CHECKING:
    from isaacmm.motion.clip import Motion
    from isaacmm.skeleton import Skeleton


def sniff(path: Path) -> bool:
    """True for a plain table with rising times in front and flags at the end."""
    shape = arrays.npy_shape(path)
    if shape is None or len(shape) != 2 or shape[0] < 2 or not 10 <= shape[1] <= 500 or shape[1] == 263:
        return False
    try:
        table = arrays.read_npy(path)
    except MotionError:
        return False
    with np.errstate(all="ignore"):
        rising = bool((np.diff(table[:50, 0].astype(np.float64)) > 0).all())
    return rising and bool(np.isin(table[:, -1], (0, 1)).all())


def _clips(path: Path) -> tuple[dict[str, np.ndarray], float]:
    """Rows of each clip by name, and the frame rate."""
    table = arrays.read_npy(path)
    if table.ndim != 2 or table.shape[1] < 10 or table.dtype.kind not in "fiu" or len(table) < 2:
        raise MotionError(
            f"{path}: an array of shape {list(table.shape)}; expected [T, 9 + hinges]: time, root position, root "
            "quaternion wxyz, hinge angles, flag."
        )
    table = table.astype(np.float64)
    step = float(np.diff(table[:, 0]).mean())
    if not step > 0.0:
        raise MotionError(
            f"{path}: the first column does not rise, so it is not the time of a MotionVQVAE file."
        )
    flag = table[:, -1] > 0.5
    cuts = np.flatnonzero(flag[:-1] & ~flag[1:]) + 1
    parts = np.split(table, cuts)
    short = [i for i, part in enumerate(parts) if len(part) < 2]
    if short:
        files.log.warning("%s: %d clip(s) of a single frame are left out", path, len(short))
    names = [path.stem] if len(parts) == 1 else [f"{path.stem}_{i}" for i in range(len(parts))]
    clips = {name: part for name, part in zip(names, parts, strict=True) if len(part) >= 2}
    return clips, rate(1.0 / step, path)


def read(path: Path, skeleton: Skeleton | None = None, *, clip: str | None = None) -> Motion:
    """Read one clip; ``skeleton`` is the robot, None the Unitree G1; ``clip`` its name, None the first."""
    clips, fps = _clips(path)
    name, rows = pick_clip(clips, clip, path)
    return _motion(path, name, rows, fps, skeleton)


def read_all(path: Path, skeleton: Skeleton | None = None) -> list[Motion]:
    """Read every clip."""
    clips, fps = _clips(path)
    return [_motion(path, name, rows, fps, skeleton) for name, rows in clips.items()]


def _motion(path: Path, name: str, rows: np.ndarray, fps: float, skeleton: Skeleton | None) -> Motion:
    return g1_robot.motion(
        path, rows[:, 1:4], rows[:, 4:8][:, [1, 2, 3, 0]], rows[:, 8:-1], fps, given=skeleton, name=name
    )


def write(motion: Motion, path: Path) -> None:
    """Write one clip of a robot, without a transition (flag 0 throughout).

    Raises:
        MotionError: the skeleton has no hinges.
    """
    if not motion.skeleton.num_dofs:
        raise MotionError(
            f"{path}: MotionVQVAE's array holds hinge angles, and this motion's skeleton has none; retarget it to a "
            "robot."
        )
    frames = motion.num_frames
    table = np.zeros((frames, 9 + motion.skeleton.num_dofs))
    table[:, 0] = np.arange(frames) / motion.fps
    table[:, 1:4] = motion.root_pos.double().cpu().numpy()
    table[:, 4:8] = rotation.to_wxyz(motion.root_rot).double().cpu().numpy()
    table[:, 8:-1] = motion.dof_pos().double().cpu().numpy()
    with files.atomic(path) as file:
        np.save(file, table)
