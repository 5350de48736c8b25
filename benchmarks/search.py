"""What a search costs: milliseconds per query, brute force against boxes and other libraries.

    python benchmarks/search.py [--rows 50000 400000] [--queries 1000] [--rounds 3] [--check 0]

The databases hold the clips in motions/ (and, where there are any, clips of the same character in
$ISAACMM_MOTIONS or ../shared/motions), then variants of them until there are enough rows: every other one
mirrored, at 0.8 to 1.25 times the speed, on a path that bends and changes its pace slowly, with slow swings
of 5 degrees added to every joint. *Easy* queries are a row of the database and noise of 0.1; *hard* ones
have the pose of one row and the trajectory of another, as after a change of the command.

Searches take turns, so that a busy machine slows all alike; times are CPU seconds, the best of the rounds,
in batches and, as training calls it, 20 queries at a time. ``--check N`` compares N queries per database,
half of them hard, with brute force, row for row. faiss and scipy are measured where they are installed.
The last line is brute force's time over that of the boxes, for hard queries at the first size.
"""

from __future__ import annotations

import argparse
import importlib.util
import math
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from isaacmm import rotation
from isaacmm.character import CharacterModel
from isaacmm.matching.database import Database
from isaacmm.matching.search import Boxes, BruteForce
from isaacmm.motion.clip import Motion
from isaacmm.motion.library import MotionLibrary
from isaacmm.motion.repair import repair

ROOT = Path(__file__).resolve().parent.parent
Find = Callable[[Tensor], Tensor]
#: Another clip of a clip, by a generator; mirrored or not.
Another = Callable[[Motion, torch.Generator, bool], Motion]


def clips(character: CharacterModel, recorded_too: bool = True) -> list[Motion]:
    """Those that the project has; and those recorded of the same character, where there are any."""
    recorded = Path(os.environ.get("ISAACMM_MOTIONS") or ROOT.parent / "shared" / "motions") / "poselib_npy_cmu"
    files = sorted((ROOT / "motions").glob("*.npz"))
    if recorded_too:
        files += [f for f in sorted(recorded.glob("amp_humanoid_*.npy")) if "tpose" not in f.name]
    return [repair(Motion.load(file, skeleton=character.skeleton))[0] for file in files]


def swings(time_: Tensor, count: int, draw: torch.Generator, low: float, high: float, sines: int = 4) -> Tensor:
    """``[T, count]`` sums of ``sines`` sines between ``low`` and ``high`` Hz, of root mean square 1."""
    rate = low + (high - low) * torch.rand(sines, count, generator=draw)
    phase = torch.rand(sines, count, generator=draw)
    return torch.sin(2 * math.pi * (time_[:, None, None] * rate + phase)).sum(dim=1) / math.sqrt(sines / 2.0)


def variant(motion: Motion, draw: torch.Generator, mirrored: bool) -> Motion:
    """Somebody else's way to do the same."""
    motion = motion.mirror() if mirrored else motion
    motion = replace(motion, fps=motion.fps * float(0.8 + 0.45 * torch.rand(1, generator=draw)))
    time_ = torch.arange(motion.num_frames) / motion.fps
    joints = motion.skeleton.num_joints
    swing = 0.08 * swings(time_, 3 * joints, draw, 0.2, 1.5).view(-1, joints, 3)
    turn = rotation.from_yaw(0.6 * swings(time_, 1, draw, 0.05, 0.3)[:, 0])
    step = torch.diff(motion.root_pos, dim=0, prepend=motion.root_pos[:1])
    pos = torch.cumsum(rotation.rotate(turn, step) * (1.0 + 0.1 * swings(time_, 1, draw, 0.1, 0.6)), dim=0)
    pos[:, 2] = motion.root_pos[:, 2]
    return replace(
        motion,
        root_pos=pos,
        root_rot=rotation.multiply(turn, motion.root_rot),
        joint_rot=rotation.multiply(motion.joint_rot, rotation.from_rotvec(swing)),
        contacts=None,
    )


def database(rows: int, rate: float = 60.0, another: Another = variant, recorded_too: bool = True) -> Database:
    """Clips, and what ``another`` makes of them, until there are ``rows``."""
    character = CharacterModel.load("humanoid")
    given, draw = clips(character, recorded_too), torch.Generator().manual_seed(0)
    motions = list(given)
    total = sum(m.duration * rate for m in motions)
    while total < rows:
        turn, which = divmod(len(motions) - len(given), len(given))
        motions.append(another(given[which], draw, turn % 2 == 0))
        total += motions[-1].duration * rate
    return Database(MotionLibrary(motions, character.skeleton), character, rate)


def questions(data: Database, count: int, seed: int) -> dict[str, Tensor]:
    """Easy and hard ones, ``[count, 27]`` each."""
    draw = torch.Generator().manual_seed(seed)
    rows = data.valid.nonzero().flatten()
    one, two = rows[torch.randint(len(rows), (2, count), generator=draw)]
    return {
        "easy": data.features[one] + 0.1 * torch.randn(count, data.spec.size, generator=draw),
        "hard": torch.cat((data.pose[one], data.trajectory[two]), dim=1),
    }


