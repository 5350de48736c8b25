"""Marks painted on the floor: arrows, discs, rings and trails.

They are evaluated in floor coordinates as signed distances, so they have the right perspective, lie under the
characters, take their shadows, and their edges are smooth at any distance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from isaacmm.render.camera import Camera
from isaacmm.render.shading import Floor

Array = np.ndarray


@dataclass(frozen=True)
class Decal:
    """A mark on the floor. ``color``: display RGB 0..1; ``alpha`` its opacity."""

    color: tuple[float, float, float] = (0.1, 0.5, 0.9)
    alpha: float = 0.9

    def bounds(self) -> tuple[Array, Array]:
        """Lowest and highest ground coordinates [2]."""
        raise NotImplementedError

    def distance(self, x: Array, y: Array) -> Array:
        """Signed distance to the outline in m, negative inside."""
        raise NotImplementedError


@dataclass(frozen=True)
class Disc(Decal):
    """A disc, or a ring when ``inner`` is above zero."""

    center: tuple[float, float] = (0.0, 0.0)
    radius: float = 0.1
    inner: float = 0.0

    def bounds(self) -> tuple[Array, Array]:
        c = np.asarray(self.center)
        return c - self.radius, c + self.radius

    def distance(self, x: Array, y: Array) -> Array:
        r = np.sqrt((x - np.float32(self.center[0])) ** 2 + (y - np.float32(self.center[1])) ** 2)
        if self.inner > 0:
            return np.abs(r - np.float32(0.5 * (self.radius + self.inner))) - np.float32(
                0.5 * (self.radius - self.inner))
        return r - np.float32(self.radius)


@dataclass(frozen=True)
class Arrow(Decal):
    """An arrow from ``start`` along ``vector`` (its length is the arrow's), both in m on the ground."""

    start: tuple[float, float] = (0.0, 0.0)
    vector: tuple[float, float] = (1.0, 0.0)
    width: float = 0.05
    head: float = 0.16

    def bounds(self) -> tuple[Array, Array]:
        a = np.asarray(self.start)
        b = a + np.asarray(self.vector)
        return np.minimum(a, b) - self.head, np.maximum(a, b) + self.head

    def distance(self, x: Array, y: Array) -> Array:
        length = float(np.hypot(*self.vector))
        if length < 1e-4:
            return np.full(x.shape, 1.0, dtype=np.float32)
        c, s = np.float32(self.vector[0] / length), np.float32(self.vector[1] / length)
        dx, dy = x - np.float32(self.start[0]), y - np.float32(self.start[1])
        along, side = c * dx + s * dy, np.abs(c * dy - s * dx)
        head = min(self.head, length)
        neck = np.float32(length - head)
        shaft = np.maximum(side - np.float32(0.5 * self.width), np.maximum(-along, along - neck))
        # The head is the triangle between its back and its slanted side, half as wide as long.
        slope = np.float32(0.6)
        slant = (side - slope * (np.float32(length) - along)) / np.float32(np.sqrt(1 + 0.36))
        return np.minimum(shaft, np.maximum(slant, neck - along))


@dataclass(frozen=True)
class Trail(Decal):
    """A line along ground points [n,2], for example the way travelled."""

    points: tuple[tuple[float, float], ...] = ()
    width: float = 0.025

    def bounds(self) -> tuple[Array, Array]:
        p = np.asarray(self.points, dtype=np.float64).reshape(-1, 2)
        return p.min(0) - self.width, p.max(0) + self.width

    def distance(self, x: Array, y: Array) -> Array:
        best = np.full(x.shape, np.inf, dtype=np.float32)
        p = np.asarray(self.points, dtype=np.float32)
        for a, b in zip(p[:-1], p[1:], strict=True):
            d = b - a
            size = float(d @ d)
            dx, dy = x - a[0], y - a[1]
            t = np.clip((dx * d[0] + dy * d[1]) / size, 0, 1) if size > 1e-10 else np.float32(0)
            np.minimum(best, (dx - t * d[0]) ** 2 + (dy - t * d[1]) ** 2, out=best)
        return np.sqrt(best) - np.float32(0.5 * self.width)


def paint(image: Array, floor: Floor, camera: Camera, decals: Sequence[Decal]) -> None:
    """Blends the marks into a linear picture [H,W,3] in place, in their order."""
    for decal in decals:
        low, high = decal.bounds()
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            continue
        box = floor.box(camera, low, high)
        if box is None:
            continue
        # Edge width: a pixel across the line of sight; along it pixels are longer, a compromise softens them.
        step = floor.step[box[0]][:, None] * np.float32(1.6)
        cover = np.clip(0.5 - decal.distance(floor.x[box], floor.y[box]) / step, 0, 1)
        cover *= np.float32(decal.alpha)
        part = image[floor.first :][box]
        color = np.asarray(decal.color, dtype=np.float32) ** 2
        part += cover[..., None] * (color - part)
