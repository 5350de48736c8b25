"""One small picture of a clip: the way of its root, heights and contacts of its feet, its speed."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from isaacmm.character import CharacterModel
from isaacmm.errors import MotionError
from isaacmm.motion import repair
from isaacmm.motion.clip import Motion
from isaacmm.motion.contacts import Feet, contacts, feet_of, rest_heights, side_of

_COLOURS = {"right": "#c0392b", "left": "#2471a3", "": "#555555"}


def save(path: Path, motion: Motion, character: CharacterModel | None = None, note: str = "") -> None:
    """Draw the clip into a PNG.

    Args:
        path: file to write.
        motion: the clip; NaN leaves gaps.
        character: whose soles are shown, if the clip is on its skeleton; else the foot joints by name.
        note: added to the title.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if repair.nan_frames(motion):
        motion = repair.fill_nan_frames(motion)
    own = character is not None and motion.skeleton.names == character.skeleton.names
    feet: Feet | None = None
    with contextlib.suppress(MotionError):  # a skeleton whose feet have no name
        feet = feet_of(character if own and character is not None else motion.skeleton)
    time = np.arange(motion.num_frames) / motion.fps
    figure = Figure(figsize=(9.0, 3.2), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    parts: Any = figure.subfigures(1, 2, width_ratios=(1.0, 1.9))
    left, right = parts
    _path(left.subplots(), motion, time)
    above, below = right.subplots(2, 1, sharex=True)
    if feet is not None:
        _feet(above, motion, feet, time)
    else:
        above.text(0.5, 0.5, "no foot by name", ha="center", transform=above.transAxes)
    speed = torch.gradient(motion.root_pos, spacing=1.0 / motion.fps, dim=0)[0]
    below.plot(time, speed[:, :2].norm(dim=-1).numpy(), color="#333333", lw=1.2, label="along the ground")
    below.plot(time, speed[:, 2].numpy(), color="#27ae60", lw=0.8, label="up")
    below.set(xlabel="s", ylabel="root, m/s")
    below.legend(fontsize=6, loc="upper right")
    for axes in (above, below):
        axes.grid(alpha=0.25)
        axes.tick_params(labelsize=7)
    title = f"{motion.name or 'clip'}: {motion.num_frames} frames at {motion.fps:g} fps"
    figure.suptitle(f"{title}; {note}" if note else title, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png")


def _path(axes: Any, motion: Motion, time: np.ndarray) -> None:
    x, y = motion.root_pos[:, 0].numpy(), motion.root_pos[:, 1].numpy()
    axes.scatter(x, y, c=time, s=3, cmap="viridis")
    axes.plot(x[:1], y[:1], "o", ms=5, mfc="none", mec="#333333")
    axes.set(xlabel="x, m", ylabel="y, m")
    axes.set_aspect("equal", adjustable="datalim")  # a straight way keeps its room
    axes.margins(0.15)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.25)


def _feet(axes: Any, motion: Motion, feet: Feet, time: np.ndarray) -> None:
    points = feet.points(*motion.fk())
    rest = 0.0 if feet.sole else rest_heights(points, motion.fps)
    height = (points[..., 2] - rest).amin(dim=-1).numpy()
    touching = contacts(motion, feet).numpy()
    for k, name in enumerate(feet.names):
        colour = _COLOURS[side_of(name)]
        axes.plot(time, 100 * height[:, k], color=colour, lw=1.0, label=name)
        low = -3.0 - 2.0 * k
        axes.fill_between(
            time, low, low + 1.5, where=touching[:, k], color=colour, alpha=0.7, lw=0, step="mid"
        )
    axes.axhline(0.0, color="#888888", lw=0.6)
    axes.set_ylabel("feet, cm (bars: contact)", fontsize=7)
    axes.legend(fontsize=6, loc="upper right")
