"""GMR ``.pkl``: a dictionary ``fps, root_pos, root_rot (xyzw), dof_pos`` of a robot, z up, metres, radians.

General motion retargeting writes it, and the first MotionVQVAE files have the same keys.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING

from isaacmm.errors import MotionError
from isaacmm.motion.io import arrays, files, g1_robot, safe_pickle
from isaacmm.motion.io.fields import Fields

if TYPE_CHECKING:
    from isaacmm.motion.clip import Motion
    from isaacmm.skeleton import Skeleton


def sniff(path: Path) -> bool:
    """True for a pickle in whose first bytes the key is found."""
    head = arrays.unpacked_head(path)
    return _looks_pickled(head) and b"root_pos" in head and b"loop_mode" not in head


def _looks_pickled(head: bytes) -> bool:
    return head[:1] in (b"\x80", b"(", b"}", b"c")


def read(path: Path, skeleton: Skeleton | None = None) -> Motion:
    """Read a robot's clip; ``skeleton`` is the robot, None the Unitree G1."""
    content = safe_pickle.load(path)
    if not isinstance(content, dict):
        raise MotionError(f"{path}: holds a {type(content).__name__}, expected GMR's dictionary.")
    data = Fields(content, path, "a GMR clip")
    root_pos = data.array("root_pos", None, 3)
    frames = len(root_pos)
    return g1_robot.motion(
        path,
        root_pos,
        data.array("root_rot", frames, 4),
        data.array("dof_pos", frames, None),
        data.rate("fps", "mocap_frame_rate", default=30.0),
        given=skeleton,
    )


def write(motion: Motion, path: Path) -> None:
    """Write a robot's clip; the skeleton needs hinges."""
    if not motion.skeleton.num_dofs:
        raise MotionError(
            f"{path}: GMR's files hold hinge angles, and this motion's skeleton has none; retarget it to a robot."
        )
    content = {
        "fps": float(motion.fps),
        "root_pos": motion.root_pos.double().cpu().numpy(),
        "root_rot": motion.root_rot.double().cpu().numpy(),
        "dof_pos": motion.dof_pos().double().cpu().numpy(),
        "local_body_pos": None,
        "link_body_list": None,
    }
    with files.atomic(path) as file:
        pickle.dump(content, file, protocol=4)
