"""Films: frames to MP4, and what a policy or a clip looks like."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from tqdm import tqdm

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.errors import IsaacmmError
from isaacmm.render.camera import follow, gaussian_smooth
from isaacmm.render.inset import Map
from isaacmm.render.playback import Track, frames, stature

if TYPE_CHECKING:
    from isaacmm.evaluate.rollout import Rollout
    from isaacmm.motion.clip import Motion

_CODECS = ("libx264", "mpeg4")
#: Where the twin goes (m to the left of the character), and how it is drawn.
BESIDE = 1.0
#: Figures of a strip closer than this share of their height hide each other.
_ELBOW_ROOM = 0.3
_PALE, _GHOST = (0.62, 0.74, 0.86), 0.75


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
    track = Track(
        pos,
        rollout.root_rot[part, world].cpu().numpy(),
        rollout.dof_pos[part, world].cpu().numpy(),
        rollout.command["direction"][part, world].cpu().numpy(),
        rollout.command["speed"][part, world].cpu().numpy(),
        rollout.contact[part, world].cpu().numpy(),
    )
    if "future_position" in rollout.command:
        track.facing = rollout.command["facing"][part, world].cpu().numpy()
        ahead = rollout.command["future_position"][part, world].cpu().numpy()
        yaw = rotation.yaw(rollout.root_rot[part, world]).cpu().numpy()
        track.future = pos[:, None, :2] + turned(ahead, yaw[:, None])
    if rollout.path is not None:
        track.line = rollout.path[world].cpu().numpy() + np.asarray(shift)
    return track


def ghost_of(rollout: Rollout, world: int, start: int, stop: int, track: Track) -> Track:
    """The clip moments that answer what ``world`` is told, beside it.

    They have no place of their own: the pale figure goes along on the left of ``track``, facing as commanded.
    """
    part = slice(start, stop)
    facing = rollout.command["facing"][part, world]
    angle = facing.cpu().numpy()
    pos = np.empty_like(track.root_pos)
    along = gaussian_smooth(track.root_pos[:, :2], 0.3 * rollout.fps)
    pos[:, :2] = along + BESIDE * np.stack((-np.sin(angle), np.cos(angle)), axis=-1)
    pos[:, 2] = rollout.twin["height"][part, world].cpu().numpy()
    rot = rotation.multiply(rotation.from_yaw(facing), rollout.twin["tilt"][part, world])
    dofs = rollout.twin["dof_pos"][part, world].cpu().numpy()
    return Track(pos, rot.cpu().numpy(), dofs, tint=_PALE, alpha=_GHOST)


def turned(vector: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Ground vectors ``[..., 2]`` turned left by ``angle [...]`` rad."""
    c, s = np.cos(angle), np.sin(angle)
    return np.stack((c * vector[..., 0] - s * vector[..., 1], s * vector[..., 0] + c * vector[..., 1]), axis=-1)


def in_words(velocity: np.ndarray, turn_rate: float) -> str:
    """What a command asks for, e.g. ``walk, turning left``.

    Args:
        velocity: ``[2]`` m/s, forward and left.
        turn_rate: rad/s.
    """
    forward, left = float(velocity[0]), float(velocity[1])
    speed = float(np.hypot(forward, left))
    if speed < 0.15:
        going = "stand" if abs(turn_rate) < 0.1 else "turn in place"
    elif abs(left) > abs(forward):
        going = "step left" if left > 0 else "step right"
    elif forward < 0:
        going = "step back"
    else:
        going = "run" if speed > 2.0 else "walk"
    if speed >= 0.15 and abs(turn_rate) > 0.1:
        going += ", turning " + ("left" if turn_rate > 0 else "right")
    return going


