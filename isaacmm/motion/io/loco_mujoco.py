"""loco-mujoco ``.npz``: one array ``q_<joint>`` (and ``dq_<joint>``) per joint of an OpenSim-like human.

Metres and radians; the model stands in OpenSim's axes (x forward, y up, z right) in a z-up world. The
file has no frame rate: it follows from positions and velocities. Two models wrote such files; the one
with coupled knees (``knee_angle_r_translation1``) bends its knees with a positive angle, and its left
hip turns about the axes of the right one (read the other way, the standing foot of its clips slides six
times as fast). Shifts of the coupled knee (millimetres) and the knee cap are left out; lengths are
rounded to millimetres.
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
from isaacmm.motion.io.axes import Y_UP_X_FORWARD
from isaacmm.motion.io.fields import Fields, rate

if TYPE_CHECKING:
    from isaacmm.motion.clip import Motion
    from isaacmm.skeleton import Skeleton

_X, _Y, _Z = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
# body, parent, offset (m) in the coupled-knee and in the plain model, joints (name, axis) in order; right side
_RIGHT = (
    (
        *("femur_r", "pelvis", (-0.056, -0.078, 0.077), (-0.072, -0.067, 0.085)),
        (("hip_flexion_r", _Z), ("hip_adduction_r", _X), ("hip_rotation_r", _Y)),
    ),
    ("tibia_r", "femur_r", (0.0, -0.404, -0.001), (-0.002, -0.366, 0.0), (("knee_angle_r", _Z),)),
    (
        *("talus_r", "tibia_r", (-0.01, -0.4, 0.0), (0.0, -0.48, 0.0)),
        (("ankle_angle_r", (-0.105014, -0.174022, 0.979126)),),
    ),
    (
        *("calcn_r", "talus_r", (-0.049, -0.042, 0.008), (-0.054, -0.047, 0.009)),
        (("subtalar_angle_r", (0.78718, 0.604747, -0.120949)),),
    ),
    (
        *("toes_r", "calcn_r", (0.179, -0.002, 0.001), (0.191, -0.002, 0.001)),
        (("mtp_angle_r", (-0.580954, 0.0, 0.813936)),),
    ),
    (
        *("humerus_r", "torso", (0.003, 0.372, 0.17), (0.003, 0.4, 0.183)),
        (("arm_flex_r", _Z), ("arm_add_r", _X), ("arm_rot_r", _Y)),
    ),
    (
        *("ulna_r", "humerus_r", (0.013, -0.286, -0.01), (0.015, -0.336, -0.011)),
        (("elbow_flex_r", (0.226047, 0.022269, 0.973862)),),
    ),
    (
        *("radius_r", "ulna_r", (-0.007, -0.013, 0.026), (-0.007, -0.014, 0.029)),
        (("pro_sup_r", (0.056398, 0.998406, 0.001952)),),
    ),
    (
        *("hand_r", "radius_r", (-0.009, -0.236, 0.014), (-0.01, -0.261, 0.015)),
        (("wrist_flex_r", _Z), ("wrist_dev_r", _X)),
    ),
)
_TORSO = (
    *("torso", "pelvis", (-0.101, 0.082, 0.0), (-0.103, 0.083, 0.0)),
    (("lumbar_extension", _Z), ("lumbar_bending", _X), ("lumbar_rotation", _Y)),
)
_ROOT = (("pelvis_tilt", _Z), ("pelvis_list", _X), ("pelvis_rotation", _Y))
#: Axes that the model with coupled knees has otherwise than the plain one.
_COUPLED_AXES = {
    "knee_angle_r": (0.0, -0.070713, -0.997497),
    "knee_angle_l": (0.0, 0.070713, -0.997497),
    "hip_adduction_l": _X,
    "hip_rotation_l": _Y,
}
#: Rates that clips have; a measured one within a hundredth of one of them is that one.
_RATES = (20, 24, 25, 30, 40, 50, 60, 90, 100, 120, 125, 150, 200, 240, 250, 300, 400, 500, 1000)
_TELLING = (
    "pelvis_tx",
    "pelvis_ty",
    "pelvis_tz",
    "hip_flexion_r",
    "hip_flexion_l",
    "knee_angle_r",
    "knee_angle_l",
)
_COUPLED = "q_knee_angle_r_translation1"
_HEIGHTS = (0.95, 0.975)  # of the pelvis with pelvis_ty at zero: coupled knees, plain


def sniff(path: Path) -> bool:
    """True for an archive of OpenSim-like joints."""
    return {"q_pelvis_tx", "q_pelvis_tilt", "q_hip_flexion_r"} <= files.npz_keys(path)


def _mirrored(row: tuple) -> tuple:
    """The left side: z of offsets negated; axes keep their turn about z and reverse x and y."""
    name, parent, first, second, joints = row

    def flip(v: tuple[float, ...]) -> tuple[float, ...]:
        return (v[0], v[1], -v[2])

    turned = tuple((joint[:-1] + "l", (-axis[0], -axis[1], axis[2])) for joint, axis in joints)
    return (
        name[:-1] + "l",
        parent[:-1] + "l" if parent.endswith("_r") else parent,
        flip(first),
        flip(second),
        turned,
    )


def _rows(coupled: bool) -> list[tuple]:
    """Name, parent, offset, joints of every body but the pelvis."""
    rows = [*_RIGHT[:5], *(_mirrored(row) for row in _RIGHT[:5]), _TORSO]
    rows += [*_RIGHT[5:], *(_mirrored(row) for row in _RIGHT[5:])]
    if not coupled:
        return [(name, parent, second, joints) for name, parent, _, second, joints in rows]
    return [
        (name, parent, first, tuple((joint, _COUPLED_AXES.get(joint, axis)) for joint, axis in joints))
        for name, parent, first, _, joints in rows
    ]


def character(coupled: bool = True) -> Skeleton:
    """The model's 20 bodies in our axes, without hinges."""
    from isaacmm.skeleton import Skeleton

    rows = _rows(coupled)
    names = ["pelvis", *(row[0] for row in rows)]
    offsets = np.array([(0.0, 0.0, 0.0), *(row[2] for row in rows)])
    return Skeleton(
        names=tuple(names),
        parents=(-1, *(names.index(row[1]) for row in rows)),
        offsets=Y_UP_X_FORWARD.vectors(offsets).float(),
        rest_rotations=rotation.identity(len(names)),
    )


