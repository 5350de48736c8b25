"""Films: frames to MP4, and what a policy or a clip looks like."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from tqdm import tqdm

from isaacmm.character import CharacterModel
from isaacmm.errors import IsaacmmError
from isaacmm.render.playback import Track, frames

if TYPE_CHECKING:
    from isaacmm.evaluate.rollout import Rollout
    from isaacmm.motion.clip import Motion

_CODECS = ("libx264", "mpeg4")


def write_video(path: str | Path, images: Iterable[np.ndarray], fps: float, total: int | None = None) -> int:
    """Encode ``images`` (uint8 ``[H, W, 3]``) as MP4; the file appears only when it is complete.

    Args:
        path: ``.mp4`` to write.
        images: pictures of one size; an odd row or column is cut off, as players want even sizes.
        fps: frames per second.
        total: how many there will be, for the progress bar.

    Returns:
        Frames written.

    Raises:
        IsaacmmError: no encoder, no frames, or a disk that cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=".mp4")
    os.close(handle)
    try:
        count = _encode(temporary, images, fps, total)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise IsaacmmError(f"could not write the film {path}: {error}") from error
    finally:
        Path(temporary).unlink(missing_ok=True)
    return count


def _encode(path: str, images: Iterable[np.ndarray], fps: float, total: int | None) -> int:
    from fractions import Fraction

    import av

    name = next((codec for codec in _CODECS if codec in av.codecs_available), None)
    if name is None:
        raise IsaacmmError("this build of PyAV has no MP4 encoder (libx264 or mpeg4); reinstall it: pip install av")
    count = 0
    with av.open(path, "w") as container:
        stream = None
        for image in tqdm(images, total=total, desc="film", unit="frame", leave=False, mininterval=1.0):
            even = np.ascontiguousarray(image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2])
            if stream is None:
                rate = Fraction(fps).limit_denominator(1001)
                stream = cast(av.VideoStream, container.add_stream(name, rate=rate))
                stream.height, stream.width = even.shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.options = {"crf": "20", "preset": "veryfast"} if name == "libx264" else {"qscale": "4"}
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
            count += 1
        if stream is None:
            raise IsaacmmError(f"{path}: there are no frames to film")
        container.mux(stream.encode())
    return count


def track_of(rollout: Rollout, world: int, start: int, stop: int, shift: tuple[float, float] = (0.0, 0.0)) -> Track:
    """What ``world`` did in frames ``start`` to ``stop``, moved by ``shift`` m on the ground."""
    part = slice(start, stop)
    pos = rollout.root_pos[part, world].cpu().numpy().copy()
    pos[:, :2] += shift
    return Track(
        pos,
        rollout.root_rot[part, world].cpu().numpy(),
        rollout.dof_pos[part, world].cpu().numpy(),
        rollout.command["direction"][part, world].cpu().numpy(),
        rollout.command["speed"][part, world].cpu().numpy(),
        rollout.contact[part, world].cpu().numpy(),
    )


