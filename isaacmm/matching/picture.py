"""A picture of what a controller did: path, speeds, feet, transitions."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from torch import Tensor

from isaacmm.matching.controller.recording import Recording
from isaacmm.render.axes import INK, tidy

_BLUE, _ORANGE, _GREEN = "#2a7f9e", "#d0763f", "#5b8c5a"


def draw(recording: Recording, path: Tensor | None = None, world: int = 0) -> bytes:
    """PNG of one character.

    Args:
        recording: what was done.
        path: ``[M, 2]`` m, the way it was to go; without one, where its commands lead.
        world: which character.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure  # not pyplot: nothing global, no display asked for

    figure = Figure(figsize=(11, 7.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(3, 2, width_ratios=(1, 1.2))
    taken = _array(recording["track_pos"][:, world])
    wanted = _array(recording.commanded_velocity()[:, world])
    time = np.arange(len(taken)) / recording.fps
    line = _array(path) if path is not None else taken[0] + np.cumsum(wanted, axis=0) / recording.fps
    jumps = time[_array(recording["jumped"][:, world]).astype(bool)]

    plan = _axes(figure.add_subplot(grid[:, 0]), "path (m)")
    plan.plot(*line.T, color=_BLUE, linewidth=4, alpha=0.35, label="path" if path is not None else "commands added up")
    plan.plot(*taken.T, color=_ORANGE, linewidth=1.6, label="taken")
    for foot, color in ((0, _ORANGE), (1, _GREEN)):
        sole = _array(recording["sole"][:, world, foot].mean(dim=-2))
        down = _array(recording["locked"][:, world, foot]).astype(bool)
        plan.plot(*sole[down, :2].T, ".", color=color, markersize=1.5, alpha=0.5)
    plan.plot(*taken[0], "o", color=INK, markersize=5)
    plan.set_aspect("equal", adjustable="datalim")
    plan.legend(frameon=False, fontsize=9, labelcolor=INK)

    speeds = _axes(figure.add_subplot(grid[0, 1]), "speed (m/s)")
    speeds.plot(time, np.linalg.norm(wanted, axis=-1), color=_BLUE, linewidth=3, alpha=0.4, label="commanded")
    speeds.plot(time, _array(recording.velocity()[:, world].norm(dim=-1)), color=_ORANGE, linewidth=1.4, label="actual")
    speeds.legend(frameon=False, fontsize=9, labelcolor=INK)

    facings = _axes(figure.add_subplot(grid[1, 1], sharex=speeds), "facing (deg)")
    asked = np.unwrap(_array(recording["facing"][:, world]))
    faced = np.unwrap(_array(recording["track_yaw"][:, world]))
    facings.plot(time, np.degrees(asked), color=_BLUE, linewidth=3, alpha=0.4)
    facings.plot(
        time, np.degrees(faced + 2 * np.pi * round((asked[0] - faced[0]) / 2 / np.pi)), color=_ORANGE, linewidth=1.4
    )

    feet = _axes(
        figure.add_subplot(grid[2, 1], sharex=speeds), "soles over the floor (mm); bars: locked; ticks: transitions"
    )
    for foot, color in ((0, _ORANGE), (1, _GREEN)):
        height = 1000 * _array(recording["sole"][:, world, foot, :, 2].amin(dim=-1))
        down = _array(recording["locked"][:, world, foot]).astype(bool)
        feet.plot(
            time, height, color=color, linewidth=1.0, label=recording.controller.character.feet[foot].replace("_", " ")
        )
        feet.fill_between(time, -14 - 12 * foot, -6 - 12 * foot, where=down, color=color, linewidth=0)
    feet.plot(jumps, np.full_like(jumps, -36.0), "|", color=INK, markersize=7)
    feet.set_ylim(-42, 160)
    feet.set_xlabel("s", color=INK, fontsize=9)
    feet.legend(frameon=False, fontsize=8, labelcolor=INK, ncols=2, loc="upper right")
    speeds.margins(x=0)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def _axes(axes: Any, title: str) -> Any:
    axes.set_title(title, loc="left", fontsize=10, color=INK)
    tidy(axes)
    return axes
