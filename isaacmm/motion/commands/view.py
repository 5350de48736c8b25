"""Film a clip on the character, or draw a strip of it.

view walk.npz                     a film, walk.mp4 beside you
view walk.bvh --out walk.png      six moments; clips of other skeletons are retargeted first
"""

from __future__ import annotations

import argparse
from pathlib import Path

from isaacmm.character import CharacterModel
from isaacmm.errors import MotionError
from isaacmm.motion.clip import Motion
from isaacmm.motion.commands import batch


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    batch.add_clips(parser)
    parser.add_argument("--out", type=Path, help="film (.mp4) or strip (.png), or a folder for several clips")
    parser.add_argument("--seconds", type=float, default=10.0, help="longest film (%(default)s)")
    parser.add_argument("--size", type=int, nargs=2, default=(640, 480), metavar=("W", "H"), help="pixels (640 480)")
    parser.add_argument("--as-is", action="store_true", help="do not repair or ground the clip first")
    batch.add_character(parser)


def run(given: argparse.Namespace) -> int:
    """View."""
    from isaacmm.export import video
    from isaacmm.render.png import write_png

    if given.seconds <= 0:
        raise MotionError(f"--seconds {given.seconds}: give a length above 0")
    character = CharacterModel.load(given.character)
    paths = batch.files(given)
    out: Path | None = given.out
    if out is not None and out.suffix and not out.is_dir():
        if out.suffix not in (".png", ".mp4"):
            raise MotionError(f"--out {out}: films are .mp4 and strips .png")
        if len(paths) > 1:
            raise MotionError(f"--out {out} is one file, but {len(paths)} clips were named; give a folder")

    def work(path: Path) -> batch.Result:
        motion = _load(path, given, character)
        place = out if out is not None and out.suffix else (out or Path()) / f"{path.stem}.mp4"
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.suffix == ".png":
            write_png(place, video.strip_of(character, video.motion_track(character, motion), motion.fps))
        else:
            video.film_motion(character, motion, place, seconds=given.seconds, size=tuple(given.size))
        return {"out": str(place)}

    return batch.each(given, paths, work, lambda result: f"wrote {result['out']}")


def _load(path: Path, given: argparse.Namespace, character: CharacterModel) -> Motion:
    from isaacmm.motion.commands.retarget import read_source
    from isaacmm.motion.repair import load_clip
    from isaacmm.motion.retarget import retarget

    own = read_source(path, given, None)[0]
    if set(own.skeleton.names) != set(character.skeleton.names):
        return retarget(own, character).motion
    return load_clip(
        path, skeleton=character.skeleton, character=character, repair=not given.as_is, ground=not given.as_is,
        nan=given.nan, **batch.options(given),
    )  # fmt: skip
