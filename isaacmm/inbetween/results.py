"""What a fit leaves besides its checkpoint: the network as ONNX, figures, sample motions, one picture."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from isaacmm import rotation
from isaacmm.inbetween import masks
from isaacmm.inbetween.benchmark import Fill, plain
from isaacmm.inbetween.clips import ClipPack
from isaacmm.inbetween.keys import Gaps, Windows
from isaacmm.inbetween.pose import to_motion

if TYPE_CHECKING:
    from isaacmm.skeleton import Skeleton

#: Frames of the sample's gap, and how far apart the sample's keys are.
GAP, EVERY = 30, 8
_COLOURS = {"real": "#555555", "interpolation": "#c0392b", "network": "#2471a3"}


def figures(path: Path, evaluation: Mapping[str, float], facts: Mapping[str, Any]) -> Path:
    """``evaluation.json``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**facts, "figures": dict(evaluation)}, indent=1) + "\n", encoding="utf-8")
    return path


def samples(folder: Path, pack: ClipPack, fill: Fill) -> list[Path]:
    """One held-out stretch as BVH: as it was, from every 8th frame by interpolation, and by the network."""
    found = sample(pack, fill, None)
    if found is None:
        return []
    written = []
    folder.mkdir(parents=True, exist_ok=True)
    for kind, windows in found.items():
        name = f"x{EVERY}_{kind}"
        motion = to_motion(_skeleton(pack, windows), windows.pos[0], windows.rot[0], pack.fps, name)
        path = folder / f"{name}.bvh"
        motion.save(path)
        written.append(path)
    return written


def _skeleton(pack: ClipPack, windows: Windows) -> Skeleton:
    return replace(pack.skeleton, offsets=windows.offsets[0])


def sample(pack: ClipPack, fill: Fill, gap: int | None) -> dict[str, Windows] | None:
    """The liveliest held-out window, real and filled both ways; None where the clips are too short."""
    length = masks.PAST + gap + 1 if gap else (min(masks.LONGEST, pack.longest) - 1) // EVERY * EVERY + 1
    starts = pack.starts(length, 5)
    if not len(starts) or length < 3:
        return None
    windows = pack.windows(starts, length)
    joints = pack.kinematics(windows.pos, rotation.to_matrix(windows.rot), windows.offsets[:, None])[0]
    lively = torch.diff(joints - joints[:, :, :1], dim=1).norm(dim=-1).mean(dim=(1, 2)).argmax()
    one = pack.windows(starts[lively : lively + 1], length).canonical(torch.zeros(1, dtype=torch.long))
    known = masks.gap_mask(masks.PAST, gap, 1) if gap else masks.every_nth(length, EVERY)
    places = Gaps.of(known[None], (torch.arange(length) / pack.fps)[None])
    anchor = torch.tensor([masks.PAST - 1 if gap else 0])
    with torch.no_grad():
        network = fill(one, places, anchor, torch.zeros(1))
    return {"real": one, "interpolation": plain(one, places, anchor, torch.zeros(1)), "network": network}


def picture(path: Path, pack: ClipPack, fill: Fill, evaluation: Mapping[str, float]) -> Path | None:
    """Errors beside interpolation, and stick figures through a gap of 30 frames."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    found = sample(pack, fill, GAP) or sample(pack, fill, None)
    if found is None:
        return None
    figure = Figure(figsize=(10.0, 5.4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 2, height_ratios=(1.0, 1.25))
    _bars(figure.add_subplot(grid[0, 0]), evaluation, "mpjpe", "mm from the real joints")
    _bars(figure.add_subplot(grid[0, 1]), evaluation, "slide", "foot sliding, cm/s")
    _sticks(figure.add_subplot(grid[1, :]), pack, found)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="png")
    return path


def _bars(axes: Any, evaluation: Mapping[str, float], name: str, label: str) -> None:
    keys = [k for k in evaluation if f"{k}_baseline" in evaluation and k.startswith(f"{name}_")]
    tests = [key.removeprefix(f"{name}_") for key in keys]
    at = np.arange(len(tests))
    for shift, end, colour in ((-0.2, "_baseline", "interpolation"), (0.2, "", "network")):
        values = [evaluation[f"{name}_{t}{end}"] for t in tests]
        axes.bar(at + shift, values, 0.38, color=_COLOURS[colour], label=colour)
    if name == "slide":
        axes.plot(at, [evaluation[f"slide_real_{t}"] for t in tests], "_", ms=16, color=_COLOURS["real"], label="real")
    axes.set_xticks(at, tests, fontsize=7)
    axes.set_ylabel(label, fontsize=8)
    axes.tick_params(axis="y", labelsize=7)
    axes.grid(axis="y", alpha=0.25)
    axes.legend(fontsize=7)


def _sticks(axes: Any, pack: ClipPack, found: Mapping[str, Windows]) -> None:
    """Side views, one moment beside the other, the real pose behind."""
    from matplotlib.collections import LineCollection

    length = found["real"].pos.shape[1]
    shown: Sequence[int] = np.linspace(0, length - 1, 9).round().astype(int).tolist()
    places = {}
    for kind, windows in found.items():
        matrix = rotation.to_matrix(windows.rot)
        places[kind] = pack.kinematics(windows.pos, matrix, windows.offsets[:, None])[0][0].numpy()
    height, parents = float(places["real"][..., 2].max()), list(pack.skeleton.parents[1:])
    for column, frame in enumerate(shown):
        middle = places["real"][frame, 0]
        for row, kind in enumerate(("interpolation", "network")):
            for who, width in (("real", 3.5), (kind, 1.4)):
                joints = places[who][frame] - middle * np.array([1.0, 1.0, 0.0])
                x = joints[:, 0] + column * 1.15 * height
                z = joints[:, 2] - row * 1.25 * height
                points = np.stack((x, z), axis=-1)
                lines = np.stack((points[parents], points[1:]), axis=1)
                alpha = 0.35 if who == "real" else 1.0
                axes.add_collection(LineCollection(list(lines), colors=_COLOURS[who], lw=width, alpha=alpha))
        axes.text(column * 1.15 * height, height * 1.1, f"{frame / pack.fps:.2f} s", fontsize=7, ha="center")
    for row, kind in enumerate(("interpolation", "network")):
        axes.text(-0.75 * height, (0.5 - row * 1.25) * height, f"{kind}\n(grey: real)", fontsize=8, ha="center",
                  color=_COLOURS[kind])  # fmt: skip
    axes.autoscale_view()
    axes.set_aspect("equal")
    axes.axis("off")
