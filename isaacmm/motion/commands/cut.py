"""Write a part of a clip, or take parts out.

cut clip.bvh --from 2.5s --to-time 7s --out part.npz
cut clip.npz --from 0 --to-time 120 --out first120.npz     frames, without s
cut clip.npz --every 10s --out parts/                      into pieces
"""

from __future__ import annotations

import argparse
from pathlib import Path

from isaacmm.errors import MotionError
from isaacmm.motion.clip import Motion
from isaacmm.motion.commands import batch


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    batch.add_clips(parser, out="file, or folder for several clips or pieces")
    parser.add_argument("--from", dest="start", default="0", metavar="TIME", help="frame, or seconds as 2.5s (0)")
    parser.add_argument("--to-time", dest="stop", metavar="TIME", help="end, not included (the clip's end)")
    parser.add_argument("--every", metavar="TIME", help="pieces of this length; a rest shorter than half is dropped")
    parser.add_argument("--origin", action="store_true", help="start at the origin, facing +x")


def frame(text: str, motion: Motion) -> int:
    """A frame number from ``120``, ``2.5s`` or ``-1s`` (from the end)."""
    try:
        number = round(float(text[:-1]) * motion.fps) if text.endswith("s") else int(text)
    except (ValueError, OverflowError):
        raise MotionError(f"'{text}' is no time: write a frame (120) or seconds (2.5s)") from None
    return number + motion.num_frames if number < 0 else number


def run(given: argparse.Namespace) -> int:
    """Cut."""
    paths = batch.files(given)
    if given.every and given.out is not None and given.out.suffix and not given.out.is_dir():
        raise MotionError(f"--every makes several files: --out {given.out} must be a folder")
    places = batch.targets(given, paths)

    def work(path: Path) -> batch.Result:
        motion = batch.read(path, given)
        start, stop = frame(given.start, motion), frame(given.stop, motion) if given.stop else motion.num_frames
        if not 0 <= start < stop or start >= motion.num_frames - 1 or stop - start < 2:
            raise MotionError(
                f"{path}: frames {start} to {stop} are no part of its {motion.num_frames} ({motion.duration:.2f} s)"
            )
        parts = [(start, min(stop, motion.num_frames))]
        place = places[path]
        names = [place]
        if given.every:
            length = frame(given.every, motion)
            if length < 2:
                raise MotionError(f"--every {given.every}: pieces need at least two frames")
            parts = [(a, min(a + length, parts[0][1])) for a in range(start, parts[0][1], length)]
            parts = [(a, b) for a, b in parts if b - a >= max(2, length // 2)]
            names = [place.with_stem(f"{place.stem}_{k:03d}") for k in range(len(parts))]
        lines = []
        for (a, b), name in zip(parts, names, strict=True):
            piece = motion.slice(a, b)
            piece.name = name.stem
            lines.append(batch.write(at_origin(piece) if given.origin else piece, name, given))
        return {"out": [str(n) for n in names], "text": "\n".join(lines)}

    return batch.each(given, paths, work, lambda result: str(result["text"]))


def at_origin(motion: Motion) -> Motion:
    """The clip moved and turned so that it starts over the origin, facing +x."""
    from dataclasses import replace

    from isaacmm import rotation

    turn = rotation.inverse(rotation.heading(motion.root_rot[0]))
    start = motion.root_pos[0] * motion.root_pos.new_tensor([1.0, 1.0, 0.0])
    moved = rotation.rotate(turn, motion.root_pos - start)
    return replace(motion, root_pos=moved, root_rot=rotation.multiply(turn, motion.root_rot))
