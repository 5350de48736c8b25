"""Write clips in another format.

convert a.bvh b.npz              one clip; the suffix chooses the format
convert clips/ --out new/        many, as .npz or as --to says
convert a.csv b.pkl --to phc     where several formats share a suffix
"""

from __future__ import annotations

import argparse
from pathlib import Path

from isaacmm.character import CharacterModel
from isaacmm.errors import MotionError
from isaacmm.motion import fixes
from isaacmm.motion.commands import batch


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    batch.add_clips(parser, out="file, or folder for several clips")
    parser.add_argument("--repair", action="store_true", help="put right what is wrong on the way (see inspect --fix)")
    batch.add_character(parser)


def run(given: argparse.Namespace) -> int:
    """Convert."""
    if given.out is None:
        if len(given.clips) < 2:
            raise MotionError("say where to write: convert CLIP OUT, or --out FOLDER")
        given.out = Path(given.clips.pop())
        if not given.out.suffix and not given.out.is_dir():
            raise MotionError(f"{given.out}: no suffix to choose a format by (for a new folder, use --out)")
    character = CharacterModel.load(given.character) if given.repair else None
    paths = batch.files(given)
    places = batch.targets(given, paths)

    def work(path: Path) -> batch.Result:
        said: list[str] = []
        if character is not None:
            given.nan = "interpolate"
            motion = batch.onto(batch.read(path, given), character)
            motion, said = fixes.fix(motion, character)
        else:
            motion = batch.read(path, given)
        batch.write(motion, places[path], given)
        return {"out": str(places[path]), "frames": motion.num_frames, "fps": motion.fps, "repairs": said}

    def say(result: batch.Result) -> str:
        lines = [f"wrote {result['out']}: {result['frames']} frames at {result['fps']:g} fps"]
        return "\n".join(lines + [f"  {text}" for text in result["repairs"]])

    return batch.each(given, paths, work, say)
