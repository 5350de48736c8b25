"""Pictures of recorded motion: root and hinge states in, frames out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from isaacmm.character import CharacterModel
from isaacmm.render.actor import Actor
from isaacmm.render.camera import Camera, follow
from isaacmm.render.decals import Arrow, Decal, Disc
from isaacmm.render.hud import write
from isaacmm.render.scene import Scene

Array = np.ndarray

_COMMAND = (0.10, 0.45, 0.85)
_ACTUAL = (0.95, 0.55, 0.12)


@dataclass(eq=False)
class Track:
    """One character's recorded motion.

    Attributes:
        root_pos: ``[T, 3]`` m, world.
        root_rot: ``[T, 4]`` xyzw.
        dof_pos: ``[T, D]`` rad, in the character's order.
        direction, speed: commanded direction ``[T, 2]`` and speed ``[T]`` m/s, or ``None``.
        contact: ``[T, F]`` bool per foot, or ``None``.
        tint: RGB instead of the model's own colours.
        alpha: below 1 draws a ghost.
    """

    root_pos: Array
    root_rot: Array
    dof_pos: Array
    direction: Array | None = None
    speed: Array | None = None
    contact: Array | None = None
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

    Yields:
        uint8 ``[H, W, 3]``.
    """
    names = character.skeleton.dof_names
    actors = [Actor.from_mjcf(character.mjcf, names, tint=t.tint, alpha=t.alpha) for t in tracks]
    feet = [[actor.body_geoms([foot]) for foot in character.feet] for actor in actors]
    if cameras is None:
        pos = np.stack([t.root_pos for t in tracks], axis=1)
        rot = np.stack([t.root_rot for t in tracks], axis=1)
        cameras = follow(pos, rot, fps, width=width, height=height)
    scene = Scene(actors)
    velocities = [_velocity(t.root_pos, fps) for t in tracks]
    for f in range(len(tracks[0].root_pos)) if which is None else which:
        decals: list[Decal] = []
        for track, actor, velocity, soles in zip(tracks, actors, velocities, feet, strict=True):
            actor.pose(track.root_pos[f], track.root_rot[f], track.dof_pos[f])
            decals += _arrows(track, velocity, f)
            if track.contact is not None:
                for geoms, touching in zip(soles, track.contact[f], strict=True):
                    actor.glow[geoms] = float(touching)
        image = scene.render(cameras[f], decals)
        if caption is not None:
            write(image, caption(f))
        yield image


def _velocity(root_pos: Array, fps: float) -> Array:
    """Ground velocity ``[T, 2]``, averaged over a third of a second so that its arrow does not sway with each step."""
    from isaacmm.render.camera import gaussian_smooth

    if len(root_pos) < 2:
        return np.zeros((len(root_pos), 2))
    return gaussian_smooth(np.gradient(root_pos[:, :2], 1.0 / fps, axis=0), 0.33 * fps)


def _arrows(track: Track, velocity: Array, f: int) -> list[Decal]:
    """Commanded velocity (blue, wide) and actual one (orange, narrow), 0.6 m of arrow per m/s."""
    if track.direction is None or track.speed is None:
        return []
    x, y = float(track.root_pos[f, 0]), float(track.root_pos[f, 1])
    wanted = 0.6 * float(track.speed[f]) * track.direction[f]
    actual = 0.6 * velocity[f]
    return [
        Disc(_COMMAND, 0.35, (x, y), 0.42, 0.385),
        Arrow(_COMMAND, 0.85, (x, y), (float(wanted[0]), float(wanted[1])), 0.085, 0.22),
        Arrow(_ACTUAL, 0.95, (x, y), (float(actual[0]), float(actual[1])), 0.035, 0.11),
    ]
