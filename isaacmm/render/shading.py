"""Light and colour: sky, checker floor and bodies, in float32 numpy.

Colours are linear light; `encode` turns them into 8 bits with a square root, which is close to sRGB and much
cheaper. The floor and the sky have closed forms, so not one ray is cast for them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from isaacmm.render.camera import Camera

Array = np.ndarray


def _rgb(*srgb: float) -> Array:
    """Linear float32 colour from display values (0..1)."""
    return np.asarray(srgb, dtype=np.float32) ** 2


def _unit(*v: float) -> Array:
    a = np.asarray(v, dtype=np.float64)
    return a / np.linalg.norm(a)


@dataclass(frozen=True)
class Look:
    """Everything that decides how a picture looks. Lengths in m, colours linear."""

    sun: Array = field(default_factory=lambda: _unit(0.45, 0.38, 1.0))  # towards the light, world frame
    sun_color: Array = field(default_factory=lambda: np.array([1.02, 0.97, 0.88], dtype=np.float32))
    sky_light: Array = field(default_factory=lambda: np.array([0.42, 0.47, 0.56], dtype=np.float32))
    ground_light: Array = field(default_factory=lambda: np.array([0.24, 0.22, 0.20], dtype=np.float32))
    zenith: Array = field(default_factory=lambda: _rgb(0.46, 0.62, 0.80))
    horizon: Array = field(default_factory=lambda: _rgb(0.87, 0.90, 0.93))
    tile_dark: Array = field(default_factory=lambda: _rgb(0.60, 0.64, 0.69))
    tile_light: Array = field(default_factory=lambda: _rgb(0.71, 0.745, 0.785))
    tile: float = 1.0
    haze: float = 17.0  # distance at which the floor has mostly become horizon
    penumbra: float = 0.07  # width of a shadow's edge per metre between the body and the floor
    shadow: float = 0.62  # how much of the floor's light the sun gives


def encode(linear: Array, out: Array | None = None) -> Array:
    """Linear float32 -> uint8 (square root, clipped)."""
    scaled = np.sqrt(np.clip(linear, 0.0, 1.0))
    scaled *= 255.0
    scaled += 0.5
    if out is None:
        return scaled.astype(np.uint8)
    out[...] = scaled
    return out


def _square_wave(x: Array, width: Array) -> Array:
    """Mean over ``width`` around x of the wave that is +1 on [0,1), -1 on [1,2), and so on.

    The wave's integral is a triangle wave, hence the box filter is a difference of two triangles: exact
    antialiasing of a checkerboard along one axis.
    """
    a, b = x - 0.5 * width, x + 0.5 * width
    ta = 1.0 - np.abs(a - 2.0 * np.floor(0.5 * a) - 1.0)
    tb = 1.0 - np.abs(b - 2.0 * np.floor(0.5 * b) - 1.0)
    return (tb - ta) / width


@dataclass
class Floor:
    """The ground plane z = 0 as seen by a camera: rows ``first:`` of the picture.

    Attributes:
        first: First image row that shows the floor (the picture's height when it shows none).
        depth: [rows] depth of the floor in each of these rows, m.
        x, y: [rows, W] world coordinates of the floor behind each pixel.
        step: [rows] size of a pixel on the floor across the line of sight, m.
    """

    first: int
    depth: Array
    x: Array
    y: Array
    step: Array

    @classmethod
    def seen_by(cls, camera: Camera, far: float = 400.0) -> Floor:
        rows = (np.arange(camera.height) + 0.5 - 0.5 * camera.height) / camera.focal
        cols = ((np.arange(camera.width) + 0.5 - 0.5 * camera.width) / camera.focal).astype(np.float32)
        fall = rows * camera.up[2] - camera.forward[2]  # metres lost per metre of depth
        height = camera.position[2]
        seen = fall > max(height, 1e-3) / far
        if height <= 0 or not seen.any():
            empty = np.zeros((0, camera.width), dtype=np.float32)
            return cls(camera.height, np.zeros(0), empty, empty, np.zeros(0, dtype=np.float32))
        first = int(np.argmax(seen))
        depth = height / fall[first:]
        base = camera.position[:2] + depth[:, None] * (camera.forward[:2] - rows[first:, None] * camera.up[:2])
        d32 = depth.astype(np.float32)[:, None]
        x = base[:, :1].astype(np.float32) + (d32 * np.float32(camera.right[0])) * cols
        y = base[:, 1:].astype(np.float32) + (d32 * np.float32(camera.right[1])) * cols
        return cls(first, depth, x, y, (depth / camera.focal).astype(np.float32))

    def box(self, camera: Camera, low: Array, high: Array) -> tuple[slice, slice] | None:
        """Rows (of this floor) and columns that contain the ground rectangle low..high [2]; None: not seen."""
        corners = np.array([[a, b, 0.0] for a in (low[0], high[0]) for b in (low[1], high[1])])
        xy, depth = camera.project(corners)
        rows = len(self.depth)
        if depth.max() <= 0.05 or rows == 0:
            return None
        if depth.min() <= 0.05:
            return slice(0, rows), slice(0, camera.width)
        x0, y0 = np.floor(xy.min(0)).astype(int)
        x1, y1 = np.ceil(xy.max(0)).astype(int)
        r = slice(int(np.clip(y0 - self.first, 0, rows)), int(np.clip(y1 + 1 - self.first, 0, rows)))
        c = slice(int(np.clip(x0, 0, camera.width)), int(np.clip(x1 + 1, 0, camera.width)))
        return None if r.stop <= r.start or c.stop <= c.start else (r, c)


def background(camera: Camera, floor: Floor, look: Look) -> Array:
    """Sky and checker floor, linear [H,W,3] float32."""
    image = np.empty((camera.height, camera.width, 3), dtype=np.float32)
    rows = (np.arange(camera.height) + 0.5 - 0.5 * camera.height) / camera.focal
    direction = camera.forward - rows[:, None] * camera.up
    rise = np.clip(direction[:, 2] / np.linalg.norm(direction, axis=1), 0, 1)
    blend = (1 - np.exp(-4.5 * rise)).astype(np.float32)[:, None]
    image[:] = (look.horizon + (look.zenith - look.horizon) * blend)[:, None]
    if len(floor.depth) == 0:
        return image
    inv = np.float32(1 / look.tile)
    # Size of a pixel's footprint along x and y: across the line of sight plus along it.
    t = floor.depth
    along = t * t * camera.up[2] / camera.position[2] / camera.focal
    ahead = camera.forward[:2] - rows[floor.first :, None] * camera.up[:2]
    width = np.abs(t[:, None] * camera.right[:2]) / camera.focal + np.abs(along[:, None] * ahead)
    width = np.maximum(width, 1e-5).astype(np.float32) * inv
    wave = _square_wave(floor.x * inv, width[:, :1])
    wave *= _square_wave(floor.y * inv, width[:, 1:])
    wave *= 0.5
    wave += 0.5
    centre = camera.target
    far = (floor.x - np.float32(centre[0])) ** 2 + (floor.y - np.float32(centre[1])) ** 2
    far *= np.float32(-1 / look.haze**2)
    clear = np.exp(far)
    wave *= clear
    # tile_dark·clear + (tile_light − tile_dark)·wave·clear + horizon·(1 − clear), channel by channel
    part = image[floor.first :]
    for k in range(3):
        part[..., k] = (look.horizon[k] + (look.tile_dark[k] - look.horizon[k]) * clear
                        + (look.tile_light[k] - look.tile_dark[k]) * wave)
    return image


def body_light(point: Array, normal: Array, to_eye: Array, base: Array, lit: Array, look: Look) -> Array:
    """Colour [n,3] of body surfaces: sun and sky as Lambert terms, a soft highlight and a rim.

    Args:
        point, normal: [n,3] world; normals are unit vectors.
        to_eye: [n,3] unit vectors towards the camera.
        base: [n,3] linear colour.
        lit: [n] share of the sun that arrives, 0..1.
    """
    sun = look.sun.astype(np.float32)
    cos_sun = np.maximum(normal @ sun, 0) * lit
    up = 0.5 + 0.5 * normal[:, 2]
    # The floor hides part of the sky from surfaces that look down on it from close by.
    near_floor = 1 - 0.45 * np.exp(-np.maximum(point[:, 2], 0) * 5.0) * (1 - up)
    ambient = (look.ground_light + (look.sky_light - look.ground_light) * up[:, None]) * near_floor[:, None]
    color = base * (ambient + cos_sun[:, None] * look.sun_color)
    facing = np.clip((normal * to_eye).sum(1), 0, 1)
    half = to_eye + sun
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    gloss = np.clip((normal * half).sum(1), 0, 1) ** 28
    rim = (1 - facing) ** 4 * up
    color += (0.10 * gloss * lit + 0.16 * rim)[:, None] * look.sky_light * 1.6
    return color
