"""A sheet that shows the gaits: stick figures over a cycle, joint curves, floor forces, footprints."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from isaacmm.gait import curves, gaits
from isaacmm.gait.body import Body
from isaacmm.gait.dynamics import GRAVITY, wrench
from isaacmm.gait.fit import Problem
from isaacmm.gait.laws import plan
from isaacmm.gait.synthesis import Take, travel

RIGHT, LEFT, TRUNK = "#c0392b", "#2471a3", "#333333"


def figure_lines(body: Body, pos: np.ndarray, rot: np.ndarray) -> list[tuple[np.ndarray, str]]:
    """Polylines `[n, 3]` with colours of one posed body (`[B, 3]`, `[B, 3, 3]`)."""
    lines = []
    for b, name in enumerate(body.names):
        colour = RIGHT if name.startswith("right") else LEFT if name.startswith("left") else TRUNK
        if b:
            lines.append((np.stack([pos[body.parents[b]], pos[b]]), colour))
    for side, colour in (("right", RIGHT), ("left", LEFT)):
        corner = body.sole_corners(pos, rot, side)
        lines.append((corner[[0, 2, 3, 1, 0]], colour))
        ankle = pos[body.body(f"{side}_foot")]
        lines.append((np.stack([corner[:2].mean(0), ankle, corner[2:].mean(0)]), colour))
    return lines


def row(
    axes: Any,
    body: Body,
    pos: np.ndarray,
    rot: np.ndarray,
    frames: Sequence[int],
    view: str,
    step: float = 0.8,
) -> None:
    """Draw some frames side by side, seen from the `side` or the `front` along the body's heading."""
    import matplotlib.pyplot as plt

    for n, f in enumerate(frames):
        heading = np.arctan2(rot[f, 0, 1, 0], rot[f, 0, 0, 0])
        across = np.array(
            [np.cos(heading), np.sin(heading)] if view == "side" else [-np.sin(heading), np.cos(heading)]
        )
        origin = pos[f, 0, :2] @ across
        for line, colour in figure_lines(body, pos[f], rot[f]):
            axes.plot(line[:, :2] @ across - origin + n * step, line[:, 2], color=colour, lw=1.2)
        head = pos[f, body.body("head")] + rot[f, body.body("head")] @ np.array([0, 0, 0.175])
        axes.add_patch(
            plt.Circle((head[:2] @ across - origin + n * step, head[2]), 0.095, fill=False, ec=TRUNK)
        )
    axes.axhline(0, color="#999999", lw=0.6)
    axes.set_aspect("equal")
    axes.set_xlim(-0.6, len(frames) * step - 0.2)
    axes.set_ylim(-0.05, 1.62)
    axes.axis("off")


def cycle_frames(take: Take, duration: float, count: int) -> list[int]:
    """Evenly spaced frames over one cycle that begins with a heel strike of the right foot."""
    down = take.contacts[:, 0]
    start = int(np.flatnonzero(down[1:] & ~down[:-1])[1]) + 1
    return [int(i) for i in np.round(start + np.arange(count) * duration * take.fps / count)]


def draw(path: Path) -> None:
    """Write the sheet that docs/gait.md shows."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    body, table = Body.load(), gaits.load()
    sheet = plt.figure(figsize=(13, 12.5))
    grid = sheet.add_gridspec(5, 4, height_ratios=[1, 1, 1, 0.95, 0.95], hspace=0.32, wspace=0.27)
    for at, (manner, speed, view) in enumerate(
        (("walk", 1.2, "side"), ("walk", 1.2, "front"), ("run", 3.0, "side"))
    ):
        steady = plan(speed, body.leg_length, manner == "run")
        take = travel(body, steady, gaits.parameters(manner, speed, table), seed=1)
        pos, rot = body.fk(take.root_pos, take.root_rot, take.dofs)
        axes = sheet.add_subplot(grid[at, :])
        row(axes, body, pos, rot, cycle_frames(take, steady.duration, 13), view)
        axes.set_title(
            f"{manner} {speed} m/s, one cycle, from the {view} (right side red)", fontsize=9, loc="left"
        )
    for line, (manner, speed) in enumerate((("walk", 1.2), ("run", 2.8))):
        _curves(sheet, grid, 3 + line, body, table, manner, speed)
    _footprints(sheet.add_subplot(grid[4, 3]), body, table)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.savefig(path, dpi=75, bbox_inches="tight")
    plt.close(sheet)


def _curves(
    sheet: Any, grid: Any, line: int, body: Body, table: dict[str, np.ndarray], manner: str, speed: float
) -> None:
    problem = Problem(body, plan(speed, body.leg_length, manner == "run"), samples=200)
    motion = problem.motion(gaits.parameters(manner, speed, table))
    percent = 100 * problem.phase
    for n, (joint, target) in enumerate(problem.targets.items()):
        axes = sheet.add_subplot(grid[line, n])
        sd = 2 * curves.CURVE_SD[joint.split("_")[0]]
        axes.fill_between(percent, np.rad2deg(target) - sd, np.rad2deg(target) + sd, color="#dddddd")
        axes.plot(percent, np.rad2deg(motion["dofs"][:, body.dof(f"right_{joint}")]), color=RIGHT)
        axes.set_title(f"{manner} {speed}: {joint} (deg); grey: published, 2 SD", fontsize=8)
        axes.tick_params(labelsize=7)
    if manner == "walk":
        axes = sheet.add_subplot(grid[line, 3])
        axes.plot(percent, motion["force"] / (body.masses.sum() * GRAVITY), label=["forward", "left", "up"])
        axes.legend(fontsize=6)
        axes.set_title("floor force, both feet (body weights)", fontsize=8)
        axes.tick_params(labelsize=7)


def _footprints(axes: Any, body: Body, table: dict[str, np.ndarray]) -> None:
    speed, curvature = 1.4, 0.5
    steady = plan(speed, body.leg_length)
    take = travel(body, steady, gaits.parameters("walk", speed, table), curvature, seconds=4.5, seed=2)
    pos, rot = body.fk(take.root_pos, take.root_rot, take.dofs)
    for i, (side, colour) in enumerate((("right", RIGHT), ("left", LEFT))):
        corner = body.sole_corners(pos, rot, side)
        flat = (corner[..., 2].max(-1) < 0.002) & take.contacts[:, i]
        for f in np.flatnonzero(flat[1:] & ~flat[:-1]) + 1:
            axes.fill(*corner[f, [0, 2, 3, 1], :2].T, color=colour, alpha=0.6, lw=0)
    floor = wrench(body, pos, rot, 1 / take.fps)
    axes.plot(*floor["pressure"].T, color="#777777", lw=0.6)
    axes.plot(*floor["com"][:, :2].T, color=TRUNK, lw=1)
    axes.set_aspect("equal")
    axes.set_title(
        "arc 0.5 /m at 1.4 m/s: footprints, centre of\nmass (black), centre of pressure (grey)", fontsize=8
    )
    axes.tick_params(labelsize=7)