def capture(
    rollout: Rollout,
    path: str | Path,
    *,
    worlds: Sequence[int] | None = None,
    seconds: float = 8.0,
    size: tuple[int, int] = (640, 480),
) -> Path:
    """Film ``worlds`` of a rollout, one beside the other; commands, velocities and contacts are drawn.

    Args:
        rollout: recorded states.
        path: ``.mp4`` to write.
        worlds: which; default a typical one.
        seconds: longest film; one world is filmed over its longest episode.
        size: width and height.
    """
    chosen = list(worlds) if worlds is not None else rollout.worlds_to_show(1)
    start, stop = rollout.segment(chosen[0]) if len(chosen) == 1 else (0, rollout.num_frames)
    stop = min(stop, start + max(2, round(seconds * rollout.fps)))
    gap = 1.6
    tracks = []
    for k, world in enumerate(chosen):
        origin = rollout.root_pos[start, world, :2].cpu().numpy()
        shift = (-float(origin[0]), -float(origin[1]) + gap * (k - 0.5 * (len(chosen) - 1)))
        tracks.append(track_of(rollout, world, start, stop, shift))
    first = tracks[0]
    speeds = np.linalg.norm(np.gradient(first.root_pos[:, :2], 1.0 / rollout.fps, axis=0), axis=-1)
    window = max(1, round(rollout.fps))
    padded = np.pad(speeds, (window // 2, window - 1 - window // 2), "edge")
    speeds = np.convolve(padded, np.ones(window) / window, "valid")

    def caption(f: int) -> str:
        assert first.speed is not None
        return f"commanded {first.speed[f]:.1f} m/s\nactual {speeds[f]:.1f} m/s\n{f / rollout.fps:4.1f} s"

    pictures = frames(
        rollout.character, tracks, rollout.fps, width=size[0], height=size[1],
        caption=caption if len(tracks) == 1 else None,
    )  # fmt: skip
    write_video(path, pictures, rollout.fps, stop - start)
    return Path(path)


def motion_track(character: CharacterModel, motion: Motion) -> Track:
    """A clip as a track; its bodies must be the character's."""
    contact = None if motion.contacts is None else motion.contacts.cpu().numpy()
    return Track(
        motion.root_pos.cpu().numpy(), motion.root_rot.cpu().numpy(), motion.dof_pos().cpu().numpy(), contact=contact
    )


def film_motion(
    character: CharacterModel,
    motion: Motion,
    path: str | Path,
    *,
    seconds: float = 10.0,
    size: tuple[int, int] = (640, 480),
) -> Path:
    """Film a clip, at 30 frames per second at most."""
    if motion.fps > 30.5:
        motion = motion.resample(30.0)
    motion = motion.slice(0, max(2, round(seconds * motion.fps)))
    name = motion.name

    def caption(f: int) -> str:
        return f"{name}\n{f / motion.fps:4.1f} s"

    pictures = frames(
        character, [motion_track(character, motion)], motion.fps, width=size[0], height=size[1], caption=caption
    )
    write_video(path, pictures, motion.fps, motion.num_frames)
    return Path(path)


def strip_of(
    character: CharacterModel, track: Track, fps: float, *, poses: int = 6, size: tuple[int, int] = (960, 300)
) -> np.ndarray:
    """One picture of ``poses`` moments along the way, seen from the side; uint8 ``[H, W, 3]``.

    The moments are spread over one to two metres each, so that the figures stand side by side.
    """
    from isaacmm.render.camera import Camera

    travelled = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(track.root_pos[:, :2], axis=0), axis=-1))])
    length = min(float(travelled[-1]), 0.95 * (poses - 1))
    marks = np.linspace(0.0, length, poses) if length > 1.0 else np.linspace(0.0, float(travelled[-1]), poses)
    ids = np.clip(np.searchsorted(travelled, marks), 0, len(travelled) - 1)
    moments = [
        Track(
            track.root_pos[[i]], track.root_rot[[i]], track.dof_pos[[i]],
            contact=None if track.contact is None else track.contact[[i]],
        )
        for i in ids
    ]  # fmt: skip
    a, b = track.root_pos[ids[0]], track.root_pos[ids[-1]]
    middle = 0.5 * (a + b)
    along = np.array([b[0] - a[0], b[1] - a[1]])
    reach = float(np.linalg.norm(along))
    along = along / reach if reach > 0.3 else np.array([1.0, 0.0])
    side = np.array([along[1], -along[0]])
    fovy = 20.0
    half = np.tan(np.deg2rad(fovy) / 2)
    away = max(2.1 / (2 * half), (reach + 1.2) / (2 * half * size[0] / size[1]))
    target = np.array([middle[0], middle[1], 0.86])
    eye = target + np.array([*(away * side), 0.14 * away])
    camera = Camera(eye, target, fovy, *size)
    return next(frames(character, moments, fps, width=size[0], height=size[1], cameras=[camera]))


def film_strip(rollout: Rollout, world: int | None = None, **options: object) -> bytes:
    """PNG bytes of :func:`strip_of` for a typical world of a rollout."""
    from isaacmm.render.png import encode_png

    chosen = rollout.worlds_to_show(1)[0] if world is None else world
    start, stop = rollout.segment(chosen)
    begin = min(start + round(rollout.fps), max(start, stop - 2))  # a second in, the start is the clip's
    track = track_of(rollout, chosen, begin, stop)
    return encode_png(strip_of(rollout.character, track, rollout.fps, **options))  # type: ignore[arg-type]
