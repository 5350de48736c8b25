"""A sheet with every kind of clip: each row one clip, seen obliquely, bodies where they really are."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from isaacmm import rotation
from isaacmm.gait.body import ASSET, Body
from isaacmm.gait.picture import TRUNK, figure_lines
from isaacmm.motion.clip import Motion
from isaacmm.skeleton import Skeleton

#: clip, figures in the row, what it is; in the order of the sheet
ROWS = (
    ("idle", 6, "standing"),
    ("start_walk_1.2_left", 11, "start"),
    ("stop_walk_1.2_left", 11, "stop"),
    ("walk_1.2", 12, "walk 1.2 m/s"),
    ("walk_1.0_left_1.00", 12, "curve, radius 1 m"),
    ("corner_1.0_left_90", 12, "corner, 90 degrees"),
    ("change_walk_0.6_to_walk_1.6", 12, "0.6 to 1.6 m/s"),
    ("change_walk_1.4_to_run_2.8", 12, "walk to run"),
    ("run_3.0", 12, "run 3.0 m/s"),
    ("run_start_2.6_left", 14, "standing to running"),
    ("change_run_2.6_to_walk_1.6", 13, "run to walk"),
    ("turn_left_90", 12, "turn on the spot, 90 degrees (drawn apart)"),
    ("side_left_0.3", 12, "side steps (drawn apart)"),
    ("back_0.7", 12, "backwards"),
)
#: Oblique view: azimuth and elevation (rad) of the eye.
AZIMUTH, ELEVATION = np.deg2rad(-68.0), np.deg2rad(14.0)


def project(points: np.ndarray) -> np.ndarray:
    """Orthographic picture coordinates `[..., 2]` of world points `[..., 3]`."""
    c, s = np.cos(AZIMUTH), np.sin(AZIMUTH)
    right, depth = -s * points[..., 0] + c * points[..., 1], -(c * points[..., 0] + s * points[..., 1])
    return np.stack([right, points[..., 2] * np.cos(ELEVATION) + depth * np.sin(ELEVATION)], -1)


def draw_set(folder: Path, path: Path) -> None:
    """Draw the clips of `folder` named in ROWS into the file `path`."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    body, skeleton = Body.load(), Skeleton.from_mjcf(ASSET)
    sheet, axes = plt.subplots(len(ROWS) // 2, 2, figsize=(14, 1.75 * len(ROWS) // 2))
    for (name, count, title), ax in zip(ROWS, axes.T.ravel(), strict=True):
        motion = Motion.load(folder / f"{name}.npz", skeleton=skeleton)
        seconds = min(motion.duration, 2.2 if name == "run_3.0" else 6.0)
        frames = np.linspace(0, seconds * motion.fps, count).round().astype(int)
        pos, rot = body.fk(
            motion.root_pos.double().numpy()[frames],
            rotation.to_matrix(motion.root_rot.double()).numpy()[frames],
            motion.dof_pos().double().numpy()[frames],
        )
        apart = np.zeros((count, 2))
        if name.startswith(("idle", "turn", "side")):
            apart = np.stack([np.arange(count) * 0.75, np.zeros(count)], -1)
        pos[..., :2] += apart[:, None]
        for i in range(count):
            for line, colour in figure_lines(body, pos[i], rot[i]):
                ax.plot(*project(line).T, color=colour, lw=0.9)
            head = project(pos[i, body.body("head")] + rot[i, body.body("head")] @ np.array([0, 0, 0.175]))
            ax.add_patch(plt.Circle(tuple(head), 0.095, fill=False, ec=TRUNK, lw=0.8))
        way = motion.root_pos.double().numpy()[: frames[-1] + 1] * [1, 1, 0]
        if not apart.any():
            ax.plot(*project(way).T, color="#bbbbbb", lw=0.8, zorder=0)
        ax.set_title(f"{title}  ({name})", fontsize=8, loc="left")
        ax.set_aspect("equal")
        ax.axis("off")
    sheet.text(0.5, 0.005, "right side red, left side blue; synthetic motion", ha="center", fontsize=8)
    sheet.tight_layout(pad=0.4)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.savefig(path, dpi=72)
    plt.close(sheet)

