"""Write clips at another frame rate.

resample clips/ --fps 30 --out at30/
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from isaacmm.errors import MotionError
from isaacmm.motion.commands import batch


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    batch.add_clips(parser, out="file, or folder for several clips")
    parser.add_argument("--fps", type=float, required=True, help="frames per second")
    parser.add_argument("--label", action="store_true",
                        help="keep the frames, correct only the rate (a mislabelled clip)")  # fmt: skip


def run(given: argparse.Namespace) -> int:
    """Resample."""
    if not 0.5 <= given.fps <= 1000:
        raise MotionError(f"--fps {given.fps:g}: give a rate between 0.5 and 1000")
    paths = batch.files(given)
    places = batch.targets(given, paths)

    def work(path: Path) -> batch.Result:
        motion = batch.read(path, given)
        motion = replace(motion, fps=given.fps) if given.label else motion.resample(given.fps)
        return {"out": str(places[path]), "text": batch.write(motion.validate(), places[path], given)}

    return batch.each(given, paths, work, lambda result: str(result["text"]))
