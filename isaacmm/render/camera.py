"""Pinhole camera without roll, and a camera path that follows characters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

Array = np.ndarray


@dataclass(frozen=True)
class Camera:
    """A pinhole camera whose horizon is level (z is up, no roll).

    Rays are *not* normalised: a ray is ``forward + x·right − y·up`` with ``x, y`` on the image plane at
    distance 1, so the parameter of a hit along its ray is its depth. No roll means that the height gained
    along a ray depends on the image row only; the floor is computed row by row thanks to that.

    Args:
        position: Eye [3], m, world.
        target: Point seen in the middle of the picture [3], m, world.
        fovy: Vertical field of view, degrees.
        width, height: Picture size in pixels.
    """

    position: Array
    target: Array
    fovy: float = 30.0
    width: int = 640
    height: int = 480
    forward: Array = field(init=False, repr=False)
    right: Array = field(init=False, repr=False)
    up: Array = field(init=False, repr=False)
    focal: float = field(init=False, repr=False)

    def __post_init__(self) -> None:
        position = np.asarray(self.position, dtype=np.float64)
        forward = np.asarray(self.target, dtype=np.float64) - position
        length = float(np.linalg.norm(forward))
        if length < 1e-9:
            raise ValueError("camera position and target are the same point")
        forward = forward / length
        right = np.array([forward[1], -forward[0], 0.0])
        size = float(np.linalg.norm(right))
        # Straight up or down every horizontal axis would do: choose the one that shows +x upwards.
        right = np.array([0.0, -1.0, 0.0]) if size < 1e-9 else right / size
        up = np.cross(right, forward)
        for name, value in (("position", position), ("forward", forward), ("right", right), ("up", up)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "focal", 0.5 * self.height / np.tan(0.5 * np.deg2rad(self.fovy)))

    def rays(self, px: Array, py: Array) -> Array:
        """Ray directions [n,3] through image points (pixels; the centre of the first pixel is 0.5, 0.5)."""
        x = ((px - 0.5 * self.width) / self.focal)[..., None]
        y = ((py - 0.5 * self.height) / self.focal)[..., None]
        return self.forward + x * self.right - y * self.up

    def project(self, points: Array) -> tuple[Array, Array]:
        """Image points [...,2] in pixels and depths [...] in m of world points [...,3]."""
        relative = np.asarray(points, dtype=np.float64) - self.position
        depth = relative @ self.forward
        safe = np.where(depth > 1e-6, depth, 1e-6)
        x = 0.5 * self.width + self.focal * (relative @ self.right) / safe
        y = 0.5 * self.height - self.focal * (relative @ self.up) / safe
        return np.stack([x, y], axis=-1), depth


def gaussian_smooth(values: Array, sigma: float) -> Array:
    """Smooths [T,...] along time with a Gaussian of ``sigma`` frames.

    Beyond the ends the series is continued by point reflection, so that steady motion stays steady there.
    """
    values = np.asarray(values, dtype=np.float64)
    frames = len(values)
    if sigma <= 0 or frames < 3:
        return values.copy()
    radius = min(int(np.ceil(3 * sigma)), frames - 1)
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    taps /= taps.sum()
    head = 2 * values[:1] - values[radius:0:-1]
    tail = 2 * values[-1:] - values[-2 : -radius - 2 : -1]
    padded = np.concatenate([head, values, tail], axis=0)
    out = np.zeros_like(values)
    for k, tap in enumerate(taps):
        out += tap * padded[k : k + frames]
    return out


def _yaw(root_rot: Array) -> Array:
    """Heading [T,...] (rad) of xyzw rotations: direction of the rotated x axis on the ground."""
    x, y, z, w = np.moveaxis(np.asarray(root_rot, dtype=np.float64), -1, 0)
    return np.arctan2(2 * (x * y + w * z), 1 - 2 * (y * y + z * z))


def follow(
    root_pos: Array,
    root_rot: Array | None = None,
    fps: float = 30.0,
    *,
    width: int = 640,
    height: int = 480,
    azimuth: float = -132.0,
    elevation: float = 13.0,
    distance: float | None = None,
    fovy: float = 30.0,
    seconds: float = 0.5,
    turn_seconds: float = 1.2,
    body_height: float = 1.75,
    cuts: Sequence[int] = (),
) -> list[Camera]:
    """One camera per frame that keeps all characters in the picture.

    The whole recording is known, so the path is smoothed with the future as well as the past: the camera
    neither lags nor shakes. Between ``cuts`` (frames at which a character was put back) it is smoothed apart.

    Args:
        root_pos: [T,3] or [T,N,3], m.
        root_rot: xyzw, [T,4] or [T,N,4]; without it the camera does not turn with the characters.
        fps: Frames per second.
        azimuth: Degrees from the characters' heading to the direction in which the camera stands; -132 is
            behind and to the right, a three-quarter view.
        elevation: Degrees above the horizontal.
        distance: m; by default what fits the characters into the picture.
        seconds, turn_seconds: Smoothing of place and of heading.
        body_height: Height of a character, m.
        cuts: Frames at which a new shot starts.
    """
    pos = np.asarray(root_pos, dtype=np.float64)
    pos = pos[:, None] if pos.ndim == 2 else pos
    frames = len(pos)
    if root_rot is None:
        heading = np.zeros(frames)
    else:
        rot = np.asarray(root_rot, dtype=np.float64)
        yaw = _yaw(rot[:, None] if rot.ndim == 2 else rot)
        heading = np.unwrap(np.arctan2(np.sin(yaw).mean(1), np.cos(yaw).mean(1)))
    low, high = pos[..., :2].min(1), pos[..., :2].max(1)
    middle = 0.5 * (low + high)
    spread = np.linalg.norm(high - low, axis=-1)
    level = np.minimum(pos[..., 2].mean(1), 0.62 * body_height)  # falls lower the view, jumps do not raise it
    cameras: list[Camera] = []
    edges = [0, *sorted({int(c) for c in cuts if 0 < int(c) < frames}), frames]
    half = np.tan(0.5 * np.deg2rad(fovy))
    for a, b in zip(edges[:-1], edges[1:], strict=True):
        centre = gaussian_smooth(middle[a:b], seconds * fps)
        angle = gaussian_smooth(heading[a:b], turn_seconds * fps) + np.deg2rad(azimuth)
        drop = gaussian_smooth(level[a:b], 1.5 * seconds * fps)
        # Room for the height of a body in one direction and for the group in the other.
        need = np.maximum(1.45 * body_height / (2 * half),
                          (spread[a:b].max() + 1.3) / (2 * half * width / height) + 0.35 * spread[a:b].max())
        away = np.full(b - a, need if distance is None else distance)
        e = np.deg2rad(elevation)
        offset = np.stack([np.cos(e) * np.cos(angle), np.cos(e) * np.sin(angle),
                           np.full(b - a, np.sin(e))], axis=-1)
        target = np.concatenate([centre, 0.6 * drop[:, None] + 0.16 * body_height], axis=-1)
        position = target + away[:, None] * offset
        position[:, 2] = np.maximum(position[:, 2], 0.25)
        cameras += [Camera(p, t, fovy, width, height) for p, t in zip(position, target, strict=True)]
    return cameras
