"""What reading and writing BVH costs: frames per second, MB per second, and against plain Python.

    python benchmarks/bvh.py [--frames 10000] [--joints 60] [--rounds 5]

The script makes a file of that size (a chain of joints, smooth curves, six decimals). *Text* is the file
to an array of channel values and back; *motion* includes Euler angles, quaternions, units and axes, all
that ``Motion.load`` and ``Motion.save`` do. *Plain Python* splits lines and calls ``float()`` per number,
or formats one number after the other, as most readers and writers do. They take turns, so that a busy
machine slows all alike; times are CPU seconds, the best of the rounds. The last line is plain Python's
reading time over ours for the same work (text to values).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from isaacmm import rotation
from isaacmm.motion.clip import Motion
from isaacmm.motion.io import bvh_text, files
from isaacmm.skeleton import Skeleton


def make_motion(frames: int, joints: int) -> Motion:
    """Branches of six joints, each turning smoothly about its own axis."""
    parents = [-1] + [0 if i % 6 == 1 else i - 1 for i in range(1, joints)]
    draw = torch.Generator().manual_seed(0)
    skeleton = Skeleton(
        names=tuple(f"joint_{i}" for i in range(joints)),
        parents=tuple(parents),
        offsets=0.1 * torch.randn(joints, 3, generator=draw),
        rest_rotations=rotation.identity(joints),
    )
    time_ = torch.arange(frames)[:, None, None] / 60.0
    axis = torch.randn(joints, 3, generator=draw)
    turns = rotation.from_rotvec(axis * torch.sin(time_ + torch.rand(joints, 1, generator=draw)))
    root = torch.cumsum(0.01 * torch.randn(frames, 3, generator=draw), dim=0)
    return Motion(skeleton, root, turns[:, 0], turns[:, 1:], fps=60.0, name="bench")


def plain_read(path: Path) -> np.ndarray:
    """One line after the other, one number after the other."""
    with open(path) as file:
        for line in file:
            if line.startswith("Frame Time"):
                break
        return np.array([[float(word) for word in line.split()] for line in file])


def plain_write(path: Path, head: str, values: np.ndarray) -> None:
    """One number after the other."""
    with open(path, "w") as file:
        file.write(head)
        for row in values:
            file.write(" ".join([f"{value:.6f}" for value in row]) + "\n")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=int, default=10_000)
    parser.add_argument("--joints", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)

    with tempfile.TemporaryDirectory() as folder:
        path, copy = Path(folder) / "bench.bvh", Path(folder) / "copy.bvh"
        motion = make_motion(options.frames, options.joints)
        motion.save(path)
        text = bvh_text.parse(path)
        head = path.read_text().partition("Frame Time: ")
        head_text = head[0] + head[1] + head[2].partition("\n")[0] + "\n"
        megabytes = path.stat().st_size / 1e6
        assert np.array_equal(plain_read(path), text.values), "both readers read the same numbers"

        def our_write() -> None:
            with files.atomic(copy) as file:
                file.writelines(bvh_text.blocks(text))

        tasks: dict[str, Callable[[], object]] = {
            "read   text    isaacmm": lambda: bvh_text.parse(path),
            "read   text    plain Python": lambda: plain_read(path),
            "read   motion  isaacmm": lambda: Motion.load(path, scale=0.01),
            "write  text    isaacmm": our_write,
            "write  text    plain Python": lambda: plain_write(copy, head_text, text.values),
            "write  motion  isaacmm": lambda: motion.save(copy),
        }
        best = dict.fromkeys(tasks, float("inf"))
        for _ in range(options.rounds):
            for name, task in tasks.items():
                start = time.process_time()
                task()
                best[name] = min(best[name], time.process_time() - start)

    print(
        f"{options.frames} frames x {options.joints} joints, {text.values.size} numbers, {megabytes:.1f} MB"
    )
    for name, seconds in best.items():
        speed = f"{options.frames / seconds:9.0f} frames/s  {megabytes / seconds:6.1f} MB/s"
        print(f"{name:28s} {seconds:6.3f} s  {speed}")
    print(
        f"writing: plain Python over ours {best['write  text    plain Python'] / best['write  text    isaacmm']:.1f}"
    )
    print(f"ratio {best['read   text    plain Python'] / best['read   text    isaacmm']:.2f}")


if __name__ == "__main__":
    main()