def capture(
    rollout: Rollout,
    path: str | Path,
    *,
    worlds: Sequence[int] | None = None,
    seconds: float = 8.0,
    size: tuple[int, int] = (640, 480),
) -> Path:
    """Film ``worlds`` of a rollout, one beside the other; commands, velocities and contacts are drawn.

    A single world of HumanoidMM is filmed with its twin as a pale figure beside it and a map in the corner.

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

    if len(tracks) == 1 and rollout.twin:
        pictures = _with_twin(rollout, chosen[0], start, stop, first, speeds, size)
    else:
        pictures = frames(
            rollout.character, tracks, rollout.fps, width=size[0], height=size[1],
            caption=caption if len(tracks) == 1 else None,
        )  # fmt: skip
    write_video(path, pictures, rollout.fps, stop - start)
    return Path(path)


def _with_twin(
    rollout: Rollout, world: int, start: int, stop: int, track: Track, speeds: np.ndarray, size: tuple[int, int]
) -> Iterator[np.ndarray]:
    """Frames of one world of HumanoidMM; the camera turns late and looks down, so that turns are seen."""
    part = slice(start, stop)
    ghost = ghost_of(rollout, world, start, stop, track)
    told = {name: rollout.command[name][part, world] for name in ("goal_velocity", "velocity", "turn_rate", "facing")}
    yaw = rotation.yaw(rollout.root_rot[part, world])
    off = np.degrees(rotation.wrap_angle(yaw - told["facing"]).numpy())
    off = gaussian_smooth(off, 0.25 * rollout.fps)
    goal, turn, asked = told["goal_velocity"].numpy(), told["turn_rate"].numpy(), told["velocity"].norm(dim=-1).numpy()
    name = f"{rollout.script}  " if rollout.script else ""

    def caption(f: int) -> str:
        side = "left" if off[f] > 0 else "right"
        return (
            f"{name}{f / rollout.fps:4.1f} s\n{in_words(goal[f], float(turn[f]))}\n"
            f"asked {asked[f]:.1f}, goes {speeds[f]:.1f} m/s\nfaces {abs(off[f]):.0f}° too far {side}"
        )

    pos = np.stack([track.root_pos, ghost.root_pos], axis=1)
    rot = np.stack([ghost.root_rot, ghost.root_rot], axis=1)
    cameras = follow(
        pos, rot, rollout.fps, width=size[0], height=size[1], elevation=21.0, turn_seconds=2.0, seconds=0.4,
        body_height=stature(rollout.character),
    )  # fmt: skip
    line = track.line
    if line is None:
        from isaacmm.evaluate.steered import commanded_path

        shift = track.root_pos[:1, :2] - rollout.root_pos[start, world, :2].numpy()
        line = commanded_path(rollout)[part, world].numpy() + shift
    chart = Map(track.root_pos[:, :2], yaw.numpy(), line, along=track.line is None, size=round(0.27 * size[1]))
    return frames(
        rollout.character, [track, ghost], rollout.fps, width=size[0], height=size[1], caption=caption,
        cameras=cameras, inset=chart,
    )  # fmt: skip


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
    """One picture of ``poses`` moments, seen from the side; uint8 ``[H, W, 3]``.

    Where the way is long enough, they are moments along it, nearly a metre apart. Where they would hide each other they
    are spread over the time, and stand in a row.
    """
    from isaacmm.render.camera import Camera

    tall = stature(character)
    travelled = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(track.root_pos[:, :2], axis=0), axis=-1))])
    # of several distances the one that shows most: a stride apart, all poses would be alike
    widest = float(travelled[-1]) / max(poses - 1, 1)
    tried = [
        np.clip(np.searchsorted(travelled, min(widest, share * tall) * np.arange(poses)), 0, len(travelled) - 1)
        for share in (0.54, 0.5, 0.46, 0.42)
    ]
    ids = max(tried, key=lambda moments: _variety(track, moments))
    pos = track.root_pos[ids].copy()
    reach = float(np.linalg.norm(pos[-1, :2] - pos[0, :2]))
    if reach < _ELBOW_ROOM * tall * (poses - 1):
        whole = len(travelled) - 1
        spans = [np.linspace(a, b, poses).round().astype(int) for a, b in ((0, whole), (whole // 4, whole // 4 * 3))]
        ids = max(spans, key=lambda moments: _variety(track, moments))
        pos = track.root_pos[ids].copy()
        yaw = float(rotation.yaw(torch.as_tensor(track.root_rot[0], dtype=torch.float32)))
        row = turned(np.array([1.0, 0.0]), np.array(yaw))
        pos[:, :2] = pos[0, :2] + 0.5 * tall * np.arange(poses)[:, None] * row
        reach = float(np.linalg.norm(pos[-1, :2] - pos[0, :2]))
    moments = [
        Track(
            pos[[k]], track.root_rot[[i]], track.dof_pos[[i]],
            contact=None if track.contact is None else track.contact[[i]],
        )
        for k, i in enumerate(ids)
    ]  # fmt: skip
    along = pos[-1, :2] - pos[0, :2]
    along = along / reach if reach > 0.1 else np.array([1.0, 0.0])
    side = np.array([along[1], -along[0]])
    fovy = 20.0
    half = np.tan(np.deg2rad(fovy) / 2)
    away = max(1.2 * tall / (2 * half), (reach + 0.7 * tall) / (2 * half * size[0] / size[1]))
    target = np.array([*(0.5 * (pos[0, :2] + pos[-1, :2])), 0.49 * tall])
    eye = target + np.array([*(away * side), 0.14 * away])
    camera = Camera(eye, target, fovy, *size)
    return next(frames(character, moments, fps, width=size[0], height=size[1], cameras=[camera]))


def _variety(track: Track, moments: np.ndarray) -> float:
    """How much poses differ between ``moments``."""
    return float(track.dof_pos[moments].std(0).sum() + track.root_rot[moments].std(0).sum())


def film_strip(rollout: Rollout, world: int | None = None, **options: object) -> bytes:
    """PNG bytes of :func:`strip_of` for a typical world of a rollout."""
    from isaacmm.render.png import encode_png

    chosen = rollout.worlds_to_show(1)[0] if world is None else world
    start, stop = rollout.segment(chosen)
    begin = min(start + round(rollout.fps), max(start, stop - 2))  # a second in, the start is the clip's
    track = track_of(rollout, chosen, begin, stop)
    return encode_png(strip_of(rollout.character, track, rollout.fps, **options))  # type: ignore[arg-type]