def read(path: Path, skeleton: Skeleton | None = None, *, fps: float | None = None) -> Motion:
    """Read a loco-mujoco clip of its human models.

    Args:
        path: the file.
        skeleton: map the bodies by name onto this one (``femur_r``, ...). None: the model's.
        fps: frames per second; None: told from positions and velocities.
    """

    arrays = files.open_npz(path)
    coupled = _COUPLED in arrays
    data = Fields(arrays, path, "a loco-mujoco clip")
    frames = len(data.array("q_pelvis_tx", None))
    place = np.stack([data.array(f"q_pelvis_{key}", frames) for key in ("tx", "ty", "tz")], axis=-1)

    def turn(joints: tuple) -> Tensor:
        total = rotation.identity(frames, dtype=torch.float64)
        for name, axis in joints:
            if f"q_{name}" not in data and name.split("_")[0] in ("subtalar", "mtp", "wrist", "pro"):
                continue  # reduced models leave them out
            angle = torch.as_tensor(data.array(f"q_{name}", frames))
            unit = torch.tensor(axis, dtype=torch.float64)
            total = rotation.multiply(total, rotation.from_axis_angle(unit / unit.norm(), angle))
        return total

    turned = torch.stack([turn(_ROOT), *(turn(row[3]) for row in _rows(coupled))], dim=1)
    turned = Y_UP_X_FORWARD.quaternions(turned)
    root_pos = Y_UP_X_FORWARD.vectors(place)
    root_pos[:, 2] += _HEIGHTS[0] if coupled else _HEIGHTS[1]
    own, joint_rot = character(coupled), turned[:, 1:]
    given = fps if fps is not None else _measured_rate(data, frames)
    return files.placed(skeleton, own, root_pos, turned[:, 0], joint_rot, rate(given, path), path)


def _measured_rate(data: Fields, frames: int) -> float:
    """Frames per second at which the positions move by the velocities (least squares)."""
    moved = driven = 0.0
    for key in (f"q_{name}" for name in _TELLING):
        if f"d{key}" in data:
            steps = np.diff(data.array(key, frames))
            velocity = data.array(f"d{key}", frames)
            mean = 0.5 * (velocity[1:] + velocity[:-1])
            good = np.isfinite(steps) & np.isfinite(mean)
            moved += float(steps[good] @ mean[good])
            driven += float(mean[good] @ mean[good])
    if not (moved > 0.0 and driven > 0.0):
        raise MotionError(f"{data.path}: has no velocities that tell its frame rate; say fps=...")
    measured = driven / moved
    near = min(_RATES, key=lambda usual: abs(usual - measured))
    return float(near) if abs(near - measured) < 0.01 * near else round(measured, 1)
