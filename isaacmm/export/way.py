"""The way that steered worlds went: a plot from above with speed and heading over time, and all of it as arrays."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.evaluate.rollout import Rollout
from isaacmm.evaluate.steered import commanded_path, local_velocity
from isaacmm.motion.io.files import atomic
from isaacmm.render.axes import INK, tidy

_BLUE, _ORANGE, _RED = "#2a7f9e", "#d0763f", "#b3312c"
#: Worlds drawn besides the typical one.
_OTHERS = 15


def save(rollout: Rollout, path: Path) -> Path:
    """Write the motion and its commands as ``.npz`` (no pickles), frames first, then worlds.

    Keys: ``fps``, ``root_pos``, ``root_rot`` (xyzw), ``dof_pos``, ``done``, ``contact``, ``survival``, ``script``,
    ``dof_names``, ``foot_names``, ``command_<name>`` and ``twin_<name>`` (:class:`~isaacmm.evaluate.rollout.Rollout`),
    ``reward_<name>``, and ``path`` where one was followed.
    """
    arrays: dict[str, Any] = {
        "format": np.array("isaacmm-rollout"),
        "version": np.array(1),
        "script": np.array(rollout.script),
        "fps": np.array(rollout.fps),
        "dof_names": np.array(rollout.character.skeleton.dof_names),
        "foot_names": np.array(rollout.character.feet),
    }
    for name in ("root_pos", "root_rot", "dof_pos", "done", "contact", "survival"):
        arrays[name] = getattr(rollout, name).numpy()
    for group, values in (("command", rollout.command), ("twin", rollout.twin), ("reward", rollout.reward)):
        arrays |= {f"{group}_{name}": value.numpy() for name, value in values.items()}
    if rollout.path is not None:
        arrays["path"] = rollout.path.numpy()
    with atomic(path) as file:
        np.savez_compressed(file, **arrays)
    return path


def draw(rollout: Rollout, world: int | None = None) -> bytes:
    """PNG: what one world did beside what was asked of it, over what some others did.

    Args:
        rollout: of HumanoidMM.
        world: which; default a typical one.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # not pyplot: nothing global, no display asked for

    chosen = rollout.worlds_to_show(1)[0] if world is None else world
    figure = Figure(figsize=(12.5, 6.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(3, 2, width_ratios=(1.15, 1.0))
    _above(figure.add_subplot(grid[:, 0]), rollout, chosen)
    panels = [figure.add_subplot(grid[0, 1])]
    panels += [figure.add_subplot(grid[row, 1], sharex=panels[0]) for row in (1, 2)]
    _over_time(panels, rollout, chosen)
    figure.suptitle(
        f"{rollout.script or 'commands'}: {rollout.seconds:.1f} s, {rollout.num_worlds} worlds, "
        f"{int(rollout.done.any(0).sum())} fell",
        x=0.01, ha="left", color=INK, fontsize=12,
    )  # fmt: skip
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def _above(axes: Any, rollout: Rollout, world: int) -> None:
    """Everybody's way, turned so that all of them start out to the right."""
    begin = rotation.yaw(rollout.root_rot[0])
    start = rollout.root_pos[0, :, :2]
    others = [w for w in range(rollout.num_worlds) if w != world][:_OTHERS]
    for w in others:
        _, stop = rollout.segment(w)
        way = _laid(rollout.root_pos[:stop, w, :2], start[w], begin[w])
        axes.plot(*way.T, color=_ORANGE, alpha=0.25, linewidth=0.8)
    start_frame, stop = rollout.segment(world)
    part = slice(start_frame, stop)
    told = commanded_path(rollout)[part, world] if rollout.path is None else rollout.path[world]
    label = "commanded" if rollout.path is None else "path"
    axes.plot(*_laid(told, start[world], begin[world]).T, color=_BLUE, linewidth=2.5, alpha=0.8, label=label)
    way = _laid(rollout.root_pos[part, world, :2], start[world], begin[world])
    axes.plot(*way.T, color=_ORANGE, linewidth=2.0, label="walked")
    every = max(1, round(2.0 * rollout.fps))
    facing = (rotation.yaw(rollout.root_rot[part, world])[::every] - begin[world]).numpy()
    wanted = (rollout.command["facing"][part, world][::every] - begin[world]).numpy()
    style = {"angles": "xy", "scale_units": "xy", "scale": 1.6, "width": 0.004, "headwidth": 4}
    for angle, color in ((wanted, _BLUE), (facing, _ORANGE)):
        axes.quiver(*way[::every].T, np.cos(angle), np.sin(angle), color=color, zorder=3, **style)
    if bool(rollout.done[stop - 1, world]):
        axes.plot(*way[-1], marker="x", color=_RED, markersize=9, markeredgewidth=2.5, linestyle="", label="fell")
    axes.plot(0, 0, marker="o", color=INK, markersize=5, linestyle="")
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_title("from above (m); arrows: facing, every 2 s", loc="left", fontsize=10, color=INK)
    axes.legend(frameon=False, fontsize=9, labelcolor=INK)
    tidy(axes)


def _over_time(panels: list[Any], rollout: Rollout, world: int) -> None:
    start, stop = rollout.segment(world)
    part = slice(start, stop)
    time = torch.arange(stop - start) / rollout.fps
    velocity = _smooth(local_velocity(rollout)[part, world], 0.4, rollout.fps)
    command = {name: value[part, world] for name, value in rollout.command.items()}
    begin = rotation.yaw(rollout.root_rot[0, world])
    heading = np.degrees(np.unwrap(rotation.yaw(rollout.root_rot[part, world]).double().numpy() - float(begin)))
    rows = (
        ("forward (m/s)", velocity[:, 0], command["velocity"][:, 0], command["goal_velocity"][:, 0]),
        ("left (m/s)", velocity[:, 1], command["velocity"][:, 1], command["goal_velocity"][:, 1]),
        ("heading (deg)", heading, *(_beside(command[k] - begin, heading) for k in ("facing", "goal_facing"))),
    )
    for axes, (title, done, spring, goal) in zip(panels, rows, strict=True):
        axes.plot(time, goal, color=_BLUE, linewidth=1.0, alpha=0.5, linestyle="--", label="commanded")
        axes.plot(time, spring, color=_BLUE, linewidth=1.8, label="its spring")
        axes.plot(time, done, color=_ORANGE, linewidth=1.6, label="done")
        axes.set_title(title, loc="left", fontsize=10, color=INK)
        axes.margins(x=0.0)
        low, high = axes.get_ylim()
        room = max(0.0, (1.0 if "m/s" in title else 20.0) - (high - low))  # noise is not to look like motion
        axes.set_ylim(low - 0.5 * room, high + 0.5 * room)
        tidy(axes)
    panels[0].legend(frameon=False, fontsize=8, labelcolor=INK, ncols=3, loc="lower right", bbox_to_anchor=(1, 0.97))
    panels[-1].set_xlabel("s", color=INK, fontsize=9)


def _laid(way: Tensor, start: Tensor, begin: Tensor) -> np.ndarray:
    """Ground points ``[M, 2]`` as seen from ``start [2]``, with what lay ahead at yaw ``begin`` to the right."""
    x, y = (way - start).double().unbind(-1)
    cos, sin = math.cos(float(begin)), math.sin(float(begin))
    return torch.stack((cos * x + sin * y, -sin * x + cos * y), dim=-1).numpy()


def _beside(angle: Tensor, degrees: np.ndarray) -> np.ndarray:
    """``angle`` rad in degrees, on the turn of the continuous ``degrees``."""
    raw = np.degrees(angle.double().numpy())
    return raw + 360.0 * np.round((degrees - raw) / 360.0)


def _smooth(values: Tensor, seconds: float, fps: float) -> np.ndarray:
    """``[T, k]`` averaged over ``seconds``, which takes out the sway of the steps."""
    from isaacmm.render.camera import gaussian_smooth

    return gaussian_smooth(values.numpy(), 0.5 * seconds * fps)
