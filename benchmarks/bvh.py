"""What reading and writing BVH costs: frames per second, MB per second, and against plain Python.

    python benchmarks/bvh.py [--frames 10000] [--joints 60] [--rounds 5]

The script makes a file of that size (a chain of joints, smooth curves, six decimals). *Text* is the file
to an array of channel values and back; *motion* includes Euler angles, quaternions, units and axes, all
that ``Motion.load`` and ``Motion.save`` do. *Plain Python* splits lines and calls ``float()`` per number,
or formats one number after the other, as most readers and writers do. *pybvh* is the fastest of the
libraries on the package index; it is measured where it can be imported and is no dependency of ours:

    pip install --no-deps --target /some/folder pybvh
    PYTHONPATH=/some/folder python benchmarks/bvh.py

Its ``Bvh`` holds angles in radians and no quaternions: between our *text* and our *motion*. All take
turns, so that a busy machine slows all alike; times are CPU seconds, the best of the rounds. The last
lines are the others' times over ours, of the same run.
"""

from __future__ import annotations

import argparse
import importlib
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def other_library(path: Path, copy: Path, values: np.ndarray) -> dict[str, Callable[[], object]]:
    """pybvh's reading and writing of the same file; nothing where it is not installed."""
    try:
        pybvh: Any = importlib.import_module("pybvh")
    except ImportError:
        print("pybvh is not installed (see the head of this file): only our own figures and plain Python's\n")
        return {}
    warnings.filterwarnings("ignore", module="pybvh")
    figure = pybvh.read_bvh_file(path)
    read = np.concatenate((figure.root_pos, np.rad2deg(figure.joint_angles).reshape(len(values), -1)), axis=1)
    assert np.abs(read - values).max() < 1e-9, "both readers read the same numbers"
    return {
        "read   pybvh": lambda: pybvh.read_bvh_file(path),
        "write  pybvh": lambda: pybvh.write_bvh_file(figure, copy),
    }


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
            **other_library(path, copy, text.values),
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
    for way in ("read", "write"):
        for other in ("text    plain Python", "pybvh"):
            theirs = best.get(f"{way:6s} {other}")
            if theirs is not None:
                text_ratio, motion_ratio = (theirs / best[f"{way:6s} {ours}  isaacmm"] for ours in ("text  ", "motion"))
                print(f"{way}: {other.split('  ')[-1].strip()} takes {text_ratio:.1f} times our text's time, "
                      f"{motion_ratio:.1f} times our motion's")  # fmt: skip


if __name__ == "__main__":
    main()