def searches(data: Database, approximate: bool = True) -> dict[str, Find]:
    """All that are installed; each returns rows among the allowed ones, and says how long it took to build."""
    features, allowed = data.features, data.valid[None]
    rows = allowed[0].nonzero().flatten()
    table = features[rows].numpy()

    def clock(name: str, build: Callable[[], Find]) -> None:
        start = time.process_time()
        found[name] = build()
        print(f"  built {name}: {time.process_time() - start:.2f} s")

    def ours(search: BruteForce | Boxes) -> Find:
        return lambda query: search(query)[0]

    def flat() -> Find:
        import faiss

        index = faiss.IndexFlatL2(table.shape[1])
        index.add(table)
        return lambda query: rows[torch.from_numpy(index.search(query.numpy(), 1)[1][:, 0])]

    def inverted(probes: int) -> Find:
        import faiss

        index = faiss.IndexIVFFlat(faiss.IndexFlatL2(table.shape[1]), table.shape[1], 1024)
        index.train(table[:: max(1, len(table) // 50_000)])
        index.add(table)
        index.nprobe = probes
        return lambda query: rows[torch.from_numpy(index.search(query.numpy(), 1)[1][:, 0])]

    def tree() -> Find:
        from scipy.spatial import cKDTree

        index = cKDTree(table)
        return lambda query: rows[torch.from_numpy(np.asarray(index.query(query.numpy())[1]))]

    found: dict[str, Find] = {}
    clock("brute force", lambda: ours(BruteForce(features, allowed)))
    clock("boxes", lambda: ours(Boxes(features, allowed)))
    clock("boxes, rows in clip order", lambda: ours(Boxes(features, allowed, split=False)))
    if approximate and importlib.util.find_spec("faiss"):
        import faiss

        faiss.omp_set_num_threads(1)
        clock("faiss flat", flat)
        clock("faiss IVF 1024, 8 probes", lambda: inverted(8))
        clock("faiss IVF 1024, 32 probes", lambda: inverted(32))
    elif approximate:
        print("  faiss: not installed (pip install faiss-cpu)")
    if approximate:
        clock("scipy cKDTree", tree)
    return found


def measure(data: Database, queries: int, rounds: int) -> float:
    """Print a table; returns brute force over boxes for hard queries."""
    found, asked = searches(data), questions(data, queries, seed=1)
    slow = {"scipy cKDTree"}
    truth = {kind: found["brute force"](query) for kind, query in asked.items()}
    best: dict[tuple[str, str, int], float] = {}
    for _ in range(rounds):
        for name, find in found.items():
            for kind, query in asked.items():
                for batch in (queries, 20):
                    ask = query[: 60 if name in slow else min(len(query), 400 if batch == 20 else len(query))]
                    start = time.process_time()
                    for part in ask.split(batch):
                        find(part)
                    spent = (time.process_time() - start) / len(ask)
                    best[name, kind, batch] = min(best.get((name, kind, batch), math.inf), spent)
    print(f"  {'ms per query':28s} {'easy':>8s} {'hard':>8s}   20 at a time: {'easy':>6s} {'hard':>8s}   same row")
    for name, find in found.items():
        times = [1e3 * best[name, kind, batch] for batch in (queries, 20) for kind in ("easy", "hard")]
        some = 60 if name in slow else queries
        same = [float((find(asked[k][:some]) == truth[k][:some]).float().mean()) for k in ("easy", "hard")]
        print(
            f"  {name:28s} {times[0]:8.4f} {times[1]:8.4f} {times[2]:21.4f} {times[3]:8.4f}"
            f"   {same[0]:.3f} {same[1]:.3f}"
        )
    return best["brute force", "hard", queries] / best["boxes", "hard", queries]


def crossover(data: Database) -> None:
    """Small databases: time of a call of 20 hard queries, by rows."""
    print("a call of 20 hard queries, ms, by rows:")
    for count in (100, 200, 500, 1000, 3000, 10_000, 30_000):
        rows = data.valid.nonzero().flatten()[:count]
        features = data.features[rows]
        asked = questions(data, 2000, seed=2)["hard"]
        line = f"  {len(features):6d}"
        for name, search in {"brute": BruteForce(features), "boxes": Boxes(features)}.items():
            least = math.inf
            for part in asked.split(400):
                start = time.process_time()
                for query in part.split(20):
                    search(query)
                least = min(least, (time.process_time() - start) / 20)
            line += f"   {name} {1e3 * least:7.3f}"
        print(line)


def check(data: Database, count: int) -> None:
    """Row for row against brute force."""
    plain, boxes = BruteForce(data.features, data.valid[None]), Boxes(data.features, data.valid[None])
    asked = different = 0
    while asked < count:
        for query in questions(data, min(5000, count - asked), seed=100 + asked).values():
            half = query[: max(1, len(query) // 2)]
            (row, cost), (want, distance) = boxes(half), plain(half)
            different += int(((row != want) | (cost != distance)).sum())
            asked += len(half)
    print(f"  {asked} queries compared with brute force: {different} differ in row or distance")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[50_000, 400_000])
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--check", type=int, default=0, help="queries that are compared with brute force")
    options = parser.parse_args()
    torch.set_num_threads(1)

    ratios = []
    for i, rows in enumerate(options.rows):
        data = database(rows)
        print(f"{len(data)} rows, {int(data.valid.sum())} of them allowed, {data.library.num_clips} clips")
        if options.check:
            check(data, options.check)
        else:
            ratios.append(measure(data, options.queries, options.rounds))
            if i == 0:
                crossover(data)
    if ratios:
        print(f"ratio {ratios[0]:.2f}")


if __name__ == "__main__":
    main()
