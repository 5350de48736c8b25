"""Source and result side by side: the source as a stick figure, the character as it will be simulated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from isaacmm.character import CharacterModel
from isaacmm.motion.clip import Motion
from isaacmm.motion.contacts import side_of
from isaacmm.render.camera import Camera, follow
from isaacmm.render.hud import write
from isaacmm.render.playback import frames

if TYPE_CHECKING:
    from isaacmm.motion.retarget.transfer import Retargeted

Array = np.ndarray

_PAPER = (244, 245, 247)
_FLOOR = (205, 208, 212)
_COLOURS = {"right": (192, 90, 60), "left": (40, 128, 132), "": (60, 66, 74)}


def sticks(source: Motion, positions: Array, which: Sequence[int], camera: Camera, title: str = "") -> Array:
    """Stick figures of frames ``which`` of joint ``positions [T, B, 3]`` seen by ``camera``; uint8 ``[H, W, 3]``."""
    from PIL import Image, ImageDraw

    fine = 2  # drawn larger and reduced: smooth lines
    image = Image.new("RGB", (camera.width * fine, camera.height * fine), _PAPER)
    draw = ImageDraw.Draw(image)
    centre = positions[list(which)][..., :2].reshape(-1, 2).mean(axis=0)
    reach = 2.0 + float(np.abs(positions[list(which)][..., :2] - centre).max())
    for k in np.arange(-np.ceil(reach), np.ceil(reach) + 1):
        for a, b in (((k, -reach), (k, reach)), ((-reach, k), (reach, k))):
            ends = np.array([[*(np.round(centre) + a), 0.0], [*(np.round(centre) + b), 0.0]])
            pixels, depth = camera.project(ends)
            if (depth > 0.1).all():
                draw.line([tuple(p * fine) for p in pixels], fill=_FLOOR, width=fine)
    skeleton = source.skeleton
    for f in which:
        pixels, _ = camera.project(positions[f])
        for body, parent in enumerate(skeleton.parents):
            if parent >= 0:
                colour = _COLOURS[side_of(skeleton.names[body])]
                draw.line([tuple(pixels[parent] * fine), tuple(pixels[body] * fine)], fill=colour, width=3 * fine)
        for x, y in pixels:
            r = 2.2 * fine
            draw.ellipse((x * fine - r, y * fine - r, x * fine + r, y * fine + r), fill=(30, 34, 40))
    picture = np.array(image.resize((camera.width, camera.height), Image.Resampling.LANCZOS))
    write(picture, title)
    return picture


def strip(
    character: CharacterModel, source: Motion, done: Retargeted, *, poses: int = 6, size: tuple[int, int] = (840, 280)
) -> Array:
    """Some moments of a clip: sticks on the left, the character on the right; uint8 ``[H, 2 W, 3]``."""
    from isaacmm.export.video import motion_track
    from isaacmm.render.playback import Track

    track = motion_track(character, done.motion)
    way = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(track.root_pos[:, :2], axis=0), axis=-1))])
    length = min(float(way[-1]), 0.95 * (poses - 1))
    if length > 1.0:
        ids = np.clip(np.searchsorted(way, np.linspace(0.0, length, poses)), 0, len(way) - 1)
    else:
        ids = np.linspace(0, len(way) - 1, poses).round().astype(int)
    a, b = track.root_pos[ids[0]], track.root_pos[ids[-1]]
    along = (b - a)[:2]
    reach = float(np.linalg.norm(along))
    along = along / reach if reach > 0.3 else np.array([1.0, 0.0])
    half = np.tan(np.deg2rad(20.0) / 2)
    away = max(2.2 / (2 * half), (reach + 1.4) / (2 * half * size[0] / size[1]))
    target = np.array([*(0.5 * (a + b))[:2], 0.86])
    camera = Camera(target + np.array([along[1] * away, -along[0] * away, 0.14 * away]), target, 20.0, *size)
    moments = [
        Track(track.root_pos[[i]], track.root_rot[[i]], track.dof_pos[[i]],
              contact=None if track.contact is None else track.contact[[i]])
        for i in ids
    ]  # fmt: skip
    shown = next(frames(character, moments, done.motion.fps, width=size[0], height=size[1], cameras=[camera]))
    drawn = sticks(source, done.placed.numpy(), ids.tolist(), camera, f"{source.name} ({done.residuals.joint_map})")
    return np.concatenate((drawn, shown), axis=1)


def film(
    character: CharacterModel, pairs: Sequence[tuple[Motion, Retargeted]], *, fps: float = 30.0,
    seconds: float = 6.0, size: tuple[int, int] = (400, 300),
) -> Iterator[Array]:  # fmt: skip
    """Frames of several clips, one column each: sticks above, character below; shorter clips hold their end."""
    from isaacmm.export.video import motion_track

    columns = []
    most = 0
    for source, done in pairs:
        track = motion_track(character, done.motion)
        stop = min(len(track.root_pos), round(seconds * done.motion.fps))
        which = np.unique(np.arange(0, stop, done.motion.fps / fps).astype(int))
        cameras = follow(track.root_pos[:, None], track.root_rot[:, None], done.motion.fps,
                         width=size[0], height=size[1])  # fmt: skip
        columns.append((source, done, track, which.tolist(), cameras))
        most = max(most, len(which))
    runs = [
        frames(character, [track], done.motion.fps, width=size[0], height=size[1], cameras=cameras, which=which)
        for _, done, track, which, cameras in columns
    ]
    last: list[Array | None] = [None] * len(columns)
    for n in range(most):
        for k, (source, done, _, which, cameras) in enumerate(columns):
            if n < len(which):
                above = sticks(source, done.placed.numpy(), [which[n]], cameras[which[n]], source.name)
                last[k] = np.concatenate((above, next(runs[k])), axis=0)
        yield np.concatenate([image for image in last if image is not None], axis=1)


def save(path: Path, character: CharacterModel, pairs: Sequence[tuple[Motion, Retargeted]]) -> None:
    """Write a strip (.png, one row per clip) or a film (.mp4, one column per clip)."""
    if path.suffix == ".mp4":
        from isaacmm.export.video import write_video

        write_video(path, film(character, pairs[:4]), 30.0)
        return
    from isaacmm.render.png import write_png

    write_png(path, np.concatenate([strip(character, source, done) for source, done in pairs[:6]], axis=0))
