"""What a large set of clips costs: first load, later loads, memory, states.

    python benchmarks/motion_library.py --clips 10000 --frames 100

Works in a temporary folder, with a cache of its own, and removes it.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from isaacmm import paths
from isaacmm.character import CharacterModel
from isaacmm.motion import cache
from isaacmm.motion.clip import Motion
from isaacmm.motion.library import MotionLibrary


def resident() -> float:
    """Memory of this process that is in RAM, MB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


def first_load(folder: Path, character: CharacterModel, source: Motion, frames: int, count: int = 60) -> float:
    """CPU seconds per clip to read, repair, ground and find contacts."""
    (folder / "clips").mkdir()
    for k in range(count):
        source.slice(k, k + frames).save(folder / "clips" / f"clip_{k:05d}.npz")
    start = time.process_time()
    MotionLibrary.from_config({"clips": [str(folder / "clips")], "cache": False}, character)
    return (time.process_time() - start) / count


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--states", type=int, default=4096, help="states per call")
    given = parser.parse_args()
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp(prefix="library_benchmark."))
    character = CharacterModel.load("humanoid")
    source = Motion.load(paths.resolve("motions/walk_1.4_left_0.25.npz"), skeleton=character.skeleton)
    try:
        print(f"{'first load, per clip':<34} {1e3 * first_load(folder, character, source, given.frames):8.1f} ms CPU")
        # The large set: one cheap file per clip, so that the pack is what is measured.
        files = [folder / f"{k:05d}.clip" for k in range(given.clips)]
        for k, file in enumerate(files):
            file.write_text(str(k))
        clip = source.slice(0, given.frames)
        dof = clip.dof_pos()

        def make(path: Path) -> Motion:
            made = replace(clip, name=path.stem)
            cache._KNOWN[made] = dof
            return made

        cache.load(files, make, character.skeleton, {}, where=folder / "cache")
        before, wall, cpu = resident(), time.perf_counter(), time.process_time()
        motions = cache.load(files, make, character.skeleton, {}, where=folder / "cache")
        between = time.process_time()
        library = MotionLibrary(motions, character.skeleton, balance="speed_turn")
        wall, now = time.perf_counter() - wall, time.process_time()
        print(f"{given.clips} clips, {library.total_frames / 1e6:.2f} M frames from the cache:")
        print(f"{'  clips':<34} {between - cpu:8.2f} s CPU")
        print(f"{'  library':<34} {now - between:8.2f} s CPU (both: {wall:.2f} s wall)")
        print(f"{'  memory':<34} {resident() - before:8.0f} MB more in RAM, file pages included")
        kept = sum(x.numel() * x.element_size() for x in (library.root_pos, library.root_rot, library.dof_pos))
        print(f"{'  kept per frame':<34} {kept / library.total_frames:8.0f} B")
        draw = torch.Generator().manual_seed(0)
        library.state(*library.sample(given.states, draw))
        cpu = time.process_time()
        for _ in range(5):
            library.state(*library.sample(given.states, draw))
        cpu = (time.process_time() - cpu) / 5
        how = "derived" if library._tables is None else "from tables"
        print(f"{'  a state, velocities ' + how:<34} {1e6 * cpu / given.states:8.1f} us CPU ({given.states} at a time)")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
