"""What our simulator costs on top of MuJoCo: control steps per second against bare ``mujoco.batch.Batch``.

    python benchmarks/engine_mujoco.py [--worlds 64 256 1024] [--seconds 12] [--threads 0]

Both step the same character with the same noisy PD targets on the same threads, four physics steps
per control step, with body poses and velocities brought up to the new state. *Bare* stops there:
numpy targets in, MuJoCo's own float64 arrays out. *Ours* is ``step()`` and ``state()``: torch targets
in, float32 link poses and velocities, xyzw, and contact forces out. They take turns in blocks of a few
steps, from the same states, so that a busy machine slows both alike. A block's ratio is bare time
over ours; the last line is the smallest median over the sizes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable

import mujoco
import numpy as np
import torch
from mujoco.batch import Batch

from isaacmm.character import CharacterModel
from isaacmm.sim import SimConfig
from isaacmm.sim.contract.reference import resting_states
from isaacmm.sim.mujoco import MujocoSimulator, cores

VEL = mujoco.mjtStage.mjSTAGE_VEL.value
EPISODE = 40  # control steps before everybody stands up again; an untrained character falls in about 35


def memory_mb() -> float:
    """Resident memory of this process, or NaN where the system does not say."""
    try:
        with open("/proc/self/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except OSError:
        return float("nan")


def measure(
    model: CharacterModel, worlds: int, seconds: float, threads: int, block: int
) -> tuple[float, str]:
    """Median ratio bare/ours at one size, and the line to print."""
    sim = MujocoSimulator(model, SimConfig(num_envs=worlds, threads=threads))
    plain = mujoco.MjModel.from_xml_path(str(model.mjcf))
    batch = Batch(plain, worlds, threads, persistent=sim.batch.persistent)
    ctrl = batch.bind("ctrl")
    for field in ("xpos", "xquat", "cvel", "subtree_com"):
        batch.bind(field)

    rng = np.random.default_rng(0)
    noise = rng.normal(scale=0.2, size=(EPISODE, worlds, plain.nu)).astype(np.float32)
    targets = torch.from_numpy(noise)
    start = resting_states(model, worlds)
    everybody = torch.arange(worlds)

    def ours(k: int) -> None:
        sim.step(targets[k])
        sim.state()

    def bare(k: int) -> None:
        ctrl[:] = noise[k]
        batch.step(nstep=4, stage=VEL)

    def timed(step: Callable[[int], None], first: int) -> float:
        begin = time.perf_counter()
        for k in range(first, first + block):
            step(k)
        return time.perf_counter() - begin

    ratios: list[float] = []
    bare_times: list[float] = []
    our_times: list[float] = []
    end = time.perf_counter() + seconds
    pair = 0
    while len(ratios) < 4 or time.perf_counter() < end:
        first = pair * block % EPISODE
        if first == 0:
            sim.reset(everybody, start)
            batch.state[:] = sim.batch.state
            batch.forward(stage=VEL)
        order = (bare, ours) if pair % 2 else (ours, bare)
        times = {step: timed(step, first) for step in order}
        if not np.array_equal(sim.batch.bind("qpos"), batch.bind("qpos")):
            raise SystemExit("the two did not simulate the same thing; the comparison is void")
        if pair:  # the first pair warms up
            ratios.append(times[bare] / times[ours])
            bare_times.append(times[bare])
            our_times.append(times[ours])
        pair += 1
    ratio = statistics.median(ratios)
    rates = [worlds * block / statistics.median(t) for t in (bare_times, our_times)]
    sim.close()
    return ratio, (
        f"{worlds:5d} worlds   bare {rates[0]:8.0f}   ours {rates[1]:8.0f} control steps/s   "
        f"ratio {ratio:.3f}   ({len(ratios)} pairs of blocks)"
    )


def main() -> None:
    """Measure every size and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--worlds", type=int, nargs="+", default=[64, 256, 1024])
    parser.add_argument("--seconds", type=float, default=12.0, help="per size")
    parser.add_argument("--threads", type=int, default=0, help="0 = all cores")
    args = parser.parse_args()
    threads = args.threads or cores()
    model = CharacterModel.load()
    print(
        f"mujoco {mujoco.__version__}, {threads} threads for physics, {torch.get_num_threads()} for torch",
        flush=True,
    )

    before = memory_mb()
    sim = MujocoSimulator(model, SimConfig(num_envs=1024, threads=threads))
    sim.reset(torch.arange(1024), resting_states(model, 1024))
    sim.step(torch.zeros(1024, model.skeleton.num_dofs))
    sim.state()
    after = memory_mb()
    print(
        f"memory   1024 worlds take {after - before:.0f} MB ({after:.0f} MB with Python, torch and MuJoCo)",
        flush=True,
    )
    sim.close()

    smallest = float("inf")
    for worlds in args.worlds:
        # short blocks where steps are short, so that both sides see the same state of the machine
        ratio, line = measure(model, worlds, args.seconds, threads, block=10 if worlds <= 256 else 4)
        smallest = min(smallest, ratio)
        print(line, flush=True)
    print(f"ratio {smallest:.3f}")


if __name__ == "__main__":
    main()
