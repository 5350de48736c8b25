"""Pictures of recorded motion: root and hinge states in, frames out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from isaacmm.character import CharacterModel
from isaacmm.render.actor import Actor
from isaacmm.render.camera import Camera, follow
from isaacmm.render.decals import Arrow, Decal, Disc, Trail
from isaacmm.render.hud import paste, write
from isaacmm.render.scene import Scene

Array = np.ndarray

_COMMAND = (0.10, 0.45, 0.85)
_ACTUAL = (0.95, 0.55, 0.12)
_FACING = (0.10, 0.62, 0.42)
_LINE = (0.30, 0.36, 0.44)
#: Dashes of a line on the floor: length and period (m), and how far from the character they are still drawn.
_DASH, _PERIOD, _FAR = 0.3, 0.5, 14.0


@dataclass(eq=False)
class Track:
    """One character's recorded motion.

    Attributes:
        root_pos: ``[T, 3]`` m, world.
        root_rot: ``[T, 4]`` xyzw.
        dof_pos: ``[T, D]`` rad, in the character's order.
        direction, speed: commanded direction ``[T, 2]`` and speed ``[T]`` m/s, or ``None``.
        contact: ``[T, F]`` bool per foot, or ``None``.
        facing: ``[T]`` rad, where to face, world; drawn as an arrow on the rim of the disc.
        future: ``[T, K, 2]`` m, world: where to be at some moments ahead; drawn as dots.
        line: ``[M, 2]`` m, world: a line on the floor to be followed.
        tint: RGB instead of the model's own colours.
        alpha: below 1 draws a ghost.
    """

    root_pos: Array
    root_rot: Array
    dof_pos: Array
    direction: Array | None = None
    speed: Array | None = None
    contact: Array | None = None
    facing: Array | None = None
    future: Array | None = None
    line: Array | None = None
    tint: tuple[float, float, float] | None = None
    alpha: float = 1.0


def frames(
    character: CharacterModel,
    tracks: Sequence[Track],
    fps: float,
    *,
    width: int = 640,
    height: int = 480,
    caption: Callable[[int], str] | None = None,
    cameras: Sequence[Camera] | None = None,
    which: Sequence[int] | None = None,
    inset: Callable[[int], Array] | None = None,
) -> Iterator[Array]:
    """Draw the tracks, all in one scene.

    Args:
        character: whose model is drawn.
        tracks: of equal length ``T``.
        fps: frames per second, for the camera's smoothing and the clock.
        width, height: picture size in pixels.
        caption: text for a frame, drawn in a corner.
        cameras: one per frame; default: a camera that follows.
        which: frames to draw, default all.
        inset: small picture uint8 ``[h, w, 3]`` of a frame, put into the upper right corner.

    Yields:
        uint8 ``[H, W, 3]``.
    """
    names = character.skeleton.dof_names
    actors = [Actor.from_mjcf(character.mjcf, names, tint=t.tint, alpha=t.alpha) for t in tracks]
    feet = [[actor.body_geoms([foot]) for foot in character.feet] for actor in actors]
    if cameras is None:
        pos = np.stack([t.root_pos for t in tracks], axis=1)
        rot = np.stack([t.root_rot for t in tracks], axis=1)
        cameras = follow(pos, rot, fps, width=width, height=height, body_height=stature(character))
    scene = Scene(actors)
    velocities = [_velocity(t.root_pos, fps) for t in tracks]
    lines = [dashes(t.line) for t in tracks if t.line is not None]
    for f in range(len(tracks[0].root_pos)) if which is None else which:
        here = np.mean([t.root_pos[f, :2] for t in tracks], axis=0)
        decals: list[Decal] = [dash for line in lines for dash in line if near(dash, here)]
        for track, actor, velocity, soles in zip(tracks, actors, velocities, feet, strict=True):
            actor.pose(track.root_pos[f], track.root_rot[f], track.dof_pos[f])
            decals += _arrows(track, velocity, f)
            if track.contact is not None:
                for geoms, touching in zip(soles, track.contact[f], strict=True):
                    actor.glow[geoms] = float(touching)
        image = scene.render(cameras[f], decals)
        if inset is not None:
            paste(image, inset(f))
        if caption is not None:
            write(image, caption(f))
        yield image


def stature(character: CharacterModel) -> float:
    """About how tall a character is, m: from its soles to its highest joint at rest, and a head above that."""
    skeleton = character.skeleton
    joints = skeleton.dofs_to_joint_rot(torch.zeros(1, skeleton.num_dofs))
    pos, rot = skeleton.fk(torch.zeros(1, 3), torch.tensor([[0.0, 0.0, 0.0, 1.0]]), joints)
    low = min(float(character.sole_points(pos, rot)[..., 2].min()), float(pos[..., 2].min()))
    return 1.29 * (float(pos[..., 2].max()) - low)


def _velocity(root_pos: Array, fps: float) -> Array:
    """Ground velocity ``[T, 2]``, averaged over a third of a second so that its arrow does not sway with each step."""
    from isaacmm.render.camera import gaussian_smooth

    if len(root_pos) < 2:
        return np.zeros((len(root_pos), 2))
    return gaussian_smooth(np.gradient(root_pos[:, :2], 1.0 / fps, axis=0), 0.33 * fps)


def _arrows(track: Track, velocity: Array, f: int) -> list[Decal]:
    """What is commanded: velocity (blue, wide), facing (green, on the rim), the way ahead (dots); and the actual
    velocity (orange, narrow). 0.6 m of arrow per m/s."""
    if track.direction is None or track.speed is None:
        return []
    x, y = float(track.root_pos[f, 0]), float(track.root_pos[f, 1])
    wanted = 0.6 * float(track.speed[f]) * track.direction[f]
    actual = 0.6 * velocity[f]
    marks: list[Decal] = [Disc(_COMMAND, 0.35, (x, y), 0.42, 0.385)]
    if track.future is not None:
        points = [(x, y), *((float(a), float(b)) for a, b in track.future[f])]
        marks.append(Trail(_COMMAND, 0.35, tuple(points), 0.03))
        marks += [Disc(_COMMAND, 0.75, point, 0.075) for point in points[1:]]
    marks.append(Arrow(_COMMAND, 0.85, (x, y), (float(wanted[0]), float(wanted[1])), 0.085, 0.22))
    if track.facing is not None:
        c, s = float(np.cos(track.facing[f])), float(np.sin(track.facing[f]))
        marks.append(Arrow(_FACING, 0.95, (x + 0.4 * c, y + 0.4 * s), (0.2 * c, 0.2 * s), 0.0, 0.2))
    marks.append(Arrow(_ACTUAL, 0.95, (x, y), (float(actual[0]), float(actual[1])), 0.035, 0.11))
    return marks


def dashes(line: Array) -> list[Trail]:
    """A line ``[M, 2]`` on the floor as dashes; each is small, so that only few pixels are asked about it."""
    steps = np.linalg.norm(np.diff(line, axis=0), axis=-1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    made = []
    for begin in np.arange(0.0, along[-1], _PERIOD):
        at = np.linspace(begin, min(begin + _DASH, along[-1]), 4)
        points = np.stack([np.interp(at, along, line[:, k]) for k in (0, 1)], axis=-1)
        made.append(Trail(_LINE, 0.75, tuple((float(x), float(y)) for x, y in points), 0.06))
    return made


def near(trail: Trail, here: Array) -> bool:
    """Whether a dash is close enough to be seen."""
    return bool(np.hypot(trail.points[0][0] - here[0], trail.points[0][1] - here[1]) < _FAR)
