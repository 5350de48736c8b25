"""Figures of a clip: what the manifest states and the tests hold against published ranges."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isaacmm.gait.body import Body
from isaacmm.gait.dynamics import GRAVITY, wrench

SIDES = ("right", "left")


@dataclass(frozen=True)
class Figures:
    """All lengths in metres.

    `speed` along the path, `curvature` 1/m (left positive), `stance` share of the time a foot is down, `cadence`
    steps/min, `walk_ratio` m per step/min, `bob` mean vertical excursion of the pelvis per cycle, `slide` largest
    way in one frame of a sole edge that carries, `penetration` depth of the lowest sole point, `clearance` lowest
    sole height in the middle third of the swings, `load` smallest and largest vertical floor force (body weights),
    `pressure_outside` mean distance of the required centre of pressure from the soles' box.
    """

    speed: float
    curvature: float
    stance: float
    cadence: float
    walk_ratio: float
    bob: float
    slide: float
    penetration: float
    clearance: float
    load: tuple[float, float]
    pressure_outside: float


def strikes(contacts: np.ndarray) -> np.ndarray:
    """Frames at which a foot comes down, from its flags `[T]`."""
    return np.flatnonzero(contacts[1:] & ~contacts[:-1]) + 1


def slide(
    body: Body, pos: np.ndarray, rot: np.ndarray, contacts: np.ndarray, height: float = 0.0005
) -> float:
    """Largest horizontal way in one frame of a sole corner that is down (within `height`) in both frames."""
    worst = 0.0
    for i, side in enumerate(SIDES):
        corner = body.sole_corners(pos, rot, side)
        way = np.linalg.norm(np.diff(corner[..., :2], axis=0), axis=-1)
        down = (corner[..., 2] < height) & contacts[:, i, None]
        both = down[1:] & down[:-1]
        worst = max(worst, float(way[both].max(initial=0.0)))
    return worst


def pressure_outside(
    body: Body, pos: np.ndarray, rot: np.ndarray, contacts: np.ndarray, fps: float
) -> tuple[np.ndarray, np.ndarray]:
    """Vertical force (body weights, `[T-2]`) and distance `[T-2]` m of the centre of pressure from the box around
    all touching sole corners; NaN where nothing touches or less than a tenth of the weight is carried."""
    floor = wrench(body, pos, rot, 1 / fps)
    low, high = np.full((len(pos), 2), np.inf), np.full((len(pos), 2), -np.inf)
    for i, side in enumerate(SIDES):
        corner = body.sole_corners(pos, rot, side)
        touching = ((corner[..., 2] < 0.004) & contacts[:, i, None])[..., None]
        low = np.minimum(low, np.where(touching, corner[..., :2], np.inf).min(1))
        high = np.maximum(high, np.where(touching, corner[..., :2], -np.inf).max(1))
    load = floor["force"][:, 2] / (body.masses.sum() * GRAVITY)
    p = floor["pressure"]
    out = np.linalg.norm(np.maximum(low[1:-1] - p, 0) + np.maximum(p - high[1:-1], 0), axis=-1)
    return load, np.where(np.isfinite(out) & (load > 0.1), out, np.nan)


def measure(
    body: Body, root_pos: np.ndarray, root_rot: np.ndarray, dofs: np.ndarray, contacts: np.ndarray, fps: float
) -> Figures:
    """Figures of a clip from its arrays (`[T, 3]`, `[T, 3, 3]`, `[T, D]`, `[T, 2]`)."""
    pos, rot = body.fk(root_pos, root_rot, dofs)
    seconds = (len(root_pos) - 1) / fps
    heading = np.unwrap(np.arctan2(root_rot[:, 1, 0], root_rot[:, 0, 0]))
    # sway and yaw of whole cycles cancel between the ends
    turned = heading[-1] - heading[0]
    chord = float(np.linalg.norm(root_pos[-1, :2] - root_pos[0, :2]))
    path = chord if abs(turned) < 0.05 else _arc_length(root_pos, turned)
    steps = sum(len(strikes(np.asarray(contacts)[:, i])) for i in range(2))
    cadence = 60 * steps / seconds
    speed = path / seconds
    right = strikes(contacts[:, 0])
    z = root_pos[:, 2]
    bobs = [np.ptp(z[a:b]) for a, b in zip(right[:-1], right[1:], strict=True)] or [np.ptp(z)]
    lowest, clear = 0.0, np.inf
    for i, side in enumerate(SIDES):
        height = body.sole_corners(pos, rot, side)[..., 2].min(-1)
        lowest = min(lowest, float(height.min()))
        lift, land = strikes(~contacts[:, i]), strikes(contacts[:, i])
        for a in lift:
            b = land[land > a]
            if len(b):
                n = b[0] - a
                clear = min(clear, float(height[a + n // 3 : a + 2 * n // 3 + 1].min()))
    load, outside = pressure_outside(body, pos, rot, contacts, fps)
    return Figures(
        speed=speed,
        curvature=turned / path if path > 0.5 else 0.0,
        stance=float(contacts[:-1].mean()),
        cadence=cadence,
        walk_ratio=60 * speed / cadence**2 if cadence else 0.0,
        bob=float(np.mean(bobs)),
        slide=slide(body, pos, rot, contacts),
        penetration=-lowest,
        clearance=clear,
        load=(float(load.min()), float(load.max())),
        pressure_outside=float(np.nanmean(outside)),
    )


def _arc_length(root_pos: np.ndarray, turned: float) -> float:
    """Length of the circle's arc that turned by `turned` (rad, may exceed a full turn).

    The circle is fitted to the way (least squares); a chord would not do beyond a full turn.
    """
    x, y = root_pos[:, 0], root_pos[:, 1]
    a, b, c = np.linalg.lstsq(np.stack([x, y, np.ones_like(x)], -1), x**2 + y**2, rcond=None)[0]
    return float(np.sqrt(c + (a**2 + b**2) / 4) * abs(turned))
