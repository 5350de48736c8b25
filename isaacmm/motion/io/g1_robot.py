"""The Unitree G1 with 29 hinges, and files of hinge angles in its order.

Names, tree, axes, link offsets and ranges are facts of the robot (its published description, revision
1.0); meshes, inertias and drives are not here. Whoever has another robot, or another revision, passes
``skeleton=Skeleton.from_mjcf("robot.xml")``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from isaacmm import rotation
from isaacmm.errors import MotionError

if TYPE_CHECKING:
    from isaacmm.motion.clip import Motion
    from isaacmm.skeleton import Skeleton

# link, parent, offset (m), rest rotation (xyzw), hinge axis, range (rad): left side and middle
_LEFT = (
    ("left_hip_pitch", "pelvis", (0.0, 0.064452, -0.1027), None, "y", (-2.5307, 2.8798)),
    (
        "left_hip_roll",
        "left_hip_pitch",
        (0.0, 0.052, -0.030465),
        (0.0, -0.0873386, 0.0, 0.996179),
        "x",
        (-0.5236, 2.9671),
    ),
    ("left_hip_yaw", "left_hip_roll", (0.025001, 0.0, -0.12412), None, "z", (-2.7576, 2.7576)),
    (
        "left_knee",
        "left_hip_yaw",
        (-0.078273, 0.0021489, -0.17734),
        (0.0, 0.0873386, 0.0, 0.996179),
        "y",
        (-0.087267, 2.8798),
    ),
    ("left_ankle_pitch", "left_knee", (0.0, -9.4445e-05, -0.30001), None, "y", (-0.87267, 0.5236)),
    ("left_ankle_roll", "left_ankle_pitch", (0.0, 0.0, -0.017558), None, "x", (-0.2618, 0.2618)),
)
_WAIST = (
    ("waist_yaw", "pelvis", (0.0, 0.0, 0.0), None, "z", (-2.618, 2.618)),
    ("waist_roll", "waist_yaw", (-0.0039635, 0.0, 0.044), None, "x", (-0.52, 0.52)),
    ("waist_pitch", "waist_roll", (0.0, 0.0, 0.0), None, "y", (-0.52, 0.52)),
)
_ARM = (
    (
        "left_shoulder_pitch",
        "waist_pitch",
        (0.0039563, 0.10022, 0.24778),
        (0.139201, 1.38722e-05, -9.86868e-05, 0.990264),
        "y",
        (-3.0892, 2.6704),
    ),
    (
        "left_shoulder_roll",
        "left_shoulder_pitch",
        (0.0, 0.038, -0.013831),
        (-0.139172, 0.0, 0.0, 0.990268),
        "x",
        (-1.5882, 2.2515),
    ),
    ("left_shoulder_yaw", "left_shoulder_roll", (0.0, 0.00624, -0.1032), None, "z", (-2.618, 2.618)),
    ("left_elbow", "left_shoulder_yaw", (0.015783, 0.0, -0.080518), None, "y", (-1.0472, 2.0944)),
    ("left_wrist_roll", "left_elbow", (0.1, 0.00188791, -0.01), None, "x", (-1.97222, 1.97222)),
    ("left_wrist_pitch", "left_wrist_roll", (0.038, 0.0, 0.0), None, "y", (-1.61443, 1.61443)),
    ("left_wrist_yaw", "left_wrist_pitch", (0.046, 0.0, 0.0), None, "z", (-1.61443, 1.61443)),
)
_AXES = {"x": (1.0, 0.0, 0.0), "y": (0.0, 1.0, 0.0), "z": (0.0, 0.0, 1.0)}
#: Hinges of the 23-hinge G1 among the 29: all but the wrists'.
HINGES_23 = (*range(15), *range(15, 19), *range(22, 26))
#: Where ProtoMotions' 33 bodies keep our 30 (it adds head and hands and puts the head second).
PROTOMOTIONS_BODIES = (0, *range(2, 24), *range(25, 32))
#: The three that it adds: place, the link they ride on, where on it (m); their frames are the link's.
PROTOMOTIONS_EXTRA = {
    1: ("pelvis", (0.0, 0.0, 0.4)),
    24: ("left_wrist_yaw_link", (0.12, 0.0, 0.0)),
    32: ("right_wrist_yaw_link", (0.12, 0.0, 0.0)),
}
#: Soles: corners of the foot in the frame of ``ankle_roll`` (m).
SOLE = ((-0.05, 0.025, -0.035), (-0.05, -0.025, -0.035), (0.12, 0.03, -0.035), (0.12, -0.03, -0.035))


def _mirrored(rows: tuple) -> tuple:
    """The right side: y negated, turns about x and z reversed, their ranges too."""
    out = []
    for link, parent, (x, y, z), rest, axis, (low, high) in rows:
        turn = None if rest is None else (-rest[0], rest[1], -rest[2], rest[3])
        limits = (low, high) if axis == "y" else (-high, -low)
        out.append(
            (link.replace("left", "right"), parent.replace("left", "right"), (x, -y, z), turn, axis, limits)
        )
    return tuple(out)


def _body(link: str) -> str:
    """Our name of a link: the one of the robot's description."""
    return "pelvis" if link == "pelvis" else "torso_link" if link == "waist_pitch" else f"{link}_link"


