"""Draws posed characters on the floor: our ray-cast renderer."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np

from isaacmm.render.actor import Actor
from isaacmm.render.camera import Camera
from isaacmm.render.decals import Decal, paint
from isaacmm.render.shading import Floor, Look, background, body_light, encode
from isaacmm.render.shadow import Shadow

Array = np.ndarray
# Four samples on a rotated grid: no two share a row or a column of the pixel.
_SAMPLES = np.array([[-0.125, -0.375], [0.375, -0.125], [0.125, 0.375], [-0.375, 0.125]])


class Scene:
    """Characters on an endless checker floor.

    Rays are cast only where a character can be: inside the screen boxes of its geoms, towards its shadow, and
    again (four per pixel) along silhouettes. Everything is float32 numpy besides; equal input gives equal
    pictures on any machine with the same numpy and MuJoCo.

    Args:
        actors: Characters; pose them before `render`.
        look: Light and colours.
        antialias: Supersample silhouettes.
        shadows: Draw shadows and floor occlusion.
    """

    def __init__(self, actors: Sequence[Actor], look: Look | None = None, *, antialias: bool = True,
                 shadows: bool = True) -> None:
        self.actors, self.look = list(actors), look or Look()
        self.antialias, self.shadows = antialias, shadows

    def render(self, camera: Camera, decals: Sequence[Decal] = ()) -> Array:
        """The picture, uint8 [H,W,3]."""
        floor = Floor.seen_by(camera)
        image = background(camera, floor, self.look)
        paint(image, floor, camera, decals)
        solid = [a for a in self.actors if a.alpha >= 1]
        shadows: list[Shadow | None] = [Shadow(a, self.look) if self.shadows else None for a in solid]
        for shadow in shadows:
            if shadow is None:
                continue
            box = floor.box(camera, shadow.low, shadow.high)
            if box is not None:
                light = shadow.on_floor(floor.x[box], floor.y[box])
                image[floor.first :][box] *= light[..., None]
        depth = np.full((camera.height, camera.width), np.inf, dtype=np.float32)
        depth[floor.first :] = floor.depth[:, None]
        self._draw_solid(image, depth, depth[:, 0].copy(), camera, solid, shadows)
        for ghost in (a for a in self.actors if a.alpha < 1):
            self._draw_ghost(image, depth, camera, ghost)
        return encode(image)

    # -- parts ---------------------------------------------------------------------------------------------

    def _pixels(self, actor: Actor, camera: Camera) -> Array:
        """Flat indices of the pixels inside the screen boxes of the actor's geoms."""
        boxes = actor.screen_boxes(camera)
        x0, y0 = boxes[:, :2].min(0)
        x1, y1 = boxes[:, 2:].max(0)
        if x1 <= x0 or y1 <= y0:
            return np.zeros(0, dtype=np.int64)
        mask = np.zeros((y1 - y0, x1 - x0), dtype=bool)
        for a, b, c, d in boxes:
            mask[b - y0 : d - y0, a - x0 : c - x0] = True
        rows, cols = np.nonzero(mask)
        return (rows + y0) * camera.width + (cols + x0)

    def _shade(self, actor: Actor, camera: Camera, px: Array, py: Array, limit: Array,
               shadow: Shadow | None) -> tuple[Array, Array, Array, Array]:
        """Casts and lights samples at image points.

        Returns:
            indices of the samples that hit nearer than ``limit``, and for these depth, colour, surface id
            (geom, and face for boxes).
        """
        directions = camera.rays(px, py)
        ids, dist, normal = actor.cast(camera.position, directions)
        assert normal is not None
        hit = np.flatnonzero((ids >= 0) & (dist < limit))
        ids, dist, n = ids[hit], dist[hit], normal[hit].astype(np.float32)
        ray = directions[hit]
        point = (camera.position + dist[:, None] * ray).astype(np.float32)
        eye = (-ray / np.linalg.norm(ray, axis=1, keepdims=True)).astype(np.float32)
        lit = np.ones(len(hit), dtype=np.float32) if shadow is None else shadow.on_body(point, n)
        glow = actor.glow[ids][:, None]
        base = actor.colors[ids]
        if glow.any():
            base = base + 0.75 * glow * (actor.glow_color - base)
        color = body_light(point, n, eye, base, lit, self.look)
        if glow.any():
            color += 0.25 * glow * actor.glow_color
        if actor.alpha < 1:  # ghosts: thin where they face us, dense at the rim
            facing = np.clip((n * eye).sum(1), 0, 1)
            alpha = actor.alpha * (0.55 + 0.9 * (1 - facing) ** 2)
            color = np.concatenate([color, np.minimum(alpha, 1)[:, None]], axis=1)
        return hit, dist, color, self._surface(actor, ids, n)

    @staticmethod
    def _surface(actor: Actor, ids: Array, normal: Array) -> Array:
        """A number per smooth surface: edges of boxes must be seen as edges."""
        surface = ids * 8
        boxy = np.flatnonzero(actor.model.geom_type[ids] == int(mujoco.mjtGeom.mjGEOM_BOX))
        if len(boxy):
            rot = actor.data.geom_xmat[ids[boxy]].reshape(-1, 3, 3)
            local = np.einsum("nij,ni->nj", rot, normal[boxy])
            axis = np.abs(local).argmax(1)
            surface[boxy] += 1 + 2 * axis + (local[np.arange(len(boxy)), axis] > 0)
        return surface

    def _draw_solid(self, image: Array, depth: Array, floor_depth: Array, camera: Camera, actors: list[Actor],
                    shadows: list[Shadow | None]) -> None:
        width = camera.width
        owner = np.full(image.shape[:2], -1, dtype=np.int32)
        flat_image, flat_depth, flat_owner = image.reshape(-1, 3), depth.reshape(-1), owner.reshape(-1)
        behind = image.copy() if self.antialias and actors else image
        lists = [self._pixels(a, camera) for a in actors]
        for k, (actor, pixels) in enumerate(zip(actors, lists, strict=True)):
            hit, z, color, surface = self._shade(actor, camera, pixels % width + 0.5, pixels // width + 0.5,
                                                 flat_depth[pixels], shadows[k])
            at = pixels[hit]
            flat_image[at], flat_depth[at], flat_owner[at] = color, z, surface + k * 65536
        if not self.antialias or not actors:
            return
        edge = _differs(owner)
        at = np.flatnonzero(edge)
        if not len(at):
            return
        place = np.full(owner.size, -1, dtype=np.int32)
        place[at] = np.arange(len(at))
        color = np.repeat(behind.reshape(-1, 3)[at][:, None], 4, axis=1)
        z = np.repeat(floor_depth[at // width][:, None], 4, axis=1)
        for k, (actor, pixels) in enumerate(zip(actors, lists, strict=True)):
            mine = pixels[edge.reshape(-1)[pixels]]
            slot = place[mine]
            px = (mine % width + 0.5)[:, None] + _SAMPLES[:, 0]
            py = (mine // width + 0.5)[:, None] + _SAMPLES[:, 1]
            hit, near, c, _ = self._shade(actor, camera, px.reshape(-1), py.reshape(-1),
                                          z[slot].reshape(-1), shadows[k])
            color[slot[hit // 4], hit % 4] = c
            z[slot[hit // 4], hit % 4] = near
        flat_image[at] = color.mean(1)

    def _draw_ghost(self, image: Array, depth: Array, camera: Camera, actor: Actor) -> None:
        width, flat = camera.width, image.reshape(-1, 3)
        pixels = self._pixels(actor, camera)
        if not len(pixels):
            return
        limit = depth.reshape(-1)[pixels]
        hit, _, color, surface = self._shade(actor, camera, pixels % width + 0.5, pixels // width + 0.5, limit, None)
        paint_on = np.zeros((len(pixels), 4), dtype=np.float32)
        paint_on[hit] = color
        paint_on[:, :3] *= paint_on[:, 3:]
        if self.antialias:
            owner = np.full(image.shape[:2], -1, dtype=np.int32)
            owner.reshape(-1)[pixels[hit]] = surface
            edge = _differs(owner).reshape(-1)[pixels]
            at = np.flatnonzero(edge)
            px = (pixels[at] % width + 0.5)[:, None] + _SAMPLES[:, 0]
            py = (pixels[at] // width + 0.5)[:, None] + _SAMPLES[:, 1]
            hit, _, color, _ = self._shade(actor, camera, px.reshape(-1), py.reshape(-1),
                                           np.repeat(limit[at], 4), None)
            samples = np.zeros((4 * len(at), 4), dtype=np.float32)
            samples[hit] = color
            samples[:, :3] *= samples[:, 3:]
            paint_on[at] = samples.reshape(-1, 4, 4).mean(1)
        flat[pixels] = flat[pixels] * (1 - paint_on[:, 3:]) + paint_on[:, :3]


def _differs(owner: Array) -> Array:
    """Pixels [H,W] whose right, left, upper or lower neighbour shows another surface."""
    edge = np.zeros(owner.shape, dtype=bool)
    across, down = owner[:, 1:] != owner[:, :-1], owner[1:] != owner[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    return edge
