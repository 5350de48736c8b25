"""Robot motion as ``.csv``: root position, root quaternion, hinge angles; one row per frame, no header.

Two dialects look alike. The LAFAN1 clips retargeted to the Unitree G1 (and what BeyondMimic reads) have
``x y z | qx qy qz qw | 29 angles``; MuJoCo's ``qpos`` order, in which Kimodo and others write, has
``x y z | qw qx qy qz | 29 angles``. A frame rate is in neither (both are 30).

Which one it is, is decided by the robot: read in the wrong order it would lie, or stand on tilted soles.
A robot that faces along -x (order wxyz) or +x (order xyzw) with its pelvis exactly upright looks the
same in both orders but for facing the other way; then nothing is guessed and ``quaternion=`` asked for.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from isaacmm import rotation
from isaacmm.errors import MotionError, nearest
from isaacmm.motion.io import files, g1_robot
from isaacmm.motion.io.fields import rate

if TYPE_CHECKING:
    from isaacmm.motion.clip import Motion
    from isaacmm.skeleton import Skeleton

_ORDERS = {"xyzw": (0, 1, 2, 3), "wxyz": (1, 2, 3, 0)}
_HINGES = (29, 23)
#: The pelvis of the better order leans at most so much in the median (degrees), and so much less than the other's.
_UPRIGHT, _MARGIN = 35.0, 25.0
#: The lower sole is flatter by at least so much (degrees) in the right order, where both stand upright.
_FLATTER = 1.0


def sniff(path: Path) -> bool:
    """True for a text whose first full line is a row of 30, 36 or 37 numbers (or their names)."""
    with open(path, "rb") as file:
        lines = file.read(8192).split(b"\n")
    if b"\0" in lines[0] or len(lines) < 2:
        return False
    for line in lines[:2]:
        cells = line.strip().split(b",")
        try:
            [float(cell) for cell in cells]
        except ValueError:
            continue
        return len(cells) - 7 in _HINGES or len(cells) - 8 in _HINGES
    return False


def read(
    path: Path,
    skeleton: Skeleton | None = None,
    *,
    fps: float = 30.0,
    quaternion: str = "auto",
) -> Motion:
    """Read a robot's ``.csv``.

    Args:
        path: the file.
        skeleton: the robot; None: the Unitree G1 (:mod:`.g1_robot`). Its hinges are in the order of the
            columns, or named as the file's header or the G1 name them.
        fps: frames per second; the file does not say.
        quaternion: ``"xyzw"``, ``"wxyz"`` or ``"auto"``: told from a header or from the robot's stance.

    Raises:
        MotionError: not such a table, or the quaternion's order cannot be told.
    """
    if quaternion not in ("auto", *_ORDERS):
        raise MotionError(
            f"{path}: quaternion={quaternion!r} is not possible; {nearest(quaternion, _ORDERS)}"
        )
    values, header = _table(path)
    if header is not None and quaternion == "auto":
        quaternion = _order_in(header)
    step = np.diff(values[:, 0])
    if skeleton is not None:  # one column more than it needs: a running number
        counted = values.shape[1] == skeleton.num_dofs + 8 and len(step) > 0 and np.allclose(step, 1.0)
    else:
        counted = values.shape[1] - 8 in _HINGES
    if counted:  # a running number or a time before the rest
        if not (len(step) and np.isfinite(step).all() and (step > 0).all()):
            raise MotionError(
                f"{path}: {values.shape[1]} columns, and the first is no running number or time."
            )
        fps = fps if np.allclose(step, 1.0) else 1.0 / float(step.mean())
        values, header = values[:, 1:], header and header[1:]
    if values.shape[1] < 8:
        raise MotionError(
            f"{path}: {values.shape[1]} columns; a robot's csv has 7 and one per hinge (G1: 36)."
        )
    names = _hinge_names(header[7:]) if header is not None else None

    def clip(order: str) -> Motion:
        root_rot = values[:, 3:7][:, _ORDERS[order]]
        return g1_robot.motion(
            path, values[:, :3], root_rot, values[:, 7:], rate(fps, path), given=skeleton, names=names
        )

    if quaternion != "auto":
        return clip(quaternion)
    return clip(_order_by_stance(clip("xyzw"), clip("wxyz"), path))


def _table(path: Path) -> tuple[np.ndarray, list[str] | None]:
    """Numbers ``[T, C]`` and the header's names, if there is one."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MotionError(f"{path}: not a text file ({error.reason} at byte {error.start}).") from error
    first = text.split("\n", 1)[0].strip()
    try:
        [float(cell) for cell in first.split(",")]
        header = None
    except ValueError:
        header = [cell.strip().strip('"') for cell in first.split(",")]
    try:
        values = np.loadtxt(
            io.StringIO(text), delimiter=",", skiprows=int(header is not None), ndmin=2, comments=None
        )
    except ValueError as error:
        raise MotionError(
            f"{path}: not a table of numbers separated by commas ({str(error)[:160]})."
        ) from error
    if not values.size:
        raise MotionError(f"{path}: holds no rows of numbers.")
    if header is not None and len(header) != values.shape[1]:
        raise MotionError(f"{path}: {len(header)} names above {values.shape[1]} columns.")
    return values, header