def skeleton() -> Skeleton:
    """The G1: 30 bodies, 29 hinges named ``left_hip_pitch_joint``, ..."""
    from isaacmm.skeleton import Skeleton

    rows = (*_LEFT, *_mirrored(_LEFT), *_WAIST, *_ARM, *_mirrored(_ARM))
    names = ["pelvis", *(row[0] for row in rows)]
    rest = rotation.identity(len(names), dtype=torch.float64)
    for i, (_, _, _, turn, _, _) in enumerate(rows, start=1):
        if turn is not None:
            rest[i] = rotation.normalize(torch.tensor(turn, dtype=torch.float64))
    return Skeleton(
        names=tuple(_body(name) for name in names),
        parents=(-1, *(names.index(row[1]) for row in rows)),
        offsets=torch.tensor([(0.0, 0.0, 0.0), *(row[2] for row in rows)]),
        rest_rotations=rest.float(),
        dof_names=tuple(f"{row[0]}_joint" for row in rows),
        dof_bodies=tuple(range(1, len(names))),
        dof_axes=torch.tensor([_AXES[row[4]] for row in rows]),
        dof_limits=torch.tensor([row[5] for row in rows]),
    )


def hinges(
    dofs: np.ndarray, given: Skeleton | None, names: list[str] | None, path: Path
) -> tuple[Skeleton, np.ndarray]:
    """The skeleton of a file of hinge angles ``[T, D]`` and the angles in its order.

    Args:
        dofs: angles, rad.
        given: the user's robot; hinges are matched by name where names are known (the file's, or the G1's
            for 29 and 23 columns), else by order.
        names: of the columns, where the file has them.
        path: for messages.

    Raises:
        MotionError: the columns fit no robot we know, nor the one given.
    """
    count = dofs.shape[1]
    g1 = skeleton()
    if names is None and count in (29, 23):
        names = list(g1.dof_names) if count == 29 else [g1.dof_names[i] for i in HINGES_23]
    robot = given or g1
    if names is not None and set(names) <= set(robot.dof_names):
        full = np.zeros((len(dofs), robot.num_dofs))
        full[:, [robot.dof_names.index(name) for name in names]] = dofs
        return robot, full
    if given is not None and given.num_dofs == count:
        return given, dofs
    if given is not None:
        raise MotionError(
            f"{path}: has {count} hinge angles, the skeleton given has {given.num_dofs} hinges; load the robot that "
            "the clip belongs to."
        )
    raise MotionError(
        f"{path}: has {count} hinge angles. isaacmm knows the Unitree G1 with 29 (and 23) of them; for another robot "
        "pass skeleton=Skeleton.from_mjcf('robot.xml'), whose hinges are in the order of the file."
    )


def motion(
    path: Path,
    root_pos: np.ndarray,
    root_rot: np.ndarray,
    dofs: np.ndarray,
    fps: float,
    *,
    given: Skeleton | None = None,
    names: list[str] | None = None,
    name: str = "",
) -> Motion:
    """A clip of hinge angles: ``root_pos [T, 3]`` m, ``root_rot [T, 4]`` xyzw, ``dofs [T, D]`` rad."""
    from isaacmm.motion.clip import Motion

    robot, angles = hinges(dofs, given, names, path)
    turned = torch.as_tensor(root_rot, dtype=torch.float64)
    norms = turned.norm(dim=-1)
    off = (norms - 1.0).abs() > 0.1
    if bool(off.any()):
        frame = int(off.nonzero()[0])
        raise MotionError(
            f"{path}: frame {frame} holds a root quaternion of length {float(norms[frame]):.2f}; the columns are not "
            "those of this format, or the file is damaged."
        )
    return Motion(
        skeleton=robot,
        root_pos=torch.as_tensor(root_pos).float(),
        root_rot=(turned / norms.unsqueeze(-1)).float(),
        joint_rot=robot.dofs_to_joint_rot(torch.as_tensor(angles, dtype=torch.float64)).float(),
        fps=fps,
        name=name or path.stem,
    )
