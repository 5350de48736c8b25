"""Soft shadows of one character, on the floor and on itself.

Rays leave one far light and aim at the points of a grid on the floor. What a ray meets on its way is the
shadow's cause: the floor reads the grid as it lies; a point of the body is first pushed along its light ray
down to the floor and then compared with the hit that the grid remembers. One call of `mj_multiRay` serves both.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

from isaacmm.render.actor import Actor
from isaacmm.render.shading import Look

Array = np.ndarray
_FAR = 25.0  # m between the light and the character


class Shadow:
    """Shadow grid of a posed actor.

    Args:
        actor: The character; its pose is read now.
        look: Light and softness.
        cell: Grid spacing, m.
    """

    def __init__(self, actor: Actor, look: Look, cell: float = 0.0125) -> None:
        corners = actor.corners().reshape(-1, 3)
        centre = corners.mean(0)
        self.light = centre + _FAR * look.sun
        low_z = self.light[2] - np.minimum(corners[:, 2], self.light[2] - 1.0)
        foot = self.light + (corners - self.light) * (self.light[2] / low_z)[:, None]
        margin = 0.22
        self.low, self.high = foot[:, :2].min(0) - margin, foot[:, :2].max(0) + margin
        self.cell = float(max(cell, (self.high - self.low).max() / 320))
        nx, ny = np.ceil((self.high - self.low) / self.cell).astype(int) + 1
        gx = self.low[0] + self.cell * np.arange(nx)
        gy = self.low[1] + self.cell * np.arange(ny)
        aim = np.empty((ny, nx, 3))
        aim[..., 0] = gx - self.light[0]
        aim[..., 1] = gy[:, None] - self.light[1]
        aim[..., 2] = -self.light[2]
        ids, dist, _ = actor.cast(self.light, aim.reshape(-1, 3), normals=False)
        met = ((ids >= 0) & (dist < 1.0)).reshape(ny, nx)
        way = np.where(met, dist.reshape(ny, nx), 2.0).astype(np.float32)  # 2: never in the way
        self._way = way
        self._look = look
        length = np.linalg.norm(aim, axis=-1).astype(np.float32)
        self.floor_light = self._soften(met, np.where(met, (1 - way) * length, 0), actor, gx, gy)

    def _soften(self, met: Array, gap: Array, actor: Actor, gx: Array, gy: Array) -> Array:
        """Light on the floor grid, 1 = full: the shadow's edge widens with the gap to the body above it."""
        hard = met.astype(np.float32)
        sigmas = np.array([0.011, 0.032, 0.07]) / self.cell
        levels = [gaussian_filter(hard, s, truncate=2.5) for s in sigmas]
        wide = gaussian_filter(hard, sigmas[1] * 1.5, truncate=2.5)
        gap = gaussian_filter(gap.astype(np.float32), sigmas[1] * 1.5, truncate=2.5) / np.maximum(wide, 1e-3)
        want = 0.4 * self._look.penumbra * gap / self.cell  # wanted blur, in cells
        dark = levels[0]
        for k in (1, 2):
            share = np.clip((want - sigmas[k - 1]) / (sigmas[k] - sigmas[k - 1]), 0, 1)
            dark = dark + share * (levels[k] - dark)
        sun = self._look.shadow
        return (sun * (1 - dark) + (1 - sun) * self._occlusion(actor, gx, gy, dark.shape)).astype(np.float32)

    def _occlusion(self, actor: Actor, gx: Array, gy: Array, shape: tuple[int, ...]) -> Array:
        """Share of the sky seen by the floor: spheres inside the geoms' boxes hide cos·r²/d² of it each."""
        stride = 4
        x, y = gx[::stride].astype(np.float32), gy[::stride].astype(np.float32)
        open_sky = np.ones((len(y), len(x)), dtype=np.float32)
        box = actor.model.geom_aabb[actor.geoms]
        for g, half in zip(actor.geoms, box[:, 3:], strict=True):
            axis = int(np.argmax(half))
            radius = float(np.sort(half)[:2].mean())
            reach = float(half[axis]) - radius
            rot = actor.data.geom_xmat[g].reshape(3, 3)
            for k in (0.0,) if reach < 0.3 * radius else (-0.85, 0.0, 0.85):
                c = actor.data.geom_xpos[g] + k * reach * rot[:, axis]
                if c[2] > 0.7:
                    continue
                z = max(float(c[2]), 0.5 * radius)
                d2 = (x - np.float32(c[0])) ** 2 + ((y - np.float32(c[1])) ** 2 + np.float32(z * z))[:, None]
                open_sky *= 1 - np.minimum(0.55 * radius * radius * z * d2**-1.5, 0.75)
        grown = zoom(open_sky, (shape[0] / open_sky.shape[0], shape[1] / open_sky.shape[1]), order=1, grid_mode=False)
        return grown[: shape[0], : shape[1]]

    def on_floor(self, x: Array, y: Array) -> Array:
        """Light [...] at floor points, 1 = full; bilinear, 1 outside the grid."""
        scale = np.float32(1 / self.cell)
        u = (x - np.float32(self.low[0])) * scale
        v = (y - np.float32(self.low[1])) * scale
        h, w = self.floor_light.shape
        np.clip(u, 0, w - 1.001, out=u)
        np.clip(v, 0, h - 1.001, out=v)
        i, j = v.astype(np.int32), u.astype(np.int32)
        u -= j
        v -= i
        flat, k = self.floor_light.reshape(-1), i * w + j
        top = flat.take(k)
        top += u * (flat.take(k + 1) - top)
        k += w
        bottom = flat.take(k)
        bottom += u * (flat.take(k + 1) - bottom)
        return top + v * (bottom - top)

    def on_body(self, point: Array, normal: Array, bias: float = 0.018) -> Array:
        """Share of the sun [n] that reaches body points: nine compared neighbours, so the edge is soft."""
        p = point + bias * normal
        light = self.light.astype(np.float32)
        way = (light[2] - p[:, 2]) / light[2]
        u = (light[0] + (p[:, 0] - light[0]) / way - np.float32(self.low[0])) / np.float32(self.cell)
        v = (light[1] + (p[:, 1] - light[1]) / way - np.float32(self.low[1])) / np.float32(self.cell)
        h, w = self._way.shape
        np.clip(u, 2, w - 3.001, out=u)
        np.clip(v, 2, h - 3.001, out=v)
        i, j = v.astype(np.int32), u.astype(np.int32)
        fu, fv = u - j, v - i
        flat, limit = self._way.reshape(-1), way - np.float32(bias / _FAR)
        lit = np.zeros(len(p), dtype=np.float32)
        # A 3x3 tent of hard comparisons, slid by the fraction: weights (1-f, 1, f)/2 along each axis of 3 taps.
        for di, wi in ((-1, 1 - fv), (0, None), (1, fv)):
            for dj, wj in ((-1, 1 - fu), (0, None), (1, fu)):
                free = (flat.take((i + di) * w + j + dj) > limit).astype(np.float32)
                if wi is not None:
                    free *= wi
                if wj is not None:
                    free *= wj
                lit += free
        return lit * np.float32(0.25)
