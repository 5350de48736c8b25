"""Write clips at a multiple of their frame rate, by a network that knows how bodies move between frames.

upsample keys.bvh smooth.bvh rate=8     8 frames for each one
upsample clip.bvh out.bvh fps=60        the whole multiple that comes nearest
upsample clip.bvh out.bvh rate=8 network=my_run denoise=3

The network is the newest run of task=MotionInbetween that knows the clip's skeleton (network=latest), or the run named;
network=none is plain interpolation, which also steps in, saying so, where the network would be worse.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from isaacmm.errors import MotionError
from isaacmm.motion.commands import batch, filling
from isaacmm.motion.repair import detect_doubled_frames, drop_repeated_frames


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    batch.add_clips(parser, out="file, or folder for several clips")
    parser.add_argument("--rate", type=float, help="frames for each one of the clip (default 4); also written rate=8")
    parser.add_argument("--fps", type=float, help="frames per second instead; also written fps=60")
    filling.add(parser)


def run(given: argparse.Namespace) -> int:
    """Up-sample."""
    filling.words(given, {"rate": float, "fps": float})
    filling.take_out(given, "upsample CLIP OUT")
    if given.rate is not None and given.fps is not None:
        raise MotionError("give rate= or fps=, not both")
    for name, value in (("rate", given.rate), ("fps", given.fps)):
        if value is not None and not 0.0 < value < math.inf:
            raise MotionError(f"{name}={value:g}: wants a number above 0")
    paths = batch.files(given)
    places = batch.targets(given, paths)
    done = filling.Filling(given)

    def work(path: Path) -> batch.Result:
        motion = batch.read(path, given)
        said = []
        if (copies := detect_doubled_frames(motion)) > 1:  # frames that stand still are no keys
            told = motion.fps
            motion = drop_repeated_frames(motion, copies)
            said = [f"every frame is stored {copies} times: the file says {told:g} fps, it moves at {motion.fps:g}"]
        rate = given.rate if given.rate is not None else given.fps / motion.fps if given.fps is not None else 4.0
        whole = max(1, round(rate))
        if given.rate is not None and abs(rate - whole) > 1e-9:
            raise MotionError(f"rate={given.rate:g}: wants a whole number. Nearest: {whole}")
        if not 2 <= whole <= 120 and not given.denoise:
            raise MotionError(
                f"{motion.name}: at {motion.fps:g} fps this makes {whole} frames of one; give a rate from 2 to 120"
            )
        result = done.upsample(motion, whole)
        result.lines += said
        return result.written(places[path])

    return batch.each(given, paths, work, filling.say)