def _order_in(header: list[str]) -> str:
    """The order that names such as ``root_qw`` say, else ``"auto"``."""
    tails = [name.lower().rstrip("_").replace("quat", "").strip("_")[-1:] for name in header]
    for start in (3, 4):
        word = "".join(tails[start : start + 4])
        if word in _ORDERS:
            return word
    return "auto"


def _hinge_names(header: list[str]) -> list[str] | None:
    """Names of hinges as skeletons have them, if the header's look like it."""
    names = [name if name.endswith("_joint") else f"{name.removesuffix('_dof')}_joint" for name in header]
    known = g1_robot.skeleton().dof_names
    return names if set(names) <= set(known) else None


def _order_by_stance(xyzw: Motion, wxyz: Motion, path: Path) -> str:
    """The order in which the robot stands: by the lean of its pelvis, else by how flat its lower sole lies."""
    clips = {"xyzw": xyzw, "wxyz": wxyz}
    up = torch.tensor([0.0, 0.0, 1.0])

    def lean(body_rot: torch.Tensor) -> torch.Tensor:
        return torch.rad2deg(
            torch.acos(rotation.rotate(body_rot, up.expand(*body_rot.shape[:-1], 3))[..., 2].clamp(-1, 1))
        )

    pelvis = {order: float(lean(clip.root_rot).median()) for order, clip in clips.items()}
    best, other = sorted(pelvis, key=lambda order: pelvis[order])
    if pelvis[best] < _UPRIGHT and pelvis[other] - pelvis[best] > _MARGIN:
        return best
    soles: dict[str, float] = {}
    feet = [i for i, name in enumerate(xyzw.skeleton.names) if name.endswith("ankle_roll_link")]
    if len(feet) == 2:
        for order, clip in clips.items():
            pos, rot = clip.fk()
            lower = pos[:, feet, 2].argmin(dim=1, keepdim=True)
            soles[order] = float(lean(rot[:, feet]).gather(1, lower).median())
        best, other = sorted(soles, key=lambda order: soles[order])
        if soles[best] < 0.5 * soles[other] and soles[other] - soles[best] > _FLATTER:
            return best
    raise MotionError(
        f"{path}: the order of its quaternions cannot be told (read as xyzw the pelvis leans by {pelvis['xyzw']:.0f} "
        f"degrees, as wxyz by {pelvis['wxyz']:.0f}). Say quaternion='xyzw' (LAFAN1 retargeted to the G1, BeyondMimic) "
        "or quaternion='wxyz' (MuJoCo's qpos, Kimodo)."
    )


def write(motion: Motion, path: Path, *, quaternion: str = "xyzw") -> None:
    """Write root position, quaternion and hinge angles; the skeleton needs hinges."""
    if quaternion not in _ORDERS:
        raise MotionError(
            f"{path}: quaternion={quaternion!r} is not possible; {nearest(quaternion, _ORDERS)}"
        )
    if not motion.skeleton.num_dofs:
        raise MotionError(
            f"{path}: a robot's csv holds hinge angles, and this skeleton has none; retarget it to a robot."
        )
    root_rot = motion.root_rot.double()
    columns = (motion.root_pos.double(), root_rot if quaternion == "xyzw" else rotation.to_wxyz(root_rot))
    table = torch.cat((*columns, motion.dof_pos().double()), dim=1).cpu().numpy()
    text = io.BytesIO()
    np.savetxt(text, table, delimiter=",", fmt="%.8g")
    with files.atomic(path) as file:
        file.write(text.getvalue())
