"""``python -m isaacmm.motion view | inspect | convert``: small tools for clips."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from isaacmm.character import CharacterModel
from isaacmm.errors import IsaacmmError, MotionError


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code (2: something could not be done)."""
    given = _parser().parse_args(words)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        given.run(given)
    except (IsaacmmError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m isaacmm.motion", description="Small tools for motion clips.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    view = commands.add_parser("view", help="film a clip, or draw a strip of it", description=_view.__doc__)
    view.add_argument("clip", type=Path, help="clip of any format that is read")
    view.add_argument("--out", type=Path, help="film (.mp4) or strip (.png) to write; default: beside you, CLIP.mp4")
    view.add_argument("--seconds", type=float, default=10.0, help="longest film (%(default)s)")
    view.add_argument("--size", type=int, nargs=2, default=(640, 480), metavar=("W", "H"), help="pixels (640 480)")
    view.add_argument("--as-is", action="store_true", help="do not repair or ground the clip first")
    view.set_defaults(run=_view)
    inspect = commands.add_parser("inspect", help="say what is in clips", description=_inspect.__doc__)
    inspect.add_argument("clips", type=Path, nargs="+", help="clips of any format that is read")
    inspect.set_defaults(run=_inspect)
    convert = commands.add_parser("convert", help="write a clip in another format", description=_convert.__doc__)
    convert.add_argument("clip", type=Path, help="clip to read")
    convert.add_argument("out", type=Path, help="file to write; its suffix chooses the format")
    convert.add_argument("--repair", action="store_true", help="repair the clip on the way (repeated frames, floor)")
    convert.set_defaults(run=_convert)
    for command in (view, inspect, convert):
        command.add_argument("--character", default="humanoid", help="file in cfg/character (%(default)s)")
    return parser


def _view(given: argparse.Namespace) -> None:
    """Film a clip on the character that will be trained, without any display."""
    from isaacmm.export import video
    from isaacmm.motion.repair import load_clip
    from isaacmm.render.png import write_png

    character = CharacterModel.load(given.character)
    if given.seconds <= 0:
        raise MotionError(f"--seconds {given.seconds}: give a length above 0")
    motion = load_clip(
        given.clip, skeleton=character.skeleton, character=character, repair=not given.as_is, ground=not given.as_is
    )
    out = given.out or Path(f"{given.clip.stem}.mp4")
    if out.suffix == ".png":
        write_png(out, video.strip_of(character, video.motion_track(character, motion), motion.fps))
    elif out.suffix == ".mp4":
        video.film_motion(character, motion, out, seconds=given.seconds, size=tuple(given.size))
    else:
        raise MotionError(f"--out {out}: films are .mp4 and strips .png")
    print(f"wrote {out}")


def _inspect(given: argparse.Namespace) -> None:
    """Frames, true frame rate, travel, floor, joint limits: what a clip holds and what is wrong with it."""
    from isaacmm.motion.inspect import facts

    character = CharacterModel.load(given.character)
    for clip in given.clips:
        for label, text in facts(clip, character):
            print(f"  {label:<12}{text}")
        print()


def _convert(given: argparse.Namespace) -> None:
    """Read one format, write another."""
    from isaacmm.motion.io import registry
    from isaacmm.motion.repair import load_clip

    if given.repair:
        character = CharacterModel.load(given.character)
        motion = load_clip(given.clip, skeleton=character.skeleton, character=character)
    else:
        motion = registry.read(given.clip)
    registry.write(motion, given.out)
    print(f"wrote {given.out}: {motion.num_frames} frames at {motion.fps:g} fps")


if __name__ == "__main__":
    sys.exit(main())
