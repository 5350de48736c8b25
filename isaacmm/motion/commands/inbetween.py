"""Fill gaps of clips, by a network that knows how bodies move between poses.

inbetween clip.bvh out.bvh gap=40:70          make frames 40 to 69 anew, from what is around them
inbetween clip.bvh out.bvh gap=2s:3s,5s:5.5s  several gaps, in seconds
inbetween clip.bvh out.bvh keys=0,20,45,80    only these frames are given; all others are made
inbetween poses.bvh out.bvh frames=30         every frame of the clip is a pose; 30 new ones between each two

The network is the newest run of task=MotionInbetween that knows the clip's skeleton (network=latest), or the run named;
network=none is plain interpolation, which also steps in, saying so, where the network would be worse.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from isaacmm.errors import MotionError
from isaacmm.motion.clip import Motion
from isaacmm.motion.commands import batch, filling
from isaacmm.motion.commands.cut import frame


def add(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    batch.add_clips(parser, out="file, or folder for several clips")
    parser.add_argument("--gap", help="frames or times to make anew, a:b, several with commas; also written gap=40:70")
    parser.add_argument("--keys", help="the frames that are given, with commas; also written keys=0,20,45")
    parser.add_argument("--frames", type=int, help="new frames between each two; also written frames=30")
    filling.add(parser)


def run(given: argparse.Namespace) -> int:
    """Fill."""
    filling.words(given, {"gap": str, "keys": str, "frames": int})
    filling.take_out(given, "inbetween CLIP OUT")
    asked = [name for name in ("gap", "keys", "frames") if getattr(given, name) is not None]
    if len(asked) != 1:
        raise MotionError("say what to make, once: gap=40:70, or keys=0,20,45, or frames=30")
    paths = batch.files(given)
    places = batch.targets(given, paths)
    done = filling.Filling(given)

    def work(path: Path) -> batch.Result:
        motion = batch.read(path, given)
        if given.frames is not None:
            if not 1 <= given.frames <= 1000:
                raise MotionError(f"frames={given.frames}: give a number from 1 to 1000")
            result = done.between_poses(motion, given.frames)
        else:
            known = gaps(given.gap, motion) if given.gap is not None else keys(given.keys, motion)
            result = done.between(motion, known)
        return result.written(places[path])

    return batch.each(given, paths, work, filling.say)


def gaps(text: str, motion: Motion) -> torch.Tensor:
    """``[T]`` bool: frames that are not in the gaps of ``a:b,c:d``.

    Raises:
        MotionError: it reads otherwise, lies outside the clip, or leaves no frame on a side.
    """
    known = torch.ones(motion.num_frames, dtype=torch.bool)
    for part in text.split(","):
        start, colon, stop = part.partition(":")
        if not colon:
            raise MotionError(f"gap={part}: write it as first:end, like 40:70 or 2s:3s")
        a, b = frame(start.strip(), motion), frame(stop.strip(), motion)
        if not 1 <= a < b <= motion.num_frames - 1:
            raise MotionError(
                f"gap={part}: is frames {a} to {b - 1}; {motion.name or 'the clip'} has frames 0 to "
                f"{motion.num_frames - 1}, and one is needed before and behind a gap"
            )
        known[a:b] = False
    return known


def keys(text: str, motion: Motion) -> torch.Tensor:
    """``[T]`` bool: the frames of ``0,20,45``; frames outside the first and the last of them are left out."""
    known = torch.zeros(motion.num_frames, dtype=torch.bool)
    for part in text.split(","):
        number = frame(part.strip(), motion)
        if not 0 <= number < motion.num_frames:
            raise MotionError(
                f"keys={part}: {motion.name or 'the clip'} has frames 0 to {motion.num_frames - 1}, "
                f"{motion.fps:g} a second"
            )
        known[number] = True
    if int(known.sum()) < 2:
        raise MotionError(f"keys={text}: at least two frames must be given")
    return known
